"""mailer subscribers invitations list, withdraw: cards that were handed out and not used yet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import options
from mailer.cli.recorded import recorded
from mailer.cli.subscribers.desk import Desk, print_json
from mailer.errors import InvitationUnknown
from mailer.store import invitations
from mailer.store.database import Database

commands = typer.Typer(no_args_is_help=True, help="Cards that were made and not used yet: list them, withdraw them.")


@commands.command("list")
def list_all(
    list_id: options.ListName = None, instance_folder: options.InstanceFolder = Path(), as_json: options.AsJson = False
) -> None:
    """Show each batch of cards: its name, language, days, and the numbers of the cards that are left.

    Example: mailer subscribers invitations list
    """
    desk = Desk.open(instance_folder, list_id)

    async def read(database: Database) -> list[invitations.Batch]:
        async with database.read() as tx:
            return await invitations.list_batches(tx, desk.list.id)

    batches = desk.run(read, uses_roster_key=False)
    if as_json:
        print_json({"list": desk.list.id, "batches": [_to_json(batch) for batch in batches]})
        return
    for batch in batches:
        until, left = batch.expires.date().isoformat(), ", ".join(map(str, batch.numbers))
        print(f"{batch.name}\t{batch.language}\t{batch.made.isoformat()} to {until}\t{len(batch.numbers)} left: {left}")


@commands.command()
@recorded("subscribers invitations withdraw", "list_id", "batch", "numbers")
def withdraw(
    batch: Annotated[str, typer.Argument(help="The batch: what stands before the hyphen in a card's number.")],
    numbers: Annotated[list[int] | None, typer.Argument(help="The cards; all that are left if left out.")] = None,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
) -> None:
    """Make the codes of cards worthless that were not used yet. Who joined with one stays.

    Example: mailer subscribers invitations withdraw b7k3 12 13
    """
    desk = Desk.open(instance_folder, list_id)

    async def erase(database: Database) -> int:
        async with database.write() as tx:
            return await invitations.withdraw(tx, desk.list.id, batch.lower(), numbers or ())

    withdrawn = desk.run(erase, uses_roster_key=False)
    if not withdrawn:
        raise InvitationUnknown
    print(f"{withdrawn} cards withdrawn.")


def _to_json(batch: invitations.Batch) -> dict[str, object]:
    return {
        "batch": batch.name,
        "language": batch.language,
        "made": batch.made.isoformat(),
        "expires": batch.expires.date().isoformat(),
        "left": list(batch.numbers),
    }
