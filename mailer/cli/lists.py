"""mailer lists: add, rename, identity, retire, show."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from mailer import config
from mailer import instance as instances
from mailer.cli import options, passphrases
from mailer.cli.recorded import recorded
from mailer.crypto.keyring import Keyring
from mailer.crypto.openpgp import ListKey
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.errors import BadAddress, ListUnknown
from mailer.instance import Instance
from mailer.model.address import Address
from mailer.model.certificate import grouped
from mailer.model.language import Language
from mailer.model.mailing_list import MailingList

commands = typer.Typer(no_args_is_help=True, help="The lists of this instance.")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A list to add, checked."""

    list_id: str
    address: Address
    contact: Address | None
    contact_key: Path | None
    languages: tuple[Language, ...] = tuple(Language)


def read_wanted(
    address: str,
    list_id: str | None,
    contact: str | None,
    contact_key: Path | None,
    languages: tuple[Language, ...] = tuple(Language),
) -> Wanted:
    """Return what was typed, checked. Raises BadAddress, ConfigError."""
    own = Address.parse(address)
    if "+" in own.local:
        raise BadAddress("(A list's address has no +; Mailer adds its own.)")
    if contact_key is not None:
        instances.read_certificate(contact_key)
    made_id = "".join(char if char.isascii() and char.isalnum() else "-" for char in own.local.lower()).strip("-")
    return Wanted(list_id or made_id, own, Address.parse(contact) if contact else None, contact_key, languages)


def add_wanted(instance: Instance, wanted: Wanted, service_passphrase: str) -> ListKey:
    """Write a list into config.toml and its key into the service secrets; return the key.

    The key is there first: killed in between, the command is given again, and nobody ever had the key that it replaces.
    """
    opened, _ = instance.open_service(service_passphrase)
    kept = f"keys/{wanted.list_id}-contact.asc" if wanted.contact_key else ""

    def prepare() -> None:
        if wanted.contact_key:
            shutil.copyfile(wanted.contact_key, instance.folder / kept)
        instances.add_list(instance, opened, wanted.list_id, wanted.address)

    config.add_list(
        instance.config_path,
        wanted.list_id,
        wanted.address,
        languages=wanted.languages,
        contact=wanted.contact,
        contact_key=kept,
        prepare=prepare,
    )
    return Keyring(ServiceSecrets.from_payload(opened.payload)).list_key(wanted.list_id)


def describe(wanted: Wanted, key: ListKey) -> str:
    """Return what the operator reads about a list that was just made."""
    made = f"Made the list {wanted.address} (id {wanted.list_id}).\nIts key: {grouped(key.fingerprint)}"
    if key.can_primary_sign:
        return made
    return f"{made}\nDelta Chat cannot verify this key; one made where Debian's gnupg is installed it can."


def find(instance: Instance, list_id: str | None) -> MailingList:
    """Return the list with this id, or the only one. Raises ListUnknown."""
    directory = instance.directory()
    if list_id is None and len(directory.lists) == 1:
        return directory.lists[0]
    found = directory.by_id(list_id) if list_id else None
    if found is None:
        raise ListUnknown("" if list_id else "(There are several: name one with --list.)")
    return found


@commands.command()
@recorded("lists add", "list_id")
def add(
    address: Annotated[str, typer.Argument(help="The list's address.")],
    list_id: Annotated[str | None, typer.Option("--list-id", help="Its id; the local part if left out.")] = None,
    contact: Annotated[str | None, typer.Option(help="Who gets letters that are no command.")] = None,
    contact_key: Annotated[Path | None, typer.Option(help="The contact's OpenPGP certificate.")] = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Add a list and make its OpenPGP key. A running service takes it up at its next start.

    Example: mailer lists add letters@example.org --contact team@example.org --contact-key team.asc
    """
    instance = Instance.open(instance_folder)
    wanted = read_wanted(address, list_id, contact, contact_key)
    print(describe(wanted, add_wanted(instance, wanted, passphrases.read("service", service_file))))


@commands.command()
@recorded("lists rename", "list_id")
def rename(
    list_id: Annotated[str, typer.Argument(help="The id of the list.")],
    address: Annotated[str, typer.Argument(help="Its new address.")],
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Give a list another address or domain. Its key stays the same, and mail to the old address still finds it.

    Example: mailer lists rename news news@other.example
    """
    instance, new = Instance.open(instance_folder), Address.parse(address)
    find(instance, list_id)
    opened, _ = instance.open_service(passphrases.read("service", service_file))
    secrets = instances.with_renamed_list(opened, list_id, new)
    config.rename_list(instance.config_path, list_id, new)
    opened.save(secrets.to_payload())
    print(f"{list_id} is now {new}. Its key: {grouped(Keyring(secrets).list_key(list_id).fingerprint)}")


@commands.command()
@recorded("lists identity", "list_id", "name")
def identity(
    list_id: Annotated[str, typer.Argument(help="The id of the list.")],
    name: Annotated[str, typer.Argument(help="What relays call it: 1 to 32 of a-z, 0-9 and -.")],
    address: Annotated[str, typer.Argument(help="The address to send from.")],
    display_name: Annotated[str, typer.Option(help="The name beside the address; every server sees it.")] = "",
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Give a list another address to send from, with an OpenPGP key of its own, for the relays that stand for it.

    Mail to that address arrives at the list, and is answered from there. A running service takes it up at its next
    start. Example: mailer lists identity news abroad news@lists.other.example
    """
    instance, own = Instance.open(instance_folder), Address.parse(address)
    find(instance, list_id)
    opened, _ = instance.open_service(passphrases.read("service", service_file))
    config.add_identity(
        instance.config_path,
        list_id,
        name,
        own,
        display_name=display_name,
        prepare=lambda: instances.add_identity(opened, list_id, name, own),
    )
    key = Keyring(ServiceSecrets.from_payload(opened.payload)).list_key(list_id, name)
    print(f"{list_id} can send from {own} (identity {name}).\nIts key: {grouped(key.fingerprint)}")
    print(f'For a relay that stands for it, write identity = "{name}" into its section of config.toml.')


@commands.command()
@recorded("lists retire", "list_id")
def retire(
    list_id: Annotated[str, typer.Argument(help="The id of the list.")],
    instance_folder: options.InstanceFolder = Path(),
) -> None:
    """End a list: nobody joins it and nothing is sent any more; leaving still works, and nothing is erased.

    Example: mailer lists retire news
    """
    instance = Instance.open(instance_folder)
    config.retire_list(instance.config_path, list_id)
    print(f"{list_id} is retired. A running service takes that up at its next start.")


@commands.command()
def show(
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the lists and their identities; given the service passphrase in a file, the keys' fingerprints too.

    Example: mailer lists show --json
    """
    instance = Instance.open(instance_folder)
    found = instance.directory().lists
    keyring = None
    if service_file is not None:
        keyring = Keyring(instance.open_service(passphrases.read("service", service_file))[1])
    if as_json:
        print(json.dumps([_to_json(one, keyring) for one in found], ensure_ascii=False, indent=2))
        return
    for one in found:
        state = "retired" if one.is_retired else "active"
        print("\t".join([one.id, str(one.address), state, *_fingerprints(one, keyring)]))
        for own in (one.sending_as(sender.name) for sender in one.identities):
            print("\t".join([f"{own.id}/{own.identity}", str(own.address), state, *_fingerprints(own, keyring)]))


def _fingerprints(one: MailingList, keyring: Keyring | None) -> list[str]:
    return [grouped(keyring.list_key(one.id, one.identity).fingerprint)] if keyring else []


def _to_json(one: MailingList, keyring: Keyring | None) -> dict[str, object]:
    return {
        "id": one.id,
        "address": str(one.address),
        "formerly": [str(address) for address in one.formerly],
        "state": "retired" if one.is_retired else "active",
        "languages": list(one.languages),
        "default_language": one.default_language,
        "contact": str(one.contact) if one.contact else None,
        "fingerprint": keyring.list_key(one.id).fingerprint if keyring else None,
        "identities": [
            {
                "name": sender.name,
                "address": str(sender.address),
                "fingerprint": keyring.list_key(one.id, sender.name).fingerprint if keyring else None,
            }
            for sender in one.identities
        ],
    }
