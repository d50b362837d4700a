"""Files that an operator asks about: certificates in whatever form people keep and send them, whole letters too."""

from __future__ import annotations

import re
from datetime import datetime

from mailer.crypto import certificates, openpgp
from mailer.inward.confined import fields, offered, smime_offers
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Refusal, Refused

_BASE64 = re.compile(rb"\s*[A-Za-z0-9+/][A-Za-z0-9+/\s]{100,}={0,2}\s*")

Offer = Certificate | Refused


def examine(content: bytes, now: datetime, authorities: bytes = b"") -> tuple[Offer, ...]:
    """Return a verdict on each certificate in a file, at least one. authorities: as in crypto.certificates."""
    verdicts = certificates.examine(content, now, authorities)
    if not all(map(_is_nothing, verdicts)):
        return verdicts
    within = [offer for blob in _within(content) for offer in certificates.examine(blob, now, authorities)]
    within += smime_offers.in_file(content, now, authorities)
    found = dict.fromkeys(offer for offer in within if not _is_nothing(offer))
    return tuple(found) or verdicts


def find(content: bytes, address: Address, now: datetime) -> tuple[Certificate, ...]:
    """Return the usable OpenPGP certificates in a file that have this address as a user ID (WKD: draft-koch §5)."""
    bearers = openpgp.bearers(content, address)
    found = openpgp.examine(content, now) if bearers else ()
    return tuple(one for one in found if isinstance(one, Certificate) and one.fingerprint in bearers)


def _is_nothing(offer: Offer) -> bool:
    is_none = isinstance(offer, Refused) and offer.reason is Refusal.NOT_A_CERTIFICATE
    return is_none and offer.fingerprint is None


def _within(content: bytes) -> list[bytes]:
    if _BASE64.fullmatch(content):  # the key data alone, as Autocrypt and the DNS have it
        return [fields.decode_base64(content)]
    return offered.in_file(content)
