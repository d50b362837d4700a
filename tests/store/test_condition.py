"""What `doctor` asks the database, on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert

from mailer.store import condition, home, inbox, outbox, sightings
from mailer.store.database import Database
from mailer.store.tables import deliveries, digests, seconds, traits

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OLD = NOW - timedelta(hours=5)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    await opened.open()
    yield opened
    await opened.close()


async def add_digest(database: Database, digest_id: str, state: str, *delivery_states: str) -> None:
    async with database.write() as tx:
        started = seconds(OLD)
        row = {"id": digest_id, "list_id": "news", "state": state, "created": started, "started": started}
        await tx.execute(insert(digests).values(**row))
        for number, one in enumerate(delivery_states):
            delivery = {"job": digest_id, "subscriber_id": bytes([number]) * 12, "list_id": "news", "provider": "p"}
            await tx.execute(insert(deliveries).values(**delivery, state=one, due=started))


async def test_an_empty_database_has_nothing_that_waits(database: Database) -> None:
    async with database.read() as tx:
        assert await condition.waiting(tx, NOW) == condition.Waiting(0, None, 0, None, 0, None, is_moving=False)
        assert (await condition.aside(tx), await condition.poisoned(tx), await condition.held(tx)) == ({}, 0, [])
        assert (await condition.newest(tx), await condition.last_backup(tx)) == (None, None)
        assert await condition.is_empty(tx)


async def test_the_oldest_of_each_queue_is_found(database: Database) -> None:
    await add_digest(database, "d", "sending", "due", "due")
    await add_digest(database, "paused", "paused", "due")
    async with database.write() as tx:
        for number, moment in enumerate((NOW, OLD)):
            await inbox.add(tx, bytes([number]) * 12, b"s", moment)
            await outbox.add(tx, bytes([number]) * 12, b"s", moment)
    async with database.read() as tx:
        assert await condition.waiting(tx, NOW) == condition.Waiting(2, OLD, 2, OLD, 2, OLD, is_moving=False)
        assert await condition.newest(tx) == NOW
        assert not await condition.is_empty(tx)


async def test_deliveries_in_a_workers_hands_say_that_the_others_move(database: Database) -> None:
    await add_digest(database, "d", "sending", "due", "leased")
    async with database.read() as tx:
        found = await condition.waiting(tx, NOW)
    assert (found.deliveries, found.is_moving) == (1, True)


async def test_letters_set_aside_are_counted_by_reason_and_since_a_moment(database: Database) -> None:
    async with database.write() as tx:
        for number, moment in enumerate((NOW, OLD, OLD)):
            await inbox.add(tx, bytes([number]) * 12, b"s", moment)
            await inbox.set_aside(tx, bytes([number]) * 12, "malformed" if number else "failed")
    async with database.read() as tx:
        assert await condition.aside(tx) == {"malformed": 2, "failed": 1}
        assert await condition.aside(tx, since=NOW - timedelta(hours=1)) == {"failed": 1}


async def test_what_is_held_and_what_is_poisoned_is_found(database: Database) -> None:
    await add_digest(database, "h", "held")
    await add_digest(database, "d", "sent", "aside", "aside")
    await add_digest(database, "notice/x", "sent")
    async with database.read() as tx:
        assert await condition.held(tx) == ["h"]
        assert await condition.poisoned(tx) == 2


async def test_the_last_backup_is_the_moment_that_was_written_down(database: Database) -> None:
    async with database.write() as tx:
        await tx.execute(insert(traits).values(name=condition.BACKUP, value=str(seconds(OLD)).encode()))
    async with database.read() as tx:
        assert await condition.last_backup(tx) == OLD


async def test_the_seeds_that_saw_a_digest_are_named_by_it(database: Database) -> None:
    await add_digest(database, "d", "sent")
    async with database.write() as tx:
        await sightings.note(tx, "d", b"x" * 12, sightings.Sighting(NOW, sightings.Place.JUNK))
    async with database.read() as tx:
        assert await condition.unseen_copies(tx, NOW, OLD) == {"d": ("news", {b"x" * 12})}
        assert await condition.unseen_copies(tx, OLD - timedelta(hours=1), OLD - timedelta(hours=2)) == {}


async def test_a_database_is_elsewhere_only_once_it_knows_another_home(database: Database) -> None:
    assert not await home.is_elsewhere(database)
    await home.check(database)
    assert not await home.is_elsewhere(database)
    async with database.write() as tx:
        await tx.execute(traits.update().values(value=b"another machine"))
    assert await home.is_elsewhere(database)
