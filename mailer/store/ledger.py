"""The register as the holder of the roster key reads it: who is on the list, record by record, in batches."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, or_, select, update

from mailer.crypto import vault
from mailer.errors import SealBroken
from mailer.model.subscriber import Drawer, Record, State, Subscriber
from mailer.store.database import Database, Transaction
from mailer.store.roster import subscriber_of
from mailer.store.tables import roster_data_keys, subscribers
from mailer.store.upsert import insert

BATCH = 500

log = logging.getLogger("mailer.store")


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
        roster_keys = (roster_key, *former)
        async with database.write() as tx:
            keys, current = await _load(tx, roster_keys)
            if current is None:
                key, sealed = roster_key.new_data_key()
                row = insert(tx, roster_data_keys).values(id=key.id, sealed=sealed, is_current=True)
                await tx.execute(row.on_conflict_do_nothing())  # another worker's first may be there by now
                keys, current = await _load(tx, roster_keys)
        if current is None:
            raise SealBroken
        return cls(roster_keys, keys, current)

    async def reload(self, tx: Transaction) -> None:
        """Read the data keys anew: another process may have made one. Raises SealBroken for another roster's keys."""
        keys, current = await _load(tx, self._roster_keys)
        if current is None:
            raise SealBroken
        self._data_keys, self._current = keys, keys[current]

    async def entries(self, tx: Transaction, ids: Sequence[bytes]) -> dict[bytes, Entry | Poisoned]:
        """Return the subscribers with these ids, open; those who left in between are missing."""
        rows = (await tx.execute(select(subscribers).where(subscribers.c.id.in_(ids)))).all()
        await self._know_keys(tx, rows)
        return {row.id: self._open(row) for row in rows}

    async def read_all(self, database: Database, list_id: str) -> AsyncIterator[Entry | Poisoned]:
        """Give every subscriber of a list, in the order of their random ids; memory stays flat."""
        after = b""
        while True:
            page = select(subscribers).where(subscribers.c.list_id == list_id, subscribers.c.id > after)
            async with database.read() as tx:
                rows = (await tx.execute(page.order_by(subscribers.c.id).limit(BATCH))).all()
                await self._know_keys(tx, rows)
            for row in rows:
                yield self._open(row)
            if len(rows) < BATCH:
                return
            after = rows[-1].id

    async def active_page(self, tx: Transaction, place: bytes, limit: int) -> list[tuple[bytes, Entry | Poisoned]]:
        """Return the next active subscribers of all lists behind an id, each with its own, in the order of ids."""
        page = select(subscribers).where(subscribers.c.id > place, subscribers.c.state == State.ACTIVE)
        rows = (await tx.execute(page.order_by(subscribers.c.id).limit(limit))).all()
        await self._know_keys(tx, rows)
        return [(row.id, self._open(row)) for row in rows]

    async def absorb(self, tx: Transaction, ids: Sequence[bytes], *, again: bool = False) -> list[bytes]:
        """Re-encrypt the fresh records among these under the data key; return the ids of those that do not open.

        again: also those that were absorbed under another data key than the current one.
        """
        fresh = subscribers.c.data_key_id.is_(None)
        old = or_(fresh, subscribers.c.data_key_id != self._current.id) if again else fresh
        in_order = select(subscribers).order_by(subscribers.c.id)  # two who absorb the same ones must not deadlock
        rows = (await tx.execute(in_order.where(subscribers.c.id.in_(ids), old))).all()
        if not rows or not await self._holds_current(tx):
            return []
        current = self._current
        await self._know_keys(tx, rows)
        poisoned, absorbed = [], []
        for row in rows:
            try:
                record = self._open_record(row)
            except SealBroken:
                poisoned.append(row.id)
                continue
            sealed = current.seal_record(record, row.list_id, row.id)
            absorbed.append({"of": row.id, "was": row.record, "sealed": sealed, "by": current.id})
        if absorbed:
            await tx.execute(_ABSORB, absorbed)
        return poisoned

    async def _holds_current(self, tx: Transaction) -> bool:
        """Return whether the data key to absorb under is the current one, and stays so until the commit.

        A rotation elsewhere could else drop it in between, and what was absorbed would open for nobody.
        """
        one = select(roster_data_keys.c.id).where(roster_data_keys.c.is_current).with_for_update(read=True)
        if (await tx.execute(one)).scalar_one_or_none() != self._current.id:
            return await self._is_reloaded(tx)
        return True

    async def _know_keys(self, tx: Transaction, rows: Sequence[Any]) -> None:
        if any(row.data_key_id is not None and row.data_key_id not in self._data_keys for row in rows):
            await self._is_reloaded(tx)  # what is under none of them is poisoned

    async def _is_reloaded(self, tx: Transaction) -> bool:
        try:
            await self.reload(tx)
        except SealBroken:
            log.error("the roster key was changed elsewhere: start this process again with the new one")
            return False
        return True

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


async def _load(
    tx: Transaction, roster_keys: tuple[vault.RosterKey, ...]
) -> tuple[dict[bytes, vault.DataKey], bytes | None]:
    rows = (await tx.execute(select(roster_data_keys))).all()
    keys = {row.id: open_data_key(row.sealed, row.id, roster_keys) for row in rows}
    return keys, next((row.id for row in rows if row.is_current), None)


_ABSORB = (
    update(subscribers)
    .where(subscribers.c.id == bindparam("of"), subscribers.c.record == bindparam("was"))
    .values(record=bindparam("sealed"), data_key_id=bindparam("by"))
)


def open_data_key(sealed: bytes, key_id: bytes, keys: tuple[vault.RosterKey, ...]) -> vault.DataKey:
    """Return a data key, opened by whichever roster key fits. Raises SealBroken."""
    for key in keys:
        try:
            return key.open_data_key(sealed, key_id)
        except SealBroken:
            continue
    raise SealBroken
