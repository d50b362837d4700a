"""Transactions in one visit to a thread, and statements in one: what they do is what the others do."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import event, insert, select, text

from mailer.errors import StoreConflict, StoreError
from mailer.store.database import Database, Transaction
from mailer.store.tables import counters, tallies
from mailer.store.upsert import add_up

ROW = {"job": "d1", "state": "sent", "relay": "main", "failure": ""}


async def number(database: Database) -> int | None:
    async with database.read() as tx:
        return (await tx.execute(select(tallies.c.number))).scalar()


async def test_what_is_written_at_once_is_there_for_everybody(database: Database) -> None:
    async def work(tx: Transaction) -> str:
        await add_up(tx, tallies, [{**ROW, "number": 3}])
        await add_up(tx, tallies, [{**ROW, "number": 4}])
        return "done"

    assert await database.write_at_once(work) == "done"
    assert await number(database) == 7


async def test_what_fails_in_the_middle_leaves_no_trace(database: Database) -> None:
    async def work(tx: Transaction) -> None:
        await add_up(tx, tallies, [{**ROW, "number": 3}])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write_at_once(work)
    assert await number(database) is None
    await database.write_at_once(lambda tx: add_up(tx, tallies, [{**ROW, "number": 1}]))
    assert await number(database) == 1


async def test_what_is_read_at_once_is_what_was_committed(database: Database) -> None:
    async def work(tx: Transaction) -> int | None:
        return (await tx.execute(select(tallies.c.number))).scalar()

    async with database.write() as tx:
        await add_up(tx, tallies, [{**ROW, "number": 2}])
    assert await database.read_at_once(work) == 2


async def test_errors_are_the_operators(database: Database) -> None:
    async def work(tx: Transaction) -> None:
        row = {"key": b"k" * 32, "used": 1, "expires": 1}
        await tx.execute(insert(counters), [row, row])

    with pytest.raises(StoreConflict):
        await database.write_at_once(work)


async def test_writers_of_both_kinds_take_turns(database: Database) -> None:
    async def slowly() -> None:
        async with database.write() as tx:
            await add_up(tx, tallies, [{**ROW, "number": 1}])
            await asyncio.sleep(0)

    at_once = [database.write_at_once(lambda tx: add_up(tx, tallies, [{**ROW, "number": 1}])) for _ in range(20)]
    await asyncio.gather(*at_once, *(slowly() for _ in range(20)))
    assert await number(database) == 40


async def test_work_that_waits_for_something_else_is_refused_and_undone(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/mailer.db")
    await database.open()

    async def work(tx: Transaction) -> None:
        await add_up(tx, tallies, [{**ROW, "number": 1}])
        await asyncio.sleep(0)

    with pytest.raises(TypeError, match="awaits nothing but its transaction"):
        await database.write_at_once(work)
    assert await number(database) is None
    await database.close()


async def test_a_transaction_without_a_statement_never_begins_and_the_connection_is_fit_for_the_next(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path}/mailer.db")
    await database.open()
    for _ in range(3):
        async with database.write():
            pass
        async with database.read():
            pass
    async with database.write() as tx:
        await add_up(tx, tallies, [{**ROW, "number": 1}])
    assert await number(database) == 1
    await database.close()


async def test_a_statement_that_fails_leaves_the_transaction_to_its_end(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/mailer.db")
    await database.open()
    with pytest.raises(StoreError):
        async with database.write() as tx:
            await add_up(tx, tallies, [{**ROW, "number": 1}])
            await tx.execute(text("SELECT nonsense"))
    assert await number(database) is None
    await database.close()


async def test_a_writer_holds_the_file_from_its_first_statement_on(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/mailer.db")
    await database.open()
    other = sqlite3.connect(tmp_path / "mailer.db", timeout=0, isolation_level=None)
    async with database.write() as tx:
        (await tx.execute(select(tallies))).all()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.rollback()
    other.close()
    await database.close()


async def test_every_engine_tells_what_it_runs(database: Database) -> None:
    heard: list[str] = []
    for engine in database.engines:
        event.listen(engine, "before_cursor_execute", lambda *one: heard.append(one[2]))

    async def work(tx: Transaction) -> None:
        await add_up(tx, tallies, [{**ROW, "number": 1}])

    await database.write_at_once(work)
    await number(database)
    assert any(one.startswith("INSERT INTO tallies") for one in heard)
    assert any(one.startswith("SELECT") for one in heard)
