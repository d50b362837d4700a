"""Deliveries: one digest or notice to one subscriber. The letter itself is made when it is sent (DESIGN §7).

A worker leases deliveries of one job and one provider at a time, in the order in which they are due. A delivery of a
digest is erased when it has come to its end, and counted in `tallies`: who got what is kept nowhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, case, delete, func, insert, literal, null, select, tuple_, update

from mailer.model.digest import DeliveryState, Tally
from mailer.model.failure import Failure
from mailer.model.subscriber import Method, State
from mailer.store import upsert
from mailer.store.chance import below
from mailer.store.database import Transaction
from mailer.store.tables import deliveries, seconds, subscribers, tallies, traits

NOTICE_PREFIX = "notice/"
KEY_EXPIRES = "key-expires"  # the kind of notice that warns
ANNOUNCEMENT = "list-key-"  # of a new list key; behind it stands how its fingerprint begins
_BEHIND_NOTICES = "notice0"  # "0" comes next after "/"
_OPEN = (DeliveryState.DUE, DeliveryState.LEASED)
SHUFFLED_S = 3600  # due times are drawn from so long before the beginning, so that the order is another each time


def is_announcement(kind: str) -> bool:
    """Return whether a kind of notice announces a list key."""
    return kind.startswith(ANNOUNCEMENT)


def is_kept(kind: str) -> bool:
    """Return whether it stays on record who got notices of this kind, so that none gets it twice.

    Of the others it would tell whose key runs out when; they are planned once in another way (rounds, traits).
    """
    return kind != KEY_EXPIRES and not is_announcement(kind)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery in a worker's hands. attempts: before this one. first: when it was first tried, or None."""

    job: str
    subscriber_id: bytes
    list_id: str
    provider: str
    attempts: int
    first: datetime | None

    @property
    def notice(self) -> str | None:
        """The kind of notice, or None for a digest."""
        return self.job.removeprefix(NOTICE_PREFIX) if self.job.startswith(NOTICE_PREFIX) else None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a claimed delivery; retry_at only with DUE. is_attempt: the subscriber's own server was asked.

    relay: the name of the one that answered, or "". failure: what it said, unless it was a yes.
    """

    claimed: Claimed
    state: DeliveryState
    retry_at: datetime | None = None
    is_attempt: bool = True
    relay: str = ""
    failure: Failure | None = None


# --- Planning -------------------------------------------------------------------------------------------------------


async def plan(
    tx: Transaction, digest_id: str, list_id: str, begins: datetime, over_s: int, providers: Sequence[str]
) -> int:
    """Plan a delivery for each active subscriber of a list; return how many. One statement, however long the list.

    over_s: spread over so many seconds, in random order. providers: the names that workers look for; whoever has
    another one (config.toml was changed) goes with the last of them.
    """
    known = case((subscribers.c.provider.in_(providers), subscribers.c.provider), else_=providers[-1])
    due = literal(seconds(begins) - (0 if over_s else SHUFFLED_S)) + below(over_s or SHUFFLED_S)
    to_all = _planned(digest_id, known, due).where(
        subscribers.c.list_id == list_id, subscribers.c.state == State.ACTIVE
    )
    return (await tx.execute(insert(deliveries).from_select(_PLANNED, to_all))).rowcount


async def add(tx: Transaction, job: str, recipient_id: bytes, list_id: str, provider: str, due: datetime) -> None:
    """Plan one delivery to somebody who is no subscriber: an organiser's own mailbox."""
    row = (job, recipient_id, list_id, provider, DeliveryState.DUE, 0, seconds(due))
    await tx.execute(insert(deliveries).values(dict(zip(_PLANNED, row, strict=True))))


async def add_notice(tx: Transaction, kind: str, subscriber_id: bytes, list_id: str, now: datetime) -> None:
    """Queue a letter that answers no letter, once: while one of the same kind is on record nothing is added."""
    job = NOTICE_PREFIX + kind
    is_subscriber = (subscribers.c.id == subscriber_id) & (subscribers.c.list_id == list_id)
    one = _planned(job, subscribers.c.provider, literal(seconds(now))).where(is_subscriber)
    await tx.execute(upsert.insert(tx, deliveries).from_select(_PLANNED, one).on_conflict_do_nothing())


async def announce(tx: Transaction, kind: str, list_id: str, now: datetime, former: str) -> int | None:
    """Plan a notice for each active reader with an OpenPGP key, in random order; return how many, None if it was done.

    It is done once, ever. former: the kind that this one makes pointless; what waits of it is dropped.
    """
    mark = upsert.insert(tx, traits).values(name=kind, value=b"").on_conflict_do_nothing()
    if not (await tx.execute(mark)).rowcount:
        return None
    await drop_open(tx, NOTICE_PREFIX + former)
    due = literal(seconds(now) - SHUFFLED_S) + below(SHUFFLED_S)
    readers = (subscribers.c.list_id == list_id) & (subscribers.c.state == State.ACTIVE)
    planned = _planned(NOTICE_PREFIX + kind, subscribers.c.provider, due)
    of_openpgp = planned.where(readers, subscribers.c.method == Method.OPENPGP)
    return (await tx.execute(insert(deliveries).from_select(_PLANNED, of_openpgp))).rowcount


