"""Inbox and outbox: what waits is given to one worker at a time, and comes back when that one dies."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from mailer.store import inbox, outbox
from mailer.store.database import Database
from tests.store.conftest import NOW

LEASE_S = 300.0


def later(**how_long: float) -> datetime:
    return NOW + timedelta(**how_long)


def row_id(number: int) -> bytes:
    return b"%012d" % number


# --- Inbox ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def letters(database: Database) -> Database:
    """Three letters, the later the lower its id: so that order is seen to be that of arrival."""
    async with database.write() as tx:
        for number in range(3):
            await inbox.add(tx, row_id(9 - number), b"letter %d" % number, later(milliseconds=number))
    return database


async def claim(database: Database, now: datetime = NOW, limit: int = 1) -> list[inbox.Waiting]:
    async with database.write() as tx:
        return await inbox.claim(tx, now, LEASE_S, limit)


async def test_nothing_is_claimed_from_an_empty_inbox(database: Database) -> None:
    assert await claim(database) == []


async def test_letters_come_oldest_first_and_to_one_worker_at_a_time(letters: Database) -> None:
    got = [one for _ in range(4) for one in await claim(letters, later(seconds=1))]
    assert [(one.sealed, one.attempts) for one in got] == [(b"letter 0", 1), (b"letter 1", 1), (b"letter 2", 1)]


async def test_a_letter_comes_back_when_its_lease_runs_out_and_is_counted(letters: Database) -> None:
    [first] = await claim(letters)
    assert first.id not in {one.id for one in await claim(letters, later(seconds=LEASE_S - 1), 9)}
    assert (await claim(letters, later(seconds=LEASE_S), 9))[0] == inbox.Waiting(first.id, first.sealed, 2)


async def test_what_a_dead_process_had_claimed_is_given_back_at_the_start(letters: Database) -> None:
    before = {one.id for one in await claim(letters, limit=9)}
    async with letters.write() as tx:
        await inbox.release_all(tx, NOW)
    others_may_live = letters.folder is None  # on a server other doors read the same inbox: there leases run out
    if not others_may_live:
        assert {one.id for one in await claim(letters, limit=9)} == before
    assert {one.id for one in await claim(letters, later(seconds=LEASE_S), limit=9)} == before


@pytest.mark.parametrize(("is_attempt", "attempts"), [(True, 2), (False, 1)])
async def test_a_letter_that_was_given_back_waits_until_it_is_due(
    letters: Database, is_attempt: bool, attempts: int
) -> None:
    [first] = await claim(letters)
    async with letters.write() as tx:
        await inbox.release(tx, first, later(seconds=60), is_attempt)
    assert first.id not in {one.id for one in await claim(letters, later(seconds=59), 9)}
    again = await claim(letters, later(seconds=60), 9)
    assert [(one.id, one.attempts) for one in again] == [(first.id, attempts)]


async def test_a_letter_is_removed_once(letters: Database) -> None:
    async with letters.write() as tx:
        assert await inbox.remove(tx, row_id(9))
        assert not await inbox.remove(tx, row_id(9))
        assert await inbox.count(tx) == {"waiting": 2}


async def test_a_letter_set_aside_is_kept_but_not_given_out(letters: Database) -> None:
    async with letters.write() as tx:
        await inbox.set_aside(tx, row_id(9), "seal-broken")
        await inbox.set_aside(tx, row_id(8), "r" * 40)
        assert await inbox.count(tx) == {"waiting": 1, "seal-broken": 1, "r" * 32: 1}
    assert [one.sealed for one in await claim(letters, later(days=1), 9)] == [b"letter 2"]


async def test_what_was_set_aside_long_ago_is_erased_and_what_waits_is_not(letters: Database) -> None:
    async with letters.write() as tx:
        await inbox.set_aside(tx, row_id(9), "malformed")
        assert await inbox.purge_aside(tx, NOW) == 0
        assert await inbox.purge_aside(tx, later(days=30)) == 1
        assert await inbox.count(tx) == {"waiting": 2}


# --- Outbox ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def replies(database: Database) -> Database:
    async with database.write() as tx:
        for number in range(3):
            await outbox.add(tx, row_id(9 - number), b"reply %d" % number, later(seconds=number))
    return database


async def take(database: Database, now: datetime = NOW, limit: int = 9) -> list[outbox.Queued]:
    async with database.write() as tx:
        return await outbox.claim(tx, now, LEASE_S, limit)


async def test_replies_come_oldest_first_and_to_one_sender_at_a_time(replies: Database) -> None:
    now = later(seconds=2)
    assert [one.sealed for one in await take(replies, now, 2)] == [b"reply 0", b"reply 1"]
    [last] = await take(replies, now)
    assert last == outbox.Queued(row_id(7), b"reply 2", 0, later(seconds=2))
    assert await take(replies, now) == []


async def test_a_reply_comes_back_when_its_lease_runs_out(replies: Database) -> None:
    [first] = await take(replies)
    assert first.id not in {one.id for one in await take(replies, later(seconds=LEASE_S - 1))}
    assert first.id in {one.id for one in await take(replies, later(seconds=LEASE_S))}


async def test_a_reply_that_is_postponed_waits_and_is_counted(replies: Database) -> None:
    [first] = await take(replies)
    async with replies.write() as tx:
        await outbox.postpone(tx, first.id, later(hours=1))
        await outbox.release_all(tx, NOW)  # a restart does not hurry what a relay wanted later
    assert first.id not in {one.id for one in await take(replies, later(minutes=59))}
    [again] = [one for one in await take(replies, later(hours=1)) if one.id == first.id]
    assert (again.attempts, again.queued) == (1, NOW)


async def test_what_a_dead_sender_had_claimed_is_given_back_at_the_start(replies: Database) -> None:
    before = await take(replies, later(seconds=5))
    async with replies.write() as tx:
        await outbox.release_all(tx, NOW)
    others_may_live = replies.folder is None
    if not others_may_live:
        assert {one.id for one in await take(replies)} == {one.id for one in before}
    assert {one.id for one in await take(replies, later(seconds=5 + LEASE_S))} == {one.id for one in before}


async def test_a_reply_is_removed_and_counted_no_more(replies: Database) -> None:
    async with replies.write() as tx:
        await outbox.remove(tx, row_id(9))
        await outbox.remove(tx, row_id(9))  # a second time is no error
        assert await outbox.count(tx) == 2
