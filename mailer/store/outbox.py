"""Replies that wait for a relay: letters just made, sealed at rest, addressed inside the seal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mailer.store.tables import outbox, seconds


@dataclass(frozen=True, slots=True)
class Queued:
    """A sealed reply. attempts: how often it was tried before. queued: since when it waits."""

    id: bytes
    sealed: bytes
    attempts: int
    queued: datetime


async def add(tx: AsyncConnection, outbox_id: bytes, sealed: bytes, now: datetime) -> None:
    """Queue a sealed reply; it leaves once the transaction commits."""
    await tx.execute(insert(outbox).values(id=outbox_id, queued=seconds(now), due=seconds(now), sealed=sealed))


async def claim(tx: AsyncConnection, now: datetime, lease_s: float, limit: int) -> list[Queued]:
    """Return up to `limit` replies, oldest first, that nobody else gets for `lease_s` seconds."""
    due = select(outbox).where(outbox.c.due <= seconds(now)).order_by(outbox.c.due).limit(limit)
    rows = (await tx.execute(due.with_for_update(skip_locked=True))).all()
    lease_until = seconds(now + timedelta(seconds=lease_s))
    await tx.execute(update(outbox).where(outbox.c.id.in_([row.id for row in rows])).values(due=lease_until))
    return [Queued(row.id, row.sealed, row.attempts, datetime.fromtimestamp(row.queued, UTC)) for row in rows]


async def remove(tx: AsyncConnection, outbox_id: bytes) -> None:
    """Erase a reply that a relay took, or that nobody will take."""
    await tx.execute(delete(outbox).where(outbox.c.id == outbox_id))


async def postpone(tx: AsyncConnection, outbox_id: bytes, due: datetime) -> None:
    """Try a reply again from `due` on."""
    row = update(outbox).where(outbox.c.id == outbox_id)
    await tx.execute(row.values(due=seconds(due), attempts=outbox.c.attempts + 1))


async def release_all(tx: AsyncConnection, now: datetime) -> None:
    """Give back what a process that died had claimed before its first attempt ended; as inbox.release_all."""
    if tx.dialect.name != "sqlite":
        return
    await tx.execute(update(outbox).where(outbox.c.attempts == 0).values(due=seconds(now)))


async def count(tx: AsyncConnection) -> int:
    """Return how many replies wait."""
    return int((await tx.execute(select(func.count()).select_from(outbox))).scalar_one())


async def erase_all(tx: AsyncConnection) -> None:
    """Erase every reply that waits."""
    await tx.execute(delete(outbox))
