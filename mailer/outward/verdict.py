"""What a relay's answer means for a delivery: it is settled, tried again later, or kept for the operator to look at."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from mailer.errors import MailerError
from mailer.model.digest import DeliveryState
from mailer.model.retry import FIRST_WAIT_S, Answer, Outcome, is_final, next_attempt
from mailer.store.queue import Claimed, Settlement

log = logging.getLogger("mailer.outward")


def settlement(
    claimed: Claimed, outcome: Outcome, relay: str, now: datetime, chance: Callable[[], float], give_up_after_s: float
) -> Settlement:
    """Return what an answer makes of a delivery. relay: its name. chance: in [0, 1), spreads the next attempts."""
    if outcome.answer is Answer.ACCEPTED:
        return Settlement(claimed, DeliveryState.SENT, relay=relay)
    if outcome.is_connection_lost and not outcome.is_in_doubt:
        return postpone(claimed, now, FIRST_WAIT_S)  # others first: it may be this letter that the relay dislikes
    attempts = claimed.attempts + 1
    if is_final(outcome, attempts):
        return Settlement(claimed, DeliveryState.FAILED, relay=relay, failure=outcome.failure)
    retry_at = next_attempt(attempts, claimed.first or now, now, chance(), give_up_after_s)
    state = DeliveryState.DUE if retry_at else DeliveryState.FAILED
    return Settlement(claimed, state, retry_at, relay=relay, failure=outcome.failure)


def postpone(claimed: Claimed, now: datetime, wait_s: float) -> Settlement:
    """Return that a delivery is to be tried again after so long, for no fault of the subscriber's server."""
    return Settlement(claimed, DeliveryState.DUE, now + timedelta(seconds=wait_s), is_attempt=False)


def set_aside(claimed: Claimed, error: Exception, relay: str) -> Settlement:
    """Return that a delivery waits for the operator to look at it, and say so; the rest goes on."""
    what = error if isinstance(error, MailerError) else type(error).__name__  # others' texts may quote a letter
    log.error("a delivery was set aside: %s `mailer digest retry` tries it again", what)
    return Settlement(claimed, DeliveryState.ASIDE, relay=relay)
