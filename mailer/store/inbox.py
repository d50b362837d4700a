"""Letters that were accepted and wait to be read. Each is sealed; a row goes in the transaction that answers it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mailer.store.tables import inbox, seconds


@dataclass(frozen=True, slots=True)
class Waiting:
    """A letter in the inbox. attempts: how often somebody began to read it, this time included."""

    id: bytes
    sealed: bytes
    attempts: int


async def add(tx: AsyncConnection, inbox_id: bytes, sealed: bytes, now: datetime) -> None:
    """Store a sealed letter; it is accepted once the transaction commits."""
    received = int(now.timestamp() * 1000)
    await tx.execute(insert(inbox).values(id=inbox_id, received=received, due=seconds(now), sealed=sealed))


async def claim(tx: AsyncConnection, now: datetime, lease_s: float, limit: int) -> list[Waiting]:
    """Return up to `limit` letters, oldest first, that nobody else gets for `lease_s` seconds."""
    due = select(inbox.c.id).where(inbox.c.aside.is_(None), inbox.c.due <= seconds(now))
    oldest = due.order_by(inbox.c.received).limit(limit).with_for_update(skip_locked=True)
    ids = (await tx.execute(oldest)).scalars().all()  # ids alone: the letters of a flood are megabytes to sort through
    lease_until = seconds(now + timedelta(seconds=lease_s))
    taken = inbox.c.id.in_(ids)
    await tx.execute(update(inbox).where(taken).values(due=lease_until, attempts=inbox.c.attempts + 1))
    rows = (await tx.execute(select(inbox).where(taken).order_by(inbox.c.received))).all()
    return [Waiting(row.id, row.sealed, row.attempts) for row in rows]


async def remove(tx: AsyncConnection, inbox_id: bytes) -> bool:
    """Erase a letter that was dealt with. Return False if another process was quicker."""
    return (await tx.execute(delete(inbox).where(inbox.c.id == inbox_id))).rowcount == 1


async def release(tx: AsyncConnection, waiting: Waiting, due: datetime, is_attempt: bool = True) -> None:
    """Give a letter back, to be read again from `due` on. is_attempt: False where it is not this letter's fault."""
    attempts = waiting.attempts - (not is_attempt)
    await tx.execute(update(inbox).where(inbox.c.id == waiting.id).values(due=seconds(due), attempts=attempts))


async def release_all(tx: AsyncConnection, now: datetime) -> None:
    """Give back what a process that died had claimed, for a start.

    Only an SQLite file is sure to have no other reader (mailer.control). On PostgreSQL leases run out by themselves.
    """
    if tx.dialect.name != "sqlite":
        return
    await tx.execute(update(inbox).where(inbox.c.due > seconds(now)).values(due=seconds(now)))


async def set_aside(tx: AsyncConnection, inbox_id: bytes, reason: str) -> None:
    """Keep a letter that cannot be dealt with, sealed, under a reason (no more than 32 characters)."""
    await tx.execute(update(inbox).where(inbox.c.id == inbox_id).values(aside=reason[:32]))


async def purge_aside(tx: AsyncConnection, before: datetime) -> int:
    """Erase letters set aside that came before a moment; return how many."""
    old = delete(inbox).where(inbox.c.aside.is_not(None), inbox.c.received < int(before.timestamp() * 1000))
    return (await tx.execute(old)).rowcount


@dataclass(frozen=True, slots=True)
class Aside:
    """The letters that are set aside for one reason: how many, and when the first and the last of them came."""

    reason: str
    letters: int
    oldest: datetime
    newest: datetime


async def aside(tx: AsyncConnection) -> list[Aside]:
    """Return what is set aside, by reason."""
    columns = (inbox.c.aside, func.count(), func.min(inbox.c.received), func.max(inbox.c.received))
    found = select(*columns).where(inbox.c.aside.is_not(None)).group_by(inbox.c.aside).order_by(inbox.c.aside)
    rows = (await tx.execute(found)).all()
    return [Aside(reason, number, _moment(oldest), _moment(newest)) for reason, number, oldest, newest in rows]


async def put_back(tx: AsyncConnection, reason: str, now: datetime) -> int:
    """Let the letters that were set aside for a reason be read again, as if for the first time; return how many."""
    again = update(inbox).where(inbox.c.aside == reason).values(aside=None, attempts=0, due=seconds(now))
    return (await tx.execute(again)).rowcount


def _moment(received: int) -> datetime:
    return datetime.fromtimestamp(received / 1000, UTC)


async def count(tx: AsyncConnection) -> dict[str, int]:
    """Return how many letters wait (under "waiting") and how many are set aside, by reason."""
    rows = await tx.execute(select(inbox.c.aside, func.count()).group_by(inbox.c.aside))
    return {row[0] or "waiting": row[1] for row in rows}
