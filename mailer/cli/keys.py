"""mailer keys: show, check, export, dkim, passphrase, rotate."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import lists, options, passphrases
from mailer.cli.passphrases import Which
from mailer.crypto import dkim, keyfile, openpgp
from mailer.crypto.dkim import DkimKey
from mailer.crypto.keyfile import private_file
from mailer.crypto.keyring import Keyring
from mailer.crypto.service_secrets import key_name
from mailer.errors import ListUnknown
from mailer.instance import Instance, read_file
from mailer.inward.reader import Reader
from mailer.model.certificate import Certificate, Refused, grouped
from mailer.model.mailing_list import MailingList
from mailer.registrar.rotating import rotate_roster_key

commands = typer.Typer(no_args_is_help=True, help="The keys of this instance.")

TXT_OCTETS = 255  # the most in one string of a TXT record (RFC 1035 §3.3.14); RFC 6376 §3.6.2.2 joins them
IdentityName = Annotated[str, typer.Option("--identity", help="The name of an identity of the list.")]


@commands.command()
def show(
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the list's OpenPGP keys, and which passphrases open the key files (their names, not the passphrases).

    Example: mailer keys show --json
    """
    instance = Instance.open(instance_folder)
    mailing_list = lists.find(instance, list_id)
    _, secrets = instance.open_service(passphrases.read("service", service_file))
    key, *others = [_own_key(Keyring(secrets), one) for one in _with_identities(mailing_list)]
    service, roster = _slots(instance.service_key_path), _slots(instance.roster_key_path)
    if as_json:
        slots = {"service_slots": service, "roster_slots": roster}
        identities = {"identities": [{"name": one.list.identity, **one.facts} for one in others]}
        print(json.dumps({"list": mailing_list.id, **key.facts, **identities, **slots}, indent=2))
        return
    for one in (key, *others):
        print(f"{key_name(one.list.id, one.list.identity)}\t{one.list.address}\n{grouped(one.key.fingerprint)}")
    print(f"service.key opens with: {', '.join(service)}")
    print(f"roster.key opens with:  {', '.join(roster or ['(it is not in this folder)'])}")


@dataclass(frozen=True, slots=True)
class _OwnKey:
    list: MailingList
    key: openpgp.ListKey

    @property
    def facts(self) -> dict[str, object]:
        return {
            "address": str(self.list.address),
            "fingerprint": self.key.fingerprint,
            "primary_signs": self.key.can_primary_sign,
        }


def _own_key(keyring: Keyring, shown: MailingList) -> _OwnKey:
    return _OwnKey(shown, keyring.list_key(shown.id, shown.identity))


def _with_identities(mailing_list: MailingList) -> list[MailingList]:
    return [mailing_list, *(mailing_list.sending_as(one.name) for one in mailing_list.identities)]


def _find(instance: Instance, list_id: str | None, identity: str) -> MailingList:
    """The list as it shows itself under an identity. Raises ListUnknown."""
    shown = lists.find(instance, list_id).sending_as(identity)
    if shown.identity != identity:
        raise ListUnknown("(The list has no identity of this name.)")
    return shown


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
    identity: IdentityName = "",
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Write the OpenPGP certificate of the list, or of one of its identities, armored, for people to import.

    Example: mailer keys export --output news.asc
    """
    instance = Instance.open(instance_folder)
    shown = _find(instance, list_id, identity)
    _, secrets = instance.open_service(passphrases.read("service", service_file))
    armored = openpgp.armor_certificate(_own_key(Keyring(secrets), shown).key.public)
    if output is None:
        sys.stdout.write(armored)
    else:
        with output.open("x", encoding="ascii") as file:  # what is there is never overwritten
            file.write(armored)


@commands.command(name="dkim")
def make_dkim(
    selector: Annotated[str, typer.Argument(help="Its name in the DNS, as in mailer2026: a-z, 0-9 and -.")],
    algorithm: Annotated[dkim.Algorithm, typer.Option(help="Everybody reads rsa; ed25519 is small and fast.")] = "rsa",
    list_id: options.ListName = None,
    identity: IdentityName = "",
    instance_folder: options.InstanceFolder = Path(),
    as_json: options.AsJson = False,
) -> None:
    """Make a DKIM key, for a relay that does not sign by itself, and say what to write into the DNS and config.toml.

    Example: mailer keys dkim mailer2026 --identity abroad
    """
    instance = Instance.open(instance_folder)
    domain = _find(instance, list_id, identity).address.domain
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", selector):
        raise typer.BadParameter("a selector has 1 to 63 of a-z, 0-9 and -, and neither begins nor ends with -")
    pem = dkim.generate(algorithm)
    path = instance.folder / "keys" / f"{selector}.{domain}.dkim"
    private_file.create(path, pem)
    key = DkimKey.load(pem, selector)
    name, value = key.record_name(domain), key.record
    if as_json:
        facts = {"dkim_selector": selector, "dkim_key": f"keys/{path.name}", "dns_name": name, "dns_value": value}
        print(json.dumps(facts, indent=2))
        return
    strings = " ".join(f'"{value[at : at + TXT_OCTETS]}"' for at in range(0, len(value), TXT_OCTETS))
    print(f"Write this into the DNS of {domain}:\n\n{name}. IN TXT ( {strings} )\n")
    print("Once it can be looked up, write this into the section of the relay in config.toml:\n")
    print(f'dkim_selector = "{selector}"\ndkim_key = "keys/{path.name}"')


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
