"""What organisers type as a time: taken where it means one thing, refused with a sentence where it does not."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta

import pytest

from mailer.errors import TimeUnusable
from mailer.model import times

NOW = datetime(2026, 11, 22, 17, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", timedelta(minutes=90)),
        ("2h", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
        ("1h30m", timedelta(minutes=90)),
        (" 2H ", timedelta(hours=2)),
        ("45s", timedelta(seconds=45)),
        ("365d", times.LONGEST),
    ],
)
def test_a_duration_says_its_units(text: str, expected: timedelta) -> None:
    assert times.read_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "2", "h", "2 hours", "-2h", "0m", "366d", "30m1h", "2h2h", "1.5h", "٢h", "999999d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(TimeUnusable):
        times.read_duration(text)


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-12-01 09:00", "Asia/Hong_Kong", datetime(2026, 12, 1, 1, 0, tzinfo=UTC)),
        ("2026-12-01T09:00", "Europe/Berlin", datetime(2026, 12, 1, 8, 0, tzinfo=UTC)),
        ("2027-07-01 09:00", "Europe/Berlin", datetime(2027, 7, 1, 7, 0, tzinfo=UTC)),
        ("2026-12-01 09:00+08:00", None, datetime(2026, 12, 1, 1, 0, tzinfo=UTC)),
    ],
)
def test_a_clock_on_a_wall_somewhere_shows_one_moment(text: str, zone: str | None, expected: datetime) -> None:
    moment = times.read_moment(text, zone, NOW)
    assert (moment, moment.tzinfo) == (expected, UTC)


@pytest.mark.parametrize(
    ("text", "zone", "reason"),
    [
        ("tomorrow", "Asia/Hong_Kong", "Write the moment as"),
        ("2026-12-01 09:00", None, "Say where"),
        ("2026-12-01 09:00+08:00", "Asia/Hong_Kong", "Say where"),
        ("2026-12-01 09:00", "Asia/Hongkong", "no such time zone"),
        ("2026-12-01 09:00", "../../etc/passwd", "no such time zone"),
        ("2026-12-01 09:00", "", "no such time zone"),
        ("2027-03-28 02:30", "Europe/Berlin", "leap over"),
        ("2027-10-31 02:30", "Europe/Berlin", "twice"),
        ("2026-11-22 17:30", "UTC", "is past"),
        ("2026-11-23 01:29", "Asia/Hong_Kong", "it is 2026-11-23 01:30 there"),
    ],
)
def test_a_moment_that_is_none_or_two_or_past_is_refused(text: str, zone: str | None, reason: str) -> None:
    with pytest.raises(TimeUnusable, match=reason):
        times.read_moment(text, zone, NOW)


def test_a_machine_without_zones_says_which_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_key: str) -> zoneinfo.ZoneInfo:
        raise zoneinfo.ZoneInfoNotFoundError

    monkeypatch.setattr(zoneinfo, "ZoneInfo", nothing)
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    with pytest.raises(TimeUnusable, match="apt install tzdata"):
        times.read_moment("2026-12-01 09:00", "Asia/Hong_Kong", NOW)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (90061, "1 d 1 h"), (86460, "1 d")],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds: int, words: str) -> None:
    assert times.in_words(timedelta(seconds=seconds)) == words
