"""How fast a digest leaves: counted from what has ended, and never promised sooner than the last is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailer.cli.progress import describe
from mailer.model import rate
from mailer.model.digest import DeliveryState, DigestState, DigestStatus
from mailer.model.language import Language

STARTED = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNTS = {DeliveryState.DUE: 500, DeliveryState.LEASED: 100, DeliveryState.SENT: 390, DeliveryState.FAILED: 10}


def status(state: DigestState = DigestState.SENDING, over_s: int = 0, **counts: int) -> DigestStatus:
    found = {DeliveryState(name.replace("_", "-")): number for name, number in counts.items()} or COUNTS
    planned = sum(found.values())
    return DigestStatus("d1", "news", state, STARTED, (Language.EN,), planned, found, over_s=over_s, started=STARTED)


def after(seconds: float) -> datetime:
    return STARTED + timedelta(seconds=seconds)


def test_what_waits_or_is_leased_has_not_ended() -> None:
    assert (rate.waiting(status()), rate.ended(status())) == (600, 400)


def test_the_average_counts_from_the_beginning() -> None:
    assert rate.average_per_s(status(), after(100)) == 4.0


@pytest.mark.parametrize("state", sorted(set(DigestState) - {DigestState.SENDING}))
def test_what_is_not_being_sent_has_no_rate(state: DigestState) -> None:
    assert rate.average_per_s(status(state), after(100)) is None


def test_in_its_first_second_a_digest_has_no_rate() -> None:
    assert rate.average_per_s(status(), after(0)) is None


def test_the_time_left_follows_from_the_rate() -> None:
    assert rate.time_left(status(), 4.0, after(100)) == timedelta(seconds=150)
    assert rate.time_left(status(), None, after(100)) is None
    assert rate.time_left(status(), 0.0, after(100)) is None


def test_a_digest_that_is_spread_is_not_done_before_its_last_copy_is_due() -> None:
    assert rate.time_left(status(over_s=7200), 4.0, after(100)) == timedelta(seconds=7100)


def test_a_window_forgets_what_was_long_ago() -> None:
    window = rate.Window()
    assert window.look(0.0, 0) is None
    assert window.look(10.0, 1000) == 100.0
    assert window.look(35.0, 1250) == 10.0
    assert window.look(60.0, 1250) == 0.0


@pytest.mark.parametrize(("per_s", "words"), [(250.4, "250 per second"), (2.0, "2 per second"), (0.5, "30 per minute")])
def test_a_slow_rate_is_told_by_the_minute(per_s: float, words: str) -> None:
    assert rate.in_words(per_s) == words


def test_the_bar_says_rate_time_left_and_what_went_wrong() -> None:
    found = status(due=100, sent=880, failed=15, aside=3, unusable_key=2)
    assert describe(found, 10.0, after(60)) == "10 per second, 10 s left, 15 failed, 2 unusable-key, 3 aside"
    assert describe(status(DigestState.HELD), 10.0, after(60)) == "held"
