"""PostgreSQL: what the server says gets a name and no words, nothing is held for long, and restarts are survived."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import text

from mailer.errors import (
    InstanceBusy,
    StoreConflict,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreTaken,
    StoreUnreachable,
)
from mailer.store import inbox, postgresql
from mailer.store.database import Database
from tests.cluster import Cluster, free_port
from tests.store.conftest import NOW


@pytest.fixture
def database_url(cluster: Cluster) -> Iterator[str]:
    with cluster.fresh("migrated") as url:
        yield url


@pytest.fixture(scope="module")
def fragile() -> Iterator[Cluster]:
    """A server of this file's own, to be ended in the middle."""
    cluster = Cluster.make("127.0.0.1", free_port())
    yield cluster
    cluster.remove()


@pytest.fixture
async def opened(fragile: Cluster) -> AsyncIterator[Database]:
    database = Database(f"postgresql://mailer@127.0.0.1:{fragile.port}/postgres")
    await database.open()
    yield database
    await database.close()


async def waiting(database: Database) -> int:
    async with database.read() as tx:
        return (await inbox.count(tx)).get("waiting", 0)


async def put(database: Database, inbox_id: bytes) -> None:
    async with database.write() as tx:
        await inbox.add(tx, inbox_id, b"sealed", NOW)


# --- What goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        ("53100", StoreFull),
        ("53200", StoreFull),
        ("XX001", StoreDamaged),
        ("23505", StoreConflict),
        ("40001", StoreConflict),
        ("40P01", StoreConflict),
        ("28P01", StoreRefused),
        ("42501", StoreRefused),
        ("57P01", StoreUnreachable),
        ("55P03", StoreError),
        ("22012", StoreError),
    ],
)
async def test_what_the_server_reports_gets_its_name_and_none_of_its_words(
    database: Database, sqlstate: str, expected: type[StoreError]
) -> None:
    planted = f"DO $$ BEGIN RAISE EXCEPTION 'ada@reader.example' USING ERRCODE = '{sqlstate}'; END $$"
    with pytest.raises(expected, match=sqlstate) as caught:
        async with database.write() as tx:
            await tx.execute(text(planted))
    assert type(caught.value) is expected
    assert "reader.example" not in f"{caught.value} {caught.value.__context__}"
    assert await waiting(database) == 0  # the connection is good again


async def test_of_two_who_wait_for_each_other_one_goes_on_and_the_other_has_a_conflict(database: Database) -> None:
    await put(database, b"1" * 12)
    await put(database, b"2" * 12)
    both = asyncio.Barrier(2)

    async def remove(*ids: bytes) -> None:
        async with database.write() as tx:
            await inbox.remove(tx, ids[0])
            await both.wait()
            await inbox.remove(tx, ids[1])

    ids = [b"1" * 12, b"2" * 12]
    outcomes = await asyncio.gather(remove(*ids), remove(*reversed(ids)), return_exceptions=True)
    assert [type(one) for one in outcomes if one is not None] == [StoreConflict]
    assert await waiting(database) == 0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://mailer@127.0.0.1:1/none", StoreUnreachable),
        ("postgresql+asyncpg:///none?host=/nowhere", StoreUnreachable),
        ("postgresql://mailer@127.0.0.1:1/none?sslmode=require", StoreError),
    ],
)
async def test_a_server_that_is_not_there_is_named_so(url: str, expected: type[StoreError]) -> None:
    with pytest.raises(expected):
        await Database(url).open()


async def test_a_database_or_a_role_that_is_not_there_is_named_so(cluster: Cluster) -> None:
    for url in (cluster.url("none"), cluster.url("postgres").replace("mailer@", "nobody@")):
        with pytest.raises(StoreRefused, match=r"3D000|28000"):
            await Database(url).open()


def test_a_driver_that_is_missing_is_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StoreError, match=r"mailer\[postgres\]"):
        Database("postgresql://mailer@localhost/mailer")


async def test_a_database_of_a_later_mailer_is_named_so(database: Database) -> None:
    async with database.write() as tx:
        await tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="another version"):
        await database.open()


async def test_a_server_that_ends_in_the_middle_is_named_so_and_its_restart_is_survived(
    fragile: Cluster, opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "PING_AFTER_S", 0.0)
    with pytest.raises(StoreUnreachable):
        async with opened.write() as tx:
            await inbox.add(tx, b"1" * 12, b"sealed", NOW)
            fragile.stop(signal.SIGQUIT)
            await inbox.add(tx, b"2" * 12, b"sealed", NOW)
    with pytest.raises(StoreUnreachable):
        await waiting(opened)
    fragile.start()
    assert await waiting(opened) == 0
    fragile.stop()
    fragile.start()
    assert await waiting(opened) == 0  # the pool's connections were gone, and nobody noticed


async def test_who_stops_in_the_middle_of_a_transaction_does_not_hold_its_rows(
    cluster: Cluster, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgresql._SERVER_SETTINGS, "idle_in_transaction_session_timeout", "50ms")
    stuck, other = Database(database_url), Database(database_url)
    await put(other, b"1" * 12)
    with pytest.raises(StoreUnreachable):
        async with stuck.write() as tx:
            assert len(await inbox.claim(tx, NOW, 300.0, 1)) == 1
            cluster.sql("SELECT pg_sleep(0.2)")  # the whole process stands still meanwhile
            async with other.write() as theirs:
                assert len(await inbox.claim(theirs, NOW, 300.0, 1)) == 1
            await inbox.remove(tx, b"1" * 12)
    assert await waiting(other) == 1
    await stuck.close()
    await other.close()


# --- What holds -----------------------------------------------------------------------------------------------------


async def test_each_connection_has_the_settings(opened: Database) -> None:
    async with opened.read() as first, opened.write() as second:
        for tx in (first, second):
            for name in ("tcp_user_timeout", "tcp_keepalives_idle", "lock_timeout", "statement_timeout"):
                assert (await tx.execute(text(f"SHOW {name}"))).scalar_one() not in {"0", "7200"}, name
            raw = (await tx.get_raw_connection()).driver_connection
            connected = raw._transport.get_extra_info("socket")
            assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 25_000


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(StoreError, match="25006"):
        async with database.read() as tx:
            await inbox.add(tx, b"1" * 12, b"", NOW)


async def test_several_who_start_at_once_make_the_tables_once(cluster: Cluster) -> None:
    with cluster.fresh() as url:
        starters = [Database(url) for _ in range(4)]
        await asyncio.gather(*(one.open() for one in starters))
        assert [await waiting(one) for one in starters] == [0] * 4
        for one in starters:
            await one.close()


async def test_nobody_has_the_database_alone_while_another_uses_it(database: Database) -> None:
    await waiting(database)
    other = Database(database.url)
    with pytest.raises(InstanceBusy):
        await other.open(alone=True)
    await other.close()
    await database.close()
    await other.open(alone=True)
    assert await waiting(other) == 0
    await other.close()


async def test_while_one_has_the_database_alone_others_wait(database: Database) -> None:
    await database.close()
    alone = Database(database.url)
    await alone.open(alone=True)
    with pytest.raises(StoreTaken):
        await waiting(database)
    await alone.close()
    assert await waiting(database) == 0
