"""The X.509 certificates that a letter brings: attached under one of many names, in its text, or with its signature."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from mailer.crypto import smime
from mailer.errors import Unreadable
from mailer.inward.confined import parts, visible
from mailer.inward.confined.parts import Part
from mailer.model.certificate import Certificate, Refusal, Refused

BLOBS = 8

_TYPES = frozenset(
    {
        *("application/pkix-cert", "application/x-x509-user-cert", "application/x-x509-ca-cert"),
        *("application/x-x509-email-cert", "application/pkix-pkipath", "application/x-pkcs7-certificates"),
        *("application/pkcs7-mime", "application/x-pkcs7-mime", "application/x-pkcs12", "application/pkcs12"),
    }
)
_SUFFIXES = (".cer", ".crt", ".der", ".p7b", ".p7c", ".p12", ".pfx")
_IF_LIKE = ("application/octet-stream", "application/x-pem-file", "application/pem-certificate-chain", "text/plain")
_SUFFIXES_IF_LIKE = (".pem", ".key", ".p7s", ".p7m", ".p8", ".txt")
_SIGNATURES = ("application/pkcs7-signature", "application/x-pkcs7-signature")
_UNSAID = (Refusal.NOT_A_CERTIFICATE, Refusal.TOO_LARGE)  # of a signature: nobody sent it as a certificate

Offer = Certificate | Refused


def given(payload: Part | None, text: str, now: datetime, authorities: bytes) -> list[Offer]:
    """Return verdicts on what is attached or stands in the text. authorities: PEM."""
    blobs = [*(_attached(payload) if payload else ()), *_in_text(text)][:BLOBS]
    return list(smime.examine_files(blobs, now, authorities))


def signed_with(payload: Part, signatures: Sequence[bytes], now: datetime, authorities: bytes) -> list[Offer]:
    """Return verdicts on the certificates that came with signatures, peeled already or still in `payload`."""
    others = [part.decoded() for part in payload.walk() if part.type in _SIGNATURES]
    offers = smime.examine_files([*signatures, *others][:BLOBS], now, authorities)
    return [one for one in offers if not isinstance(one, Refused) or one.reason not in _UNSAID]


def in_file(content: bytes, now: datetime, authorities: bytes) -> list[Offer]:
    """Return verdicts on what a letter that was saved as a file may hold, whoever wrote it."""
    try:
        root = parts.read(content)
    except Unreadable:
        return []
    opaque = [root.decoded()] if root.type.endswith("pkcs7-mime") else []
    return [*given(root, visible.text_of(root), now, authorities), *signed_with(root, opaque, now, authorities)]


def among(
    others: Sequence[Offer], attached: Sequence[Offer], signers: Sequence[Offer], own: Collection[str]
) -> tuple[Offer, ...]:
    """Return all that a letter offers, best first: what was attached, what OpenPGP announces, who signed with S/MIME.

    others: OpenPGP's. own: fingerprints of the list's keys, which are nobody's offer. A secret key beats all else;
    several usable certificates that were attached say nothing: Refused(SEVERAL).
    """
    attached, signers = ([one for one in offers if one.fingerprint not in own] for offers in (attached, signers))
    secret = next((one for one in (*attached, *others) if _is(one, Refusal.SECRET)), None)
    if secret is not None:
        return (secret,)
    if _number_of_usable(attached) > 1:
        return (Refused(Refusal.SEVERAL, is_x509=True),)
    if _number_of_usable(signers) > 1:
        signers = []
    ordered = sorted((*attached, *others, *signers), key=lambda one: isinstance(one, Refused))
    return tuple({one.fingerprint or one: one for one in reversed(ordered)}.values())[::-1]


def _number_of_usable(offers: Sequence[Offer]) -> int:
    return len({one.fingerprint for one in offers if isinstance(one, Certificate)})


def _is(offer: Offer, reason: Refusal) -> bool:
    return isinstance(offer, Refused) and offer.reason is reason


def _attached(payload: Part) -> Iterator[bytes]:
    for part in payload.walk():
        if part.children or part.type in _SIGNATURES:
            continue
        name = part.filename.lower()
        is_said = part.type in _TYPES or name.endswith(_SUFFIXES)
        if not is_said and not (part.is_attachment and (part.type in _IF_LIKE or name.endswith(_SUFFIXES_IF_LIKE))):
            continue
        content = part.decoded()
        if part.type.endswith("pkcs7-mime") and smime.kind_of(content) is not smime.Kind.CERTIFICATES:
            continue  # a letter, not a certificate
        if is_said or smime.is_like(content):
            yield content


def _in_text(text: str) -> list[bytes]:
    """Return the text if there are PEM blocks in it, without what is quoted: that is somebody else's."""
    if "-----BEGIN " not in text:
        return []
    own = "\n".join(line.strip() for line in text.split("\n") if not line.lstrip().startswith(">"))
    blob = own.encode("utf-8", "replace")
    return [blob] if smime.is_like(blob) else []
