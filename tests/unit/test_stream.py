"""A stream sealed piece by piece: what comes out is what went in, or an error."""

from __future__ import annotations

import io
import os

import pytest

from mailer.crypto.aead import new_key
from mailer.crypto.stream import PIECE_BYTES, Opener, Sealer
from mailer.errors import SealBroken

KEY = new_key()


def sealed(content: bytes, key: bytes = KEY, use: str = "test") -> bytes:
    file = io.BytesIO()
    sealer = Sealer(file, key, use)
    for start in range(0, len(content), 700_001):
        sealer.write(content[start : start + 700_001])
    sealer.close()
    return file.getvalue()


def opened(blob: bytes, key: bytes = KEY, use: str = "test") -> bytes:
    return Opener(io.BytesIO(blob), key, use).read()


def pieces(blob: bytes) -> list[bytes]:
    found = []
    while blob:
        end = 4 + int.from_bytes(blob[:4], "big")
        found.append(blob[:end])
        blob = blob[end:]
    return found


@pytest.mark.parametrize("length", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_what_comes_out_is_what_went_in(length: int) -> None:
    content = os.urandom(length)
    assert opened(sealed(content)) == content


def test_it_can_be_read_in_parts_of_any_size() -> None:
    content = os.urandom(PIECE_BYTES + 5)
    opener = Opener(io.BytesIO(sealed(content)), KEY, "test")
    parts = iter(lambda: opener.read(300_000), b"")
    assert b"".join(parts) == content
    assert opener.read(1) == b""


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda all_: all_[:-1], id="the last piece is missing"),
        pytest.param(lambda all_: all_[1:], id="the first piece is missing"),
        pytest.param(lambda all_: [all_[1], all_[0], *all_[2:]], id="two pieces changed places"),
        pytest.param(lambda all_: [*all_, all_[-1]], id="the last piece stands there twice"),
        pytest.param(lambda all_: [*all_, b"\0"], id="something stands behind the end"),
        pytest.param(lambda all_: [*all_[:-1], all_[-1][:-1]], id="an octet is missing at the end"),
        pytest.param(lambda all_: [all_[0][:9] + bytes([all_[0][9] ^ 1]) + all_[0][10:], *all_[1:]], id="a bit turned"),
        pytest.param(lambda _: [], id="it is empty"),
        pytest.param(lambda _: [b"\xff\xff\xff\xff"], id="a piece says that it has four gigabytes"),
    ],
)
def test_what_was_changed_does_not_open(change) -> None:  # type: ignore[no-untyped-def]
    blob = sealed(os.urandom(2 * PIECE_BYTES + 9))
    assert len(pieces(blob)) == 3
    with pytest.raises(SealBroken):
        opened(b"".join(change(pieces(blob))))


def test_another_key_or_use_opens_nothing() -> None:
    blob = sealed(b"text")
    with pytest.raises(SealBroken):
        opened(blob, key=new_key())
    with pytest.raises(SealBroken):
        opened(blob, use="other")
