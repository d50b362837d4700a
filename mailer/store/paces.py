"""How many letters a provider may still have within this minute, counted for all machines together.

A provider's row says up to when its share is used up. Each letter moves that moment on by what it takes of a minute;
time that was not used is kept for a few seconds only, so that nothing arrives in bursts.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from mailer.store.database import Transaction
from mailer.store.tables import paces
from mailer.store.upsert import insert

MINUTE_MS = 60_000
KEPT_MS = 5_000


async def left(tx: Transaction, provider: str, per_minute: int, wanted: int, now: datetime) -> int:
    """Return how many of `wanted` letters may leave now; on PostgreSQL others wait until this transaction ends."""
    await tx.execute(insert(tx, paces).values(provider=provider, used_until=0).on_conflict_do_nothing())
    begins = await _used_until(tx, provider, now, per_minute)
    return max(min(wanted, int((_milliseconds(now) - begins) * per_minute // MINUTE_MS)), 0)


async def use(tx: Transaction, provider: str, per_minute: int, number: int, now: datetime) -> None:
    """Note that so many letters were taken; after `left`, in the same transaction."""
    used_until = await _used_until(tx, provider, now, per_minute) + number * MINUTE_MS // per_minute
    await tx.execute(paces.update().where(paces.c.provider == provider).values(used_until=used_until))


async def _used_until(tx: Transaction, provider: str, now: datetime, per_minute: int) -> int:
    row = select(paces.c.used_until).where(paces.c.provider == provider).with_for_update()
    kept = max(KEPT_MS, -(-MINUTE_MS // per_minute))  # at least one letter's worth
    return max(int((await tx.execute(row)).scalar_one()), _milliseconds(now) - kept)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
