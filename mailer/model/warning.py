"""When somebody is warned that their key runs out: pure, so that every day of it is a row in a test table."""

from __future__ import annotations

from datetime import datetime, timedelta

STEPS = (timedelta(days=30), timedelta(days=14), timedelta(days=3))
FIRST = max(STEPS)


def is_due(expires: datetime | None, before: datetime, moment: datetime) -> bool:
    """Return whether a step falls behind the last look at the register (`before`) and not behind this one (`moment`).

    So each step is told once, and nothing about it is kept with anybody. Where the looks lie far apart, one letter
    stands for all the steps between them; of a key that has expired, another letter tells.
    """
    if expires is None or expires <= moment:
        return False
    return any(before < expires - step <= moment for step in STEPS)


def days_left(expires: datetime, now: datetime) -> int:
    """Return how many days there are until then, the last one counted whole."""
    return -((now - expires) // timedelta(days=1))
