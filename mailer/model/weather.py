"""Censorship weather: what share of letters each provider refuses for their content, and where that changes.

Pure. No figure is shown that one reader, or a few, could have made: less than MINIMUM answers go into one line with
those of other providers, and are left out where even that is too small. "Later" is no answer: one letter that waits
would count again and again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

from mailer.model.failure import Failure

MINIMUM = 20  # answers
DAYS = 7
RECENT_DAYS = 2  # today and yesterday, against the days before
LEAST_RISE = 0.05  # of the share
OTHERS = "others"
SENT = "sent"


@dataclass(frozen=True, slots=True)
class Observation:
    """So many answers of one kind by one provider on one day. outcome: SENT, or a Failure."""

    day: date
    provider: str
    outcome: str
    number: int


@dataclass(frozen=True, slots=True)
class Climate:
    """A provider's answers over a week. is_worse: it refused content noticeably more of late than before."""

    provider: str
    answers: int
    counts: dict[str, int] = field(default_factory=dict)
    is_worse: bool = False

    def share(self, outcome: str) -> float:
        """Return which part of the answers was of this kind, from 0 to 1."""
        return self.counts.get(outcome, 0) / self.answers


def forecast(observations: Iterable[Observation], today: date, minimum: int = MINIMUM) -> list[Climate]:
    """Return what may be shown of the last week: the providers with the most censored letters first, others last."""
    since = today - timedelta(days=DAYS - 1)
    seen = [one for one in observations if since <= one.day <= today and one.outcome != Failure.TEMPORARY]
    by_provider: dict[str, list[Observation]] = {}
    for one in seen:
        by_provider.setdefault(one.provider, []).append(one)
    large = [_climate(name, few, today, minimum) for name, few in by_provider.items() if _total(few) >= minimum]
    rest = [one for few in by_provider.values() if _total(few) < minimum for one in few]
    large.sort(key=lambda one: (-one.share(Failure.CENSORED), one.provider))
    return [*large, _climate(OTHERS, rest, today, minimum)] if _total(rest) >= minimum else large


def _climate(provider: str, observations: list[Observation], today: date, minimum: int) -> Climate:
    counts: dict[str, int] = {}
    for one in observations:
        counts[one.outcome] = counts.get(one.outcome, 0) + one.number
    recent_from = today - timedelta(days=RECENT_DAYS - 1)
    recent = [one for one in observations if one.day >= recent_from]
    before = [one for one in observations if one.day < recent_from]
    is_worse = (
        min(_total(recent), _total(before)) >= minimum
        and _censored(recent) >= 2 * _censored(before)
        and _censored(recent) - _censored(before) >= LEAST_RISE
    )
    return Climate(provider, _total(observations), counts, is_worse)


def _total(observations: Iterable[Observation]) -> int:
    return sum(one.number for one in observations)


def _censored(observations: list[Observation]) -> float:
    return sum(one.number for one in observations if one.outcome == Failure.CENSORED) / _total(observations)
