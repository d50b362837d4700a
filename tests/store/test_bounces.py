"""Scores and weather, on disk."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import select, update

from mailer.model.digest import DeliveryState
from mailer.model.failure import Failure
from mailer.model.score import PROBE_ANSWERED_WITHIN, Step
from mailer.model.subscriber import State
from mailer.model.weather import SENT
from mailer.store import bounces, queue
from mailer.store.database import Database
from mailer.store.tables import deliveries, subscribers
from tests.store.conftest import TODAY, Register

JOB = f"notice/{bounces.PROBE}"


async def fail(
    database: Database, who: bytes, *days: int, failure: Failure = Failure.GONE, is_probe: bool = False
) -> list[Step]:
    steps = []
    for day in days:
        async with database.write() as tx:
            today = TODAY + timedelta(days=day)
            steps.append(await bounces.count_failure(tx, who, failure, today, is_probe=is_probe))
    return steps


async def row_of(database: Database, who: bytes):  # type: ignore[no-untyped-def]
    async with database.read() as tx:
        return (await tx.execute(select(subscribers).where(subscribers.c.id == who))).one()


async def probes(database: Database) -> dict[DeliveryState, int]:
    async with database.read() as tx:
        return await queue.counts(tx, JOB)


async def sent_probe(database: Database, who: bytes) -> None:
    async with database.write() as tx:
        await tx.execute(
            update(deliveries).where(deliveries.c.subscriber_id == who).values(state=DeliveryState.SENT, lease_by=None)
        )


async def test_a_mailbox_that_is_gone_for_long_is_probed_once_and_then_given_up(
    database: Database, register: Register
) -> None:
    _, one = await register.enter()
    who = one.subscriber_id
    assert await fail(database, who, 0, 0, 3, 7, 8) == [
        *(Step.NOTHING, Step.NOTHING, Step.NOTHING),
        *(Step.PROBE, Step.NOTHING),
    ]
    assert await probes(database) == {DeliveryState.DUE: 1}
    assert (await row_of(database, who)).state == State.ACTIVE
    assert await fail(database, who, 9, is_probe=True) == [Step.SUSPEND]
    row = await row_of(database, who)
    assert (row.state, row.bounce_score, row.bouncing_since, row.bounced, row.probed) == (
        *(State.SUSPENDED, 0),
        *(None, None, None),
    )
    assert await probes(database) == {}


async def test_failures_of_other_kinds_and_of_strangers_are_written_nowhere(
    database: Database, register: Register
) -> None:
    _, one = await register.enter()
    _, paused = await register.enter(state=State.PAUSED)
    for failure in set(Failure) - {Failure.GONE}:
        assert set(await fail(database, one.subscriber_id, 0, 5, 10, failure=failure)) == {Step.NOTHING}
    assert set(await fail(database, paused.subscriber_id, 0, 5, 10)) == {Step.NOTHING}
    assert set(await fail(database, b"x" * 12, 0, 5, 10)) == {Step.NOTHING}
    for who in (one.subscriber_id, paused.subscriber_id):
        assert (await row_of(database, who)).bounce_score == 0


async def test_who_got_the_probe_begins_anew_and_can_be_probed_again(database: Database, register: Register) -> None:
    _, one = await register.enter()
    who, answered = one.subscriber_id, TODAY + timedelta(days=7) + PROBE_ANSWERED_WITHIN
    await fail(database, who, 0, 3, 7)
    async with database.write() as tx:
        await bounces.purge(tx, answered)
    assert (await row_of(database, who)).probed is not None  # it never left, so it proves nothing
    await sent_probe(database, who)
    async with database.write() as tx:
        await bounces.purge(tx, answered - timedelta(days=1))
    assert (await row_of(database, who)).probed is not None
    async with database.write() as tx:
        await bounces.purge(tx, answered)
    assert (await row_of(database, who)).probed is None
    assert (await row_of(database, who)).bounce_score == 0
    assert (await fail(database, who, 30, 33, 37))[-1] is Step.PROBE
    assert await probes(database) == {DeliveryState.DUE: 1}


async def test_the_probe_is_due_at_once(database: Database, register: Register) -> None:
    _, one = await register.enter()
    await fail(database, one.subscriber_id, 0, 3, 7)
    async with database.read() as tx:
        due = (await tx.execute(select(deliveries.c.due))).scalar_one()
    assert due <= datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC).timestamp() + 7 * 86_400


async def test_weather_adds_up_by_day_provider_and_outcome_and_is_forgotten(database: Database) -> None:
    tomorrow = TODAY + timedelta(days=1)
    async with database.write() as tx:
        await bounces.count_weather(tx, {("qq.com", Failure.CENSORED): 2}, TODAY)
        await bounces.count_weather(tx, {("qq.com", Failure.CENSORED): 3}, TODAY)
        await bounces.count_weather(tx, {("qq.com", SENT): 1}, tomorrow)
        await bounces.count_weather(tx, {("other-1", Failure.CENSORED): 1}, TODAY)
    assert await weather(database, TODAY) == [
        (TODAY, "other-1", "censored", 1),
        (TODAY, "qq.com", "censored", 5),
        (tomorrow, "qq.com", "sent", 1),
    ]
    assert len(await weather(database, tomorrow)) == 1
    async with database.write() as tx:
        await bounces.purge(tx, tomorrow + bounces.WEATHER_KEPT)
    assert len(await weather(database, TODAY)) == 1


async def weather(database: Database, since: date) -> list[tuple[date, str, str, int]]:
    async with database.read() as tx:
        return [(one.day, one.provider, one.outcome, one.number) for one in await bounces.weather(tx, since)]
