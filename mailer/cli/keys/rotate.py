"""mailer keys rotate: new keys in the place of those that have served long enough, or may be known."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from mailer import control
from mailer.cli import options, passphrases
from mailer.cli.keys.own import START_AGAIN, IdentityName, find
from mailer.cli.recorded import recorded
from mailer.crypto.keyring import Keyring
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.errors import ServiceNotRunning, ServiceRefused
from mailer.instance import Instance
from mailer.model.certificate import grouped
from mailer.model.mailing_list import MailingList
from mailer.model.times import read_duration
from mailer.outward import announce
from mailer.registrar import renewing
from mailer.registrar.rotating import rotate_roster_key

Which = Annotated[
    Literal["list", "roster"], typer.Argument(help="list: the list's OpenPGP key; roster: what opens the register.")
]
Overlap = Annotated[str, typer.Option(help="So long letters to the key before still open, as in 30d.")]
Finish = Annotated[bool, typer.Option("--finish", help="Make no key; erase the one before, now.")]
Compromised = Annotated[
    bool, typer.Option("--compromised", help="Somebody may know the key: revoke it (roster: seal every record anew).")
]


@recorded("keys rotate", "which", "list_id", "identity", "compromised", "finish")
def rotate(
    which: Which = "list",
    list_id: options.ListName = None,
    identity: IdentityName = "",
    overlap: Overlap = f"{renewing.OVERLAP.days}d",
    compromised: Compromised = False,
    finish: Finish = False,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    roster_file: options.RosterFile = None,
) -> None:
    """Make a new key for the list, which its readers are told of in a letter that both keys sign; or a new roster key.

    Interrupted, run it again. For a roster key the service and all `mailer work` must be stopped.
    Example: mailer keys rotate --overlap 30d
    """
    instance = Instance.open(instance_folder)
    if which == "roster":
        _rotate_roster(instance, passphrases.read("roster", roster_file), compromised)
        return
    if compromised and finish:
        raise typer.BadParameter("give one of --compromised and --finish")
    lasting, shown = read_duration(overlap), find(instance, list_id, identity)
    passphrase = passphrases.read("service", service_file)
    if finish:
        _finish(instance, shown, passphrase)
    else:
        _rotate_list(instance, shown, passphrase, None if compromised else lasting)
    _hand_over(instance, passphrase, compromised)


def _rotate_list(instance: Instance, shown: MailingList, passphrase: str, overlap: timedelta | None) -> None:
    """overlap: None where the key is given up at once. What an earlier command did not come to is done instead."""
    opened, secrets = instance.open_service(passphrase)
    now = datetime.now(UTC)
    former = Keyring(secrets).former_key(shown.id, shown.identity, now)
    is_enough = overlap is not None or (former is not None and former.is_compromised)
    if not is_enough or not asyncio.run(_announce(instance, secrets, shown, now)):
        secrets = (
            renewing.give_up(opened, shown, now) if overlap is None else renewing.renew(opened, shown, now, overlap)
        )
        asyncio.run(_announce(instance, secrets, shown, now))
    keyring = Keyring(secrets)
    print(f"{shown.address} has a new key: {grouped(keyring.list_key(shown.id, shown.identity).fingerprint)}")
    former = keyring.former_key(shown.id, shown.identity, now)
    if former is not None and former.is_compromised:
        print("The key before is revoked, and opens nothing any more.")
    elif former is not None:
        print(f"Letters to the key before open until {former.until:%Y-%m-%d}. After that: mailer keys rotate --finish")
    print("Publish it: mailer keys export --wkd DIR")


async def _announce(instance: Instance, secrets: ServiceSecrets, shown: MailingList, now: datetime) -> bool:
    """Plan every announcement that is missing; return whether this key's was among them."""
    if not secrets.former_keys:
        return False
    keyring, database = Keyring(secrets), instance.database()
    await database.open()
    try:
        planned = await announce.plan(database, keyring, instance.directory(), now)
    finally:
        await database.close()
    return announce.kind_of(keyring.list_key(shown.id, shown.identity).fingerprint) in planned


def _finish(instance: Instance, shown: MailingList, passphrase: str) -> None:
    opened, _ = instance.open_service(passphrase)
    if renewing.finish(opened, shown):
        print("The key before is erased from service.key. Destroy old copies of that file.")
    else:
        print("There is no key before this one.")


def _hand_over(instance: Instance, passphrase: str, compromised: bool) -> None:
    """Give a running service the new secrets, unless it is locked. Workers have to be started again.

    So does a deliverer of its own, for which the roster passphrase is needed; it goes on with the key before, and is
    stopped where others may have that.
    """
    request = {"do": "unlock", "service": passphrase} | ({"deliverer": "stop"} if compromised else {})
    try:
        if asyncio.run(control.ask(instance.control_path, {"do": "status"})) == "unlocked":
            answer = asyncio.run(control.ask(instance.control_path, request))
            print(f"The running service has taken it up. {answer}")
    except (ServiceNotRunning, ServiceRefused):  # perhaps another user's, with a copy of service.key
        pass
    print(START_AGAIN)


def _rotate_roster(instance: Instance, given: str, compromised: bool) -> None:
    broken = asyncio.run(rotate_roster_key(instance, given, is_compromised=compromised))
    print("The register opens with the new roster key alone. Back up keys/roster.key and destroy old copies.")
    if broken:
        print(f"Note: {broken} record(s) do not open with any key and stayed as they were.")