async def is_announced(tx: Transaction, kind: str) -> bool:
    """Return whether `announce` was done for this kind."""
    return (await tx.execute(select(traits.c.name).where(traits.c.name == kind))).first() is not None


async def drop_notices(tx: Transaction, subscriber_id: bytes) -> None:
    """Forget which notices somebody got, so that the next occasion is told again."""
    of_them = (deliveries.c.subscriber_id == subscriber_id) & deliveries.c.job.startswith(NOTICE_PREFIX)
    about_list_key = deliveries.c.job.startswith(NOTICE_PREFIX + ANNOUNCEMENT)  # still to be told, whatever their key
    await tx.execute(delete(deliveries).where(of_them, ~about_list_key))


async def drop_open(tx: Transaction, job: str) -> int:
    """Erase the deliveries of a job that have not begun; return how many."""
    waiting = delete(deliveries).where(deliveries.c.job == job, deliveries.c.state == DeliveryState.DUE)
    return (await tx.execute(waiting)).rowcount


async def spread(tx: Transaction, job: str, begins: datetime, over_s: int) -> None:
    """Spread what waits of a job over so many seconds from `begins` on, in random order."""
    waiting = update(deliveries).where(deliveries.c.job == job, deliveries.c.state == DeliveryState.DUE)
    await tx.execute(waiting.values(due=literal(seconds(begins)) + below(over_s)))


async def set_aside(tx: Transaction, job: str, limit: int) -> list[bytes]:
    """Return the ids of up to `limit` subscribers whose delivery was set aside."""
    which = (deliveries.c.job == job) & (deliveries.c.state == DeliveryState.ASIDE)
    return list((await tx.execute(select(deliveries.c.subscriber_id).where(which).limit(limit))).scalars())


async def retry_aside(tx: Transaction, job: str, now: datetime) -> int:
    """Have the deliveries of a job that were set aside tried again; return how many."""
    aside = update(deliveries).where(deliveries.c.job == job, deliveries.c.state == DeliveryState.ASIDE)
    again = aside.values(state=DeliveryState.DUE, attempts=0, first=null(), due=seconds(now))
    return (await tx.execute(again)).rowcount


async def notice_jobs(tx: Transaction) -> list[str]:
    """Return the jobs of all kinds of notice on record; one look at the index for each, however many rows there are."""
    found: list[str] = []
    last = NOTICE_PREFIX
    while True:
        later = (deliveries.c.job > last) & (deliveries.c.job < _BEHIND_NOTICES)
        job = (await tx.execute(select(func.min(deliveries.c.job)).where(later))).scalar_one()
        if job is None:
            return found
        found.append(job)
        last = job


async def adopt_strays(tx: Transaction, providers: Sequence[str], jobs: Sequence[str] | None = None) -> int:
    """Put deliveries to providers that no worker looks for with the last of these; return how many. jobs: of these."""
    stray = update(deliveries).where(deliveries.c.state == DeliveryState.DUE, deliveries.c.provider.not_in(providers))
    if jobs is not None:
        stray = stray.where(deliveries.c.job.in_(jobs))
    return (await tx.execute(stray.values(provider=providers[-1]))).rowcount


# --- Leases ---------------------------------------------------------------------------------------------------------


async def claim(
    tx: Transaction, worker: str, job: str, providers: Collection[str], now: datetime, lease_s: float, limit: int
) -> list[Claimed]:
    """Lease up to `limit` deliveries of a job that are due to a worker; at a single provider first come first."""
    due = (
        select(deliveries.c.subscriber_id)
        .where(deliveries.c.job == job, deliveries.c.state == DeliveryState.DUE)
        .where(deliveries.c.provider.in_(providers), deliveries.c.due <= seconds(now))
        .order_by(*([deliveries.c.due] if len(providers) == 1 else []))  # over several it would sort all that is due
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")  # PostgreSQL may run a plain subquery more than once, and lock more rows than the limit says
    )
    leased = (
        update(deliveries)
        .where(deliveries.c.job == job, deliveries.c.subscriber_id.in_(select(due.c.subscriber_id)))
        .values(state=DeliveryState.LEASED, due=seconds(now + timedelta(seconds=lease_s)), lease_by=worker)
        .returning(deliveries)
    )
    return [_claimed(row) for row in await tx.execute(leased)]


async def release(tx: Transaction, worker: str, now: datetime) -> int:
    """Give back every lease of a worker; return how many."""
    leased = update(deliveries).where(deliveries.c.lease_by == worker)
    return (await tx.execute(leased.values(state=DeliveryState.DUE, due=seconds(now), lease_by=null()))).rowcount


async def release_these(tx: Transaction, worker: str, claimed: Sequence[Claimed], now: datetime) -> None:
    """Give back some leases of a worker that it has not begun."""
    which = tuple_(deliveries.c.job, deliveries.c.subscriber_id).in_([(one.job, one.subscriber_id) for one in claimed])
    leased = update(deliveries).where(deliveries.c.lease_by == worker, which)
    await tx.execute(leased.values(state=DeliveryState.DUE, due=seconds(now), lease_by=null()))


