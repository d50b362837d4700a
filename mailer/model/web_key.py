"""How a Web Key Directory names an address (draft-koch-openpgp-webkey-service §3.1)."""

from __future__ import annotations

from hashlib import sha1

_ZBASE32 = "ybndrfg8ejkmcpqxot1uwisza345h769"  # RFC 6189 §5.1.6


def hashed(local: str) -> str:
    """Return a local part as 32 characters: the SHA-1 of it, ASCII letters in lower case, in z-base-32."""
    lower = "".join(char.lower() if char.isascii() else char for char in local)
    number = int.from_bytes(sha1(lower.encode(), usedforsecurity=False).digest(), "big")
    return "".join(_ZBASE32[number >> shift & 31] for shift in range(155, -1, -5))
