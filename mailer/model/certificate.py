"""What is known of somebody's certificate: usable, or refused for a named reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Refusal(StrEnum):
    """Why a certificate is not used. Each has a reply of its own, see Refused.template.

    The last six are met with X.509 alone; expired subkeys and revocations with OpenPGP alone. UNTRUSTED: it does not
    come from one of the certificate authorities that config.toml names. BROKEN: its signature is not valid.
    NOT_OFFERED: nothing is wrong with it, but the list has no X.509 key of its own.
    """

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
    NOT_YET_VALID = "not-yet-valid"
    CA = "ca"
    NOT_FOR_MAIL = "not-for-mail"
    ELLIPTIC_CURVE = "elliptic-curve"
    UNTRUSTED = "untrusted"
    BROKEN = "broken"
    NOT_OFFERED = "not-offered"


OF_X509 = frozenset(Refusal) - {Refusal.EXPIRED_SUBKEY, Refusal.REVOKED}
OF_OPENPGP = frozenset(Refusal) - {
    *(Refusal.CA, Refusal.NOT_FOR_MAIL, Refusal.ELLIPTIC_CURVE),
    *(Refusal.UNTRUSTED, Refusal.BROKEN, Refusal.NOT_OFFERED),
}
ENDED = frozenset((Refusal.EXPIRED, Refusal.EXPIRED_SUBKEY, Refusal.REVOKED))  # it was usable once


class Found(StrEnum):
    """What a file is that is no certificate, for whoever looks at it with `mailer keys check`."""

    EMPTY = "an empty file"
    MESSAGE = "an OpenPGP message"
    SIGNATURE = "an OpenPGP signature"
    REVOCATION = "a revocation certificate without its certificate"
    PART = "a part of an OpenPGP certificate"
    BROKEN = "an OpenPGP file that is damaged or cut off"
    X509 = "an X.509 certificate or another file of S/MIME"
    SSH = "an SSH key"
    FILE_KEY = "a secret key of another kind"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A usable certificate: OpenPGP, reduced to what encryption needs, or X.509 (S/MIME).

    blob: binary transferable public key (RFC 9580 §10.1), or DER (RFC 5280). fingerprint: lower-case hexadecimal; of
    X.509 SHA-256. expires: the moment from which on nothing can be encrypted to it, UTC, or None. algorithms: of the
    primary and of each usable encryption subkey, as people write them ("ed25519", "cv25519", "rsa3072"). version: 4 or
    6; 3 of X.509.
    """

    blob: bytes
    fingerprint: str
    expires: datetime | None
    algorithms: tuple[str, ...]
    version: int

    @property
    def is_x509(self) -> bool:
        """Whether it is for S/MIME."""
        return is_x509(self.blob)

    def __repr__(self) -> str:  # a fingerprint in a log line names a person
        return "Certificate(…)"


@dataclass(frozen=True, slots=True)
class Refused:
    """A certificate that is not used, and why. fingerprint as in Certificate, where it can be read.

    algorithms: of the primary key, of the subkey that is to blame, and the hash that is. is_x509: it is one for
    S/MIME, or was sent as one. found: what it is instead, where that is plain.
    """

    reason: Refusal
    fingerprint: str | None = None
    algorithms: tuple[str, ...] = ()
    expires: datetime | None = None
    is_x509: bool = False
    found: Found | None = None

    @property
    def template(self) -> str:
        """The reply that names the reason: templates/open/*/key-REASON.txt, or smime-REASON.txt for X.509."""
        return f"{'smime' if self.is_x509 else 'key'}-{self.reason}"

    def __repr__(self) -> str:
        return f"Refused({self.reason})"


def is_x509(blob: bytes) -> bool:
    """Return whether a certificate is DER: the highest bit is set where an OpenPGP packet begins (RFC 9580 §4.2)."""
    return blob[:1] == b"\x30"


def grouped(fingerprint: str) -> str:
    """Return a fingerprint as people compare it: upper case, in fours."""
    return " ".join(fingerprint.upper()[at : at + 4] for at in range(0, len(fingerprint), 4))
