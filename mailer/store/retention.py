"""Erases what has been kept long enough. What is not kept cannot be seized."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Select, delete, select

from mailer.model.digest import DigestState
from mailer.model.retention import Retention
from mailer.store import bounces, inbox, invitations, pending, roster
from mailer.store.database import Transaction
from mailer.store.tables import digests, editions, seconds, sightings, signed_editions, suppressions, tallies

_ENDED = (DigestState.SENT, DigestState.CANCELLED)


async def purge(tx: Transaction, keep: Retention, now: datetime) -> None:
    """Erase all whose time is over: requests, counters, letters set aside, what is left of old digests, old marks."""
    await pending.purge(tx, now)
    await invitations.purge(tx, now)
    await inbox.purge_aside(tx, _before(now, keep.aside_days))
    await roster.erase_unanswered(tx, _before(now, keep.pending_days).date())
    await bounces.purge(tx, now.date(), timedelta(days=keep.weather_days))
    if keep.editions_days:
        old = _ended_before(_before(now, keep.editions_days))
        await tx.execute(delete(editions).where(editions.c.digest_id.in_(old)))
        await tx.execute(delete(signed_editions).where(signed_editions.c.digest_id.in_(old)))
    if keep.tallies_days:
        await tx.execute(delete(tallies).where(tallies.c.job.in_(_ended_before(_before(now, keep.tallies_days)))))
    if keep.sightings_days:
        await tx.execute(delete(sightings).where(sightings.c.seen < seconds(_before(now, keep.sightings_days))))
    if keep.suppressions_days:
        old_marks = suppressions.c.day < _before(now, keep.suppressions_days).date()
        await tx.execute(delete(suppressions).where(suppressions.c.kind == roster.LEFT, old_marks))


def _ended_before(moment: datetime) -> Select[tuple[str]]:
    """Return the digests that have ended and began before a moment."""
    return select(digests.c.id).where(digests.c.state.in_(_ENDED), digests.c.started < seconds(moment))


def _before(now: datetime, days: int) -> datetime:
    return now - timedelta(days=days)
