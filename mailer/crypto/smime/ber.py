"""The outer shell of PKCS#7 and of key files, read as BER and written as DER (X.690): no more than finding our way in.

Mail programs write PKCS#7 as they go, with indefinite lengths and strings in pieces (Thunderbird does), and
`cryptography` reads DER alone. Certificates and keys themselves are read by it, never here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

DEPTH = 32  # honest letters: 12
ITEMS = 100_000  # of a letter of 32 MiB, written in pieces
SEQUENCE, SET, OCTET_STRING, INTEGER, OID = 0x30, 0x31, 0x04, 0x02, 0x06
CONSTRUCTED = 0x20
IMPLICIT_0, EXPLICIT_0 = 0x80, 0xA0  # [0], primitive and constructed


class Malformed(ValueError):
    """Not BER, or deeper or larger than any honest file."""


@dataclass(frozen=True, slots=True)
class Item:
    """One value: its tag octet and its content without the length; what is nested in it is in definite form."""

    tag: int
    content: bytes

    @property
    def der(self) -> bytes:
        """The value with tag and definite length (X.690 §10.1)."""
        return bytes((self.tag,)) + _length(len(self.content)) + self.content

    @property
    def children(self) -> tuple[Item, ...]:
        """The values in a constructed one. Raises Malformed."""
        if not self.tag & CONSTRUCTED:
            raise Malformed
        found, at = [], 0
        while at < len(self.content):
            head = _read_head(self.content, at)
            at = head.start + (head.length or 0)
            found.append(Item(head.tag, self.content[head.start : at]))
        return tuple(found)

    def child(self, at: int, tag: int) -> Item:
        """Return the value at a place, which must have that tag. Raises Malformed."""
        children = self.children
        if at >= len(children) or children[at].tag != tag:
            raise Malformed
        return children[at]


# What a ContentInfo says that it holds (RFC 5652 §4, §5.1, §6.1).
DATA = Item(OID, bytes.fromhex("2a864886f70d010701"))
SIGNED_DATA = Item(OID, bytes.fromhex("2a864886f70d010702"))
ENVELOPED_DATA = Item(OID, bytes.fromhex("2a864886f70d010703"))


def sequence(*items: Item, tag: int = SEQUENCE) -> Item:
    """Return a constructed value of these."""
    return Item(tag, b"".join(item.der for item in items))


def read(blob: bytes, items: int = ITEMS) -> Item:
    """Return the one value that `blob` begins with; what stands behind it is dropped. Raises Malformed.

    items: the most that may be nested in it.
    """
    return _Reader(blob, items).read(0, 0)[0]


class _Head(NamedTuple):
    """Of a value. length: None where an end-of-contents mark ends it; start: where the content begins."""

    tag: int
    length: int | None
    start: int


class _Reader:
    def __init__(self, blob: bytes, items: int) -> None:
        self._blob = blob
        self._left = items

    def read(self, at: int, depth: int) -> tuple[Item, int]:
        """Return the value that begins at a place, and where it ends."""
        self._left -= 1
        if depth > DEPTH or self._left < 0:
            raise Malformed
        head = _read_head(self._blob, at)
        if head.tag & CONSTRUCTED:
            return self._read_nested(head, depth)
        if head.length is None or head.start + head.length > len(self._blob):
            raise Malformed
        end = head.start + head.length
        return Item(head.tag, self._blob[head.start : end]), end

    def _read_nested(self, head: _Head, depth: int) -> tuple[Item, int]:
        at, pieces = head.start, []
        end = None if head.length is None else head.start + head.length
        while end is None or at < end:
            if end is None and self._blob[at : at + 2] == b"\0\0":
                at += 2
                break
            piece, at = self.read(at, depth + 1)
            pieces.append(piece)
        if end is not None and at != end:
            raise Malformed
        if head.tag == OCTET_STRING | CONSTRUCTED:  # a string in pieces (X.690 §8.7.3)
            return Item(OCTET_STRING, _joined(pieces)), at
        return sequence(*pieces, tag=head.tag), at


def join(item: Item) -> bytes:
    """Return the octets of an implicitly tagged string, in pieces or not (X.690 §8.14.4). Raises Malformed."""
    return _joined(list(item.children)) if item.tag & CONSTRUCTED else item.content


def _joined(pieces: list[Item]) -> bytes:
    if any(piece.tag != OCTET_STRING for piece in pieces):
        raise Malformed
    return b"".join(piece.content for piece in pieces)


def _read_head(blob: bytes, at: int) -> _Head:
    if at + 2 > len(blob) or blob[at] & 0x1F == 0x1F:  # tags above 30 are none of ours
        raise Malformed
    tag, first = blob[at], blob[at + 1]
    if first < 0x80:
        return _Head(tag, first, at + 2)
    octets = first & 0x7F
    if not octets:
        return _Head(tag, None, at + 2)
    if octets > 4 or at + 2 + octets > len(blob):
        raise Malformed
    return _Head(tag, int.from_bytes(blob[at + 2 : at + 2 + octets], "big"), at + 2 + octets)


def _length(length: int) -> bytes:
    if length < 0x80:
        return bytes((length,))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets
