"""The register as the holder of the roster key reads it: who is on the list, record by record, in batches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, or_, select, update

from mailer.crypto import vault
from mailer.errors import SealBroken
from mailer.model.subscriber import Drawer, Record, Subscriber
from mailer.store.database import Database, Transaction
from mailer.store.roster import subscriber_of
from mailer.store.tables import roster_data_keys, subscribers

BATCH = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """One subscriber, all three layers open."""

    subscriber: Subscriber
    record: Record
    drawer: Drawer

    def __repr__(self) -> str:
        return "Entry(…)"


@dataclass(frozen=True, slots=True)
class Poisoned:
    """A row that does not open: damaged, or moved from elsewhere."""

    subscriber_id: bytes


class Ledger:
    """The roster key at work: opens records, fresh and absorbed, and absorbs the fresh ones it comes upon."""

    def __init__(
        self, roster_keys: tuple[vault.RosterKey, ...], data_keys: dict[bytes, vault.DataKey], current: bytes
    ) -> None:
        self._roster_keys = roster_keys
        self._data_keys = data_keys
        self._current = data_keys[current]

    @classmethod
    async def open(cls, database: Database, roster_key: vault.RosterKey, *former: vault.RosterKey) -> Ledger:
        """Open the data keys, making the first one in a new register. Raises SealBroken for another roster's key.

        former: while a rotation is not finished, the key that it began with.
        """
        async with database.write() as tx:
            rows = (await tx.execute(select(roster_data_keys))).all()
            keys = {row.id: open_data_key(row.sealed, row.id, (roster_key, *former)) for row in rows}
            current = next((row.id for row in rows if row.is_current), None)
            if current is None:
                key, sealed = roster_key.new_data_key()
                await tx.execute(insert(roster_data_keys).values(id=key.id, sealed=sealed, is_current=True))
                keys[key.id], current = key, key.id
        return cls((roster_key, *former), keys, current)

    async def entries(self, tx: Transaction, ids: Sequence[bytes]) -> dict[bytes, Entry | Poisoned]:
        """Return the subscribers with these ids, open; those who left in between are missing."""
        rows = (await tx.execute(select(subscribers).where(subscribers.c.id.in_(ids)))).all()
        return {row.id: self._open(row) for row in rows}

    async def read_all(self, database: Database, list_id: str) -> AsyncIterator[Entry | Poisoned]:
        """Give every subscriber of a list, in the order of their random ids; memory stays flat."""
        after = b""
        while True:
            page = select(subscribers).where(subscribers.c.list_id == list_id, subscribers.c.id > after)
            async with database.read() as tx:
                rows = (await tx.execute(page.order_by(subscribers.c.id).limit(BATCH))).all()
            for row in rows:
                yield self._open(row)
            if len(rows) < BATCH:
                return
            after = rows[-1].id

    async def absorb(self, tx: Transaction, ids: Sequence[bytes], *, again: bool = False) -> list[bytes]:
        """Re-encrypt the fresh records among these under the data key; return the ids of those that do not open.

        again: also those that were absorbed under another data key than the current one.
        """
        fresh = subscribers.c.data_key_id.is_(None)
        old = or_(fresh, subscribers.c.data_key_id != self._current.id) if again else fresh
        rows = (await tx.execute(select(subscribers).where(subscribers.c.id.in_(ids), old))).all()
        poisoned = []
        for row in rows:
            try:
                record = self._open_record(row)
            except SealBroken:
                poisoned.append(row.id)
                continue
            sealed = self._current.seal_record(record, row.list_id, row.id)
            one = update(subscribers).where(subscribers.c.id == row.id, subscribers.c.record == row.record)
            await tx.execute(one.values(record=sealed, data_key_id=self._current.id))
        return poisoned

    def _open(self, row: Any) -> Entry | Poisoned:
        try:
            record = self._open_record(row)
            drawer = vault.open_drawer(row.drawer, record.drawer_key, row.list_id, row.id)
            return Entry(subscriber_of(row), record, drawer)
        except SealBroken:
            return Poisoned(row.id)

    def _open_record(self, row: Any) -> Record:
        if row.data_key_id is not None:
            if row.data_key_id not in self._data_keys:
                raise SealBroken
            return self._data_keys[row.data_key_id].open_record(row.record, row.list_id, row.id)
        for key in self._roster_keys:
            try:
                return key.open_record(row.record, row.list_id, row.id)
            except SealBroken:
                continue
        raise SealBroken


def open_data_key(sealed: bytes, key_id: bytes, keys: tuple[vault.RosterKey, ...]) -> vault.DataKey:
    """Return a data key, opened by whichever roster key fits. Raises SealBroken."""
    for key in keys:
        try:
            return key.open_data_key(sealed, key_id)
        except SealBroken:
            continue
    raise SealBroken
