"""What goes wrong with an SQLite file gets its name, processes take turns, and nothing of what is erased is left."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text

from mailer.errors import StoreDamaged, StoreError, StoreFull
from mailer.store import database as database_module
from mailer.store import inbox
from mailer.store.database import Database
from mailer.store.tables import counters
from tests.store.conftest import NOW
from tests.store.unprivileged import run_unprivileged


@pytest.fixture
def database_url(path: Path) -> str:
    """Here it is all about SQLite; test_postgresql and test_transactions have the rest."""
    return f"sqlite:///{path}"


async def put(database: Database, inbox_id: bytes = b"1" * 12, sealed: bytes = b"x" * 50_000) -> None:
    async with database.write() as tx:
        await inbox.add(tx, inbox_id, sealed, NOW)


async def waiting(database: Database) -> int:
    async with database.read() as tx:
        return (await inbox.count(tx)).get("waiting", 0)


# --- What goes wrong ------------------------------------------------------------------------------------------------


@contextmanager
def no_more_pages(database: Database) -> Iterator[None]:
    """Let the file grow no further, on each connection from now on (SQLite's own "disk full")."""

    def limit(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # never below what there is

    engine = database._engine.sync_engine
    event.listen(engine, "connect", limit)
    yield
    event.remove(engine, "connect", limit)


async def test_a_full_database_takes_nothing_and_keeps_what_it_had(database: Database) -> None:
    await put(database, b"before".ljust(12))
    await database.close()
    with no_more_pages(database), pytest.raises(StoreFull, match="SQLITE_FULL"):
        await put(database)
    assert await waiting(database) == 1
    await database.close()
    await put(database)
    assert await waiting(database) == 2


@contextmanager
def full_disk(octets: int) -> Iterator[None]:
    """No file of this process may grow beyond so many octets, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_takes_nothing_and_the_same_connection_works_afterwards(
    database: Database, path: Path
) -> None:
    await put(database, b"before".ljust(12))
    with full_disk(path.with_name("mailer.db-wal").stat().st_size), pytest.raises(StoreFull):
        await put(database)
    assert await waiting(database) == 1
    await put(database)
    assert await waiting(database) == 2


async def test_a_file_that_is_no_database_is_damaged(path: Path) -> None:
    path.write_bytes(b"no database at all, but long enough to look at" * 100)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(StoreDamaged, match="restore a backup"):
        await database.open()
    await database.close()


async def test_a_database_with_damaged_pages_is_damaged(database: Database, path: Path) -> None:
    for number in range(20):
        await put(database, b"%012d" % number)
    await database.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreDamaged):
        await waiting(database)


async def test_a_database_that_another_program_keeps_locked_is_named_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.01)
    database = Database(f"sqlite:///{path}")
    await database.open()
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="SQLITE_BUSY"):
        await put(database)
    assert await waiting(database) == 0  # readers go on
    other.rollback()
    await put(database)
    other.close()
    await database.close()


def test_a_folder_that_is_read_only_is_named_so(tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o500)

    async def open_there() -> None:
        await Database(f"sqlite:///{folder}/mailer.db").open()

    with pytest.raises(StoreError, match="Permission denied"):
        run_unprivileged(open_there)


def test_a_database_that_is_read_only_is_named_so(tmp_path: Path) -> None:
    path = tmp_path / "mailer.db"
    sqlite3.connect(path).close()
    path.chmod(0o400)

    async def open_there() -> None:
        await Database(f"sqlite:///{path}").open()

    with pytest.raises(StoreError, match=r"mailer.db is no file that this user may read and write"):
        run_unprivileged(open_there)


def test_a_folder_that_becomes_read_only_is_named_so(tmp_path: Path) -> None:
    folder = tmp_path / "soon-read-only"

    async def open_and_put() -> None:
        database = Database(f"sqlite:///{folder}/mailer.db")
        await database.open()
        await database.close()
        folder.chmod(0o500)
        try:
            await put(database)
        finally:
            await database.close()
            folder.chmod(0o700)

    with pytest.raises(StoreError, match=r"SQLITE_(READONLY|CANTOPEN)"):
        run_unprivileged(open_and_put)


async def test_a_folder_in_the_place_of_the_file_is_named_so(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match=r"mailer.db is no file"):
        await Database(f"sqlite:///{path}").open()


async def test_a_file_in_the_place_of_the_folder_is_named_so(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(StoreError, match=r"File exists|Not a directory|no file"):
        await Database(f"sqlite:///{path}/mailer.db").open()


async def test_opening_the_same_file_once_more_does_not_let_another_program_take_the_journal_away(
    database: Database, path: Path
) -> None:
    """Whoever closes a file drops all locks of the process on it (fcntl(2)): the other program would think it alone."""
    await put(database)
    journal = path.with_name("mailer.db-wal").stat().st_ino
    second = Database(f"sqlite:///{path}")
    await second.open()
    other = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM inbox'); c.close()"
    subprocess.run([sys.executable, "-c", other, str(path)], check=True)
    assert path.with_name("mailer.db-wal").stat().st_ino == journal
    await second.close()


async def test_a_url_that_is_none_is_named_so() -> None:
    with pytest.raises(StoreError, match="ArgumentError"):
        Database("planted@reader.example")


# --- What holds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pragma", "expected"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),  # FULL: an fsync before each commit returns
        ("secure_delete", 1),
        ("temp_store", 2),  # MEMORY
        ("foreign_keys", 1),
        ("journal_size_limit", 16 * 1024 * 1024),
    ],
)
async def test_each_connection_has_the_settings(database: Database, pragma: str, expected: object) -> None:
    async with database.read() as first, database.write() as second, database.read() as third:
        for tx in (first, second, third):
            assert (await tx.execute(text(f"PRAGMA {pragma}"))).scalar_one() == expected


async def test_every_file_is_for_its_owner_alone(database: Database, path: Path) -> None:
    await put(database)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"mailer.db": 0o600, "mailer.db-wal": 0o600, "mailer.db-shm": 0o600}


async def test_a_folder_that_is_made_is_for_its_owner_alone(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/new/mailer.db")
    await database.open()
    await database.close()
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


async def test_a_writer_that_reads_first_does_not_fail_where_another_wrote_in_between(database: Database) -> None:
    async def count_up() -> None:
        async with database.write() as tx:
            used = (await tx.execute(select(counters.c.used))).scalar_one_or_none()
            if used is None:
                await tx.execute(insert(counters).values(key=b"k", used=1, expires=1))
            else:
                await tx.execute(counters.update().values(used=used + 1))

    await asyncio.gather(*(count_up() for _ in range(8)))
    async with database.read() as tx:
        assert (await tx.execute(select(counters.c.used))).scalar_one() == 8


async def test_what_is_erased_is_gone_from_the_files(database: Database, path: Path) -> None:
    planted = b"planted so that it can be found" * 10
    await put(database, sealed=planted)
    assert any(planted in file.read_bytes() for file in path.parent.iterdir())
    async with database.write() as tx:
        assert await inbox.remove(tx, b"1" * 12)
    await database.close()  # folds the journal into the file
    assert [file.name for file in path.parent.iterdir()] == ["mailer.db"]
    assert planted not in path.read_bytes()
