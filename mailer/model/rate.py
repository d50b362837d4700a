"""How fast a digest leaves, and how long it will take. Pure: moments and counts are arguments."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mailer.model.digest import DeliveryState, DigestState, DigestStatus

WINDOW_S = 30.0
MINUTE_S = 60.0
_WAITING = (DeliveryState.DUE, DeliveryState.LEASED)


def waiting(status: DigestStatus) -> int:
    """Return how many deliveries have not come to an end."""
    return sum(status.counts.get(state, 0) for state in _WAITING)


def ended(status: DigestStatus) -> int:
    """Return how many deliveries have come to an end, those set aside among them."""
    return sum(number for state, number in status.counts.items() if state not in _WAITING)


def average_per_s(status: DigestStatus, now: datetime) -> float | None:
    """Return how many deliveries ended in a second since the digest began; None unless it is on its way."""
    if status.state is not DigestState.SENDING or status.started is None:
        return None
    elapsed_s = (now - status.started).total_seconds()
    return ended(status) / elapsed_s if elapsed_s >= 1 else None


def time_left(status: DigestStatus, per_s: float | None, now: datetime) -> timedelta | None:
    """Return how long the rest will take at this rate, and no less than until the last is due; None if unknown."""
    if not per_s or status.started is None:
        return None
    last_due = status.started + timedelta(seconds=status.over_s)
    return max(timedelta(seconds=waiting(status) / per_s), last_due - now)


def in_words(per_s: float) -> str:
    """Return a rate by the second, or by the minute where that is less than two."""
    return f"{per_s:.0f} per second" if per_s >= 2 else f"{per_s * MINUTE_S:.0f} per minute"


@dataclass
class Window:
    """The rate over the last half minute of looking."""

    _looks: deque[tuple[float, int]] = field(default_factory=deque)

    def look(self, at_s: float, number: int) -> float | None:
        """Note that so many had ended at this time, in seconds of any clock; return how many do in a second."""
        self._looks.append((at_s, number))
        while at_s - self._looks[0][0] > WINDOW_S:
            self._looks.popleft()
        since_s, before = self._looks[0]
        return (number - before) / (at_s - since_s) if at_s > since_s else None
