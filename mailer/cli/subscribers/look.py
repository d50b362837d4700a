"""mailer subscribers list, show, stats: what the register holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import options, passphrases
from mailer.cli.recorded import recorded
from mailer.cli.subscribers.desk import AddressArgument, Desk, complain_of, day, print_json
from mailer.crypto.certificates import expiry
from mailer.model.address import Address
from mailer.model.certificate import grouped
from mailer.model.means import format_of
from mailer.model.subscriber import State
from mailer.registrar import reading
from mailer.store.holdings import Holdings


@recorded("subscribers list", "list_id")
def list_all(
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    roster_file: options.RosterFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show who is on a list: address, state, language, day of joining, fingerprint and expiry of the key.

    Example: mailer subscribers list --state suspended
    """
    desk = Desk.open(instance_folder, list_id)
    passphrase = passphrases.read("roster", roster_file)
    found = desk.run(lambda database: reading.list_all(database, desk.roster(passphrase), desk.list.id, state))
    if as_json:
        print_json(
            {
                "list": desk.list.id,
                "subscribers": [_listed_to_json(one) for one in found.subscribers],
                "unopened": list(found.unopened),
            }
        )
    else:
        for one in found.subscribers:
            expires = day(one.expires) or "never"
            key_facts = (grouped(one.fingerprint), expires) if one.fingerprint else ("no key", "")
            print("\t".join((str(one.address), one.state, one.language, one.joined.isoformat(), *key_facts)))
    complain_of(found.unopened)


@recorded("subscribers show", "list_id")
def show(
    address: AddressArgument,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show all that is held on one address. Exit code 1 if that is nothing.

    Example: mailer subscribers show someone@example.org
    """
    desk, wanted = Desk.open(instance_folder, list_id), Address.parse(address)
    _, secrets = desk.instance.open_service(passphrases.read("service", service_file))
    held = desk.run(lambda database: reading.show(database, secrets, desk.list.id, wanted), uses_roster_key=False)
    facts = _holdings_to_json(held)
    if as_json:
        print_json({"list": desk.list.id, **facts})
    elif held:
        for name, value in facts.items():
            print(f"{name}\t{_to_cell(value)}")
    else:
        print("Nothing held.")
    if not held:
        raise typer.Exit(1)


def stats(
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    as_json: options.AsJson = False,
) -> None:
    """Show how many subscribers there are, by state and language. Needs no passphrase.

    Example: mailer subscribers stats --json
    """
    desk = Desk.open(instance_folder, list_id)
    counts = desk.run(lambda database: reading.count(database, desk.list.id), uses_roster_key=False)
    if as_json:
        groups = [{"state": state, "language": tag, "count": number} for (state, tag), number in sorted(counts.items())]
        print_json({"list": desk.list.id, "total": sum(counts.values()), "groups": groups})
        return
    for (state, tag), number in sorted(counts.items()):
        print(f"{state}\t{tag}\t{number}")
    print(f"total\t\t{sum(counts.values())}")


def _listed_to_json(one: reading.Listed) -> dict[str, object]:
    return {
        "address": str(one.address),
        "state": one.state,
        "language": one.language,
        "joined": one.joined.isoformat(),
        "fingerprint": one.fingerprint or None,
        "expires": day(one.expires),
    }


def _holdings_to_json(held: Holdings) -> dict[str, object]:
    """Return what is held, name by name; what there is none of is left out."""
    facts: dict[str, object] = {}
    if held.found is not None:
        subscriber, drawer = held.found.subscriber, held.found.drawer
        facts = {
            "state": subscriber.state,
            "language": subscriber.language,
            "joined": subscriber.joined.isoformat(),
            "provider": subscriber.provider,
            "method": subscriber.method,
            "format": format_of(subscriber.method, drawer),
            "passphrase": "kept" if drawer.passphrase else None,
            "bounce_score": held.bounce_score,
            "fingerprint": grouped(drawer.fingerprint),
            "expires": day(expiry(drawer.certificate or drawer.x509)),
            "notices": list(held.notices),
            "digests": held.digests,
            "certificate": reading.armored(drawer),
        }
    if held.mark is not None:
        facts |= {"mark": held.mark[0], "mark_since": held.mark[1].isoformat()}
    facts["waiting_for_confirmation"] = list(held.requests)
    return {name: value for name, value in facts.items() if value not in (None, "", [], {})}


def _to_cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{number} {state}" for state, number in sorted(value.items()))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
