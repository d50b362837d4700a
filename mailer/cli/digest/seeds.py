"""mailer digest seeds: whether a digest arrived in the organisers' own mailboxes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from mailer import config
from mailer.cli import options
from mailer.cli.digest.desk import Desk, DigestId, utc_now
from mailer.errors import DigestUnusable, MailboxUnusable
from mailer.instance import read_file
from mailer.model import times
from mailer.model.digest import DigestStatus
from mailer.model.seed import Seed
from mailer.outward import publish
from mailer.outward import seeds as mailboxes
from mailer.outward.copies import copy_message_id
from mailer.outward.seeds import Mailbox, Trouble
from mailer.store import sightings
from mailer.store.database import Database
from mailer.store.sightings import Place, Sighting


@dataclass(frozen=True, slots=True)
class _Watched:
    """One of the seeds in config.toml. number: its place there, from 1. message_ids: of the copies that it may get."""

    number: int
    seed: Seed
    mailbox: Mailbox | None
    message_ids: tuple[str, ...]

    def __repr__(self) -> str:
        return f"_Watched({self.number})"


def seeds(
    digest_id: DigestId,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Look by IMAP whether a digest arrived in the mailboxes of [[seeds]], in which kind of folder, and when.

    Example: mailer digest seeds 4k7qj2xw5t
    """
    desk = Desk.open_for(digest_id, instance_folder, service_file)
    status = desk.run(lambda database: publish.status(database, digest_id))
    watched = _watched(desk, digest_id)
    found = desk.run(lambda database: _look_at_all(database, digest_id, watched, utc_now()))
    if as_json:
        print(json.dumps([_to_json(desk, one, found[one.number], status) for one in watched], indent=2))
        return
    for one in watched:
        provider = desk.instance.providers.name_of(one.seed.address)
        print(f"{one.number}\t{one.seed.address}\t{provider}\t{_in_words(one, found[one.number], status)}")


def _watched(desk: Desk, digest_id: str) -> list[_Watched]:
    signed = desk.run(lambda database: publish.load_signed(database, desk.keyring.secrets, digest_id))
    if not signed:
        raise DigestUnusable("It has not begun, so no copy of it was sent.")
    senders = {one.address for one in signed.values()}
    both = zip(desk.instance.seeds(), desk.instance.config.seeds, strict=True)
    watched = [
        _Watched(
            number,
            seed,
            _mailbox(settings),
            tuple(sorted(copy_message_id(desk.keyring, own, digest_id, seed.id) for own in senders)),
        )
        for number, (seed, settings) in enumerate(both, 1)
        if not seed.lists or desk.list.id in seed.lists
    ]
    if not watched:
        raise DigestUnusable("This list has no [[seeds]] in config.toml; add the mailboxes that you have.")
    return watched


def _mailbox(settings: config.Seed) -> Mailbox | None:
    """Return where to look, or None where nobody can by himself. Raises MailboxUnusable, FileUnusable."""
    if settings.imap_host is None or settings.imap_password_file is None:
        return None
    try:
        password = read_file(settings.imap_password_file).decode().split("\n", 1)[0].strip()
    except UnicodeError:
        raise MailboxUnusable("(The imap_password_file is no text.)") from None
    return Mailbox(
        settings.imap_host,
        settings.imap_port,
        settings.imap_username,
        password,
        is_plain=settings.imap_tls == "none",
        ca_file=settings.imap_ca_file,
    )


async def _look_at_all(
    database: Database, digest_id: str, watched: list[_Watched], now: datetime
) -> dict[int, Sighting | Trouble | None]:
    """Return what is known of each copy; those that were seen before are not looked for again."""
    async with database.read() as tx:
        known = await sightings.of_digest(tx, digest_id)

    async def look_at(one: _Watched) -> Sighting | Trouble | None:
        if one.seed.id in known or one.mailbox is None:
            return known.get(one.seed.id)
        return await mailboxes.look(one.mailbox, one.message_ids, now)

    found = await asyncio.gather(*(look_at(one) for one in watched))
    async with database.write() as tx:
        for one, what in zip(watched, found, strict=True):
            if isinstance(what, Sighting):
                await sightings.note(tx, digest_id, one.seed.id, what)
    return {one.number: what for one, what in zip(watched, found, strict=True)}


def _in_words(one: _Watched, found: Sighting | Trouble | None, status: DigestStatus) -> str:
    if isinstance(found, Sighting):
        return f"{_PLACES[found.place]} after {times.in_words(_delay(found, status))}"
    if isinstance(found, Trouble):
        return _TROUBLES[found]
    if one.mailbox is None:
        return f"look yourself: Message-ID {' or '.join(one.message_ids)}"
    return "not yet"


def _to_json(desk: Desk, one: _Watched, found: Sighting | Trouble | None, status: DigestStatus) -> dict[str, object]:
    seen = found if isinstance(found, Sighting) else None
    return {
        "number": one.number,
        "address": str(one.seed.address),
        "provider": desk.instance.providers.name_of(one.seed.address),
        "place": seen.place if seen else None,
        "after_s": _delay(seen, status).total_seconds() if seen else None,
        "trouble": found if isinstance(found, Trouble) else None,
        "message_ids": list(one.message_ids),
    }


def _delay(found: Sighting, status: DigestStatus) -> timedelta:
    """Return how long after the digest began a copy came; clocks of mailboxes may be behind."""
    return max(found.seen - (status.started or status.created), timedelta(0))


_PLACES = {
    Place.INBOX: "arrived",
    Place.JUNK: "in junk,",
    Place.ELSEWHERE: "arrived in another folder",
}
_TROUBLES = {
    Trouble.UNREACHABLE: "its server does not answer: look at imap_host and imap_port",
    Trouble.TLS: "the certificate of its server is not valid: look at imap_host and imap_ca_file",
    Trouble.LOGIN: "its server does not let us in: look at imap_username and imap_password_file",
    Trouble.NONSENSE: "its server does not speak IMAP as it should",
}
