"""The sealed register. The intake looks up whoever writes, and nobody else; only the roster key reads all (DESIGN §5).

Three layers: plain columns steer work, the drawer holds what a letter needs, the record says who it is. The intake
opens a drawer with the wrapping key that Argon2id makes from the address of the sender; it never opens a record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from mailer.crypto import tokens, vault
from mailer.errors import SealBroken, StoreConflict
from mailer.model.address import Address
from mailer.model.digest import DeliveryState
from mailer.model.language import Language
from mailer.model.subscriber import Drawer, Method, Record, State, Subscriber
from mailer.store import upsert
from mailer.store.postgresql import lock_register
from mailer.store.tables import deliveries, requests, subscribers, suppressions

ID_BYTES = 12
DRAWER_KEY_BYTES = 32
LEFT = "left"
BANNED = "banned"


@dataclass(frozen=True, slots=True)
class Person:
    """What an address leads to on one list: where to look, which key opens the drawer, the mark of who left."""

    list_id: str
    address: Address
    index: vault.Index
    suppression: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """A subscriber who was looked up, with the drawer open."""

    subscriber: Subscriber
    drawer: Drawer
    drawer_key: bytes

    def __repr__(self) -> str:
        return "Found(…)"


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What a new row is made from. subscriber_id and drawer_key are random: ID_BYTES and DRAWER_KEY_BYTES long."""

    subscriber_id: bytes
    drawer_key: bytes
    drawer: Drawer
    language: Language
    provider: str
    joined: date
    state: State = State.ACTIVE
    method: Method = Method.OPENPGP

    @classmethod
    def draw(
        cls,
        random: Callable[[int], bytes],
        drawer: Drawer,
        language: Language,
        provider: str,
        joined: date,
        method: Method = Method.OPENPGP,
    ) -> Newcomer:
        """Return a newcomer with a random id and drawer key."""
        who = (random(ID_BYTES), random(DRAWER_KEY_BYTES))
        return cls(*who, drawer, language, provider, joined, method=method)

    def __repr__(self) -> str:
        return "Newcomer(…)"


async def identify(secrets: vault.ServiceSecrets, list_id: str, address: Address) -> Person:
    """Return what an address leads to. Takes about 10 ms of Argon2id, off the event loop."""

    def hash_twice() -> Person:
        index = vault.index(secrets.index_key, list_id, address)
        return Person(list_id, address, index, vault.suppression_mark(secrets.suppression_key, list_id, address))

    return await asyncio.to_thread(hash_twice)


async def find(tx: AsyncConnection, person: Person) -> Found | None:
    """Return the subscriber that an address belongs to. Raises SealBroken for a row that was tampered with."""
    found = select(subscribers).where(subscribers.c.look_up == person.index.look_up)
    row = (await tx.execute(found)).one_or_none()
    if row is None or row.list_id != person.list_id:
        return None
    key = vault.unwrap_drawer_key(person.index.wrapping_key, row.wrapped_drawer_key, row.list_id, row.id)
    return Found(subscriber_of(row), vault.open_drawer(row.drawer, key, row.list_id, row.id), key)


async def find_by_token(
    tx: AsyncConnection, token_key: bytes, purpose: tokens.Purpose, list_id: str, token: str
) -> Subscriber | None:
    """Return the subscriber whose unsubscribe or bounce token this is; the drawer stays shut."""
    column = {
        tokens.Purpose.UNSUBSCRIBE: subscribers.c.unsubscribe_mark,
        tokens.Purpose.BOUNCE: subscribers.c.bounce_mark,
    }[purpose]
    found = select(subscribers).where(column == tokens.mark(token_key, purpose, list_id, token))
    row = (await tx.execute(found)).one_or_none()
    return subscriber_of(row) if row is not None and row.list_id == list_id else None


async def suppressed(tx: AsyncConnection, person: Person) -> str | None:
    """Return LEFT or BANNED, or None."""
    marked = (suppressions.c.list_id == person.list_id) & (suppressions.c.mark == person.suppression)
    return (await tx.execute(select(suppressions.c.kind).where(marked))).scalar_one_or_none()


async def add(
    tx: AsyncConnection, secrets: vault.ServiceSecrets, public: vault.RosterPublic, person: Person, new: Newcomer
) -> None:
    """Enter a subscriber: the record sealed to the roster's public key (fresh), nothing kept that opens it.

    Raises StoreConflict where the address was entered or banned in between.
    """
    row = seal_row(secrets, public, person, new)
    await lock_register(tx, alone=False)
    if await suppressed(tx, person) == BANNED:
        raise StoreConflict
    await tx.execute(insert(subscribers).values(**row))
    if new.state is not State.INVITED:
        await forget_mark(tx, person)


