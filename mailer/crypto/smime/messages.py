"""Letters under S/MIME (RFC 8551): signed and enveloped by us; opened, and looked into, in the confined reader."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import (
    PKCS7EnvelopeBuilder,
    PKCS7Options,
    PKCS7SignatureBuilder,
    pkcs7_decrypt_der,
)

from mailer.crypto.smime import ber
from mailer.crypto.smime.ber import EXPLICIT_0, IMPLICIT_0, INTEGER, OCTET_STRING, SEQUENCE, SET, Item, Malformed
from mailer.crypto.smime.certificates import examine, why_unusable
from mailer.crypto.smime.keys import SmimeKey, generate_private, self_signed
from mailer.crypto.smime.trust import is_vouched_for
from mailer.errors import CertificateUnusable, DecryptionFailed
from mailer.model.address import Address

MICALG = "sha-256"  # of `sign_detached`, as RFC 8551 §3.5.3.2 names it
RECIPIENTS = 50  # that are tried


class Kind(StrEnum):
    """What PKCS#7 holds (RFC 8551 §3.2.2). CERTIFICATES: signed-data with no content (certs-only)."""

    SIGNED = "signed-data"
    ENVELOPED = "enveloped-data"
    CERTIFICATES = "certs-only"
    OTHER = "other"


def sign_detached(payload: bytes, key: SmimeKey) -> bytes:
    """Return SignedData over the very bytes of `payload`, DER, without them; the certificate and its chain are in it.

    The time of signing in it is the machine's.
    """
    builder = PKCS7SignatureBuilder().set_data(payload).add_signer(key.certificate, key.private, SHA256())
    for one in key.chain:
        builder = builder.add_certificate(one)
    return builder.sign(Encoding.DER, [PKCS7Options.DetachedSignature, PKCS7Options.Binary])


def encrypt(entity: bytes, certificate: bytes, now: datetime) -> bytes:
    """Return EnvelopedData, DER: `entity` under a fresh AES-256 key (CBC), for one RSA certificate (PKCS #1 v1.5).

    That is what all programs read; the library writes nothing else. What is inside is signed, so that nobody changes
    it unseen. Raises CertificateUnusable when nothing may be encrypted to the certificate at `now`.
    """
    try:
        recipient = x509.load_der_x509_certificate(certificate)
        if why_unusable(recipient, now):
            raise CertificateUnusable
        return _envelope(entity, recipient)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateUnusable from None


def _envelope(entity: bytes, recipient: x509.Certificate) -> bytes:
    builder = PKCS7EnvelopeBuilder().set_data(entity).add_recipient(recipient)
    return builder.set_content_encryption_algorithm(AES256).encrypt(Encoding.DER, [PKCS7Options.Binary])


def kind_of(blob: bytes) -> Kind:
    """Return what PKCS#7 holds, DER or BER; OTHER where that cannot be read."""
    try:
        kind, content = _content_info(blob)
        if kind == ber.ENVELOPED_DATA:
            return Kind.ENVELOPED
        if kind != ber.SIGNED_DATA:
            return Kind.OTHER
        return Kind.SIGNED if len(_encapsulated(content).children) > 1 else Kind.CERTIFICATES
    except Malformed:
        return Kind.OTHER


def content_of(blob: bytes) -> bytes:
    """Return what stands in signed-data (RFC 5652 §5.2), the signature not verified. Raises Malformed."""
    kind, content = _content_info(blob)
    if kind != ber.SIGNED_DATA:
        raise Malformed
    return _encapsulated(content).child(1, EXPLICIT_0).child(0, OCTET_STRING).content


def decrypt(blob: bytes, keys: Sequence[SmimeKey]) -> bytes:
    """Return what an envelope, DER or BER, holds for one of `keys`. Raises DecryptionFailed.

    RSA with PKCS #1 v1.5 and AES alone; nothing in it is authenticated. In the confined reader only.
    """
    try:
        for_us = [(_only_for(blob, key), key) for key in keys]
    except Malformed:
        raise DecryptionFailed from None
    for envelope, key in for_us:
        if envelope is None:
            continue
        try:
            return pkcs7_decrypt_der(envelope, key.certificate, key.private, [])
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
    raise DecryptionFailed


def _only_for(blob: bytes, key: SmimeKey) -> bytes | None:
    """Return the envelope, DER, with one recipient in it, or None where it has none for this key.

    The library does not read an envelope in which one of the others is of a kind that it does not know.
    """
    kind, content = _content_info(blob)
    if kind != ber.ENVELOPED_DATA:
        return None
    version, *fields = content.children
    recipients = next((one.children for one in fields if one.tag == SET), ())[:RECIPIENTS]
    ours = [one for one in recipients if one.tag == SEQUENCE and _is_for(one, key)]
    encrypted = next((one for one in fields if one.tag == SEQUENCE), None)
    if not ours or encrypted is None:
        return None
    algorithms, sealed = encrypted.children[:2], encrypted.children[2:]
    if not sealed:
        return None
    in_one = Item(IMPLICIT_0, ber.join(sealed[0]))
    envelope = ber.sequence(version, ber.sequence(ours[0], tag=SET), ber.sequence(*algorithms, in_one))
    return ber.sequence(ber.ENVELOPED_DATA, ber.sequence(envelope, tag=EXPLICIT_0)).der


def _is_for(recipient: Item, key: SmimeKey) -> bool:
    """Whether a KeyTransRecipientInfo names the key's certificate by issuer and serial number (RFC 5652 §6.2.1)."""
    named = recipient.child(1, SEQUENCE) if len(recipient.children) > 1 else None
    if named is None or len(named.children) != 2 or named.children[1].tag != INTEGER:
        return False
    number = int.from_bytes(named.children[1].content, "big", signed=True)
    return named.children[0].der == key.certificate.issuer.public_bytes() and number == key.certificate.serial_number


def load_everything(now: datetime) -> None:
    """Do once what the confined reader does, with a key that is too short for anything else: it cannot load files."""
    key = self_signed(generate_private(1024), Address("nobody", "example.org"), now)
    is_vouched_for(key.certificate, [key.certificate], now, key.public_pem)
    examine(key.public_pem, now)
    decrypt(_envelope(sign_detached(b"\r\n", key), key.certificate), [SmimeKey.from_pem(key.to_pem())])


def _content_info(blob: bytes) -> tuple[Item, Item]:
    """Return type and content of a ContentInfo (RFC 5652 §3)."""
    whole = ber.read(blob)
    return whole.children[0] if whole.children else whole, whole.child(1, EXPLICIT_0).child(0, SEQUENCE)


def _encapsulated(signed: Item) -> Item:
    """Return EncapsulatedContentInfo (RFC 5652 §5.2)."""
    return next((one for one in signed.children if one.tag == SEQUENCE), signed)
