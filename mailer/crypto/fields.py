"""Byte strings put together so that no two different lists of them give the same bytes."""

from __future__ import annotations

from mailer.errors import SealBroken

LENGTH_BYTES = 4


def pack(*parts: str | bytes) -> bytes:
    """Return the parts, each behind its length (4 bytes, big-endian); text as UTF-8."""
    packed = bytearray()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        packed += len(raw).to_bytes(LENGTH_BYTES, "big")
        packed += raw
    return bytes(packed)


def pad(packed: bytes, bucket: int) -> bytes:
    """Return `packed` with zero bytes up to the next multiple of `bucket` bytes."""
    return packed + bytes(-len(packed) % bucket)


def unpack(packed: bytes, count: int) -> list[bytes]:
    """Return the `count` parts of what pack, and perhaps pad, made. Raises SealBroken."""
    parts, at = [], 0
    for _ in range(count):
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(packed[at:start], "big")
        parts.append(packed[start:at])
    if at > len(packed) or any(packed[at:]):
        raise SealBroken
    return parts


def text(raw: bytes) -> str:
    """Return the text that pack was given. Raises SealBroken."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise SealBroken from None
