"""How the database fares, for `mailer doctor` and the alerts: what waits since when, and whether the file is whole.

Numbers and moments only: nothing here says who.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, func, select, text

from mailer.model.digest import DeliveryState, DigestState
from mailer.store import queue
from mailer.store.database import Transaction
from mailer.store.tables import deliveries, digests, outbox, seconds, sightings, subscribers, traits
from mailer.store.tables import inbox as inbox_table

BACKUP = "backup"  # the trait: when the last backup was made, seconds as text


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits, and since when the oldest of it could have been dealt with; None where nothing does.

    deliveries: of digests that may leave now, and of notices; since when the most overdue of them is due. is_moving:
    whether a worker has some in its hands; then the rest only waits its turn.
    """

    letters: int
    oldest_letter: datetime | None
    replies: int
    oldest_reply: datetime | None
    deliveries: int
    oldest_delivery: datetime | None
    is_moving: bool


async def waiting(tx: Transaction, now: datetime) -> Waiting:
    """Return what waits in the three queues; of the outbox what was tried, too."""
    letters = await _count_and_oldest(tx, inbox_table.c.received, inbox_table.c.aside.is_(None))
    replies = await _count_and_oldest(tx, outbox.c.queued)
    jobs = [*await _sending(tx), *await queue.notice_jobs(tx)]
    of_them = deliveries.c.job.in_(jobs)
    is_due = (of_them, deliveries.c.state == DeliveryState.DUE, deliveries.c.due <= seconds(now))
    overdue = await _count_and_oldest(tx, deliveries.c.due, *is_due)
    leased = select(deliveries.c.job).where(of_them, deliveries.c.state == DeliveryState.LEASED).limit(1)
    return Waiting(
        letters=letters[0],
        oldest_letter=_moment(letters[1], 1000),
        replies=replies[0],
        oldest_reply=_moment(replies[1]),
        deliveries=overdue[0],
        oldest_delivery=_moment(overdue[1]),
        is_moving=(await tx.execute(leased)).first() is not None,
    )


async def aside(tx: Transaction, since: datetime | None = None) -> dict[str, int]:
    """Return how many letters are set aside, by reason; only those that came since a moment, if there is one."""
    columns = inbox_table.c
    counted = select(columns.aside, func.count()).where(columns.aside.is_not(None)).group_by(columns.aside)
    if since is not None:
        counted = counted.where(columns.received >= seconds(since) * 1000)
    return {row[0]: int(row[1]) for row in await tx.execute(counted)}


async def poisoned(tx: Transaction) -> int:
    """Return how many deliveries were set aside, of which an admin has to look at each."""
    is_aside, notices = deliveries.c.state == DeliveryState.ASIDE, await queue.notice_jobs(tx)
    jobs = (select(digests.c.id), notices)  # by job, so that the index finds them among a million others
    counts = [select(func.count()).where(deliveries.c.job.in_(each), is_aside) for each in jobs]
    return sum([int((await tx.execute(each)).scalar_one()) for each in counts])


async def held(tx: Transaction) -> list[str]:
    """Return the digests that wait for an organiser because it is too late for them."""
    return list((await tx.execute(select(digests.c.id).where(digests.c.state == DigestState.HELD))).scalars())


async def unseen_copies(tx: Transaction, begun_before: datetime, since: datetime) -> dict[str, tuple[str, set[bytes]]]:
    """Return the digests that began between two moments: the id of the list, and the seeds that had a copy seen."""
    began = (digests.c.started <= seconds(begun_before)) & (digests.c.started >= seconds(since))
    rows = (await tx.execute(select(digests.c.id, digests.c.list_id).where(began))).all()
    found: dict[str, tuple[str, set[bytes]]] = {row.id: (row.list_id, set()) for row in rows}
    for row in await tx.execute(select(sightings).where(sightings.c.digest_id.in_(found))):
        found[row.digest_id][1].add(row.seed_id)
    return found


async def newest(tx: Transaction) -> datetime | None:
    """Return the newest moment at which something was written down."""
    columns = ((inbox_table.c.received, 1000), (outbox.c.queued, 1), (digests.c.created, 1), (digests.c.started, 1))
    found = [_moment((await tx.execute(select(func.max(column)))).scalar(), unit) for column, unit in columns]
    return max((one for one in found if one is not None), default=None)


async def last_backup(tx: Transaction) -> datetime | None:
    """Return when the last backup was made; None where none was."""
    value = (await tx.execute(select(traits.c.value).where(traits.c.name == BACKUP))).scalar()
    return _moment(int(value)) if value is not None and value.isdigit() else None


async def is_empty(tx: Transaction) -> bool:
    """Whether there is nobody and nothing yet that a backup would have to save."""
    people = (await tx.execute(select(subscribers.c.id).limit(1))).first()
    return people is None and (await tx.execute(select(digests.c.id).limit(1))).first() is None


async def damage(tx: Transaction) -> bool:
    """Whether an SQLite file is damaged. Reads all of it. Raises StoreDamaged where it cannot even be read."""
    return bool((await tx.execute(text("PRAGMA quick_check(1)"))).scalar() != "ok")


async def lax_settings(tx: Transaction) -> list[str]:
    """Return which of SQLite's protections this file, or the disk beneath it, does not let us have."""
    wanted = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}
    found = {name: (await tx.execute(text(f"PRAGMA {name}"))).scalar() for name in wanted}
    return [name for name, value in wanted.items() if found[name] != value]


async def _sending(tx: Transaction) -> list[str]:
    return list((await tx.execute(select(digests.c.id).where(digests.c.state == DigestState.SENDING))).scalars())


async def _count_and_oldest(
    tx: Transaction, moment: ColumnElement[int], *which: ColumnElement[bool]
) -> tuple[int, int | None]:
    row = (await tx.execute(select(func.count(), func.min(moment)).where(*which))).one()
    oldest: int | None = row[1]
    return int(row[0]), oldest


def _moment(value: int | None, per_second: int = 1) -> datetime | None:
    return None if value is None else datetime.fromtimestamp(value / per_second, UTC)
