"""mailer audit: what organisers and admins did, and whether somebody changed the record of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import options, passphrases
from mailer.cli.opened import run
from mailer.custody.upkeep import read_head
from mailer.instance import Instance
from mailer.store import audit
from mailer.store.audit import Entry, Head
from mailer.store.database import Database

commands = typer.Typer(no_args_is_help=True, help="What organisers and admins did; no subscriber is named in it.")


@commands.command("list")
def list_all(instance_folder: options.InstanceFolder = Path(), as_json: options.AsJson = False) -> None:
    """Show every entry, the oldest first: when, which user of this machine, what, and about which digest or list.

    Example: mailer audit list --json
    """

    async def everything(database: Database) -> list[Entry]:
        return [entry async for entry in audit.read(database)]

    entries = run(Instance.open(instance_folder), everything)
    if as_json:
        print(json.dumps([_to_json(entry) for entry in entries], ensure_ascii=False, indent=2))
        return
    for one in entries:
        print("\t".join((str(one.number), one.moment.isoformat(), one.actor, one.action, one.about)))


@commands.command()
def verify(
    head: Annotated[
        str | None, typer.Option("--head", help="What an earlier `audit verify` printed: the chain must hold it.")
    ] = None,
    with_seal: Annotated[
        bool, typer.Option("--seal", help="Check the running service's seal too; asks for the service passphrase.")
    ] = False,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Check that no entry was changed, taken out or slipped in. Exit code 1 if one was.

    Note what it prints, somewhere else: with --head the next check also shows if everything was written anew. Without
    it the head counts that the running service noted in run/.
    Example: mailer audit verify --head 12:5f0c…
    """
    instance = Instance.open(instance_folder)
    noted = Head.read(head) if head else read_head(instance.folder)
    key = None
    if with_seal or service_file is not None:
        _, secrets = instance.open_service(passphrases.read("service", service_file))
        key = audit.seal_key(secrets.rest_key)
    found = run(instance, lambda database: audit.verify(database, noted, key))
    if as_json:
        print(json.dumps({"entries": found.number, "head": str(found)}))
        return
    print(f"{found.number} entries, none changed. Note this somewhere else, for --head:")
    print(found)


def _to_json(entry: Entry) -> dict[str, object]:
    return {
        "number": entry.number,
        "moment": entry.moment.isoformat(),
        "actor": entry.actor,
        "action": entry.action,
        "about": entry.about,
    }
