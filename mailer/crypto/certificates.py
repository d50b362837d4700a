"""Certificates of either kind, OpenPGP and X.509: told apart by how they begin, judged where each belongs."""

from __future__ import annotations

from datetime import datetime

from mailer.crypto import openpgp, smime
from mailer.crypto.openpgp import expiry as openpgp_expiry
from mailer.model.certificate import Certificate, Refusal, Refused, is_x509

_ARMOR = b"-----BEGIN PGP "


def examine(blob: bytes, now: datetime, authorities: bytes = b"") -> tuple[Certificate | Refused, ...]:
    """Return a verdict on each certificate in a file of either kind, at least one.

    blob: a stranger's bytes, so in the confined reader only. authorities: PEM; see smime.examine. Never raises.
    """
    if not smime.is_like(blob):
        return openpgp.examine(blob, now)
    verdicts = smime.examine(blob, now, authorities)
    return (*openpgp.examine(blob, now), *verdicts) if _ARMOR in blob else verdicts


def is_usable(blob: bytes, now: datetime) -> Refusal | None:
    """Return why a certificate that was taken once can no longer be encrypted to at `now`, or None."""
    return smime.is_usable(blob, now) if is_x509(blob) else openpgp.is_usable(blob, now)


def expiry(blob: bytes) -> datetime | None:
    """Return when nothing can be encrypted to a certificate that was taken any more, UTC; None: never."""
    return smime.expiry(blob) if is_x509(blob) else openpgp_expiry.expiry(blob)