def seal_row(
    secrets: vault.ServiceSecrets, public: vault.RosterPublic, person: Person, new: Newcomer
) -> dict[str, object]:
    """Return a newcomer's whole row, sealed: no transaction is needed for that, and it takes half a millisecond."""
    who = (person.list_id, new.subscriber_id)
    return {
        "id": new.subscriber_id,
        "list_id": person.list_id,
        "data_key_id": None,
        "drawer": vault.seal_drawer(new.drawer, new.drawer_key, *who),
        "state": new.state,
        "method": new.method,
        "language": new.language,
        "joined": new.joined,
        "provider": new.provider,
        **_where_to_look(public, person, new.subscriber_id, new.drawer_key),
        **_token_marks(secrets.token_key, *who),
    }


async def move(tx: AsyncConnection, public: vault.RosterPublic, found: Found, to: Person, provider: str) -> None:
    """Give a subscriber another address; the row, its id and its tokens stay. Whoever is invited there is erased."""
    invited = (subscribers.c.look_up == to.index.look_up) & (subscribers.c.state == State.INVITED)
    await _erase_rows(tx, invited)
    columns = _where_to_look(public, to, found.subscriber.id, found.drawer_key)
    await tx.execute(_one(found.subscriber.id).values(data_key_id=None, provider=provider, **columns))


async def put_in_drawer(tx: AsyncConnection, found: Found, drawer: Drawer) -> None:
    """Replace what the drawer holds."""
    one = found.subscriber
    await tx.execute(_one(one.id).values(drawer=vault.seal_drawer(drawer, found.drawer_key, one.list_id, one.id)))


async def alter_drawer(
    tx: AsyncConnection, found: Found, alter: Callable[[Method, Drawer], tuple[Method, Drawer]]
) -> None:
    """Change drawer and method as they stand now, the row locked: another letter may have done so since the look-up.

    Raises SealBroken.
    """
    one = found.subscriber
    row = select(subscribers.c.method, subscribers.c.drawer).where(subscribers.c.id == one.id).with_for_update()
    held = (await tx.execute(row)).one_or_none()
    if held is None:
        return
    drawer = vault.open_drawer(held.drawer, found.drawer_key, one.list_id, one.id)
    method, drawer = alter(Method(held.method), drawer)
    sealed = vault.seal_drawer(drawer, found.drawer_key, one.list_id, one.id)
    await tx.execute(_one(one.id).values(method=method, drawer=sealed))


async def set_state(tx: AsyncConnection, subscriber_id: bytes, state: State) -> None:
    """Write where a subscriber stands."""
    await tx.execute(_one(subscriber_id).values(state=state))


async def has_changed(tx: AsyncConnection, subscriber: Subscriber) -> bool:
    """Return whether a subscriber has left, or stands elsewhere, since they were looked up.

    Else their row stays as it is until the commit, whoever else writes.
    """
    row = select(subscribers.c.state).where(subscribers.c.id == subscriber.id).with_for_update()
    return (await tx.execute(row)).scalar_one_or_none() != subscriber.state


async def suspend(tx: AsyncConnection, subscriber_id: bytes) -> bool:
    """Suspend an active subscriber; return False where they paused, or left, in the meantime."""
    active = _one(subscriber_id).where(subscribers.c.state == State.ACTIVE)
    return bool((await tx.execute(active.values(state=State.SUSPENDED))).rowcount)


async def set_language(tx: AsyncConnection, subscriber_id: bytes, language: Language) -> None:
    """Write which edition a subscriber gets."""
    await tx.execute(_one(subscriber_id).values(language=language))


async def erase(tx: AsyncConnection, subscriber_id: bytes, today: date, leave_mark: bool) -> None:
    """Erase a subscriber and what waits for them; with `leave_mark`, no import will bring them back."""
    row = (await tx.execute(select(subscribers).where(subscribers.c.id == subscriber_id))).one_or_none()
    if row is None:
        return
    await tx.execute(delete(deliveries).where(deliveries.c.subscriber_id == subscriber_id))
    await tx.execute(delete(requests).where(requests.c.look_up == row.look_up))
    await tx.execute(delete(subscribers).where(subscribers.c.id == subscriber_id))
    if leave_mark:
        await _mark(tx, row.list_id, row.suppression, LEFT, today)


