"""What must hold, apart from what a reader's program sees (`demo.reading`). Raises DemoFailed where it does not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from mailer.demo import reading, search
from mailer.demo.mailbox_server import Received
from mailer.errors import DemoFailed

REFUSAL = "Your key has expired"


def sent(found: Sequence[Mapping[str, object]], expected: Sequence[tuple[int, int]]) -> None:
    """So many deliveries of each digest were planned, and so many are counted as sent; who got one is kept nowhere.

    found: what `mailer digest list --json` prints, newest first.
    """
    if [(one["planned"], one["counts"]) for one in found] != [(total, {"sent": left}) for total, left in expected]:
        raise DemoFailed(f"Of the planned deliveries this became: {[one['counts'] for one in found]}.")


def delivered(came: Sequence[Received], expected: Collection[str]) -> dict[str, bytes]:
    """Return the copies by recipient: one for each of those expected, none for anybody else."""
    if sorted(one.recipient for one in came) != sorted(expected):
        raise DemoFailed(f"{len(came)} copies came, and not one for each of the {len(expected)} who are on the list.")
    return {one.recipient: one.content for one in came}


def refused(content: bytes) -> tuple[str, str]:
    """Return subject and text of the letter that refuses an expired key. It names the reason and is in the clear."""
    message = reading.parse(content)
    plain = message.get_body(("plain",))
    if message["Subject"] != REFUSAL or plain is None:
        raise DemoFailed("An expired key is not refused by name.")
    return str(message["Subject"]), str(plain.get_content())


def nothing_found(files: Iterable[Path], texts: Sequence[str]) -> None:
    """None of the texts stands in any of the files, in any form."""
    found = search.find_in_files(files, texts)
    if found:
        raise DemoFailed(f"An address is found in {found[0].path.name} ({found[0].form}), {len(found)} times in all.")


def search_finds(original: Path, planted: Path, text: str) -> tuple[str, ...]:
    """Return the forms in which the search finds a text that is planted in a copy of a file: all that there are."""
    octets = original.read_bytes()
    middle = len(octets) // 2
    all_forms = search.forms(text)
    for form, needles in all_forms.items():
        for needle in needles:
            planted.write_bytes(octets[:middle] + needle + octets[middle:])
            if form not in search.find(planted.read_bytes(), text):
                raise DemoFailed(f"The search does not find what is planted ({form}), so it proves nothing.")
    planted.unlink()
    return tuple(all_forms)
