from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.errors import Unreadable
from mailer.inward import frames
from mailer.inward.confined import parse
from mailer.model.letter import Letter, Unopened

LIST_SECRET = (Path(__file__).parent / "letters" / "keys" / "list-secret.pgp").read_bytes()
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def read(raw: bytes) -> Letter:
    return parse.read_letter(raw, [LIST_SECRET], None, NOW)


def refusal(raw: bytes) -> str:
    with pytest.raises(Unreadable) as refused:
        read(raw)
    return refused.value.reason


# --- Caps -----------------------------------------------------------------------------------------------------------

SENDER = b"From: a@example.org\r\n"
TORTURES = {
    "a subject of 480 kB": SENDER + b"Subject: " + b"=?utf-8?q?=41?= " * 30_000 + b"\r\n\r\n",
    "a subject of 60 kB": SENDER + b"Subject: " + b"=?utf-8?q?=41?= " * 3_700 + b"\r\n\r\n",
    "134 kB of RFC 2231": SENDER + b"Content-Type: text/plain" + b";\r\n a*1*=utf-8''x" * 8_000 + b"\r\n\r\n",
    "9,000 parameters": SENDER + b"Content-Type: text/plain" + b"; p=x" * 9_000 + b"\r\n\r\n",
    "10,000 levels": SENDER
    + b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(10_000)
    ),
    "58 kB of nested multiparts": SENDER + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" * 1_000,
    "half a million parts": SENDER
    + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    + b"--b\r\n\r\nx\r\n" * 500_000,
    "40,000 fields": SENDER + b"a: b\r\n" * 40_000 + b"\r\n",
    "no header at all": b"x" * 5_000_000,
    "brackets": b"From: " + b"(" * 60_000 + b"\r\n\r\n",
    "open elements": SENDER + b"Content-Type: text/html\r\n\r\n" + b"<div>" * 400_000,
    "open quotes": SENDER + b"Content-Type: text/html\r\n\r\n" + b"<a '>'" * 300_000,
    "closed elements": SENDER + b"Content-Type: text/html\r\n\r\n" + b"<a>" * 200_000 + b"</b>" * 200_000,
    "a long reference": SENDER + b"Content-Type: text/html\r\n\r\n&#" + b"9" * 1_000_000 + b";",
    "armor that never ends": SENDER + b"\r\n" + b"-----BEGIN PGP MESSAGE-----\r\n" * 60_000,
    "keys that never end": SENDER + b"\r\n" + b"-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n" * 40_000,
    "signatures that never end": SENDER + b"\r\n" + b"-----BEGIN PGP SIGNED MESSAGE-----\r\n" * 40_000,
    "escapes": SENDER + b"Content-Type: text/plain; charset=iso-2022-cn\r\n\r\n" + b"\x0e" * 2_000_000,
    "40 MB": SENDER + b"\r\n" + b"x" * 40_000_000,
}


@pytest.mark.parametrize("name", TORTURES)
def test_no_small_letter_keeps_the_reader_busy(name: str) -> None:
    begun_s = time.process_time()
    with contextlib.suppress(Unreadable):
        assert len(read(TORTURES[name]).text) <= 1_000_000
    assert time.process_time() - begun_s < 4


def test_letters_beyond_the_caps_are_refused_by_name() -> None:
    assert refusal(TORTURES["a subject of 480 kB"]) == "too-large"
    assert refusal(TORTURES["40,000 fields"]) == "too-large"
    assert refusal(TORTURES["40 MB"]) == "too-large"
    assert refusal(TORTURES["9,000 parameters"]) == "too-complex"
    assert refusal(TORTURES["10,000 levels"]) == "too-complex"
    assert refusal(TORTURES["half a million parts"]) == "too-complex"


# --- Any bytes ------------------------------------------------------------------------------------------------------

_FRAGMENTS = [
    *(
        b"From: a@example.org\r\n",
        b"From: ",
        b"Subject: ",
        b"=?utf-8?q?=0A?=",
        b"=?gbk?b?",
        b"?=",
        b"\r\n",
        b"\r\n\r\n",
    ),
    *(
        b"Content-Type: multipart/signed; boundary=b\r\n",
        b"--b\r\n",
        b"--b--\r\n",
        b"Content-Type: ",
        b"; charset=",
        b"hz",
    ),
    *(
        b"Content-Type: multipart/encrypted; boundary=b\r\n",
        b"Content-Type: application/pgp-encrypted\r\n",
        b"iso-2022-jp",
    ),
    *(b"-----BEGIN PGP MESSAGE-----\n", b"-----END PGP MESSAGE-----", b"-----BEGIN PGP SIGNED MESSAGE-----\n", b"\n\n"),
    *(
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
        b"-----END PGP PUBLIC KEY BLOCK-----\n",
        b"\xa4\x40",
        b"\x00",
        b"\x1b$B",
    ),
    *(
        b"Autocrypt: addr=a@example.org; keydata=AAAA\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"\xc2\x85",
        b"\xed\xa0\x80",
    ),
    *(
        b"-----BEGIN PGP SIGNATURE-----\n",
        b"-----END PGP SIGNATURE-----\n",
        b"Content-Type: application/pgp-signature\r\n",
    ),
    *(b"Message-ID: <a@b>\r\n", b"Content-Type: text/html\r\n", b"<p", b">", b"&#1;", b"format=flowed", b"text/plain"),
]
letters = st.lists(st.sampled_from(_FRAGMENTS) | st.binary(max_size=20), max_size=30).map(b"".join)


@given(st.binary(max_size=300) | letters | letters.map(SENDER.__add__))
def test_any_bytes_are_a_letter_or_unreadable(raw: bytes) -> None:
    try:
        found = read(raw)
    except Unopened as unopened:
        found = unopened.letter
    except Unreadable:
        return
    for line in (found.subject, found.message_id or "", str(found.sender)):
        assert len(line.splitlines()) <= 1
        assert "\0" not in line
    assert "\0" not in found.text
    assert "\r" not in found.text
    (found.subject + found.text).encode()  # no lone surrogates
    assert found.signed_by is None
    assert frames.read_letter(frames.write_answer(found)[4:]) == found