async def erase_unanswered(tx: AsyncConnection, before: date) -> int:
    """Erase those invited before a day who did not answer; return how many. Who was not asked yet stays."""
    unsent = deliveries.c.state.in_((DeliveryState.DUE, DeliveryState.LEASED))
    is_asked = subscribers.c.id.not_in(select(deliveries.c.subscriber_id).where(unsent))
    silent = (subscribers.c.state == State.INVITED) & (subscribers.c.joined < before)
    return await _erase_rows(tx, silent & is_asked)


async def ban(tx: AsyncConnection, person: Person, today: date) -> None:
    """Keep an address off a list until the mark is forgotten; whoever is on it is erased."""
    await lock_register(tx, alone=True)
    row = select(subscribers.c.id).where(subscribers.c.look_up == person.index.look_up)
    subscriber_id = (await tx.execute(row)).scalar_one_or_none()
    if subscriber_id is not None:
        await erase(tx, subscriber_id, today, leave_mark=False)
    await _mark(tx, person.list_id, person.suppression, BANNED, today)


async def forget_mark(tx: AsyncConnection, person: Person) -> None:
    """Erase the mark of somebody who left or was banned."""
    marked = (suppressions.c.list_id == person.list_id) & (suppressions.c.mark == person.suppression)
    await tx.execute(delete(suppressions).where(marked))


async def count(tx: AsyncConnection, list_id: str) -> dict[tuple[str, str], int]:
    """Return how many subscribers a list has, by (state, language)."""
    by = (subscribers.c.state, subscribers.c.language)
    rows = await tx.execute(select(*by, func.count()).where(subscribers.c.list_id == list_id).group_by(*by))
    return {(row[0], row[1]): row[2] for row in rows}


async def methods(tx: AsyncConnection, list_id: str) -> frozenset[Method]:
    """Return what the letters of a list's subscribers are sealed with; of those who were invited, too."""
    rows = await tx.execute(select(subscribers.c.method).where(subscribers.c.list_id == list_id).distinct())
    return frozenset(Method(row.method) for row in rows)


async def _erase_rows(tx: AsyncConnection, which: ColumnElement[bool]) -> int:
    rows = select(subscribers.c.id).where(which)
    await tx.execute(delete(deliveries).where(deliveries.c.subscriber_id.in_(rows)))
    return (await tx.execute(delete(subscribers).where(which))).rowcount


def _where_to_look(
    public: vault.RosterPublic, person: Person, subscriber_id: bytes, drawer_key: bytes
) -> dict[str, bytes]:
    who = (person.list_id, subscriber_id)
    return {
        "look_up": person.index.look_up,
        "suppression": person.suppression,
        "record": public.seal_record(Record(person.address, drawer_key), *who),
        "wrapped_drawer_key": vault.wrap_drawer_key(person.index.wrapping_key, drawer_key, *who),
    }


def _token_marks(token_key: bytes, list_id: str, subscriber_id: bytes) -> dict[str, bytes]:
    columns: dict[tokens.Lasting, str] = {
        tokens.Purpose.UNSUBSCRIBE: "unsubscribe_mark",
        tokens.Purpose.BOUNCE: "bounce_mark",
    }
    return {
        column: tokens.mark(
            token_key, purpose, list_id, tokens.derive_token(token_key, purpose, list_id, subscriber_id)
        )
        for purpose, column in columns.items()
    }


async def _mark(tx: AsyncConnection, list_id: str, mark: bytes, kind: str, today: date) -> None:
    fresh = {"kind": kind, "day": today}
    row = upsert.insert(tx, suppressions).values(list_id=list_id, mark=mark, **fresh)
    await tx.execute(row.on_conflict_do_update(index_elements=["list_id", "mark"], set_=fresh))


def subscriber_of(row: Row) -> Subscriber:  # type: ignore[type-arg]
    """Return the plain columns of a row. Raises SealBroken where one holds what we never wrote."""
    try:
        plain = (State(row.state), Method(row.method), Language(row.language))
    except ValueError:
        raise SealBroken from None
    return Subscriber(row.id, row.list_id, *plain, row.joined, row.provider)


def _one(subscriber_id: bytes):  # type: ignore[no-untyped-def]
    return update(subscribers).where(subscribers.c.id == subscriber_id)
