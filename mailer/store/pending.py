"""What waits for a confirmation, and what was done how often for whom. Both survive restarts; both run out."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mailer.crypto import tokens, vault
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.model.address import Address
from mailer.model.card import Card
from mailer.model.certificate import Certificate
from mailer.model.command import Verb
from mailer.model.language import Language
from mailer.model.request import Request
from mailer.model.subscriber import Format
from mailer.store.roster import Person
from mailer.store.tables import counters, requests, seconds
from mailer.store.upsert import insert


@dataclass(frozen=True, slots=True)
class Pending:
    """A request as stored: only its token opens `sealed`."""

    list_id: str
    verb: Verb
    look_up: bytes
    sealed: bytes


async def ask(tx: AsyncConnection, mark: bytes, pending: Pending, expires: datetime) -> None:
    """Keep a request until it is confirmed; a former one of the same person and verb lapses."""
    fresh = {"mark": mark, "list_id": pending.list_id, "sealed": pending.sealed, "expires": seconds(expires)}
    row = insert(tx, requests).values(verb=pending.verb, look_up=pending.look_up, **fresh)
    await tx.execute(row.on_conflict_do_update(index_elements=["look_up", "verb"], set_=fresh))


async def find(tx: AsyncConnection, list_id: str, mark: bytes, now: datetime) -> Pending | None:
    """Return the request that a token's mark stands for, unless it has run out."""
    alive = (requests.c.mark == mark) & (requests.c.list_id == list_id) & (requests.c.expires > seconds(now))
    row = (await tx.execute(select(requests).where(alive))).one_or_none()
    return Pending(row.list_id, Verb(row.verb), row.look_up, row.sealed) if row else None


async def settle(tx: AsyncConnection, mark: bytes) -> bool:
    """Erase a request that was confirmed. Return False if it was confirmed already: a token works once."""
    return (await tx.execute(delete(requests).where(requests.c.mark == mark))).rowcount == 1


async def drop_all_of(tx: AsyncConnection, look_up: bytes) -> None:
    """Erase every request of one person: leaving erases."""
    await tx.execute(delete(requests).where(requests.c.look_up == look_up))


async def take(tx: AsyncConnection, look_up: bytes, what: str, day: str, limit: int, expires: datetime) -> bool:
    """Count one use of `what` on `day` by one person; return False, counting nothing, where the limit is reached."""
    key = _counter_key(look_up, what, day)
    if limit <= 0:
        return False
    first = insert(tx, counters).values(key=key, used=1, expires=seconds(expires))
    more, is_left = {"used": counters.c.used + 1}, counters.c.used < limit
    counted = first.on_conflict_do_update(index_elements=["key"], set_=more, where=is_left).returning(counters.c.used)
    return (await tx.execute(counted)).first() is not None


@dataclass(frozen=True, slots=True)
class Use:
    """One use of what is limited: by whom (32 bytes, keyed), of what, and how often that may be in one period."""

    limit: str
    who: bytes
    what: str
    most: int

    def __repr__(self) -> str:
        return f"Use({self.limit})"


async def take_all(tx: AsyncConnection, uses: Sequence[Use], day: str, expires: datetime) -> Use | None:
    """Count all of these uses, or none of them: then return the one whose limit is reached."""
    for number, use in enumerate(uses):
        if not await take(tx, use.who, use.what, day, use.most, expires):
            for taken in uses[:number]:
                await _give_back(tx, taken, day)
            return use
    return None


async def _give_back(tx: AsyncConnection, use: Use, day: str) -> None:
    key = _counter_key(use.who, use.what, day)
    await tx.execute(update(counters).where(counters.c.key == key).values(used=counters.c.used - 1))


def _counter_key(who: bytes, what: str, day: str) -> bytes:
    return hashlib.sha256(b"mailer/1/counter" + who + f"{len(what)}:{what}{day}".encode()).digest()


async def purge(tx: AsyncConnection, now: datetime) -> None:
    """Erase requests and counters whose time is over."""
    await tx.execute(delete(requests).where(requests.c.expires <= seconds(now)))
    await tx.execute(delete(counters).where(counters.c.expires <= seconds(now)))


def seal_request(secrets: ServiceSecrets, person: Person, request: Request, token: str) -> tuple[bytes, Pending]:
    """Return the mark of a token and the request sealed so that nobody can read it who does not have the token."""
    certificate = request.certificate
    fields = {
        "address": str(request.address),
        "language": request.language,
        "new_address": str(request.new_address) if request.new_address else "",
        "is_second_step": request.is_second_step,
        "format": request.format,
        "card": _card_to_json(request.card) if request.card else None,
        "also": list(request.also),
        "certificate": _certificate_to_json(certificate) if certificate else None,
    }
    where = (person.list_id, request.verb)
    sealed = vault.seal_under_token(secrets.rest_key, token, json.dumps(fields).encode(), *where)
    mark = tokens.mark(secrets.token_key, tokens.Purpose.CONFIRM, person.list_id, token)
    return mark, Pending(person.list_id, request.verb, person.index.look_up, sealed)


def open_request(secrets: ServiceSecrets, stored: Pending, token: str) -> Request:
    """Return what seal_request sealed. Raises SealBroken."""
    where = (stored.list_id, stored.verb)
    fields = json.loads(vault.open_under_token(secrets.rest_key, token, stored.sealed, *where))
    return Request(
        verb=Verb(stored.verb),
        address=Address.parse(fields["address"]),
        language=Language(fields["language"]),
        certificate=_certificate_from_json(fields["certificate"]) if fields["certificate"] else None,
        new_address=Address.parse(fields["new_address"]) if fields["new_address"] else None,
        is_second_step=fields["is_second_step"],
        format=Format(fields["format"]) if fields["format"] else None,
        card=_card_from_json(fields["card"]) if fields["card"] else None,
        also=tuple(map(Verb, fields["also"])),
    )


def _card_to_json(card: Card) -> dict[str, str]:
    return {"mark": card.mark.hex(), "words": card.words, "language": card.language}


def _card_from_json(fields: dict[str, str]) -> Card:
    return Card(bytes.fromhex(fields["mark"]), fields["words"], Language(fields["language"]))


def _certificate_to_json(certificate: Certificate) -> dict[str, object]:
    return {
        "blob": base64.b64encode(certificate.blob).decode(),
        "fingerprint": certificate.fingerprint,
        "expires": certificate.expires.isoformat() if certificate.expires else None,
        "algorithms": list(certificate.algorithms),
        "version": certificate.version,
    }


def _certificate_from_json(fields: dict[str, object]) -> Certificate:
    expires = fields["expires"]
    algorithms = fields["algorithms"]
    assert isinstance(algorithms, list)
    return Certificate(
        blob=base64.b64decode(str(fields["blob"])),
        fingerprint=str(fields["fingerprint"]),
        expires=datetime.fromisoformat(str(expires)) if expires else None,
        algorithms=tuple(str(algorithm) for algorithm in algorithms),
        version=int(str(fields["version"])),
    )
