"""mailer subscribers invite: cards for people who have no key."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import options, passphrases
from mailer.cli.recorded import recorded
from mailer.cli.subscribers.desk import Desk, write_new
from mailer.crypto.keyring import Keyring
from mailer.errors import FileUnusable, FormUnavailable
from mailer.letters import typeset
from mailer.model.language import Language
from mailer.registrar import inviting
from mailer.registrar.inviting import Terms
from mailer.store.database import Database


@recorded("subscribers invite", "list_id", "count", "language")
def invite(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new PDF file, mode 0600; cards-BATCH.pdf here if left out."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=inviting.MOST, help="How many cards.")] = 8,
    language: Annotated[Language | None, typer.Option(help="Of the cards; the list's default if left out.")] = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="How long the codes work.")] = 30,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Make invitation cards to print, cut out and hand over: whoever gets one needs no key, and reads PDFs.

    Print the file where nobody looks on, hand each card over in person, and erase the file. No copy of codes and words
    is kept that could be read.

    Example: mailer subscribers invite --count 50 --language zh-Hant
    """
    if lacking := typeset.missing():
        raise FormUnavailable(f"PDF: install {', '.join(lacking)}.")
    if output is not None and output.exists():
        raise FileUnusable(f"{output.name}: it is there already; name a new file.")
    desk = Desk.open(instance_folder, list_id)
    terms = Terms(count, language or desk.list.default_language, days)
    service = passphrases.read("service", service_file)
    written: list[Path] = []

    def keep(batch: str, pdf: bytes) -> None:
        path = output or Path(f"cards-{batch}.pdf")
        write_new(path, pdf)
        written.append(path)

    async def make(database: Database) -> str:
        register = desk.register(database, service)
        key = Keyring(register.secrets).list_key(desk.list.id)
        return await inviting.invite(register, terms, key.fingerprint, keep)

    with _erased_if_it_fails(written):
        batch = desk.run(make, uses_roster_key=False)
    cards = f"{count} cards, batch {batch}, that work for {days} days: {written[0]}"
    print(f"{cards}. Print it, hand the cards over, and erase the file.", file=sys.stderr)


@contextmanager
def _erased_if_it_fails(written: Sequence[Path]) -> Iterator[None]:
    """Erase the file where its cards did not become valid after all."""
    try:
        yield
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
