"""What a child says is checked as strictly as what a stranger says."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from mailer.errors import ReaderDied
from mailer.inward import frames
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Refusal, Refused
from mailer.model.failure import Failure
from mailer.model.letter import Automatic, Letter, Unopened
from mailer.model.report import Kind, Report

NOW = datetime(2026, 11, 22, tzinfo=UTC)
LETTER = Letter(
    sender=Address("bob", "example.org"),
    subject="訂閱",
    text="訂閱\n\ttab",
    message_id="<a@example.org>",
    was_encrypted=True,
    is_signed=True,
    signed_by="0123456789abcdef" * 2 + "01234567",
    signed_at=NOW,
    signed_digest=bytes(32),
    subject_is_signed=True,
    offered=(
        Certificate(b"\x99", "ab" * 20, None, ("ed25519", "cv25519"), 4),
        Refused(Refusal.EXPIRED, "cd" * 20, ("rsa1024",), NOW),
    ),
    automatic=Automatic.LIST,
    report=Report(Kind.BOUNCE, (Failure.GONE, Failure.FULL), "5.1.1", is_delayed=True, tokens=("a" * 24,)),
)

REPORT = {"kind": "bounce", "failures": ["gone"], "status": "5.1.1", "is_delayed": False, "tokens": []}


def body_of(frame: bytes) -> bytes:
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    return frame[4:]


def test_answers_survive_the_way_between_the_processes() -> None:
    assert frames.read_letter(body_of(frames.write_answer(LETTER))) == LETTER
    assert frames.read_offers(body_of(frames.write_answer(LETTER.offered))) == LETTER.offered
    with pytest.raises(Unopened) as unopened:
        frames.read_letter(body_of(frames.write_answer(Unopened(LETTER))))
    assert unopened.value.letter == LETTER
    request = frames.Request("read", b"raw", (b"one", b"two"), b"", NOW)
    assert frames.read_request(body_of(frames.write_request(request))) == request


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sender", "bob@example.org\r\nBcc: eve@example.net"),
        ("sender", "nobody"),
        ("sender", None),
        ("subject", "a\nb"),
        ("subject", "a\u2028b"),
        ("subject", "a\0"),
        ("subject", "\ud800"),
        ("subject", "x" * 3_000),
        ("subject", ["x"]),
        ("text", "a\0"),
        ("text", "a\r\n"),
        ("text", "x" * 1_000_001),
        ("text", 1),
        ("message_id", "<a@b>\r\n"),
        ("was_encrypted", 1),
        ("is_signed", "yes"),
        ("signed_by", "nothing"),
        ("signed_by", 5),
        ("signed_at", "today"),
        ("signed_at", 1e300),
        ("signed_at", True),
        ("signed_digest", "ab" * 31),
        ("signed_digest", "AB" * 32),
        ("signed_digest", 5),
        ("subject_is_signed", None),
        ("offered", {}),
        ("offered", [{"blob": "!", "fingerprint": "ab" * 20, "expires": None, "algorithms": [], "version": 4}]),
        ("offered", [{"blob": "", "fingerprint": None, "expires": None, "algorithms": [], "version": 4}]),
        ("offered", [{"reason": "unheard-of", "fingerprint": None, "expires": None, "algorithms": []}]),
        ("offered", [{"reason": "weak", "fingerprint": None, "expires": None, "algorithms": "x"}]),
        ("offered", ["x"]),
        ("offered", [{}] * 1_000),
        ("automatic", "unheard-of"),
        ("report", "bounce"),
        ("report", REPORT | {"kind": "unheard-of"}),
        ("report", REPORT | {"failures": ["unheard-of"]}),
        ("report", REPORT | {"failures": ["gone"] * 1_000}),
        ("report", REPORT | {"status": "5.1.1 somebody@example.org"}),
        ("report", REPORT | {"tokens": ["somebody@example.org"]}),
        ("report", REPORT | {"is_delayed": 0}),
    ],
)
def test_no_value_of_a_lying_child_becomes_a_letter(field: str, value: object) -> None:
    answer = {**json.loads(frames.unpack(body_of(frames.write_answer(LETTER)))[1]), field: value}
    with pytest.raises(ReaderDied):
        frames.read_letter(body_of(frames.pack(b"letter", json.dumps(answer).encode())))


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\x00", b"\x00\x00\x00\x05lett", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00" * 1_000),
        *(
            body_of(frames.pack(*chunks))
            for chunks in ([b"letter"], [b"letter", b"["], [b"letter", b"[]"], [b"x", b"y"])
        ),
        body_of(frames.pack(b"letter", b"[" * 100_000)),
        body_of(frames.pack(b"letter", b'{"sender": ' + b"9" * 10_000 + b"}")),
        body_of(frames.pack(b"unreadable", b"unheard-of")),
        body_of(frames.pack(b"offers", b"{}")),
    ],
)
@pytest.mark.parametrize("read", [frames.read_letter, frames.read_offers])
def test_no_other_answer_of_a_lying_child_is_taken(read: Callable[[bytes], object], body: bytes) -> None:
    with pytest.raises(ReaderDied):
        read(body)
