"""Judges X.509 certificates: usable for S/MIME, or refused for a named reason. The library has no policy of its own.

An address in a certificate is not compared with the writer's: what ties the two is the confirmation letter, which is
sealed to the certificate and mailed to the address. Revocation is not looked up: that would tell a stranger's server
who joins, and when.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, PublicKeyAlgorithmOID

from mailer.crypto.smime import containers, trust
from mailer.crypto.smime.containers import Contents
from mailer.model.certificate import Certificate, Refusal, Refused

RSA_BITS_MIN, RSA_BITS_MAX = 2048, 8192
VERSION = 3
_WEAK_HASHES = (hashes.MD5, hashes.SHA1)
_WEAK_SIGNATURES = ("1.2.840.113549.1.1.2", "1.2.840.113549.1.1.4", "1.2.840.113549.1.1.5", "1.3.14.3.2.29")  # MD2 …
_CURVES = (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)
_EXCHANGES = (x25519.X25519PublicKey, x448.X448PublicKey)
_MAIL = (ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)

T = TypeVar("T")


def examine(blob: bytes, now: datetime, authorities: bytes = b"") -> tuple[Certificate | Refused, ...]:
    """Return a verdict on each certificate of a person in `blob`, at least one. Its authorities are passed over.

    blob: a stranger's bytes: PEM, DER, PKCS#7. authorities: PEM, of whom one must vouch for it; b"" if none need to.
    Never raises and takes less than two seconds; yet call it in the confined reader only.
    """
    return examine_files([blob], now, authorities)


def examine_files(blobs: Sequence[bytes], now: datetime, authorities: bytes = b"") -> tuple[Certificate | Refused, ...]:
    """Return the same of several files, of which some may hold what leads from another to its authority."""
    with warnings.catch_warnings():  # of serial numbers below 1, which old certificates have
        warnings.simplefilter("ignore")
        files = [containers.gather(blob) for blob in blobs]
        chain = [one for file in files for one in file.certificates]
        return tuple(verdict for file in files for verdict in _examine(file, chain, now, authorities))


def _examine(
    found: Contents, chain: list[x509.Certificate], now: datetime, authorities: bytes
) -> tuple[Certificate | Refused, ...]:
    if found.has_secret:
        return (_refused(Refusal.SECRET),)
    if found.is_too_large:
        return (_refused(Refusal.TOO_LARGE),)
    own = [one for one in found.certificates if not _is_ca(one)] or found.certificates[:1]
    if not own:
        return (_refused(Refusal.NOT_A_CERTIFICATE),)
    return tuple(_judge(one, chain, now, authorities) for one in own)


def is_usable(der: bytes, now: datetime) -> Refusal | None:
    """Return why a certificate that was taken once can no longer be encrypted to at `now`, or None."""
    try:
        certificate = x509.load_der_x509_certificate(der)
    except _UNREADABLE:
        return Refusal.NOT_A_CERTIFICATE
    return why_unusable(certificate, now)


def expiry(der: bytes) -> datetime | None:
    """Return the moment from which on a certificate cannot be used, UTC; None for what is no certificate."""
    try:
        return x509.load_der_x509_certificate(der).not_valid_after_utc
    except _UNREADABLE:
        return None


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the DER, lower-case hexadecimal: what programs show."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def why_unusable(certificate: x509.Certificate, now: datetime) -> Refusal | None:
    """Return what stands in a certificate itself against encrypting a letter to it at `now`, or None."""
    try:
        return next((reason for rule in _RULES if (reason := rule(_Read(certificate, now)))), None)
    except _UNREADABLE:
        return Refusal.UNSUPPORTED


def _judge(
    certificate: x509.Certificate, chain: list[x509.Certificate], now: datetime, authorities: bytes
) -> Certificate | Refused:
    reason = why_unusable(certificate, now) or _why_untrusted(certificate, chain, now, authorities)
    algorithms = (_algorithm(certificate),)
    try:
        expires = certificate.not_valid_after_utc
    except ValueError:
        return Refused(Refusal.UNSUPPORTED, fingerprint(certificate), algorithms, None, is_x509=True)
    if reason:
        when = expires if reason is Refusal.EXPIRED else None
        return Refused(reason, fingerprint(certificate), algorithms, when, is_x509=True)
    return Certificate(certificate.public_bytes(Encoding.DER), fingerprint(certificate), expires, algorithms, VERSION)


def _why_untrusted(
    certificate: x509.Certificate, chain: list[x509.Certificate], now: datetime, authorities: bytes
) -> Refusal | None:
    if authorities:
        vouched = trust.is_vouched_for(certificate, [one for one in chain if _is_ca(one)], now, authorities)
        return None if vouched else Refusal.UNTRUSTED
    return Refusal.BROKEN if _is_broken(certificate, chain) else None


def _is_broken(certificate: x509.Certificate, chain: list[x509.Certificate]) -> bool:
    """Whether its signature is not valid, as far as the issuer's key is at hand: its own, or one that came along."""
    tried = [one for one in (certificate, *chain) if _or_none(lambda one=one: one.subject) == certificate.issuer]  # type: ignore[misc]
    return bool(tried) and not any(_is_signed_by(certificate, one) for one in tried)


