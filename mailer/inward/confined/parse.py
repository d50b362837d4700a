"""A stranger's bytes → a Letter, or a named refusal. Runs in the confined child alone (inward/reader.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from mailer.errors import DecryptionFailed, Unreadable
from mailer.inward import guard
from mailer.inward.confined import fields, offered, parts, peel, report, smime_offers
from mailer.inward.confined.parts import Part
from mailer.inward.confined.peel import Peeled, Ring
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Refused
from mailer.model.letter import Automatic, Letter, Unopened, Unreadability

LETTER_OCTETS = 32 * 1024 * 1024
GUARD_FIELDS = 200


def read_letter(
    raw: bytes, keys: Sequence[bytes], certificate: bytes | None, now: datetime, authorities: bytes = b""
) -> Letter:
    """Return the letter that `raw` is, as SMTP brought it (RFC 5322).

    keys: the list's secret keys, OpenPGP in binary and S/MIME in PEM; certificate: the sender's as we hold it, whose
    signature is looked for; now: aware, judges the certificates offered; authorities: PEM, of whom one must vouch for
    X.509 ones, if there are any. Raises Unreadable, and of these Unopened where it is encrypted to others.
    """
    if len(raw) > LETTER_OCTETS:
        raise Unreadable(Unreadability.TOO_LARGE)
    root = parts.read(raw)
    reported = report.read(root)
    sender = report.sender_of(root) if reported else _sender(root)
    ring = Ring.of(keys, certificate, now, authorities)
    try:
        peeled = peel.peel(root, ring)
    except DecryptionFailed:
        raise Unopened(replace(_letter(root, sender, Peeled(root), ring), report=reported)) from None
    return replace(_letter(root, sender, peeled, ring), report=reported)


def _letter(root: Part, sender: Address, peeled: Peeled, ring: Ring) -> Letter:
    inside = _protected(root, peeled)
    signature = peeled.signature if _is_from(peeled, root, sender) else None
    subject = inside.first("subject") if inside else root.first("subject")
    signed_offers = _signed_offers(peeled, sender, ring) if signature else ()
    return Letter(
        sender=sender,
        subject=fields.decode_value(subject, _charset(peeled.payload)),
        text=peeled.text,
        message_id=fields.message_id(root.first("message-id")),
        was_encrypted=peeled.was_encrypted,
        is_signed=peeled.is_signed,
        signed_by=signature.fingerprint if signature else None,
        signed_at=signature.created if signature else None,
        signed_digest=signature.digest if signature else None,
        subject_is_signed=bool(inside and signature),
        offered=signed_offers or _offers(root, peeled, sender, ring),
        offer_is_signed=bool(signed_offers),
        automatic=_automatic(root, sender),
    )


def _signed_offers(peeled: Peeled, sender: Address, ring: Ring) -> tuple[Certificate | Refused, ...]:
    """Return the certificates that the signature covers: not what stands in the header or is attached outside it."""
    payload = peeled.payload if peeled.is_payload_signed else None
    autocrypt = payload.all("autocrypt") if payload else []
    return offered.find(payload, peeled.text, autocrypt, sender, ring.fingerprints, ring.now, ring.on_file)


def _offers(root: Part, peeled: Peeled, sender: Address, ring: Ring) -> tuple[Certificate | Refused, ...]:
    found = _autocrypt(root, peeled)
    pgp = offered.find(peeled.payload, peeled.text, found, sender, ring.fingerprints, ring.now, ring.on_file)
    given = smime_offers.given(peeled.payload, peeled.text, ring.now, ring.authorities)
    signers = smime_offers.signed_with(peeled.payload, peeled.cms, ring.now, ring.authorities)
    return smime_offers.among(pgp, given, signers, ring.fingerprints)


def _sender(root: Part) -> Address:
    """Return the mailbox of From, of which there is exactly one field with one mailbox (RFC 5322 §3.6)."""
    found = root.all("from")
    if len(found) > 1:
        raise Unreadable(Unreadability.SEVERAL_SENDERS)
    if not found:
        raise Unreadable(Unreadability.NO_SENDER)
    return fields.mailbox(found[0])


def _protected(root: Part, peeled: Peeled) -> Part | None:
    """Return the part that carries protected header fields (RFC 9788 §2.1; `protected-headers` is its forerunner)."""
    payload = peeled.payload
    is_marked = "hp" in payload.parameters or "protected-headers" in payload.parameters
    return payload if payload is not root and is_marked and payload.first("subject") else None


def _is_from(peeled: Peeled, root: Part, sender: Address) -> bool:
    """Whether the From inside the signature, if there is one, is the From outside (RFC 9788 §4.4)."""
    if peeled.payload is root or not peeled.payload.all("from"):
        return True
    try:
        return _sender(peeled.payload).normalised == sender.normalised
    except Unreadable:
        return False


def _autocrypt(root: Part, peeled: Peeled) -> list[bytes]:
    """Return the Autocrypt headers: those inside the encryption, if there are any, else those outside."""
    inside = peeled.payload.all("autocrypt") if peeled.was_encrypted else []
    return inside or root.all("autocrypt")


def _charset(payload: Part) -> str | None:
    """Return the charset named by the first part that names one: a hint for header fields without a label."""
    return next((part.parameters["charset"] for part in payload.walk() if "charset" in part.parameters), None)


def _automatic(root: Part, sender: Address) -> Automatic | None:
    asked = [(name, value) for name, value in root.fields if name in guard.FIELDS or name.startswith(guard.PREFIXES)]
    headers = [(name, fields.decode_value(value)) for name, value in asked[:GUARD_FIELDS]]
    return guard.why_automatic(headers, sender)
