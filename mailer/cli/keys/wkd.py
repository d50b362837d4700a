"""A Web Key Directory of a list's certificates, as a folder for a web server (draft-koch-openpgp-webkey-service).

Both methods: the advanced one, which programs try first, under the host openpgpkey.DOMAIN, and the direct one under the
domain itself. A program that knows the address then finds the key, and the one before while letters to it still open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mailer.crypto.keyring import Keyring
from mailer.model import web_key
from mailer.model.address import Address
from mailer.model.mailing_list import MailingList
from mailer.outward import announce

ROOT = Path(".well-known") / "openpgpkey"


@dataclass(frozen=True, slots=True)
class Entry:
    """An address and its certificates, binary: the one in use, then the one before, if that is still known."""

    address: Address
    certificates: tuple[bytes, ...]

    @property
    def name(self) -> str:
        """The name of its file (§3.1)."""
        return web_key.hashed(self.address.local)


def entries(keyring: Keyring, mailing_list: MailingList, now: datetime) -> Iterator[Entry]:
    """Give the addresses that a list sends from, with their certificates."""
    for one in announce.successions(keyring, mailing_list, now):
        before = (one.former.certificate,) if one.former is not None else ()
        yield Entry(one.shown.address, (one.key.public, *before))


def write(folder: Path, found: Sequence[Entry]) -> list[str]:
    """Write the directory into `folder`, replacing what an earlier call wrote; return what has to be served where.

    The direct method belongs to one domain: that of the first entry in the folder itself, others in folders of their
    name. Everything in it is public, and can be read by all.
    """
    said = []
    for domain in dict.fromkeys(one.address.domain for one in found):
        of_domain = [one for one in found if one.address.domain == domain]
        base = folder if domain == found[0].address.domain else folder / domain
        for tree in (folder / ROOT / domain, base / ROOT):
            _publish(tree / "policy", b"")  # §4.5: it must be there, and says nothing more
            for one in of_domain:
                _publish(tree / "hu" / one.name, b"".join(one.certificates))
        said.append(f"https://openpgpkey.{domain}/{ROOT}/{domain}/ from {folder / ROOT / domain}/")
        said.append(f"https://{domain}/{ROOT}/ from {base / ROOT}/")
    return said


def _publish(path: Path, content: bytes) -> None:
    missing = [folder for folder in (path.parent, *path.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        folder.chmod(0o755)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    fresh.chmod(0o644)
    fresh.replace(path)
