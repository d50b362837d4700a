"""What is kept how long: each thing goes in its time and not a day before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Table, func, insert, select

from mailer.model.digest import DigestState
from mailer.model.retention import Retention
from mailer.store import retention, roster
from mailer.store.database import Database
from mailer.store.tables import (
    digests,
    editions,
    inbox,
    requests,
    seconds,
    sightings,
    signed_editions,
    suppressions,
    tallies,
    weather,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FOR_EVER = Retention(editions_days=0, tallies_days=0, sightings_days=0)
ALL = (inbox, requests, digests, editions, signed_editions, tallies, sightings, weather, suppressions)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    await opened.open()
    yield opened
    await opened.close()


def ago(days: int) -> datetime:
    return NOW - timedelta(days=days)


async def fill(database: Database, days: int, state: DigestState = DigestState.SENT) -> None:
    """Put one row of each kind in, so many days old."""
    then = seconds(ago(days))
    named = {"digest_id": "d", "language": "en", "sealed": b"s"}
    rows = {
        inbox: {"id": b"i" * 12, "received": then * 1000, "due": then, "aside": "failed", "sealed": b"s"},
        requests: {
            "mark": b"m" * 16,
            "list_id": "news",
            "verb": "subscribe",
            "look_up": b"l" * 32,
            "sealed": b"s",
            "expires": seconds(ago(days - 7)),
        },
        digests: {"id": "d", "list_id": "news", "state": state, "created": then, "started": then},
        editions: named,
        signed_editions: named | {"identity": "", "form": "full"},
        tallies: {"job": "d", "state": "sent", "relay": "main", "failure": "", "number": 3},
        sightings: {"digest_id": "d", "seed_id": b"x" * 12, "seen": then, "place": "inbox"},
        weather: {"day": ago(days).date(), "provider": "p", "outcome": "sent", "number": 1},
        suppressions: {"list_id": "news", "mark": b"k" * 32, "kind": roster.LEFT, "day": ago(days).date()},
    }
    async with database.write() as tx:
        for table, row in rows.items():
            await tx.execute(insert(table).values(**row))


async def left_over(database: Database, keep: Retention) -> set[Table]:
    async with database.write() as tx:
        await retention.purge(tx, keep, NOW)
    async with database.read() as tx:
        counts = {one: (await tx.execute(select(func.count()).select_from(one))).scalar() for one in ALL}
    return {table for table, number in counts.items() if number}


@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        (Retention(aside_days=9), {inbox}),
        (Retention(editions_days=9), {editions, signed_editions}),
        (Retention(tallies_days=9), {tallies}),
        (Retention(sightings_days=9), {sightings}),
        (Retention(weather_days=9), {weather}),
        (Retention(suppressions_days=9), {suppressions}),
    ],
    ids=lambda value: ",".join(sorted(one.name for one in value)) if isinstance(value, set) else "",
)
async def test_each_thing_goes_after_its_days_and_not_before(
    database: Database, keep: Retention, gone: set[Table]
) -> None:
    await fill(database, 10)
    patient = Retention(**{name: value + 1 if value == 9 else value for name, value in as_dict(keep).items()})
    assert left_over_all(await left_over(database, patient)) == set()
    assert left_over_all(await left_over(database, keep)) == gone


def as_dict(keep: Retention) -> dict[str, int]:
    return {name: getattr(keep, name) for name in Retention.__dataclass_fields__}


def left_over_all(there: set[Table]) -> set[Table]:
    """Return what is gone, but for the request, which always is: its own time has run out."""
    return set(ALL) - there - {requests}


async def test_a_request_goes_when_its_time_is_over(database: Database) -> None:
    await fill(database, 6)
    assert requests in await left_over(database, FOR_EVER)
    async with database.write() as tx:
        await tx.execute(requests.update().values(expires=seconds(NOW)))
    assert requests not in await left_over(database, FOR_EVER)


async def test_nought_is_for_ever(database: Database) -> None:
    await fill(database, 4000)
    there = await left_over(database, replace(FOR_EVER, suppressions_days=0))
    assert {editions, signed_editions, tallies, sightings, suppressions, digests} <= there


@pytest.mark.parametrize("state", [DigestState.DRAFT, DigestState.SCHEDULED, DigestState.PAUSED, DigestState.HELD])
async def test_a_digest_that_has_not_ended_keeps_its_text(database: Database, state: DigestState) -> None:
    await fill(database, 4000, state)
    assert {editions, signed_editions, tallies} <= await left_over(database, Retention())


async def test_a_ban_is_never_forgotten(database: Database) -> None:
    await fill(database, 100)
    async with database.write() as tx:
        await tx.execute(suppressions.update().values(kind=roster.BANNED))
    assert suppressions in await left_over(database, Retention(suppressions_days=1))
