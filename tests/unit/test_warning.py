"""When somebody is warned that their key runs out: at 30, 14 and 3 days, each once, however often one looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailer.model.warning import days_left, is_due

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def days(number: float) -> timedelta:
    return timedelta(days=number)


@pytest.mark.parametrize("every_h", [24, 25, 5, 24 * 5])
@pytest.mark.parametrize("hour", [0, 7, 12, 23])
def test_whoever_looks_regularly_warns_three_times(every_h: int, hour: int) -> None:
    expires = NOW + days(60) + timedelta(hours=hour)
    before, warned = NOW, []
    while before < expires + days(5):
        moment = before + timedelta(hours=every_h)
        if is_due(expires, before, moment):
            warned.append(days_left(expires, moment))
        before = moment
    late = every_h // 24
    assert [30 - late <= warned[0] <= 30, 14 - late <= warned[1] <= 14] == [True, True]
    assert len(warned) == 3 or late > 3  # the look after the last step may come after the end


@pytest.mark.parametrize(
    ("left", "since_last_look", "is_warned"),
    [
        (31, 1, False),
        (30, 1, True),
        (29.5, 1, True),
        (29, 1, False),
        (14, 1, True),
        (13, 1, False),
        (3, 1, True),
        (2, 1, False),
        (0.5, 1, False),
        (0, 1, False),
        (-1, 10, False),
        (10, 25, True),  # nobody looked for 25 days: one letter for the two steps between
        (2, 40, True),
        (200, 100, False),
    ],
)
def test_a_step_is_told_in_the_look_after_it(left: float, since_last_look: float, is_warned: bool) -> None:
    assert is_due(NOW + days(left), NOW - days(since_last_look), NOW) is is_warned


def test_the_first_look_ever_warns_everybody_whose_key_runs_out_within_30_days() -> None:
    assert is_due(NOW + days(20), NEVER, NOW)
    assert not is_due(NOW + days(31), NEVER, NOW)


def test_what_never_expires_is_never_warned_of() -> None:
    assert not is_due(None, NEVER, NOW)


@pytest.mark.parametrize(("left", "said"), [(30, 30), (29.01, 30), (0.2, 1), (3, 3)])
def test_the_last_day_counts_as_a_whole_one(left: float, said: int) -> None:
    assert days_left(NOW + days(left), NOW) == said
