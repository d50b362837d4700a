"""Who left or was banned, as marks; and when and where the last backups were made."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from sqlalchemy import delete, select

from mailer.store import upsert
from mailer.store.condition import BACKUP
from mailer.store.database import Database, Transaction
from mailer.store.tables import deliveries, forgotten, requests, seconds, subscribers, suppressions, traits

PLACES = "backups"  # in `traits`: paths of the last backups and when they were made
PLACES_KEPT = 8
FORGOTTEN = "forgotten"
_PAGE = 500
_MOMENT_S = 0.2


@dataclass(frozen=True, slots=True)
class Mark:
    """Somebody who is to stay off a list. mark: keyed; only who has the service secrets can tell whose it is."""

    list_id: str
    mark: bytes
    kind: str
    day: date


async def since(database: Database, day: date) -> list[Mark]:
    """Return the marks that were made on a day or later."""
    rows = select(suppressions).where(suppressions.c.day >= day).order_by(suppressions.c.list_id, suppressions.c.mark)
    async with database.read() as tx:
        return [Mark(row.list_id, bytes(row.mark), row.kind, row.day) for row in await tx.execute(rows)]


async def note_forgotten(tx: Transaction, list_id: str, mark: bytes, today: date) -> None:
    """Remember, until it stands beside the backups, that somebody is to be in none of them; nothing without backups."""
    if (await tx.execute(select(traits.c.name).where(traits.c.name == PLACES))).first() is None:
        return
    row = upsert.insert(tx, forgotten).values(list_id=list_id, mark=mark, day=today)
    await tx.execute(row.on_conflict_do_nothing())


async def who_forgotten(database: Database) -> list[Mark]:
    """Return those of whom that is still to be written."""
    rows = select(forgotten).order_by(forgotten.c.list_id, forgotten.c.mark)
    async with database.read() as tx:
        return [Mark(row.list_id, bytes(row.mark), FORGOTTEN, row.day) for row in await tx.execute(rows)]


async def forget(database: Database, written: Sequence[Mark], before: date) -> None:
    """Erase those that were written, and all from before a day: the backups were carried away."""
    if not written and not await who_forgotten(database):
        return
    async with database.write() as tx:
        await tx.execute(delete(forgotten).where(forgotten.c.day < before))
        for one in written:
            is_it = (forgotten.c.list_id == one.list_id) & (forgotten.c.mark == one.mark)
            await tx.execute(delete(forgotten).where(is_it))


async def apply(tx: Transaction, marks: Sequence[Mark]) -> int:
    """Erase whoever has such a mark, and keep out those who left or were banned; return how many were erased."""
    erased = 0
    for one in marks:
        if one.kind == FORGOTTEN:
            continue
        row = upsert.insert(tx, suppressions).values(list_id=one.list_id, mark=one.mark, kind=one.kind, day=one.day)
        kept = {"kind": row.excluded.kind, "day": row.excluded.day}
        await tx.execute(row.on_conflict_do_update(index_elements=["list_id", "mark"], set_=kept))
    for start in range(0, len(marks), _PAGE):
        wanted = [one.mark for one in marks[start : start + _PAGE]]
        found = select(subscribers.c.id, subscribers.c.look_up).where(subscribers.c.suppression.in_(wanted))
        rows = (await tx.execute(found)).all()
        ids, look_ups = [row.id for row in rows], [row.look_up for row in rows]
        await tx.execute(delete(deliveries).where(deliveries.c.subscriber_id.in_(ids)))
        await tx.execute(delete(requests).where(requests.c.look_up.in_(look_ups)))
        erased += (await tx.execute(delete(subscribers).where(subscribers.c.id.in_(ids)))).rowcount
    return erased


async def set_backup(database: Database, path: str, now: datetime) -> None:
    """Remember that a backup was made, and where, so that those who leave are written down beside it."""
    made = [*await backups(database), (path, now)][-PLACES_KEPT:]
    places = json.dumps([[path, seconds(moment)] for path, moment in made]).encode()
    async with database.write() as tx:
        for name, value in ((BACKUP, str(seconds(now)).encode()), (PLACES, places)):
            row = upsert.insert(tx, traits).values(name=name, value=value)
            await tx.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": row.excluded.value}))


async def backups(database: Database) -> list[tuple[str, datetime]]:
    """Return the paths of the last backups, the newest last, and when each was made."""
    async with database.read() as tx:
        value = (await tx.execute(select(traits.c.value).where(traits.c.name == PLACES))).scalar()
    return [(path, datetime.fromtimestamp(moment, UTC)) for path, moment in json.loads(value)] if value else []


def read_places(file: Path) -> list[str]:
    """Return the paths of the last backups, of a database that nobody may be able to open any more; never raises."""
    try:
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=_MOMENT_S)
        try:
            [value] = connection.execute("SELECT value FROM traits WHERE name = ?", (PLACES,)).fetchone() or ["[]"]
            return [str(path) for path, _ in json.loads(value)]
        finally:
            connection.close()
    except (sqlite3.Error, ValueError):
        return []