async def release_expired(tx: Transaction, now: datetime) -> int:
    """Give back the leases that ran out; return how many."""
    leased = update(deliveries).where(deliveries.c.lease_by.is_not(None), deliveries.c.due <= seconds(now))
    return (await tx.execute(leased.values(state=DeliveryState.DUE, due=seconds(now), lease_by=null()))).rowcount


async def release_dead(tx: Transaction, is_dead: Callable[[str], bool], now: datetime) -> int:
    """Give back the leases of workers of whom `is_dead` says that they will not come back; return how many."""
    leased = select(deliveries.c.lease_by).where(deliveries.c.lease_by.is_not(None)).distinct()
    workers = (await tx.execute(leased)).scalars().all()
    return sum([await release(tx, worker, now) for worker in workers if worker and is_dead(worker)])


# --- Ends -----------------------------------------------------------------------------------------------------------


async def settle(tx: Transaction, worker: str, settlements: Sequence[Settlement], now: datetime) -> None:
    """Write down what became of deliveries. SENT always counts; the rest only while the lease is still ours.

    Until the subscriber's own server was asked, the time after which a delivery is given up does not begin.
    """
    ended: dict[tuple[str, DeliveryState, str, str], list[bytes]] = defaultdict(list)
    kept = []
    for one in settlements:
        notice = one.claimed.notice
        if one.state in (DeliveryState.DUE, DeliveryState.ASIDE) or (notice is not None and is_kept(notice)):
            kept.append(one)
        else:
            how = (one.claimed.job, one.state, one.relay, one.failure or "")
            ended[how].append(one.claimed.subscriber_id)
    counted = []
    for (job, state, relay, failure), ids in ended.items():
        which = {"of_job": job, "ids": ids, "of_worker": worker}
        number = (await tx.execute(_ERASE if state is DeliveryState.SENT else _ERASE_OURS, which)).rowcount
        if number:
            counted.append({"job": job, "state": state, "relay": relay, "failure": failure, "number": number})
    await upsert.add_up(tx, tallies, counted)
    if kept:
        await tx.execute(_SETTLE, [_settled(one, worker, now) for one in kept])


async def counts(tx: Transaction, job: str) -> dict[DeliveryState, int]:
    """Return how many deliveries of a job are in which state."""
    rows = select(deliveries.c.state, func.count()).where(deliveries.c.job == job).group_by(deliveries.c.state)
    found = {DeliveryState(row[0]): int(row[1]) for row in await tx.execute(rows)}
    for one in await ends(tx, job):
        found[one.state] = found.get(one.state, 0) + one.number
    return found


async def ends(tx: Transaction, job: str) -> tuple[Tally, ...]:
    """Return how the deliveries of a digest ended, by state, relay and failure."""
    rows = select(tallies).where(tallies.c.job == job).order_by(tallies.c.state, tallies.c.relay, tallies.c.failure)
    return tuple(
        Tally(DeliveryState(row.state), row.relay, Failure(row.failure) if row.failure else None, row.number)
        for row in await tx.execute(rows)
    )


_PLANNED = ["job", "subscriber_id", "list_id", "provider", "state", "attempts", "due"]

_ERASE = delete(deliveries).where(
    deliveries.c.job == bindparam("of_job"), deliveries.c.subscriber_id.in_(bindparam("ids", expanding=True))
)
_ERASE_OURS = _ERASE.where(deliveries.c.lease_by == bindparam("of_worker"))

_SETTLE = (
    update(deliveries)
    .where(deliveries.c.job == bindparam("of_job"), deliveries.c.subscriber_id == bindparam("of_subscriber"))
    .where(
        (deliveries.c.lease_by == bindparam("of_worker"))
        | (bindparam("is_sent", type_=deliveries.c.attempts.type) == 1)
    )
    .values(
        state=bindparam("to_state"),
        attempts=bindparam("to_attempts"),
        first=bindparam("to_first"),
        due=bindparam("to_due"),
        lease_by=null(),
    )
)


def _settled(one: Settlement, worker: str, now: datetime) -> dict[str, object]:
    first = one.claimed.first or (now if one.is_attempt else None)
    return {
        "of_job": one.claimed.job,
        "of_subscriber": one.claimed.subscriber_id,
        "of_worker": worker,
        "is_sent": int(one.state is DeliveryState.SENT),
        "to_state": one.state,
        "to_attempts": one.claimed.attempts + one.is_attempt,
        "to_first": None if first is None else seconds(first),
        "to_due": seconds(one.retry_at or now),
    }


def _planned(job: str, provider: Any, due: Any) -> Any:
    state = literal(DeliveryState.DUE.value)
    return select(literal(job), subscribers.c.id, subscribers.c.list_id, provider, state, literal(0), due)


def _claimed(row: Any) -> Claimed:
    return Claimed(row.job, row.subscriber_id, row.list_id, row.provider, row.attempts, _moment(row.first))


def _moment(value: int | None) -> datetime | None:
    return None if value is None else datetime.fromtimestamp(value, UTC)
