"""Lanes: narrow at first, wider with every prompt answer, and never all places for one provider."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailer.outward.deliver import _limit
from mailer.outward.lanes import FIRST_WIDTH, SLOW_S, Held, Lane, Lanes
from mailer.store.queue import Claimed

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def held(provider: str, number: int = 0) -> Held:
    return Held(Claimed("d1", bytes([number]) * 12, "news", provider, 0, None), None, NOW, NOW + timedelta(minutes=5))


def lane_of(count: int, limit: int = 8) -> Lane:
    lanes = Lanes({"big.example": limit})
    lanes.add(held("big.example", number) for number in range(count))
    return next(iter(lanes))


def begin_all(lane: Lane) -> int:
    begun = 0
    while lane.may_begin:
        lane.begin()
        begun += 1
    return begun


def test_a_lane_begins_narrow() -> None:
    assert begin_all(lane_of(20)) == FIRST_WIDTH


def test_every_prompt_answer_widens_it_until_half_as_many_as_may_leave_are_ready_beside_them() -> None:
    lane = lane_of(50, limit=4)
    begin_all(lane)
    for _ in range(20):
        lane.end(0.1, is_well=True)
        begin_all(lane)
    assert lane.in_flight == 6
    assert lane.gate._value == 4


@pytest.mark.parametrize(("took_s", "is_well"), [(SLOW_S, True), (0.1, False)])
def test_a_slow_or_failing_answer_halves_it_and_it_never_closes(took_s: float, is_well: bool) -> None:
    lane = lane_of(50)
    lane.width = 8
    widths = []
    for _ in range(5):
        lane.begin()
        lane.end(took_s, is_well=is_well)
        widths.append(lane.width)
    assert widths == [4, 2, 1, 1, 1]


def test_lanes_take_turns() -> None:
    lanes = Lanes({"a": 8, "b": 8})
    lanes.add(held(provider) for provider in "aaabbb")
    order = []
    while any(lane.may_begin for lane in lanes):
        order += [lane.begin().claimed.provider for lane in lanes.in_turn()]
    assert order[:4] in (["a", "b", "a", "b"], ["b", "a", "b", "a"])


def test_more_is_wanted_when_little_is_left_and_not_where_nothing_was_due() -> None:
    lane = lane_of(4)
    lane.low = 2
    assert not lane.wants_more(NOW)
    lane.begin()
    lane.begin()
    assert lane.wants_more(NOW)
    lane.dry_until = NOW + timedelta(seconds=2)
    assert not lane.wants_more(NOW)
    assert lane.wants_more(NOW + timedelta(seconds=2))


@pytest.mark.parametrize(("wanted", "places", "limit"), [(0, 1, 1), (0, 2, 1), (0, 20, 15), (3, 20, 3), (99, 20, 15)])
def test_no_provider_has_all_places_where_there_are_two(wanted: int, places: int, limit: int) -> None:
    assert _limit(wanted, places) == limit
