"""When a mailbox counts as gone: a score over days, and one letter that probes before anything is done. Pure.

One refusal proves little: servers say "no such user" while they are being moved, and of senders they do not like. So
a mailbox is probed when it was gone on several days that are spread, and given up when the probe comes back as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum

from mailer.model.failure import Failure

POINTS = 3  # different days on which it was gone; more on one day count once
SPREAD = timedelta(days=7)  # at least, from the first of these days to the last: longer than a move of a server takes
FORGOTTEN_AFTER = timedelta(days=60)  # without another such day, all begins anew
PROBE_ANSWERED_WITHIN = timedelta(days=14)  # RFC 5321 §4.5.4.1: servers try for four or five days before they give up


class Step(StrEnum):
    """What follows from one more failure."""

    NOTHING = "nothing"
    PROBE = "probe"
    SUSPEND = "suspend"


@dataclass(frozen=True, slots=True)
class Score:
    """Days on which a mailbox was gone: how many, the first, the last. probed: when the probe was queued."""

    points: int = 0
    first: date | None = None
    last: date | None = None
    probed: date | None = None


def count(score: Score, failure: Failure, today: date, *, is_probe: bool = False) -> tuple[Score, Step]:
    """Return the score after a failure, and what to do. is_probe: it was the probe that did not arrive."""
    if failure is not Failure.GONE:
        return score, Step.NOTHING
    if is_probe and score.probed is not None:
        return Score(), Step.SUSPEND
    if score.last is not None and today <= score.last:
        return score, Step.NOTHING
    if score.first is None or score.last is None or today - score.last > FORGOTTEN_AFTER:
        score = Score(probed=score.probed)
    score = replace(score, points=score.points + 1, first=score.first or today, last=today)
    assert score.first is not None
    if score.probed is None and score.points >= POINTS and today - score.first >= SPREAD:
        return replace(score, probed=today), Step.PROBE
    return score, Step.NOTHING
