"""When to try again: what a relay answered, turned into the next step. Pure; time and chance are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from mailer.model.failure import Failure

FIRST_WAIT_S = 60.0
LONGEST_WAIT_S = 4 * 3600.0
POLICY_ATTEMPTS = 9  # their waits add up to about four hours
GIVE_UP_AFTER_S = 5 * 24 * 3600.0  # RFC 5321 §4.5.4.1: "at least 4-5 days"


_MAY_PASS = frozenset({Failure.POLICY, Failure.CENSORED, Failure.AUTHENTICATION})


class Answer(StrEnum):
    """A relay's answer about one letter: 2xx, 4xx (or no connection), 5xx."""

    ACCEPTED = "accepted"
    LATER = "later"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt. code: SMTP reply code or 0. status: enhanced code (RFC 3463) or "". Never text.

    failure: what the reply means; None where there was a yes, or no reply. is_in_doubt: the connection was lost after
    the final dot, so the relay may have the letter.
    """

    answer: Answer
    code: int = 0
    status: str = ""
    is_connection_lost: bool = False
    failure: Failure | None = None
    is_in_doubt: bool = False


def is_final(outcome: Outcome, attempts: int) -> bool:
    """Return whether a refusal is meant for good, after `attempts` attempts.

    Policy, censorship and authentication, and 5.7.x (RFC 3463 §3.8), may be about us: a blocked address of ours, a
    relay that lost its leave. Whoever brings that about must not empty a whole digest in minutes, so it counts only
    when it stays.
    """
    is_policy = outcome.status.startswith("5.7.") or outcome.failure in _MAY_PASS
    return outcome.answer is Answer.REFUSED and (not is_policy or attempts >= POLICY_ATTEMPTS)


def next_attempt(
    attempts: int, first: datetime, now: datetime, chance: float, give_up_after_s: float = GIVE_UP_AFTER_S
) -> datetime | None:
    """Return when to try again after `attempts` failures since `first`, or None to give up.

    chance is in [0, 1): it spreads retries over half the wait, so that they do not come in herds. The waits double
    from one minute to four hours.
    """
    if (now - first).total_seconds() >= give_up_after_s:
        return None
    wait_s = min(FIRST_WAIT_S * 2.0 ** min(attempts - 1, 12), LONGEST_WAIT_S)
    return now + timedelta(seconds=wait_s * (0.75 + chance / 2))