def _is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *_UNREADABLE):
        return False
    return True


def _refused(reason: Refusal) -> Refused:
    return Refused(reason, is_x509=True)


# --- What may stand in a certificate --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Read:
    certificate: x509.Certificate
    now: datetime

    def extension(self, kind: type[T]) -> T | None:
        return _extension(self.certificate, kind)


def _extension(certificate: x509.Certificate, kind: type[T]) -> T | None:
    try:
        value = certificate.extensions.get_extension_for_class(kind).value  # type: ignore[type-var]
    except x509.ExtensionNotFound:
        return None
    return value


def _why_not_now(read: _Read) -> Refusal | None:
    if read.now >= read.certificate.not_valid_after_utc:
        return Refusal.EXPIRED
    return Refusal.NOT_YET_VALID if read.now < read.certificate.not_valid_before_utc else None


def _why_not_its_key(read: _Read) -> Refusal | None:
    if read.certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
        return Refusal.SIGN_ONLY  # RFC 4055 §1.2: such a key encrypts nothing
    key = _or_none(read.certificate.public_key)
    if isinstance(key, (*_CURVES, *_EXCHANGES)) or _is_on_curve(read.certificate):
        return Refusal.ELLIPTIC_CURVE
    if isinstance(key, dsa.DSAPublicKey):
        return Refusal.SIGN_ONLY
    if not isinstance(key, rsa.RSAPublicKey):
        return Refusal.UNSUPPORTED
    if key.key_size < RSA_BITS_MIN:
        return Refusal.WEAK
    return Refusal.TOO_LARGE if key.key_size > RSA_BITS_MAX else None


def _why_not_its_use(read: _Read) -> Refusal | None:
    usage, extended = read.extension(x509.KeyUsage), read.extension(x509.ExtendedKeyUsage)
    if _is_ca(read.certificate) and not _is_own_root(read, usage):
        return Refusal.CA
    if usage is not None and not usage.key_encipherment:
        return Refusal.SIGN_ONLY  # RFC 8550 §4.4.2
    if extended is not None and not any(one in extended for one in _MAIL):
        return Refusal.NOT_FOR_MAIL  # RFC 8550 §4.4.4
    return None


def _is_own_root(read: _Read, usage: x509.KeyUsage | None) -> bool:
    """Whether a person signed it for themselves: `openssl req -x509` makes such certificates, CA:TRUE, by default.

    It has a mailbox as its other name, and may be encrypted to, as far as it says.
    """
    names = read.extension(x509.SubjectAlternativeName)
    mailboxes = names.get_values_for_type(x509.RFC822Name) if names is not None else []
    is_self_signed = read.certificate.subject == read.certificate.issuer
    return is_self_signed and bool(mailboxes) and (usage is None or usage.key_encipherment)


def _why_weakly_signed(read: _Read) -> Refusal | None:
    if read.certificate.signature_algorithm_oid.dotted_string in _WEAK_SIGNATURES:
        return Refusal.WEAK
    algorithm = _or_none(lambda: read.certificate.signature_hash_algorithm)
    return Refusal.WEAK if isinstance(algorithm, _WEAK_HASHES) else None


_RULES: tuple[Callable[[_Read], Refusal | None], ...] = (
    _why_not_its_key,
    _why_not_its_use,
    _why_weakly_signed,
    _why_not_now,
)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        basic = _extension(certificate, x509.BasicConstraints)
    except _UNREADABLE:
        return False
    return basic is not None and basic.ca


def _is_on_curve(certificate: x509.Certificate) -> bool:
    """Whether the key is on a curve that the library does not know."""
    return certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.EC_PUBLIC_KEY


def _algorithm(certificate: x509.Certificate) -> str:
    """Return the kind of key as people write it."""
    key = _or_none(certificate.public_key)
    match key:
        case rsa.RSAPublicKey():
            is_pss = certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS
            return f"rsa{key.key_size}" + ("-pss" if is_pss else "")
        case dsa.DSAPublicKey():
            return f"dsa{key.key_size}"
        case ec.EllipticCurvePublicKey():
            return key.curve.name
        case None:
            return "unknown"
    return type(key).__name__.removesuffix("PublicKey").strip("_").lower()


def _or_none(ask: Callable[[], T]) -> T | None:
    """Return what the library says of a certificate, or None where it cannot be read."""
    try:
        return ask()
    except _UNREADABLE:
        return None
