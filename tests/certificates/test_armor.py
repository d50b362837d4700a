"""Certificates as people send them: armored, quoted, wrapped, twice, with a footer, out of a Windows shell."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.crypto import openpgp
from mailer.crypto.openpgp import armor
from mailer.crypto.openpgp.armor import BlockKind
from mailer.model.certificate import Certificate, Refusal, Refused

ARMORED = (Path(__file__).parent / "files" / "usable.asc").read_bytes()
SECRET = (Path(__file__).parent / "files" / "secret.asc").read_bytes()
MESSAGE = (Path(__file__).parent / "files" / "not-a-certificate-message.asc").read_bytes()
(_BLOCK,) = armor.find_blocks(ARMORED, 2)
assert _BLOCK.content
BINARY = _BLOCK.content
NOW = datetime.now(UTC)
LINES = ARMORED.splitlines()

AS_SENT = {
    "binary": BINARY,
    "binary with a line end after it": BINARY + b"\r\n",
    "armored": ARMORED,
    "CRLF": ARMORED.replace(b"\n", b"\r\n"),
    "CR only": ARMORED.replace(b"\n", b"\r"),
    "text before and after": b"Hello,\n\nhere is my key:\n\n" + ARMORED + b"\n-- \nAlice\nhttps://example.org/\n",
    "quoted": b"\n".join(b"> " + line for line in LINES),
    "quoted twice": b"\n".join(b">> " + line for line in LINES),
    "indented": b"\n".join(b"    " + line for line in LINES),
    "spaces at the ends of lines": b"\n".join(line + b"  " for line in LINES),
    "a blank line after each line": b"\n\n".join(LINES),
    "headers": ARMORED.replace(b"-----\n\n", b"-----\nVersion: GnuPG v2\nComment: https://example.org/\n\n", 1),
    "no blank line before the text": ARMORED.replace(b"BLOCK-----\n\n", b"BLOCK-----\n", 1),
    "no checksum": b"\n".join(line for line in LINES if not line.startswith(b"=")),
    "wrong checksum": b"\n".join(b"=AAAA" if line.startswith(b"=") else line for line in LINES),
    "no end line": b"\n".join(LINES[:-1]),
    "wrapped to thirty columns": b"\n".join(
        piece for line in LINES[2:-1] for piece in (line[:30], line[30:60], line[60:])
    ).join([b"\n".join(LINES[:2]) + b"\n", b"\n" + LINES[-1]]),
    "byte order mark": b"\xef\xbb\xbf" + ARMORED,
    "UTF-16, little-endian": ARMORED.decode().encode("utf-16"),
    "UTF-16, big-endian": b"\xfe\xff" + ARMORED.decode().encode("utf-16-be"),
    "called a file": ARMORED.replace(b"PUBLIC KEY BLOCK", b"ARMORED FILE"),
    "twice": ARMORED + b"\n" + ARMORED,
    "after a message": MESSAGE + ARMORED,
}


@pytest.mark.parametrize("blob", AS_SENT.values(), ids=AS_SENT.keys())
def test_a_certificate_is_found_as_people_send_it(blob: bytes) -> None:
    (verdict,) = openpgp.examine(blob, NOW)
    assert isinstance(verdict, Certificate)


def test_two_certificates_in_two_blocks_are_two(gnupg_pair: bytes) -> None:
    verdicts = openpgp.examine(gnupg_pair, NOW)
    assert [type(verdict) for verdict in verdicts] == [Certificate, Certificate]


@pytest.fixture
def gnupg_pair() -> bytes:
    other = (Path(__file__).parent / "files" / "usable-rsa2048.asc").read_bytes()
    return ARMORED + b"and\n" + other


def test_a_secret_block_beside_a_public_one_is_told() -> None:
    public, secret = openpgp.examine(ARMORED + SECRET, NOW)
    assert isinstance(public, Certificate)
    assert isinstance(secret, Refused)
    assert secret.reason is Refusal.SECRET


def test_a_certificate_that_is_cut_off_is_none() -> None:
    for octets in (1, 50, 200):
        (verdict,) = openpgp.examine(BINARY[:-octets], NOW)
        assert isinstance(verdict, Refused)
        assert verdict.reason is Refusal.NOT_A_CERTIFICATE


def test_armor_goes_round() -> None:
    text = openpgp.armor_certificate(BINARY)
    assert text.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n")
    (block,) = armor.find_blocks(text.encode(), 2)
    assert (block.kind, block.content) == (BlockKind.PUBLIC_KEY, BINARY)


def test_no_more_blocks_are_read_than_asked_for() -> None:
    assert len(list(armor.find_blocks(ARMORED * 20, 3))) == 3


@given(st.binary(), st.binary())
def test_nothing_before_or_after_a_block_hides_it_or_raises(before: bytes, after: bytes) -> None:
    if before[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return
    blocks = list(armor.find_blocks(before + b"\n" + ARMORED + b"\n" + after, 100))
    assert BINARY in [block.content for block in blocks]
