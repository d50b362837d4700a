"""mailer inbox: letters that were set aside, sealed, and how they are read again once the reason is mended."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import options
from mailer.cli.opened import run
from mailer.cli.recorded import recorded
from mailer.errors import NothingAside
from mailer.instance import Instance
from mailer.model import times
from mailer.store import inbox
from mailer.store.database import Database
from mailer.store.inbox import Aside

commands = typer.Typer(no_args_is_help=True, help="Letters that were set aside because nobody could deal with them.")

Reason = Annotated[str, typer.Argument(help="Why they were set aside, as `mailer inbox list` names it.")]


@commands.command("list")
def list_all(instance_folder: options.InstanceFolder = Path(), as_json: options.AsJson = False) -> None:
    """Show for which reasons letters were set aside, how many, and how old they are. Whose they are is sealed.

    `mailer doctor` says of each reason what to do. Example: mailer inbox list --json
    """

    async def look(database: Database) -> list[Aside]:
        async with database.read() as tx:
            return await inbox.aside(tx)

    found = run(Instance.open(instance_folder), look)
    if as_json:
        print(json.dumps([_to_json(one) for one in found], indent=2))
        return
    now = datetime.now(UTC)
    for one in found:
        ages = f"{times.in_words(now - one.oldest)} to {times.in_words(now - one.newest)} old"
        print("\t".join((one.reason, str(one.letters), ages)))
    if not found:
        print("No letter is set aside.")


@commands.command()
@recorded("inbox retry", "reason")
def retry(reason: Reason, instance_folder: options.InstanceFolder = Path(), as_json: options.AsJson = False) -> None:
    """Have the letters read again that were set aside for a reason, once that is mended.

    The service reads them within seconds; what still cannot be dealt with is set aside again.
    Example: mailer inbox retry no-contact-key
    """

    async def again(database: Database) -> int:
        async with database.write() as tx:
            return await inbox.put_back(tx, reason, datetime.now(UTC))

    number = run(Instance.open(instance_folder), again)
    if not number:
        raise NothingAside
    print(json.dumps({"reason": reason, "retried": number}) if as_json else f"{number} letter(s) are read again.")


def _to_json(one: Aside) -> dict[str, object]:
    return {
        "reason": one.reason,
        "letters": one.letters,
        "oldest": one.oldest.isoformat(),
        "newest": one.newest.isoformat(),
    }
