"""Sealing to a public key: HPKE (RFC 9180) with the hybrid KEM ML-KEM-768 + X25519, HKDF-SHA256, ChaCha20-Poly1305.

Whoever has a public half can seal (HPKE's base mode): that a value opens says where it belongs, not who made it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from mailer.crypto.aead import VERSION, label
from mailer.crypto.payload import Malformed, decode, encode, mapping, naming
from mailer.errors import SealBroken

SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)

MLKEM_SEED_BYTES = 64  # FIPS 203 §7.1: d and z
MLKEM_PUBLIC_BYTES = 1184  # FIPS 203 table 3
X25519_BYTES = 32  # RFC 7748 §6.1
PRIVATE_BYTES = MLKEM_SEED_BYTES + X25519_BYTES
PUBLIC_BYTES = MLKEM_PUBLIC_BYTES + X25519_BYTES
CHECK_BYTES = 8


@dataclass(frozen=True)
class HybridPublic:
    """The public half of a pair. raw: ML-KEM-768 encapsulation key, then X25519 public key; 1,216 bytes."""

    raw: bytes
    kind: ClassVar[str] = "hybrid"

    def __post_init__(self) -> None:
        if len(self.raw) != PUBLIC_BYTES:
            raise Malformed("a public key has the wrong length")
        try:
            _ = self._key  # a damaged key shows itself here, not at the first letter
            X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(self.raw[MLKEM_PUBLIC_BYTES:]))
        except ValueError:
            raise Malformed("a public key is damaged") from None

    @classmethod
    def from_bytes(cls, file: bytes) -> Self:
        """Return what to_bytes wrote. Raises VaultError, for roster.pub as transit.pub too."""
        kind, _, text = file.removesuffix(b"\n").partition(b" ")
        with naming(f"{cls.kind}.pub"):
            if kind != cls._file_kind():
                raise Malformed("it is another kind of file")
            checked = decode(text.decode("ascii", errors="replace"), PUBLIC_BYTES + CHECK_BYTES)
            raw = checked[:PUBLIC_BYTES]
            if checked[PUBLIC_BYTES:] != cls._check(raw):
                raise Malformed("it is damaged")
            return cls(raw)

    def to_bytes(self) -> bytes:
        """Return the file that holds it: one line of ASCII, with a check value.

        Without the check a damaged file would go on sealing what nobody can open.
        """
        return self._file_kind() + b" " + encode(self.raw + self._check(self.raw)).encode() + b"\n"

    def encrypt(self, plaintext: bytes, bound: bytes) -> bytes:
        """Return `plaintext` sealed together with `bound` (from label): version byte and HPKE; 1,137 bytes more."""
        return VERSION + SUITE.encrypt(plaintext, self._key, bound)

    @cached_property
    def _key(self) -> hpke.MLKEM768X25519PublicKey:
        return hpke.MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(self.raw[:MLKEM_PUBLIC_BYTES]),
            X25519PublicKey.from_public_bytes(self.raw[MLKEM_PUBLIC_BYTES:]),
        )

    @classmethod
    def _file_kind(cls) -> bytes:
        return f"mailer-{cls.kind}-public-1".encode()

    @classmethod
    def _check(cls, raw: bytes) -> bytes:
        return hashlib.sha256(label("public-check", cls.kind, raw)).digest()[:CHECK_BYTES]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


@dataclass(frozen=True)
class HybridPrivate:
    """The private half of a pair. raw: ML-KEM-768 seed, then X25519 private key; 96 bytes."""

    raw: bytes
    kind: ClassVar[str] = "hybrid"

    def __post_init__(self) -> None:
        if len(self.raw) != PRIVATE_BYTES:
            raise Malformed("a private key has the wrong length")

    @classmethod
    def generate(cls) -> Self:
        """Return a new pair, of the operating system's randomness."""
        return cls(MLKEM768PrivateKey.generate().private_bytes_raw() + X25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def from_payload(cls, payload: Mapping[str, object]) -> Self:
        """Return what to_payload gave. Raises VaultError."""
        name = f"{cls.kind}_private"
        with naming(f"{cls.kind} key"):
            return cls(decode(mapping(payload, {name})[name], PRIVATE_BYTES))

    def to_payload(self) -> dict[str, object]:
        """Return what a key file holds of it."""
        return {f"{self.kind}_private": encode(self.raw)}

    @cached_property
    def public_raw(self) -> bytes:
        """The public half, as HybridPublic takes it."""
        mlkem, x25519 = self._halves
        return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def decrypt(self, blob: bytes, bound: bytes) -> bytes:
        """Return what encrypt was given. Raises SealBroken where pair, blob or `bound` are not those."""
        if blob[:1] != VERSION:
            raise SealBroken
        try:
            return SUITE.decrypt(blob[1:], self._key, bound)
        except InvalidTag:
            raise SealBroken from None

    @cached_property
    def _halves(self) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
        return (
            MLKEM768PrivateKey.from_seed_bytes(self.raw[:MLKEM_SEED_BYTES]),
            X25519PrivateKey.from_private_bytes(self.raw[MLKEM_SEED_BYTES:]),
        )

    @cached_property
    def _key(self) -> hpke.MLKEM768X25519PrivateKey:
        return hpke.MLKEM768X25519PrivateKey(*self._halves)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"
