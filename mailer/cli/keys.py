"""mailer keys: show, check, export, passphrase, rotate."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import lists, options, passphrases
from mailer.cli.passphrases import Which
from mailer.crypto import keyfile, openpgp
from mailer.crypto.keyring import Keyring
from mailer.instance import Instance, read_file
from mailer.inward.reader import Reader
from mailer.model.certificate import Certificate, Refused, grouped
from mailer.registrar.rotating import rotate_roster_key

commands = typer.Typer(no_args_is_help=True, help="The keys of this instance.")


@commands.command()
def show(
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the list's OpenPGP key, and which passphrases open the key files (their names, not the passphrases).

    Example: mailer keys show --json
    """
    instance = Instance.open(instance_folder)
    mailing_list = lists.find(instance, list_id)
    _, secrets = instance.open_service(passphrases.read("service", service_file))
    key = Keyring(secrets).list_key(mailing_list.id)
    service, roster = _slots(instance.service_key_path), _slots(instance.roster_key_path)
    facts = {
        "list": mailing_list.id,
        "address": str(mailing_list.address),
        "fingerprint": key.fingerprint,
        "primary_signs": key.can_primary_sign,
        "service_slots": service,
        "roster_slots": roster,
    }
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    print(f"{mailing_list.id}\t{mailing_list.address}\n{grouped(key.fingerprint)}")
    print(f"service.key opens with: {', '.join(service)}")
    print(f"roster.key opens with:  {', '.join(roster or ['(it is not in this folder)'])}")


def _slots(path: Path) -> list[str]:
    """The names of a key file's slots; none where the file is kept elsewhere, as the deliverer's may be."""
    return list(keyfile.slot_names(path)) if path.exists() else []


@commands.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Certificates, armored or binary; several in one file are read.")],
    as_json: options.AsJson = False,
) -> None:
    """Say of each OpenPGP certificate in a file whether letters can be encrypted to it, and if not, why.

    Exit code 1 if one cannot. Example: mailer keys check ada.asc --json
    """
    verdicts = asyncio.run(_examine(files))
    if as_json:
        print(json.dumps([_to_json(file, verdict) for file, verdict in verdicts], indent=2))
    else:
        for file, verdict in verdicts:
            print(_to_line(file, verdict))
    if any(isinstance(verdict, Refused) for _, verdict in verdicts):
        raise typer.Exit(1)


async def _examine(files: list[Path]) -> list[tuple[Path, Certificate | Refused]]:
    """Certificates are strangers' bytes: they are read in the confined child, like letters."""
    async with Reader() as reader:
        return [(file, verdict) for file in files for verdict in await reader.examine(read_file(file))]


def _to_json(file: Path, verdict: Certificate | Refused) -> dict[str, object]:
    return {
        "file": str(file),
        "usable": isinstance(verdict, Certificate),
        "reason": None if isinstance(verdict, Certificate) else str(verdict.reason),
        "fingerprint": verdict.fingerprint,
        "algorithms": list(verdict.algorithms),
        "expires": verdict.expires.isoformat() if verdict.expires else None,
    }


def _to_line(file: Path, verdict: Certificate | Refused) -> str:
    word = "usable" if isinstance(verdict, Certificate) else f"refused ({verdict.reason})"
    expires = f"until {verdict.expires:%Y-%m-%d}" if verdict.expires else "no expiry"
    fingerprint = grouped(verdict.fingerprint) if verdict.fingerprint else "-"
    return f"{file}: {word}\t{fingerprint}\t{', '.join(verdict.algorithms) or '-'}\t{expires}"


@commands.command()
def export(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; standard output if left out.")] = None,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Write the list's OpenPGP certificate, armored, for people to import.

    Example: mailer keys export --output news.asc
    """
    instance = Instance.open(instance_folder)
    mailing_list = lists.find(instance, list_id)
    _, secrets = instance.open_service(passphrases.read("service", service_file))
    armored = openpgp.armor_certificate(Keyring(secrets).list_key(mailing_list.id).public)
    if output is None:
        sys.stdout.write(armored)
    else:
        with output.open("x", encoding="ascii") as file:  # what is there is never overwritten
            file.write(armored)


@commands.command()
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


@commands.command()
def rotate(
    compromised: Annotated[
        bool, typer.Option("--compromised", help="The roster key may be known: encrypt every record anew.")
    ] = False,
    instance_folder: options.InstanceFolder = Path(),
    roster_file: options.RosterFile = None,
) -> None:
    """Make a new roster key. The service and all `mailer work` must be stopped; interrupted, run it again.

    Example: mailer keys rotate --compromised
    """
    instance = Instance.open(instance_folder)
    given = passphrases.read("roster", roster_file)
    broken = asyncio.run(rotate_roster_key(instance, given, is_compromised=compromised))
    print("The register opens with the new roster key alone. Back up keys/roster.key and destroy old copies.")
    if broken:
        print(f"Note: {broken} record(s) do not open with any key and stayed as they were.")
