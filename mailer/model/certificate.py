"""What is known of somebody's certificate: usable, or refused for a named reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Refusal(StrEnum):
    """Why a certificate is not used. Each has a reply of its own (templates/open/*/key-REASON.txt)."""

    EXPIRED = "expired"
    EXPIRED_SUBKEY = "expired-subkey"
    REVOKED = "revoked"
    SIGN_ONLY = "sign-only"
    WEAK = "weak"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too-large"
    SECRET = "secret"
    NOT_A_CERTIFICATE = "not-a-certificate"
    SEVERAL = "several"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A usable OpenPGP certificate, reduced to what encryption needs.

    blob: binary transferable public key (RFC 9580 §10.1). fingerprint: lower-case hexadecimal. expires: the moment
    from which on nothing can be encrypted to it, UTC, or None. algorithms: of the primary and of each usable
    encryption subkey, as people write them ("ed25519", "cv25519", "rsa3072"). version: 4 or 6.
    """

    blob: bytes
    fingerprint: str
    expires: datetime | None
    algorithms: tuple[str, ...]
    version: int

    def __repr__(self) -> str:  # a fingerprint in a log line names a person
        return "Certificate(…)"


@dataclass(frozen=True, slots=True)
class Refused:
    """A certificate that is not used, and why. fingerprint and algorithms as in Certificate, where they can be read."""

    reason: Refusal
    fingerprint: str | None = None
    algorithms: tuple[str, ...] = ()
    expires: datetime | None = None

    def __repr__(self) -> str:
        return f"Refused({self.reason})"


def grouped(fingerprint: str) -> str:
    """Return a fingerprint as people compare it: upper case, in fours."""
    return " ".join(fingerprint.upper()[at : at + 4] for at in range(0, len(fingerprint), 4))
