"""Health: open until it fails, closed for a while that doubles, tried by one at its end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mailer.model.health import Health

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MIDDLE = 0.5  # of chance: the wait itself


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_it_closes_when_patience_ends() -> None:
    health = Health(patience=2)
    health.fail(NOW, NOW, MIDDLE)
    assert health.is_open(NOW)
    health.fail(after(1), after(1), MIDDLE)
    assert not health.is_open(after(1.9))
    assert health.is_open(after(2))


def test_each_wait_is_twice_the_one_before_up_to_the_longest() -> None:
    health, now, waits = Health(first_wait_s=1, longest_wait_s=5), NOW, []
    for _ in range(5):
        health.fail(now, now, MIDDLE)
        assert health.opens_at is not None
        waits.append((health.opens_at - now).total_seconds())
        now = health.opens_at
    assert waits == [1, 2, 4, 5, 5]


def test_what_was_on_its_way_together_counts_once() -> None:
    health = Health()
    for seconds in (1, 2, 3):
        health.fail(NOW, after(seconds), MIDDLE)
    assert (health.failures, health.opens_at) == (1, after(2))


def test_after_a_closure_one_tries_and_the_others_wait_for_it() -> None:
    health = Health()
    health.fail(NOW, NOW, MIDDLE)
    assert health.is_open(after(1))
    health.begin()
    assert not health.is_open(after(1))
    health.succeed()
    assert health.is_open(after(1))


def test_a_try_that_told_nothing_leaves_the_turn_to_the_next() -> None:
    health = Health()
    health.fail(NOW, NOW, MIDDLE)
    health.begin()
    health.abandon()
    assert health.is_open(after(1))
    assert not health.is_open(after(0.5))


def test_chance_spreads_the_next_try_over_half_the_wait() -> None:
    spread = []
    for chance in (0.0, 0.999):
        health = Health(first_wait_s=8)
        health.fail(NOW, NOW, chance)
        assert health.opens_at is not None
        spread.append(round((health.opens_at - NOW).total_seconds()))
    assert spread == [6, 10]
