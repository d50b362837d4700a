"""mailer init: a new instance."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mailer import instance as instances
from mailer.cli import lists, options, passphrases
from mailer.instance import Instance


def init(
    folder: Annotated[Path, typer.Argument(help="The folder to make; it must be new or empty.")],
    address: Annotated[
        str | None, typer.Option(help="The address of the first list, such as news@example.org.")
    ] = None,
    list_id: Annotated[str | None, typer.Option("--list-id", help="Its id; the local part if left out.")] = None,
    contact: Annotated[str | None, typer.Option(help="Who gets letters that are no command.")] = None,
    contact_key: Annotated[Path | None, typer.Option(help="The contact's OpenPGP certificate.")] = None,
    service_file: options.ServiceFile = None,
    roster_file: options.RosterFile = None,
) -> None:
    """Make an instance: config.toml, keys/ and, with an address, the first list and its OpenPGP key.

    Example: mailer init /srv/mailer --address news@example.org
    """
    if address is None and sys.stdin.isatty():
        address = typer.prompt("Address of the first list (empty: none yet)", default="", show_default=False) or None
    wanted = lists.read_wanted(address, list_id, contact, contact_key) if address else None
    service, roster = passphrases.choose("service", service_file), passphrases.choose("roster", roster_file)
    recovery = instances.create(folder, service, roster)
    print(f"Made {folder}: config.toml and keys/.")
    if wanted is not None:
        print(lists.describe(wanted, lists.add_wanted(Instance.open(folder), wanted, service)))
    print(
        "\nWrite these on paper and keep them apart from this machine. They are shown once.\n"
        f"  recovery phrase of the service secrets: {recovery.service}\n"
        f"  recovery phrase of the roster key:      {recovery.roster}\n"
        f"\nNext: set [door] and [relay] in {folder / 'config.toml'}, then run\n"
        f"  mailer check-config --instance {folder}\n"
        f"  mailer serve --deliver --instance {folder}"
    )
