"""OpenPGP packets from the outside (RFC 9580 §4): strangers' bytes are counted and sorted before pysequoia reads them.

Its PacketPile unpacks compressed packets on the way (10 kB took 22 s and 4 GB) and refuses a whole certificate for a
line end or one cut-off packet after it. So it is given single packets only (`claims`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum


class Malformed(Exception):
    """The bytes are no sequence of OpenPGP packets."""


class Tag(IntEnum):
    """The packet types that matter here (RFC 9580 §5)."""

    PKESK = 1
    SIGNATURE = 2
    SKESK = 3
    ONE_PASS = 4
    SECRET_KEY = 5
    PUBLIC_KEY = 6
    SECRET_SUBKEY = 7
    COMPRESSED = 8
    SED = 9
    LITERAL = 11
    USER_ID = 13
    PUBLIC_SUBKEY = 14
    USER_ATTRIBUTE = 17
    SEIPD = 18
    MDC = 19
    AED = 20


Outline = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet. tag: see Tag, others are possible."""

    tag: int
    body: bytes = field(repr=False)

    @property
    def raw(self) -> bytes:
        """Header and body. The header is always ours: one of unknown length would swallow what comes after it."""
        return frame(self.tag, self.body)


def walk(blob: bytes) -> Iterator[Packet]:
    """Yield the packets of `blob`; whatever follows the last one and is no packet is left out.

    Raises Malformed where a packet ends beyond the blob. Partial lengths are joined (RFC 9580 §4.2.1.4); packets of
    indeterminate length (§4.2.2) reach to the end.
    """
    at = 0
    while at < len(blob) and blob[at] & 0x80:
        tag = blob[at] & 0x3F
        if blob[at] & 0x40:
            body, at = _read_new_format(blob, at + 1)
        else:
            tag >>= 2
            body, at = _read_old_format(blob, at)
        yield Packet(tag, body)


def tags(blob: bytes) -> Iterator[int]:
    """Yield the tags of packets as far as their headers and lengths make sense, cut off or not."""
    try:
        at = 0
        while at < len(blob) and blob[at] & 0x80:
            yield blob[at] & 0x3F if blob[at] & 0x40 else (blob[at] & 0x3C) >> 2
            _, at = _read_new_format(blob, at + 1) if blob[at] & 0x40 else _read_old_format(blob, at)
    except Malformed:
        return


def outline(opening: bytes, octets: int) -> Outline:
    """Return tag and first octet of each packet in a message of so many octets, of which `opening` is the begin.

    New format only. Raises Malformed where a header lies beyond the opening, or the last packet ends elsewhere than
    the message.
    """
    found, at = [], 0
    while at < octets:
        length, start, is_partial = read_length(opening, at + 1)
        if start >= len(opening):
            raise Malformed
        found.append((opening[at] - 0xC0, opening[start]))
        at = start + length
        while is_partial:
            length, start, is_partial = read_length(opening, at)
            at = start + length
    if at != octets:
        raise Malformed
    return found


def take(blob: bytes, at: int, octets: int) -> tuple[bytes, int]:
    """Return the octets from `at` on and where they end. Raises Malformed where there are not so many."""
    if at + octets > len(blob):
        raise Malformed
    return blob[at : at + octets], at + octets


def _read_old_format(blob: bytes, at: int) -> tuple[bytes, int]:
    width = (1, 2, 4, 0)[blob[at] & 3]
    if not width:
        return blob[at + 1 :], len(blob)
    octets, at = take(blob, at + 1, width)
    return take(blob, at, int.from_bytes(octets, "big"))


def _read_new_format(blob: bytes, at: int) -> tuple[bytes, int]:
    pieces = []
    while True:
        octets, at, is_partial = read_length(blob, at)
        piece, at = take(blob, at, octets)
        pieces.append(piece)
        if not is_partial:
            return b"".join(pieces), at


def read_length(blob: bytes, at: int) -> tuple[int, int, bool]:
    """Return a new-format length, where it ends, and whether it is partial (RFC 9580 §4.2.1)."""
    try:
        first = blob[at]
        if first < 192:
            return first, at + 1, False
        if first < 224:
            return ((first - 192) << 8) + blob[at + 1] + 192, at + 2, False
    except IndexError:
        raise Malformed from None
    if first == 255:
        octets, at = take(blob, at + 1, 4)
        return int.from_bytes(octets, "big"), at, False
    return 1 << (first & 0x1F), at + 1, True


def frame(tag: int, body: bytes) -> bytes:
    """Return a packet in the new format with the shortest length (RFC 9580 §4.2.1)."""
    octets = len(body)
    if octets < 192:
        length = bytes([octets])
    elif octets < 8384:
        length = bytes([((octets - 192) >> 8) + 192, (octets - 192) & 0xFF])
    else:
        length = b"\xff" + octets.to_bytes(4, "big")
    return bytes([0xC0 | tag]) + length + body
