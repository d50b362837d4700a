"""Tokens: what stands in an address and proves that its reader got our letter. The database holds marks, not tokens."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Literal

from mailer.crypto.aead import label

TOKEN_BYTES = 15  # 120 bits, and 24 characters of base32 without padding
MARK_BYTES = 16

_TOKEN = re.compile(r"[a-z2-7]{24}")


class Purpose(StrEnum):
    """What a token is good for; a token of one purpose is worth nothing for another."""

    CONFIRM = "confirm"
    UNSUBSCRIBE = "unsubscribe"
    BOUNCE = "bounce"
    INVITATION = "invitation"


Lasting = Literal[Purpose.UNSUBSCRIBE, Purpose.BOUNCE]


def new_token(random: Callable[[int], bytes]) -> str:
    """Return a token of `random(15)` (os.urandom): lower-case base32, 24 characters."""
    return _spell(random(TOKEN_BYTES))


def derive_token(token_key: bytes, purpose: Lasting, list_id: str, subscriber_id: bytes) -> str:
    """Return this subscriber's lasting token, always the same, so that it need not be stored.

    A token to confirm with is not lasting: derived, it could be answered again long after (ValueError).
    """
    if purpose not in (Purpose.UNSUBSCRIBE, Purpose.BOUNCE):
        raise ValueError("only lasting tokens are derived")
    bound = label("token/derive", purpose, list_id, subscriber_id)
    return _spell(hmac.digest(token_key, bound, "sha256")[:TOKEN_BYTES])


def mark(token_key: bytes, purpose: Purpose, list_id: str, token: str) -> bytes:
    """Return the 16 bytes that the database stores and looks up instead of the token."""
    return hmac.digest(token_key, label("token/mark", purpose, list_id, token), "sha256")[:MARK_BYTES]


def read_token(text: str) -> str | None:
    """Return the token that `text` is, in lower case (mail programs change the case of local parts), or None."""
    # ASCII first: the Kelvin sign's lower case is a k
    token = text.lower() if text.isascii() else ""
    return token if _TOKEN.fullmatch(token) else None


def message_id(token_key: bytes, domain: str, *parts: str | bytes) -> str:
    """Return a Message-ID (RFC 5322 §3.6.4), always the same for the same parts and random to everybody else."""
    left = hmac.digest(token_key, label("message-id", domain, *parts), "sha256")[:TOKEN_BYTES]
    return f"<{_spell(left)}@{domain}>"


def _spell(raw: bytes) -> str:
    return base64.b32encode(raw).decode("ascii").lower()
