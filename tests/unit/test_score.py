"""When a mailbox counts as gone: rows of days, and what follows."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from mailer.model.failure import Failure
from mailer.model.score import Score, Step, count

BEGIN = date(2026, 3, 1)


def after(*days: int, failure: Failure = Failure.GONE) -> tuple[Score, list[Step]]:
    """The score after one failure on each of these days, and what each led to."""
    score, steps = Score(), []
    for day in days:
        score, step = count(score, failure, BEGIN + timedelta(days=day))
        steps.append(step)
    return score, steps


@pytest.mark.parametrize(
    ("days", "is_probed"),
    [
        ((0,), False),
        ((0, 7), False),
        ((0, 1, 6), False),
        ((0, 0, 0, 7), False),
        ((0, 1, 7), True),
        ((0, 7, 14), True),
        ((0, 1, 2, 3, 4, 5, 6, 7), True),
        ((0, 1, 62), False),
        ((0, 1, 62, 63, 69), True),
        ((7, 0, 1), False),
    ],
)
def test_a_probe_goes_out_after_three_days_that_are_a_week_apart(days: tuple[int, ...], is_probed: bool) -> None:
    score, steps = after(*days)
    assert (score.probed is not None) is is_probed
    assert steps.count(Step.PROBE) == is_probed
    assert Step.SUSPEND not in steps


def test_only_gone_counts() -> None:
    for failure in set(Failure) - {Failure.GONE}:
        assert after(*range(0, 100, 3), failure=failure)[0] == Score()


def test_further_failures_of_other_letters_wait_for_the_probe() -> None:
    _, steps = after(0, 1, 7, 8, 9, 20)
    assert steps[3:] == [Step.NOTHING] * 3


def test_the_probe_that_comes_back_suspends_and_leaves_nothing_behind() -> None:
    score, _ = after(0, 1, 7)
    assert count(score, Failure.GONE, BEGIN + timedelta(days=8), is_probe=True) == (Score(), Step.SUSPEND)


@pytest.mark.parametrize("failure", sorted(set(Failure) - {Failure.GONE}))
def test_a_probe_that_was_refused_for_another_reason_suspends_nobody(failure: Failure) -> None:
    score, _ = after(0, 1, 7)
    assert count(score, failure, BEGIN + timedelta(days=8), is_probe=True) == (score, Step.NOTHING)


def test_a_probe_that_nobody_sent_counts_as_any_other_letter() -> None:
    score, step = count(Score(), Failure.GONE, BEGIN, is_probe=True)
    assert (score.points, step) == (1, Step.NOTHING)
