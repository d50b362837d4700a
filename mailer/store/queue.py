"""Deliveries: one digest or notice to one subscriber. The letter itself is made when it is sent (DESIGN §7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, func, insert, literal, null, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mailer.model.digest import DeliveryState
from mailer.model.subscriber import State
from mailer.store.tables import deliveries, seconds, subscribers

NOTICE_PREFIX = "notice/"
_OPEN = (DeliveryState.DUE, DeliveryState.LEASED)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery in a worker's hands. attempts: before this one. first: when it was first tried, or None."""

    job: str
    subscriber_id: bytes
    list_id: str
    attempts: int
    first: datetime | None

    @property
    def notice(self) -> str | None:
        """The kind of notice, or None for a digest."""
        return self.job.removeprefix(NOTICE_PREFIX) if self.job.startswith(NOTICE_PREFIX) else None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a claimed delivery; retry_at only with DUE. is_attempt: the subscriber's own server was asked."""

    claimed: Claimed
    state: DeliveryState
    retry_at: datetime | None = None
    is_attempt: bool = True


async def plan(tx: AsyncConnection, digest_id: str, list_id: str, now: datetime) -> int:
    """Plan a delivery for each active subscriber of a list; return how many. One statement, however long the list."""
    to_all = _planned(digest_id, now).where(subscribers.c.list_id == list_id, subscribers.c.state == State.ACTIVE)
    return (await tx.execute(insert(deliveries).from_select(_PLANNED, to_all))).rowcount


async def add_notice(tx: AsyncConnection, kind: str, subscriber_id: bytes, list_id: str, now: datetime) -> None:
    """Queue a letter that answers no letter, once: while one of the same kind is on record nothing is added."""
    job = NOTICE_PREFIX + kind
    same = (deliveries.c.job == job) & (deliveries.c.subscriber_id == subscriber_id)
    if (await tx.execute(select(deliveries.c.job).where(same))).first():
        return
    is_subscriber = (subscribers.c.id == subscriber_id) & (subscribers.c.list_id == list_id)
    await tx.execute(insert(deliveries).from_select(_PLANNED, _planned(job, now).where(is_subscriber)))


async def drop_notices(tx: AsyncConnection, subscriber_id: bytes) -> None:
    """Forget which notices somebody got, so that the next occasion is told again."""
    of_them = deliveries.c.subscriber_id == subscriber_id
    await tx.execute(delete(deliveries).where(of_them, deliveries.c.job.startswith(NOTICE_PREFIX)))


async def claim(tx: AsyncConnection, worker: str, now: datetime, lease_s: float, limit: int) -> list[Claimed]:
    """Lease up to `limit` deliveries to a worker: those whose lease ran out, and those that are due."""
    rows: list[Any] = []
    for state in (DeliveryState.LEASED, DeliveryState.DUE):  # one by one: so the index gives the order, and no sorting
        due = select(deliveries).where(deliveries.c.state == state, deliveries.c.due <= seconds(now))
        next_ones = due.order_by(deliveries.c.due).limit(limit - len(rows)).with_for_update(skip_locked=True)
        rows += (await tx.execute(next_ones)).all()
    lease_until = seconds(now + timedelta(seconds=lease_s))
    for row in rows:
        await tx.execute(
            _one(row.job, row.subscriber_id).values(state=DeliveryState.LEASED, due=lease_until, lease_by=worker)
        )
    return [Claimed(row.job, row.subscriber_id, row.list_id, row.attempts, _moment(row.first)) for row in rows]


async def settle(tx: AsyncConnection, worker: str, settlements: Sequence[Settlement], now: datetime) -> None:
    """Write down what became of deliveries. SENT always counts; the rest only while the lease is still ours.

    Until the subscriber's own server was asked, the time after which a delivery is given up does not begin.
    """
    for one in settlements:
        row = _one(one.claimed.job, one.claimed.subscriber_id)
        if one.state is not DeliveryState.SENT:
            row = row.where(deliveries.c.lease_by == worker)
        first = one.claimed.first or (now if one.is_attempt else None)
        await tx.execute(
            row.values(
                state=one.state,
                attempts=one.claimed.attempts + one.is_attempt,
                first=None if first is None else seconds(first),
                due=seconds(one.retry_at or now),
                lease_by=null(),
            )
        )


async def release(tx: AsyncConnection, worker: str, now: datetime) -> int:
    """Give back every lease of a worker; return how many."""
    leased = update(deliveries).where(deliveries.c.state == DeliveryState.LEASED, deliveries.c.lease_by == worker)
    return (await tx.execute(leased.values(state=DeliveryState.DUE, due=seconds(now), lease_by=null()))).rowcount


async def release_dead(tx: AsyncConnection, is_dead: Callable[[str], bool], now: datetime) -> int:
    """Give back the leases of workers of whom `is_dead` says that they will not come back; return how many."""
    leased = select(deliveries.c.lease_by).where(deliveries.c.state == DeliveryState.LEASED).distinct()
    workers = (await tx.execute(leased)).scalars().all()
    return sum([await release(tx, worker, now) for worker in workers if worker and is_dead(worker)])


async def counts(tx: AsyncConnection, job: str) -> dict[DeliveryState, int]:
    """Return how many deliveries of a job are in which state."""
    rows = select(deliveries.c.state, func.count()).where(deliveries.c.job == job).group_by(deliveries.c.state)
    return {DeliveryState(row[0]): row[1] for row in await tx.execute(rows)}


def open_jobs() -> Select[tuple[str]]:
    """Return the query for the jobs of which a delivery still waits."""
    return select(deliveries.c.job).where(deliveries.c.state.in_(_OPEN)).distinct()


_PLANNED = ["job", "subscriber_id", "list_id", "state", "attempts", "due"]


def _planned(job: str, now: datetime):  # type: ignore[no-untyped-def]
    due = literal(DeliveryState.DUE.value)
    return select(literal(job), subscribers.c.id, subscribers.c.list_id, due, literal(0), literal(seconds(now)))


def _one(job: str, subscriber_id: bytes):  # type: ignore[no-untyped-def]
    return update(deliveries).where(deliveries.c.job == job, deliveries.c.subscriber_id == subscriber_id)


def _moment(value: int | None) -> datetime | None:
    return None if value is None else datetime.fromtimestamp(value, UTC)
