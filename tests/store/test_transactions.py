"""A transaction is whole or leaves nothing, on both engines, and what goes wrong is said without what was stored."""

from __future__ import annotations

import asyncio
import contextlib
import os
import traceback
from datetime import timedelta

import pytest
from sqlalchemy import insert, select, text

from mailer.errors import StoreConflict, StoreError
from mailer.model.command import Verb
from mailer.store import bulk, inbox, outbox, pending, roster
from mailer.store.database import Database
from mailer.store.ledger import Ledger
from mailer.store.pending import Pending
from mailer.store.tables import counters, requests, roster_data_keys
from tests.store.conftest import NOW, TODAY, Register, somebody

SECRET = b"ada@reader.example"
AT_ONCE = 8


async def put(database: Database, inbox_id: bytes = b"1" * 12, sealed: bytes = b"sealed") -> None:
    async with database.write() as tx:
        await inbox.add(tx, inbox_id, sealed, NOW)


async def waiting(database: Database) -> int:
    async with database.read() as tx:
        return (await inbox.count(tx)).get("waiting", 0)


async def test_a_second_row_of_the_same_name_is_a_conflict(database: Database) -> None:
    await put(database)
    with pytest.raises(StoreConflict, match=r"SQLITE_CONSTRAINT|23505"):
        await put(database)
    assert await waiting(database) == 1


async def test_no_error_says_what_was_to_be_stored(database: Database) -> None:
    async def twice() -> None:
        async with database.write() as tx:
            await tx.execute(insert(counters).values(key=SECRET, used=1, expires=1))
            await tx.execute(insert(counters).values(key=SECRET, used=1, expires=1))

    async def wrong_type() -> None:
        async with database.write() as tx:
            await tx.execute(insert(counters).values(key=SECRET, used=[SECRET.decode()], expires=1))

    async def misspelt() -> None:
        async with database.write() as tx:
            await tx.execute(text("INSERT INTO countres VALUES (:key)"), {"key": SECRET.decode()})

    async def missing() -> None:
        async with database.write() as tx:
            await tx.execute(text("SELECT :key, :other"), {"key": SECRET.decode()})

    for wrong in (twice, wrong_type, misspelt, missing):
        with pytest.raises(StoreError) as caught:
            await wrong()
        assert "reader.example" not in "".join(traceback.format_exception(caught.value)), wrong.__name__
        assert "reader.example" not in str(caught.value.__context__), wrong.__name__


async def test_an_error_inside_a_transaction_leaves_no_trace_of_it(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.write() as tx:
            await inbox.add(tx, b"1" * 12, b"", NOW)
            raise ZeroDivisionError
    assert await waiting(database) == 0


async def test_a_reader_changes_nothing(database: Database) -> None:
    with contextlib.suppress(StoreError):  # PostgreSQL refuses it at once
        async with database.read() as tx:
            await inbox.add(tx, b"1" * 12, b"", NOW)
    assert await waiting(database) == 0


async def test_a_reader_sees_one_state(database: Database) -> None:
    async with database.read() as tx:
        assert await inbox.count(tx) == {}
        await put(database)
        assert await inbox.count(tx) == {}
    assert await waiting(database) == 1


# --- Two at once ----------------------------------------------------------------------------------------------------


async def test_no_more_is_counted_than_the_limit_however_many_count_at_once(database: Database) -> None:
    async def take() -> bool:
        async with database.write() as tx:
            return await pending.take(tx, b"k" * 32, "reply", "2026-03-01", 5, NOW)

    taken = await asyncio.gather(*(take() for _ in range(AT_ONCE)))
    assert sorted(taken) == [False] * 3 + [True] * 5
    async with database.read() as tx:
        assert (await tx.execute(select(counters.c.used))).scalars().all() == [5]


async def test_of_questions_asked_at_once_one_stays(database: Database) -> None:
    async def ask() -> None:
        async with database.write() as tx:
            await pending.ask(tx, os.urandom(16), Pending("news", Verb.SUBSCRIBE, b"l" * 32, b"sealed"), NOW)

    await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    async with database.read() as tx:
        assert len((await tx.execute(select(requests))).all()) == 1


async def test_whoever_is_entered_twice_at_once_is_entered_once(register: Register) -> None:
    person = somebody("ada@reader.example")
    outcomes = await asyncio.gather(*(register.enter(person) for _ in range(AT_ONCE)), return_exceptions=True)
    assert sum(isinstance(one, StoreConflict) for one in outcomes) == AT_ONCE - 1
    assert await register.find(person)


async def test_whoever_is_banned_and_entered_at_once_is_not_on_the_list(register: Register) -> None:
    people = [somebody(f"reader-{number}@reader.example") for number in range(AT_ONCE)]

    async def enter(person: roster.Person) -> None:
        with contextlib.suppress(StoreConflict):
            await register.enter(person)

    async def ban(person: roster.Person) -> None:
        await register.do(lambda tx: roster.ban(tx, person, TODAY))

    await asyncio.gather(*(act(person) for person in people for act in (enter, ban)))
    assert [await register.find(person) for person in people] == [None] * AT_ONCE


async def test_whoever_is_entered_while_an_import_looks_waits_for_it(register: Register) -> None:
    person = somebody("ada@reader.example")
    async with register.database.write() as tx:
        assert not (await bulk.known(tx, [person])).states
        entering = asyncio.ensure_future(register.enter(person))
        assert not (await asyncio.wait({entering}, timeout=0.2))[0]
    await entering
    assert await register.find(person)


async def test_letters_are_given_to_one_reader_each(database: Database) -> None:
    for number in range(AT_ONCE):
        await put(database, b"%012d" % number)

    async def claim() -> list[inbox.Waiting]:
        async with database.write() as tx:
            return await inbox.claim(tx, NOW, 300.0, 2)

    claimed = [one.id for some in await asyncio.gather(*(claim() for _ in range(AT_ONCE))) for one in some]
    assert len(claimed) == len(set(claimed)) == AT_ONCE


async def test_replies_are_given_to_one_sender_each(database: Database) -> None:
    async with database.write() as tx:
        for number in range(AT_ONCE):
            await outbox.add(tx, b"%012d" % number, b"sealed", NOW)

    async def claim() -> list[outbox.Queued]:
        async with database.write() as tx:
            return await outbox.claim(tx, NOW + timedelta(seconds=1), 300.0, 2)

    claimed = [one.id for some in await asyncio.gather(*(claim() for _ in range(AT_ONCE))) for one in some]
    assert len(claimed) == len(set(claimed)) == AT_ONCE


async def test_workers_that_begin_a_register_at_once_make_one_data_key(register: Register) -> None:
    opened = await asyncio.gather(*(Ledger.open(register.database, register.roster_key) for _ in range(AT_ONCE)))
    async with register.database.read() as tx:
        [row] = (await tx.execute(select(roster_data_keys))).all()
    assert {one._current.id for one in opened} == {row.id}
