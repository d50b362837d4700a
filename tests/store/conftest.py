"""A database as the service opens it, keys, and people to enter."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from mailer.crypto.index import Index
from mailer.crypto.vault import RosterKey, ServiceSecrets
from mailer.model.address import Address
from mailer.model.language import Language
from mailer.model.subscriber import Drawer, State
from mailer.store import roster
from mailer.store.database import Database, Transaction
from mailer.store.roster import Newcomer, Person
from mailer.store.tables import metadata
from tests.store.unprivileged import connections_ended

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TODAY = date(2026, 3, 1)


@pytest.fixture(autouse=True)
async def _connections_end() -> AsyncIterator[None]:
    """Outlast aiosqlite's threads: where a connection failed, nothing waits for them, and they speak to the loop."""
    yield
    await connections_ended()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mailer.db"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """On both engines, unless a test's file names one."""
    database = Database(database_url)
    await database.open()
    yield database
    await database.close()


@pytest.fixture(scope="session")
def secrets() -> ServiceSecrets:
    return ServiceSecrets.generate()


@pytest.fixture(scope="session")
def roster_key() -> RosterKey:
    return RosterKey.generate()


def somebody(address: str, list_id: str = "news") -> Person:
    """A person with a drawn index: hashing belongs to the tests of the vault, and takes its time by intent."""
    return Person(list_id, Address.parse(address), Index(os.urandom(32), os.urandom(32)), os.urandom(32))


@dataclass
class Register:
    """Enters people as the walks do, with a transaction of its own for each."""

    database: Database
    secrets: ServiceSecrets
    roster_key: RosterKey

    def __post_init__(self) -> None:
        self._numbers = itertools.count()

    async def enter(
        self, person: Person | None = None, state: State = State.ACTIVE, language: Language = Language.EN
    ) -> tuple[Person, Newcomer]:
        person = person or somebody(f"reader-{next(self._numbers)}@reader.example")
        drawer = Drawer(b"certificate", "f00d")
        new = Newcomer(os.urandom(12), os.urandom(32), drawer, language, "other-1", TODAY, state)
        async with self.database.write() as tx:
            await roster.add(tx, self.secrets, self.roster_key.public, person, new)
        return person, new

    async def find(self, person: Person) -> roster.Found | None:
        async with self.database.read() as tx:
            return await roster.find(tx, person)

    async def content(self) -> bytes:
        """All that the database holds, every column of every row, as it lies there."""
        if self.database.folder is not None:
            await self.database.close()
            return (self.database.folder / "mailer.db").read_bytes()
        async with self.database.read() as tx:
            rows = [row for table in metadata.tables.values() for row in await tx.execute(select(table))]
        return b"\n".join(_octets(value) for row in rows for value in row)

    async def do(self, act: Callable[[Transaction], Awaitable[object]]) -> object:
        async with self.database.write() as tx:
            return await act(tx)


def _octets(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture
def register(database: Database, secrets: ServiceSecrets, roster_key: RosterKey) -> Register:
    return Register(database, secrets, roster_key)
