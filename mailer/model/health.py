"""Whether something at the other end of a wire can be relied on at the moment. Pure; time and chance are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(slots=True)
class Health:
    """Open until `patience` failures in a row; then closed for a while that doubles, with one try at its end.

    first_wait_s, longest_wait_s: how long it is closed, in seconds.
    """

    patience: int = 1
    first_wait_s: float = 1.0
    longest_wait_s: float = 300.0
    failures: int = 0
    closed_at: datetime | None = None
    opens_at: datetime | None = None
    _is_probed: bool = False

    def is_open(self, now: datetime) -> bool:
        """Return whether to try; after a closure only one at a time may, until that one succeeds."""
        return self.opens_at is None or (now >= self.opens_at and not self._is_probed)

    def begin(self) -> None:
        """Note that a try begins."""
        self._is_probed = self.opens_at is not None

    def succeed(self) -> None:
        """Note that a try went well: all is open again."""
        self.failures, self.closed_at, self.opens_at, self._is_probed = 0, None, None, False

    def fail(self, began: datetime, now: datetime, chance: float) -> None:
        """Note that a try that began then failed; those that were on their way together count once.

        chance is in [0, 1): it spreads the next tries of several processes over half the wait.
        """
        self._is_probed = False
        if self.closed_at is not None and began <= self.closed_at:
            return
        self.failures += 1
        if self.failures >= self.patience:
            wait_s = min(self.first_wait_s * 2.0 ** min(self.failures - self.patience, 20), self.longest_wait_s)
            self.closed_at, self.opens_at = now, now + timedelta(seconds=wait_s * (0.75 + chance / 2))

    def abandon(self) -> None:
        """Note that a try ended without telling anything."""
        self._is_probed = False
