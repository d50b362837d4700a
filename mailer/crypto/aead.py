"""Sealing under a secret key: AES-256-GCM with a random nonce (NIST SP 800-38D §8.2.2), and keys derived by HKDF.

Random nonces are good for 2^32 values under one key; no key here seals more than one value per subscriber and change.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mailer.crypto.fields import pack
from mailer.errors import SealBroken

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
VERSION = b"\x01"  # starts every sealed blob, so that a later form can be told from this one


def label(name: str, *parts: str | bytes) -> bytes:
    """Return what tells this use of a key from every other: a name of ours and the parts, each length-prefixed."""
    return pack(f"mailer/1/{name}", *parts)


def new_key() -> bytes:
    """Return 32 bytes from the operating system."""
    return os.urandom(KEY_BYTES)


def derive_key(key: bytes, bound: bytes) -> bytes:
    """Return the key of 32 bytes that `bound` (from label) picks out under `key` (RFC 5869, SHA-256, no salt)."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=bound).derive(key)


def seal(key: bytes, plaintext: bytes, bound: bytes) -> bytes:
    """Return `plaintext` sealed together with `bound` (from label): version, nonce, ciphertext; 29 bytes more."""
    nonce = os.urandom(NONCE_BYTES)
    return VERSION + nonce + _cipher(key).encrypt(nonce, plaintext, bound)


def unseal(key: bytes, blob: bytes, bound: bytes) -> bytes:
    """Return what seal was given. Raises SealBroken where key, blob or `bound` are not those."""
    cipher = _cipher(key)
    start = len(VERSION) + NONCE_BYTES
    if blob[:1] != VERSION or len(blob) < start + TAG_BYTES:
        raise SealBroken
    try:
        return cipher.decrypt(blob[1:start], blob[start:], bound)
    except InvalidTag:
        raise SealBroken from None


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:  # AESGCM would take 16 bytes without a word, and be AES-128
        raise ValueError("an AES-256 key has 32 bytes")
    return AESGCM(key)
