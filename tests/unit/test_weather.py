"""Censorship weather: shares by provider, and no figure that few readers could have made."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.model.failure import Failure
from mailer.model.weather import DAYS, MINIMUM, OTHERS, SENT, Climate, Observation, forecast

TODAY = date(2026, 11, 22)


def days_ago(days: int, provider: str, sent: int, censored: int = 0) -> list[Observation]:
    day = TODAY - timedelta(days=days)
    return [Observation(day, provider, SENT, sent), Observation(day, provider, Failure.CENSORED, censored)]


def shown(observations: list[Observation]) -> list[tuple[str, int]]:
    return [(one.provider, one.answers) for one in forecast(observations, TODAY)]


def test_a_share_is_counted_among_the_answers_of_the_week() -> None:
    [qq] = forecast([*days_ago(0, "qq.com", 10, 5), *days_ago(DAYS - 1, "qq.com", 80, 5)], TODAY)
    assert (qq.provider, qq.answers, qq.share(Failure.CENSORED), qq.share(SENT)) == ("qq.com", 100, 0.1, 0.9)
    assert qq.share(Failure.POLICY) == 0


def test_what_is_older_than_a_week_does_not_count() -> None:
    assert forecast(days_ago(DAYS, "qq.com", 100), TODAY) == []


def test_later_is_no_answer() -> None:
    waiting = Observation(TODAY, "qq.com", Failure.TEMPORARY, 1000)
    assert shown([*days_ago(0, "qq.com", MINIMUM), waiting]) == [("qq.com", MINIMUM)]
    assert forecast([waiting], TODAY) == []


def test_a_provider_with_few_answers_is_not_named() -> None:
    assert shown(days_ago(0, "small.example", MINIMUM - 1)) == []
    assert shown(days_ago(0, "large.example", MINIMUM)) == [("large.example", MINIMUM)]


def test_several_with_few_answers_go_into_one_line_if_they_are_many_together() -> None:
    few = [*days_ago(0, "a.example", 12), *days_ago(0, "b.example", 8)]
    assert shown([*few, *days_ago(0, "qq.com", 50)]) == [("qq.com", 50), (OTHERS, 20)]
    assert shown([*few[:2], *days_ago(0, "b.example", 7)]) == []


def test_the_worst_comes_first() -> None:
    seen = [*days_ago(0, "a.example", 100), *days_ago(0, "qq.com", 90, 10), *days_ago(0, "163.com", 50, 50)]
    assert [one.provider for one in forecast(seen, TODAY)] == ["163.com", "qq.com", "a.example"]


@pytest.mark.parametrize(
    ("before", "now", "is_worse"),
    [
        ((100, 0), (80, 20), True),
        ((90, 10), (70, 30), True),
        ((90, 10), (85, 15), False),  # not twice as often
        ((100, 0), (98, 2), False),  # too little to speak of
        ((5, 0), (50, 50), False),  # too few to compare with
        ((100, 0), (5, 5), False),  # too few now
        ((50, 50), (100, 0), False),
    ],
)
def test_it_is_worse_where_content_is_refused_noticeably_more_often(
    before: tuple[int, int], now: tuple[int, int], is_worse: bool
) -> None:
    [qq] = forecast([*days_ago(3, "qq.com", *before), *days_ago(0, "qq.com", *now)], TODAY)
    assert qq.is_worse is is_worse


OBSERVATIONS = st.lists(
    st.builds(
        Observation,
        st.integers(-2, DAYS + 2).map(lambda days: TODAY - timedelta(days=days)),
        st.sampled_from(["a.example", "b.example", "c.example", "other-1"]),
        st.sampled_from([SENT, *Failure]),
        st.integers(1, 40),
    )
)


@given(OBSERVATIONS)
def test_whatever_is_observed_no_line_stands_for_less_than_the_minimum(observations: list[Observation]) -> None:
    climates: list[Climate] = forecast(observations, TODAY)
    assert all(one.answers >= MINIMUM and sum(one.counts.values()) == one.answers for one in climates)
