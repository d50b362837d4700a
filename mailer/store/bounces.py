"""What came back: the score of each subscriber, and the weather at each provider.

The score steers who is probed and suspended (model/score). The weather counts answers by provider and day, and nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import delete, null, select, update

from mailer.model.digest import DeliveryState
from mailer.model.failure import Failure
from mailer.model.score import PROBE_ANSWERED_WITHIN, Score, Step, count
from mailer.model.subscriber import State
from mailer.model.weather import Observation
from mailer.store import queue, roster
from mailer.store.database import Transaction
from mailer.store.tables import deliveries, subscribers
from mailer.store.tables import weather as weather_table
from mailer.store.upsert import add_up

PROBE = "probe"  # the kind of notice
WEATHER_KEPT = timedelta(days=90)

_PROBE_JOB = queue.NOTICE_PREFIX + PROBE


async def count_failure(
    tx: Transaction, subscriber_id: bytes, failure: Failure, today: date, *, is_probe: bool = False
) -> Step:
    """Count a letter that did not arrive; return what was done: nothing, the probe queued, the subscriber suspended.

    is_probe: it was the probe. Anything but GONE costs no statement.
    """
    if failure is not Failure.GONE:
        return Step.NOTHING
    active = (subscribers.c.id == subscriber_id) & (subscribers.c.state == State.ACTIVE)
    row = (await tx.execute(select(subscribers).where(active).with_for_update())).one_or_none()
    if row is None:
        return Step.NOTHING
    before = Score(row.bounce_score, row.bouncing_since, row.bounced, row.probed)
    score, step = count(before, failure, today, is_probe=is_probe)
    if score != before:
        await _write(tx, subscriber_id, score)
    if step is Step.PROBE:
        await _drop_probe(tx, subscriber_id)
        await queue.add_notice(tx, PROBE, subscriber_id, row.list_id, datetime.combine(today, time(), UTC))
    if step is Step.SUSPEND:
        await roster.suspend(tx, subscriber_id)
        await _drop_probe(tx, subscriber_id)
    return step


async def count_weather(tx: Transaction, answers: Mapping[tuple[str, str], int], day: date) -> None:
    """Add to how often providers gave an answer on a day. answers: by provider and outcome, SENT or a Failure."""
    rows = [
        {"day": day, "provider": provider, "outcome": outcome, "number": number}
        for (provider, outcome), number in answers.items()
    ]
    await add_up(tx, weather_table, rows)


async def weather(tx: Transaction, since: date) -> Sequence[Observation]:
    """Return what providers answered since a day, by day, provider and outcome."""
    columns = weather_table.c
    rows = select(weather_table).where(columns.day >= since).order_by(columns.day, columns.provider, columns.outcome)
    return [Observation(row.day, row.provider, row.outcome, row.number) for row in await tx.execute(rows)]


async def purge(tx: Transaction, today: date, weather_kept: timedelta = WEATHER_KEPT) -> None:
    """Begin anew with those whose probe did not come back in time, and erase old weather."""
    waiting = select(deliveries.c.subscriber_id).where(
        deliveries.c.job == _PROBE_JOB, deliveries.c.state.in_((DeliveryState.DUE, DeliveryState.LEASED))
    )
    is_answered = (subscribers.c.probed <= today - PROBE_ANSWERED_WITHIN) & subscribers.c.id.not_in(waiting)
    alive = list((await tx.execute(select(subscribers.c.id).where(is_answered))).scalars())
    for subscriber_id in alive:
        await _write(tx, subscriber_id, Score())
        await _drop_probe(tx, subscriber_id)
    await tx.execute(delete(weather_table).where(weather_table.c.day < today - weather_kept))


async def _write(tx: Transaction, subscriber_id: bytes, score: Score) -> None:
    values = {
        "bounce_score": score.points,
        "bouncing_since": score.first or null(),
        "bounced": score.last or null(),
        "probed": score.probed or null(),
    }
    await tx.execute(update(subscribers).where(subscribers.c.id == subscriber_id).values(values))


async def _drop_probe(tx: Transaction, subscriber_id: bytes) -> None:
    """Forget that somebody was probed, so that they can be again."""
    probe = (deliveries.c.job == _PROBE_JOB) & (deliveries.c.subscriber_id == subscriber_id)
    await tx.execute(delete(deliveries).where(probe))
