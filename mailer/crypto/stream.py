"""A long stream sealed piece by piece, so that nothing of it has to be held as a whole.

Each piece is bound to its place and says whether it is the last: none can be left out, moved or cut off unnoticed.
"""

from __future__ import annotations

from typing import BinaryIO

from mailer.crypto.aead import label, seal, unseal
from mailer.errors import SealBroken

PIECE_BYTES = 1024 * 1024
_LENGTH_BYTES = 4
_LARGEST = PIECE_BYTES + 64  # a piece, sealed


class Sealer:
    """Takes bytes, as a file open for writing does, and writes them sealed; `close` writes the last piece."""

    def __init__(self, file: BinaryIO, key: bytes, use: str) -> None:
        self._file, self._key, self._use = file, key, use
        self._waiting = bytearray()
        self._number = 0

    def write(self, content: bytes) -> int:
        """Take some bytes; return how many. Raises OSError."""
        self._waiting += content
        while len(self._waiting) > PIECE_BYTES:
            self._put(bytes(self._waiting[:PIECE_BYTES]), is_last=False)
            del self._waiting[:PIECE_BYTES]
        return len(content)

    def close(self) -> None:
        """Write what is left, as the last piece. Raises OSError."""
        self._put(bytes(self._waiting), is_last=True)
        self._waiting.clear()

    def _put(self, piece: bytes, *, is_last: bool) -> None:
        sealed = seal(self._key, piece, _bound(self._use, self._number, is_last))
        self._file.write(len(sealed).to_bytes(_LENGTH_BYTES, "big") + sealed)
        self._number += 1


class Opener:
    """Gives what Sealer took, as a file open for reading does. Raises SealBroken where a piece is not as written."""

    def __init__(self, file: BinaryIO, key: bytes, use: str) -> None:
        self._file, self._key, self._use = file, key, use
        self._ready = bytearray()
        self._number = 0
        self._is_at_end = False

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, all that is left for -1; fewer only at the end. Raises SealBroken, OSError."""
        while not self._is_at_end and (size < 0 or len(self._ready) < size):
            self._take()
        size = len(self._ready) if size < 0 else size
        given = bytes(self._ready[:size])
        del self._ready[:size]
        return given

    def _take(self) -> None:
        length = int.from_bytes(self._file.read(_LENGTH_BYTES), "big")
        sealed = self._file.read(length) if 0 < length <= _LARGEST else b""
        if len(sealed) != length or not sealed:
            raise SealBroken("(It ends in the middle.)")
        try:
            self._ready += unseal(self._key, sealed, _bound(self._use, self._number, is_last=False))
        except SealBroken:
            self._ready += unseal(self._key, sealed, _bound(self._use, self._number, is_last=True))
            self._is_at_end = True
            if self._file.read(1):
                raise SealBroken("(Something stands behind its end.)") from None
        self._number += 1


def _bound(use: str, number: int, is_last: bool) -> bytes:
    return label(use, str(number), "last" if is_last else "more")
