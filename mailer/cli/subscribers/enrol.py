"""mailer subscribers add, remove, ban: one person, by hand."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import options, passphrases
from mailer.cli.recorded import recorded
from mailer.cli.subscribers.desk import AddressArgument, ConsentRecorded, Desk, examine_file
from mailer.custody import departures
from mailer.model.address import Address
from mailer.model.language import Language
from mailer.model.subscriber import State
from mailer.registrar import enrolment
from mailer.registrar.enrolment import Terms
from mailer.registrar.vetting import Applicant
from mailer.store.database import Database

_ADDED = {
    State.INVITED: "Invited: they are asked by mail to confirm, once deliveries run.",
    State.ACTIVE: "On the list from now on.",
    State.SUSPENDED: "On the list, but without a key: they are asked for one, and get nothing until it is here.",
}


@recorded("subscribers add", "list_id")
def add(
    address: AddressArgument,
    key: Annotated[Path | None, typer.Option(help="The file of their OpenPGP certificate.")] = None,
    language: Annotated[Language | None, typer.Option(help="Theirs; the list's default if left out.")] = None,
    consent_recorded: ConsentRecorded = False,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Ask somebody by mail to join; with --consent-recorded, put them on the list at once.

    Without --key, whoever confirms has to send one, and whoever is on the list at once is asked for it.
    Example: mailer subscribers add someone@example.org --key someone.asc --language zh-Hant
    """
    desk = Desk.open(instance_folder, list_id)
    wanted = desk.read_address(address)
    certificate = asyncio.run(examine_file(desk.instance, key)) if key else None
    applicant = Applicant(1, wanted, language or desk.list.default_language, certificate)
    terms = Terms(has_consent=consent_recorded, may_return=True)
    service = passphrases.read("service", service_file)
    state = desk.run(lambda database: enrolment.add(desk.register(database, service), applicant, terms))
    print(_ADDED[state])


@recorded("subscribers remove", "list_id")
def remove(
    address: AddressArgument,
    ban: Annotated[bool, typer.Option("--ban", help="Keep the address off the list from now on.")] = False,
    yes: options.Yes = False,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Erase a subscriber. No letter is sent; no import brings them back. Exit code 1 if nobody was there.

    Example: mailer subscribers remove someone@example.org --yes
    """
    desk, wanted = Desk.open(instance_folder, list_id), Address.parse(address)
    service = passphrases.read("service", service_file)
    if not yes:
        typer.confirm("Erase what is held on this address" + (" and ban it?" if ban else "?"), abort=True)
    if _erase(desk, service, wanted, ban=ban):
        print("Banned. Nothing else is held on the address." if ban else "Erased.")
    else:
        print("Nothing held.")
        raise typer.Exit(1)


@recorded("subscribers ban", "list_id")
def ban(
    address: AddressArgument,
    lift: Annotated[bool, typer.Option("--lift", help="Let the address join again.")] = False,
    yes: options.Yes = False,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Keep an address off the list: what is held on it is erased, and it cannot join. No letter is sent.

    Example: mailer subscribers ban someone@example.org --yes
    """
    desk, wanted = Desk.open(instance_folder, list_id), Address.parse(address)
    service = passphrases.read("service", service_file)
    if lift:
        desk.run(lambda database: enrolment.lift_ban(desk.register(database, service), wanted))
        print("The address may join again.")
        return
    if not yes:
        typer.confirm("Erase what is held on this address and ban it?", abort=True)
    _erase(desk, service, wanted, ban=True)
    print("Banned. Nothing else is held on the address.")


def _erase(desk: Desk, service: str, address: Address, *, ban: bool) -> bool:
    """Erase or ban, and write that beside the backups; return whether anybody was there."""

    async def erase(database: Database) -> bool:
        register = desk.register(database, service)
        was_there = await enrolment.remove(register, address, ban=ban)
        for path in await departures.refresh(database, register.secrets):
            print(f"{path.name}: who left cannot be written beside this backup.", file=sys.stderr)
        return was_there

    return desk.run(erase)
