"""Lanes: what waits for each provider in this process, and how much of it may be on its way at once.

A lane begins narrow, widens with every prompt answer and halves with every slow or failing one, as Postfix's scheduler
does (its SCHEDULER_README, "concurrency scheduling"). So a provider that is slow from the start never has more than a
few connections; and none may have them all, so that one that becomes slow leaves some to the others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from mailer.store.ledger import Entry, Poisoned
from mailer.store.queue import Claimed

FIRST_WIDTH = 2
SLOW_S = 5.0


@dataclass(slots=True)
class Held:
    """A claimed delivery. entry: the subscriber as of `read_at`. until: it is not begun any more from then on."""

    claimed: Claimed
    entry: Entry | Poisoned | None
    read_at: datetime
    until: datetime


@dataclass(eq=False)
class Lane:
    """One provider's. limit: the most on their way at once. low: with no more waiting than that, more are claimed.

    dry_until: nothing more was due there; it is not looked at again before.
    """

    provider: str
    limit: int
    width: float = FIRST_WIDTH
    in_flight: int = 0
    waiting: deque[Held] = field(default_factory=deque)
    low: int = 0
    dry_until: datetime | None = None

    def __post_init__(self) -> None:
        self.gate = asyncio.Semaphore(self.limit)  # for whoever holds a connection

    @property
    def widest(self) -> int:
        """The most that may be begun: half as many as may be on their way are made ready beside them."""
        return self.limit + self.limit // 2

    def wants_more(self, now: datetime) -> bool:
        """Whether to claim more for it."""
        return len(self.waiting) <= self.low and (self.dry_until is None or self.dry_until <= now)

    @property
    def may_begin(self) -> bool:
        """Whether one more may leave now."""
        return bool(self.waiting) and self.in_flight < min(self.width, self.widest)

    def begin(self) -> Held:
        """Take the next one out, to be sent."""
        self.in_flight += 1
        return self.waiting.popleft()

    def end(self, took_s: float, *, is_well: bool) -> None:
        """Note that one came to its end. is_well: the provider answered about the letter itself."""
        self.in_flight -= 1
        if is_well and took_s < SLOW_S:
            self.width = min(self.width + 1, self.widest)
        else:
            self.width = max(self.width / 2, 1)

    def take_out(self, which: Callable[[Claimed], bool]) -> list[Claimed]:
        """Take out those that wait and are so, to be given back."""
        out = [one.claimed for one in self.waiting if which(one.claimed)]
        if out:
            self.waiting = deque(one for one in self.waiting if not which(one.claimed))
        return out


class Lanes:
    """The lanes of all providers, taken in turn. limits: by provider, the most at once."""

    def __init__(self, limits: dict[str, int]) -> None:
        self._lanes = {provider: Lane(provider, limit) for provider, limit in limits.items()}
        self._turn = deque(self._lanes.values())

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    @property
    def waiting(self) -> int:
        """How many deliveries wait in all lanes."""
        return sum(len(lane.waiting) for lane in self)

    def add(self, held: Iterable[Held]) -> None:
        """Put claimed deliveries into their lanes."""
        for one in held:
            self._lanes[one.claimed.provider].waiting.append(one)

    def in_turn(self) -> Iterator[Lane]:
        """Give each lane that may begin one more, a different one first each time."""
        for _ in range(len(self._turn)):
            lane = self._turn[0]
            self._turn.rotate(-1)
            if lane.may_begin:
                yield lane
