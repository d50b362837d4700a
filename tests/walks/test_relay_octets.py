"""What goes out to a relay and what comes back, octet by octet; no network."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailer.errors import BadAddress, LetterUnusable
from mailer.letters import seal
from mailer.letters.seal import Sealed
from mailer.model.address import Address
from mailer.model.failure import Failure
from mailer.model.retry import Answer, Outcome
from mailer.outward.relay.parcel import _PLAIN, pack, with_dots
from mailer.outward.relay.reply import REPLY_OCTETS, OutOfStep, Reply, ReplyReader, read_lost, read_outcome

READER = Address("reader", "far.example")
OURS = Address("news+bounce-abc", "lists.example")

# --- Replies ---------------------------------------------------------------------------------------------------------

STREAM = b"250-one\r\n250-two\r\n250 three\r\n354\r\n550-5.1.1 no\r\n550 5.1.1 such \x00\xff\r\n421 bye\n250 \r\n"
REPLIES = [
    Reply(250, b"one\r\ntwo\r\nthree"),
    Reply(354, b""),
    Reply(550, b"5.1.1 no\r\n5.1.1 such \x00\xff"),
    Reply(421, b"bye"),
    Reply(250, b""),
]


@given(st.lists(st.integers(0, len(STREAM))))
@example(list(range(len(STREAM))))
@example([])
def test_replies_are_the_same_however_their_octets_are_cut(cuts: list[int]) -> None:
    reader = ReplyReader()
    bounds = [0, *sorted(cuts), len(STREAM)]
    replies = [reply for a, b in pairwise(bounds) for reply in reader.feed(STREAM[a:b])]
    assert replies == REPLIES
    assert not reader.is_within_reply


@pytest.mark.parametrize(
    "garbage",
    [
        b"\r\n",
        b"hello\r\n",
        b"25\r\n",
        b"2500 four digits\r\n",
        b"199 too low\r\n",
        b"600 too high\r\n",
        b"250_no blank\r\n",
        b" 250 blank first\r\n",
        b"\x00250 NUL first\r\n",
        "２５０ digits, but not ASCII\r\n".encode(),
        b"250-one code\r\n550 and another\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
    ],
)
def test_what_is_no_reply_is_not_taken_for_one(garbage: bytes) -> None:
    reader = ReplyReader()
    replies = reader.feed(b"250 OK\r\n" + garbage)
    assert next(replies) == Reply(250, b"OK")  # it was said before the nonsense began
    with pytest.raises(OutOfStep):
        next(replies)


@given(st.lists(st.binary(max_size=40)))
def test_no_octets_raise_anything_but_that_they_are_no_reply(chunks: list[bytes]) -> None:
    reader = ReplyReader()
    try:
        replies = [reply for chunk in chunks for reply in reader.feed(chunk)]
    except OutOfStep:
        return
    assert all(200 <= reply.code < 600 for reply in replies)


@pytest.mark.parametrize("piece", [b"x" * 1000, b"250-" + b"x" * 508 + b"\r\n", b"250-\r\n"])
def test_a_reply_without_end_is_dropped_after_64_kib(piece: bytes) -> None:
    reader, taken = ReplyReader(), 0
    with pytest.raises(OutOfStep):
        while taken < 2 * REPLY_OCTETS:
            assert list(reader.feed(piece)) == []
            taken += len(piece)
    assert taken <= REPLY_OCTETS


def test_a_reply_larger_than_64_kib_is_not_read_though_it_comes_at_once() -> None:
    with pytest.raises(OutOfStep):
        list(ReplyReader().feed(b"250-" + b"x" * 1000 + b"\r\n" + b"250-x\r\n" * REPLY_OCTETS + b"250 end\r\n"))


def test_a_line_longer_than_the_rfc_allows_is_read() -> None:
    assert list(ReplyReader().feed(b"250 " + b"x" * 9000 + b"\r\n")) == [Reply(250, b"x" * 9000)]


@pytest.mark.parametrize("code", [450, 500, 502, 503, 530, 534, 535, 538, 550, 552])
def test_what_is_said_of_the_session_never_counts_against_a_mailbox(code: int) -> None:
    reply = Reply(code, b"user unknown, no such mailbox, mailbox full")
    about_session = read_outcome(reply, is_about_letter=False)
    assert about_session.answer is Answer.LATER
    assert about_session.failure not in (None, Failure.GONE, Failure.FULL)
    assert read_lost(code, reply.text.decode()).failure == about_session.failure


def test_a_mailbox_that_is_gone_counts() -> None:
    assert read_outcome(Reply(550, b"5.1.1 user unknown")) == Outcome(
        Answer.REFUSED, 550, "5.1.1", failure=Failure.GONE
    )


# --- Letters ---------------------------------------------------------------------------------------------------------

PIECES = [b"\r\n", b"\r", b"\n", b"x", b".", b"\x00", b"\xe9", b"x" * 997, b"x" * 499]


def is_packed(content: bytes) -> bool:
    try:
        return pack(Sealed(READER, OURS, content, seal._MADE_HERE)).content == content
    except LetterUnusable:
        return False


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), st.sampled_from([b"\r\n", b""]))
@example(b"x" * 998, b"\r\n")
@example(b"x" * 999, b"\r\n")
@example(b"a\r\n" + b"x" * 998 + b"\r\n\r\n" + b"x" * 999, b"\r\n")
def test_exactly_lines_of_998_octets_that_end_in_crlf_are_fit(beginning: bytes, end: bytes) -> None:
    content = beginning + end
    fit = re.fullmatch(rb"(?:[^\r\n\x00]{0,998}\r\n)+", content)
    assert is_packed(content) == (fit is not None)


@given(st.lists(st.sampled_from([b"", b".", b"..", b".x", b"x.", b"x", b"." * 120, b"x" + b"." * 120]), min_size=1))
def test_dots_are_doubled_so_that_no_line_ends_the_letter(lines: list[bytes]) -> None:
    wire = with_dots(b"\r\n".join(lines) + b"\r\n").split(b"\r\n")[:-1]
    assert b"." not in wire
    assert wire == [b"." + line if line.startswith(b".") else line for line in lines]


def test_what_needs_no_dots_is_not_copied() -> None:
    content = b"A: b.c\r\n\r\nwww.example\r\n"
    assert with_dots(content) is content


ADDRESSES = st.from_regex(r"[A-Za-z0-9.+\"@<> _\-é]{1,70}@[A-Za-z0-9.\-]{1,70}", fullmatch=True)


@given(ADDRESSES)
@example("a@" + ".".join(["b" * 63] * 4))
@example("a" * 65 + "@b.example")
@example("a@b.example\n")
@example("a@" + "b" * 64 + ".example")
@example("a@localhost")
def test_an_address_that_is_let_through_at_a_glance_is_one_that_parsing_leaves_as_it_is(text: str) -> None:
    if not _PLAIN.fullmatch(text):
        return
    try:
        assert str(Address.parse(text)) == text
    except BadAddress:
        pytest.fail("let through, but no address")


def test_our_own_addresses_are_seen_at_a_glance() -> None:
    assert _PLAIN.fullmatch(str(READER))
    assert _PLAIN.fullmatch(str(OURS))
