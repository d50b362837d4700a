"""From an address to its row, and never back: look-up values of the register and marks of those who left.

The HMAC comes first, so that nothing can be computed before the key is stolen; Argon2id comes after it, so that with
the key each guess still costs what it costs us. It lets go of the interpreter lock: call it in a thread.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from mailer.crypto.aead import KEY_BYTES, derive_key, label
from mailer.model.address import Address

# About 5 ms on one core of a server of 2024. Changing any of these moves every row: it needs a new index.
MEMORY_KIB = 8 * 1024
ITERATIONS = 1
LANES = 1


@dataclass(frozen=True, slots=True)
class Index:
    """What an address turns into. look_up: stored with the row. wrapping_key: opens its drawer key; not stored."""

    look_up: bytes
    wrapping_key: bytes

    def __repr__(self) -> str:
        return "Index(…)"


def index(index_key: bytes, list_id: str, address: Address) -> Index:
    """Return how to find the subscriber with this address, and how to open the drawer; about 5 ms (DESIGN §5)."""
    stretched = _stretch(index_key, "index", list_id, address)
    return Index(derive_key(stretched, label("index/look-up")), derive_key(stretched, label("index/wrapping-key")))


def suppression_mark(suppression_key: bytes, list_id: str, address: Address) -> bytes:
    """Return the 32 bytes by which an address that left or is banned is known again; about 5 ms."""
    return derive_key(_stretch(suppression_key, "suppression", list_id, address), label("suppression/mark"))


def count_mark(index_key: bytes, what: str, *parts: str) -> bytes:
    """Return the 32 bytes under which a domain, a network or the whole is counted. Fast: of persons use index."""
    return hmac.digest(index_key, label("counter", what, *parts), "sha256")


def _stretch(key: bytes, use: str, list_id: str, address: Address) -> bytes:
    if len(key) != KEY_BYTES:
        raise ValueError("an index or suppression key has 32 bytes")
    keyed = hmac.digest(key, label(use, list_id, address.normalised), "sha256")
    # the input is already unique and secret (RFC 9106 §3.1 wants the salt for that), so the salt only names the use
    salt = label(f"{use}/stretch")
    return Argon2id(salt=salt, length=32, iterations=ITERATIONS, lanes=LANES, memory_cost=MEMORY_KIB).derive(keyed)
