"""Rows for an instance, sealed by two processes. What the deliverer reads is as the service would have written it.

Two shortcuts, neither of which a delivery touches: the look-up value is drawn instead of hashed with Argon2id, so
nobody can be looked up by address; and records are *absorbed* from the start, as they are after the first digest,
unless the register is to be fresh, as the intake leaves it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from multiprocessing import get_context
from pathlib import Path

from sqlalchemy import text

from mailer.crypto.index import Index
from mailer.crypto.vault import DataKey, RosterKey, RosterPublic
from mailer.instance import Instance
from mailer.model.address import Address
from mailer.model.language import Language
from mailer.model.subscriber import Drawer, Record
from mailer.store import bulk, roster
from mailer.store.database import Database
from mailer.store.ledger import Ledger, open_data_key

LIST_ID = "news"
SERVICE, ROSTER = "service passphrase of the benchmark", "roster passphrase of the benchmark"
JOINED = date(2026, 1, 5)
CHUNK = 1000
# Where mailboxes are: of 20 subscribers so many each, and the rest elsewhere
PROVIDERS = ("gmail.com",) * 7 + ("qq.com",) * 4 + ("163.com",) * 2 + ("outlook.com",) * 2


@dataclass(frozen=True, slots=True)
class _Absorbing:
    """Seals records as the deliverer does once it has seen them; takes the place of the roster's public key."""

    data_key: DataKey

    def seal_record(self, record: Record, list_id: str, subscriber_id: bytes) -> bytes:
        return self.data_key.seal_record(record, list_id, subscriber_id)


async def fill(instance: Instance, size: int, drawers: Sequence[Drawer], *, is_fresh: bool) -> None:
    """Enter so many subscribers into an empty register, with these drawers in turn."""
    database = instance.database()
    await database.open()
    data_key = await _data_key(database, instance.open_roster(ROSTER))
    starts = range(0, size, CHUNK)
    with ProcessPoolExecutor(2, get_context("spawn")) as pair:
        chunks = [
            pair.submit(_seal, instance.folder, None if is_fresh else data_key, drawers, at, min(at + CHUNK, size))
            for at in starts
        ]
        for chunk in chunks:
            async with database.write() as tx:
                await bulk.enter(tx, chunk.result(), datetime.now(UTC))
    async with database.write() as tx:
        await tx.execute(text("ANALYZE"))  # which PostgreSQL does by itself within a minute
    await database.close()


async def _data_key(database: Database, roster_key: RosterKey) -> DataKey:
    """Return the register's first data key."""
    await Ledger.open(database, roster_key)
    async with database.read() as tx:
        row = (await tx.execute(text("SELECT id, sealed FROM roster_data_keys"))).one()
    return open_data_key(row.sealed, row.id, (roster_key,))


def _seal(
    folder: Path, data_key: DataKey | None, drawers: Sequence[Drawer], first: int, end: int
) -> list[bulk.Entrant]:
    """Return some subscribers' rows; run in a process of its own."""
    instance = Instance.open(folder)
    _, secrets = instance.open_service(SERVICE)
    public: RosterPublic | _Absorbing = _Absorbing(data_key) if data_key else instance.roster_public()
    entrants = []
    for number in range(first, end):
        domain = PROVIDERS[number % 20] if number % 20 < len(PROVIDERS) else f"provider-{number % 97}.example"
        address = Address.parse(f"reader-{number:07}@{domain}")
        drawn = Index(look_up=os.urandom(32), wrapping_key=os.urandom(32))
        person = roster.Person(LIST_ID, address, drawn, os.urandom(32))
        provider = instance.providers.name_of(address)
        new = roster.Newcomer.draw(os.urandom, drawers[number % len(drawers)], Language.EN, provider, JOINED)
        entrant = bulk.seal(secrets, public, person, new, None)  # type: ignore[arg-type]
        if data_key:
            entrant.columns["data_key_id"] = data_key.id
        entrants.append(entrant)
    return entrants
