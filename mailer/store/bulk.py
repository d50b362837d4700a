"""Many subscribers entered at once: sealed beforehand, so that the transaction is short and letters come in meanwhile.

An import of thousands row by row would hold the database for minutes, and senders would be told to try again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mailer.crypto import vault
from mailer.model.digest import DeliveryState
from mailer.model.subscriber import State
from mailer.store import roster
from mailer.store.postgresql import lock_register
from mailer.store.queue import NOTICE_PREFIX
from mailer.store.roster import Newcomer, Person
from mailer.store.tables import deliveries, requests, seconds, subscribers, suppressions

CHUNK = 500  # of values in one statement; SQLite allows 32,766, older ones 999

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entrant:
    """Somebody to enter, sealed. columns: the whole row. notice: the kind of letter that goes to them, or None."""

    person: Person
    new: Newcomer
    columns: dict[str, object]
    notice: str | None

    def __repr__(self) -> str:
        return "Entrant(…)"


@dataclass(frozen=True, slots=True)
class Known:
    """What the register holds on people. states: of those with a row. marks: LEFT or BANNED. Keys: their look-up."""

    states: dict[bytes, State]
    marks: dict[bytes, str]


def seal(
    secrets: vault.ServiceSecrets, public: vault.RosterPublic, person: Person, new: Newcomer, notice: str | None
) -> Entrant:
    """Return an entrant whose row is the one that roster.add would write; about half a millisecond."""
    return Entrant(person, new, roster.seal_row(secrets, public, person, new), notice)


async def known(tx: AsyncConnection, people: Sequence[Person]) -> Known:
    """Return what is held on people of one list; who is new is in neither mapping, and stays so until the commit."""
    await lock_register(tx, alone=True)
    states: dict[bytes, State] = {}
    marks: dict[bytes, str] = {}
    for some in _chunks(people):
        look_ups = [one.index.look_up for one in some]
        rows = select(subscribers.c.look_up, subscribers.c.state).where(subscribers.c.look_up.in_(look_ups))
        states |= {row.look_up: State(row.state) for row in await tx.execute(rows)}
        of_mark = {one.suppression: one.index.look_up for one in some}
        marked = (suppressions.c.list_id == some[0].list_id) & suppressions.c.mark.in_(of_mark)
        found = await tx.execute(select(suppressions.c.mark, suppressions.c.kind).where(marked))
        marks |= {of_mark[row.mark]: row.kind for row in found}
    return Known(states, marks)


async def enter(tx: AsyncConnection, entrants: Sequence[Entrant], now: datetime) -> None:
    """Enter all and queue the letters to them; who was invited before is replaced. Raises StoreError."""
    for some in _chunks(entrants):
        await _erase_invited(tx, [one.person.index.look_up for one in some])
    for some in _chunks(entrants):
        await tx.execute(insert(subscribers), [one.columns for one in some])
        here = [one.person.suppression for one in some if one.new.state is not State.INVITED]
        marked = (suppressions.c.list_id == some[0].person.list_id) & suppressions.c.mark.in_(here)
        await tx.execute(delete(suppressions).where(marked))
        if notices := [_notice(one, now) for one in some if one.notice is not None]:
            await tx.execute(insert(deliveries), notices)


async def _erase_invited(tx: AsyncConnection, look_ups: Sequence[bytes]) -> None:
    invited = subscribers.c.look_up.in_(look_ups) & (subscribers.c.state == State.INVITED)
    rows = (await tx.execute(select(subscribers.c.id, subscribers.c.look_up).where(invited))).all()
    if rows:
        ids = [row.id for row in rows]
        await tx.execute(delete(deliveries).where(deliveries.c.subscriber_id.in_(ids)))
        await tx.execute(delete(requests).where(requests.c.look_up.in_([row.look_up for row in rows])))
        await tx.execute(delete(subscribers).where(subscribers.c.id.in_(ids)))


def _notice(one: Entrant, now: datetime) -> dict[str, object]:
    return {
        "job": f"{NOTICE_PREFIX}{one.notice}",
        "subscriber_id": one.new.subscriber_id,
        "list_id": one.person.list_id,
        "provider": one.columns["provider"],
        "state": DeliveryState.DUE,
        "due": seconds(now),
    }


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), CHUNK):
        yield items[at : at + CHUNK]
