"""mailer keys passphrase: which passphrases open the key files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import options, passphrases
from mailer.cli.passphrases import Which
from mailer.cli.recorded import recorded
from mailer.instance import Instance


@recorded("keys passphrase", "which")
def passphrase(
    which: Annotated[Which, typer.Argument(help="service or roster.")],
    add: Annotated[str | None, typer.Option("--add", help="Name a new slot and choose its passphrase.")] = None,
    change: Annotated[str | None, typer.Option("--change", help="Choose another passphrase for a slot.")] = None,
    remove: Annotated[str | None, typer.Option("--remove", help="Take a slot away.")] = None,
    new_file: Annotated[Path | None, typer.Option("--new-passphrase-file", help="Holds the new passphrase.")] = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    roster_file: options.RosterFile = None,
) -> None:
    """Let another passphrase open a key file, or one no more. Names of slots are readable to all: name no person.

    Example: mailer keys passphrase roster --add second
    """
    if [add, change, remove].count(None) != 2:
        raise typer.BadParameter("give one of --add, --change and --remove")
    instance = Instance.open(instance_folder)
    file = service_file if which == "service" else roster_file
    opened = instance.open_key_file(which, passphrases.read(which, file))
    if add is not None:
        opened.add_slot(add, passphrases.choose(which, new_file))
    elif change is not None:
        opened.change_slot(change, passphrases.choose(which, new_file))
    elif remove is not None:
        opened.remove_slot(remove)
    print(f"{opened.path.name} opens with: {', '.join(opened.slot_names)}")
