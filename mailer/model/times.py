"""Times as organisers type and read them: "2h", "2026-12-01 09:00" somewhere in the world."""

from __future__ import annotations

import re
import zoneinfo
from datetime import UTC, datetime, timedelta, tzinfo

from mailer.errors import TimeUnusable

LONGEST = timedelta(days=365)
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_DURATION = re.compile(r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?", re.ASCII)


def read_duration(text: str) -> timedelta:
    """Return what "90m", "2h", "1d" or "1h30m" says: more than nothing, at most a year. Raises TimeUnusable."""
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None or not any(found.groups()):
        raise TimeUnusable("Write so long as 90m, 2h, 1d or 1h30m.")
    parts = dict(zip(_UNITS.values(), (int(part or 0) for part in found.groups()), strict=True))
    duration = timedelta(**parts)
    if not timedelta(0) < duration <= LONGEST:
        raise TimeUnusable("It must be longer than nothing, and a year at most.")
    return duration


def read_moment(text: str, zone: str | None, now: datetime) -> datetime:
    """Return the moment that a wall clock in a time zone shows, UTC. Raises TimeUnusable for one that is past.

    text: "2026-12-01 09:00", or with its offset, as in "2026-12-01 09:00+08:00", and then no zone. zone: an IANA name.
    """
    try:
        written = datetime.fromisoformat(text.strip())
    except ValueError:
        raise TimeUnusable("Write the moment as 2026-12-01 09:00.") from None
    if (written.tzinfo is None) == (zone is None):
        raise TimeUnusable("Say where that is what the clock shows, as in --zone Asia/Hong_Kong, or give an offset.")
    moment = written if zone is None else _on_the_wall(written, _find_zone(zone))
    if moment <= now:
        raise TimeUnusable(f"{text.strip()} is past; it is {now.astimezone(moment.tzinfo):%Y-%m-%d %H:%M} there now.")
    return moment.astimezone(UTC)


def in_words(duration: timedelta) -> str:
    """Return a duration in its two largest units, as in "1 d 4 h" or "12 min"; less than a second is "0 s"."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    first = next((position for position, (number, _) in enumerate(parts) if number), 3)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number) or "0 s"


def _find_zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        if not zoneinfo.available_timezones():
            raise TimeUnusable("This machine knows no time zones; on Debian: apt install tzdata.") from None
        raise TimeUnusable("There is no such time zone; they are named like Asia/Hong_Kong or Europe/Berlin.") from None


def _on_the_wall(written: datetime, zone: tzinfo) -> datetime:
    """Return the moment at which a clock in the zone shows this. Raises TimeUnusable unless there is just one."""
    first, second = written.replace(tzinfo=zone, fold=0), written.replace(tzinfo=zone, fold=1)
    if first.utcoffset() == second.utcoffset():
        return first
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != written:
        raise TimeUnusable("The clocks there leap over this time; choose one an hour earlier or later.")
    raise TimeUnusable("The clocks there show this time twice that day; choose one an hour earlier or later.")
