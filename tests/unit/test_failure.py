"""What servers say, and what it means. The replies are what well-known programs and providers answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.model.failure import Failure, classify, read


def replies() -> Iterator[tuple[Failure, int, str, str]]:
    for line in (Path(__file__).parent / "replies.tsv").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            failure, code, status, text = line.split("\t")
            yield Failure(failure), int(code), status, text


REPLIES = list(replies())


@pytest.mark.parametrize(("failure", "code", "status", "text"), REPLIES)
def test_a_reply_means_what_its_server_means(failure: Failure, code: int, status: str, text: str) -> None:
    assert classify(code, status, text) is failure


@pytest.mark.parametrize(("code", "status", "text"), [reply for failure, *reply in REPLIES if failure is Failure.GONE])
def test_whoever_may_come_back_is_not_gone(code: int, status: str, text: str) -> None:
    assert classify(450, status.replace("5.", "4.", 1), text) is not Failure.GONE


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("<user-unknown@example.org>", Failure.UNKNOWN),
        ("<quota.full@spam.example>: later", Failure.UNKNOWN),
        ("see https://example.org/user/unknown", Failure.UNKNOWN),
        ("see https://www.spamhaus.org/query/ip/192.0.2.1", Failure.POLICY),
    ],
)
def test_addresses_and_links_speak_for_nobody(text: str, failure: Failure) -> None:
    assert classify(550, "", text) is failure


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("sender address rejected: user unknown", Failure.POLICY),
        ("blocked: your host is on a blocklist", Failure.POLICY),
        ("Mail content denied", Failure.CENSORED),
        ("failed SPF", Failure.AUTHENTICATION),
        ("mailbox is full", Failure.FULL),
        ("too many connections", Failure.TEMPORARY),
    ],
)
def test_clear_words_count_more_than_a_code_that_says_gone(text: str, failure: Failure) -> None:
    assert classify(550, "5.1.1", text) is failure


@pytest.mark.parametrize(
    ("code", "status", "failure"),
    [
        (550, "5.1.1", Failure.GONE),
        (550, "5.1.10", Failure.GONE),
        (552, "5.2.2", Failure.FULL),
        (550, "5.7.1", Failure.POLICY),
        (550, "5.7.26", Failure.AUTHENTICATION),
        (0, "5.4.6", Failure.TEMPORARY),
        (421, "", Failure.TEMPORARY),
        (450, "4.1.1", Failure.TEMPORARY),
        (550, "", Failure.UNKNOWN),
        (554, "5.0.0", Failure.UNKNOWN),
        (0, "", Failure.UNKNOWN),
    ],
)
def test_codes_decide_where_there_are_no_words(code: int, status: str, failure: Failure) -> None:
    assert classify(code, status, "") is failure


def test_a_precise_code_in_the_words_counts_where_the_server_gave_it_nowhere_else() -> None:
    assert classify(550, "", "sorry (#5.1.1)") is Failure.GONE
    assert classify(550, "5.7.1", "sorry (#5.1.1)") is Failure.POLICY


def test_words_are_surer_than_codes_and_codes_surer_than_nothing() -> None:
    replies = [(550, "", "user unknown"), (550, "5.1.1", "x"), (550, "", "access denied"), (550, "", "x")]
    assert [read(*reply).certainty for reply in replies] == [3, 2, 1, 0]


@given(st.integers(0, 999), st.text(max_size=12), st.text())
def test_every_reply_has_a_class(code: int, status: str, text: str) -> None:
    assert classify(code, status, text) in Failure
