"""The lists' own X.509 keys: self-signed, or with a certificate authority's answer to a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mailer.crypto.smime import containers
from mailer.crypto.smime.certificates import fingerprint, why_unusable
from mailer.errors import CertificateNotTaken, VaultError
from mailer.model.address import Address

RSA_BITS = 3072
LIFE = timedelta(days=5 * 365)
_PUBLIC_EXPONENT = 65537
_COMMON_NAME_CHARACTERS = 64  # RFC 5280 §A.1, ub-common-name


@dataclass(frozen=True, eq=False)
class SmimeKey:
    """A key of ours with its certificate. chain: of those who vouch for it, the nearest first; () if self-signed."""

    private: rsa.RSAPrivateKey = field(repr=False)
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()

    @classmethod
    def from_pem(cls, pem: bytes) -> SmimeKey:
        """Return what to_pem gave. Raises VaultError."""
        try:
            private = _read_private(pem)
            certificate, *chain = x509.load_pem_x509_certificates(pem)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise VaultError("An S/MIME key in it cannot be read.") from None
        return cls(private, certificate, tuple(chain))

    def to_pem(self) -> bytes:
        """Return secret key, certificate and chain, for the key file."""
        return private_pem(self.private) + self.public_pem

    @property
    def public_pem(self) -> bytes:
        """The certificate and its chain, PEM: for export."""
        return b"".join(one.public_bytes(Encoding.PEM) for one in (self.certificate, *self.chain))

    @property
    def der(self) -> bytes:
        """The certificate, DER: what people import."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, lower-case hexadecimal."""
        return fingerprint(self.certificate)

    @property
    def expires(self) -> datetime:
        """The end of the certificate's life, UTC."""
        return self.certificate.not_valid_after_utc

    def __repr__(self) -> str:
        return "SmimeKey(…)"


def generate_private(bits: int = RSA_BITS) -> rsa.RSAPrivateKey:
    """Return a new secret key: half a second."""
    return rsa.generate_private_key(_PUBLIC_EXPONENT, bits)


def private_pem(private: rsa.RSAPrivateKey) -> bytes:
    """Return a secret key as PEM, unprotected: the key file around it is sealed."""
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def self_signed(private: rsa.RSAPrivateKey, address: Address, now: datetime, life: timedelta = LIFE) -> SmimeKey:
    """Return a key with a certificate of its own making, for one address. It is for mail and vouches for no other."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)  # tells no more than the day
    name = _name(address)
    builder = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(midnight).not_valid_after(midnight + life)
    for extension, is_critical in _extensions(address):
        builder = builder.add_extension(extension, is_critical)
    key_id = x509.SubjectKeyIdentifier.from_public_key(private.public_key())
    return SmimeKey(private, builder.add_extension(key_id, critical=False).sign(private, SHA256()))


def request(private: rsa.RSAPrivateKey, address: Address) -> bytes:
    """Return a certificate request for one address, PEM (RFC 2986)."""
    builder = x509.CertificateSigningRequestBuilder(_name(address))
    for extension, is_critical in _extensions(address):
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(private, SHA256()).public_bytes(Encoding.PEM)


def take_answer(private: bytes, answer: bytes, address: Address, now: datetime) -> SmimeKey:
    """Return the key with what a certificate authority answered: certificate and chain, in any order; PEM or PKCS#7.

    private: PEM, the key of the request. Raises CertificateNotTaken.
    """
    key = _read_private(private)
    found = containers.gather(answer).certificates
    own = next((one for one in found if _is_of(one, key)), None)
    if own is None:
        raise CertificateNotTaken("None in it is for the key of the request.")
    if why_unusable(own, now):
        raise CertificateNotTaken("`mailer keys check` says why it is unfit for mail.")
    if address.normalised not in _addresses(own):
        raise CertificateNotTaken("It is not for the list's address.")
    return SmimeKey(key, own, _chain(own, [one for one in found if one is not own]))


def _chain(own: x509.Certificate, others: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Return those of `others` who lead from `own` upwards, in this order."""
    chain = [own]
    for _ in others:
        above = next((one for one in others if one.subject == chain[-1].issuer and one not in chain), None)
        if above is None:
            break
        chain.append(above)
    return tuple(chain[1:])


def _is_of(certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> bool:
    try:
        return certificate.public_key() == key.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False


def _addresses(certificate: x509.Certificate) -> set[str]:
    """Return the addresses that a certificate is for, in lower case (RFC 8550 §3)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = list(names.get_values_for_type(x509.RFC822Name))
    except (x509.ExtensionNotFound, ValueError):
        found = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)]
    return {one.casefold() for one in found}


def _read_private(pem: bytes) -> rsa.RSAPrivateKey:
    private = load_pem_private_key(pem, None)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise VaultError("An S/MIME key in it is not RSA.")
    return private


def _name(address: Address) -> x509.Name:
    text = str(address)
    shown = text if len(text) <= _COMMON_NAME_CHARACTERS else address.domain[:_COMMON_NAME_CHARACTERS]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, shown)])


def _extensions(address: Address) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False),
        (x509.SubjectAlternativeName([x509.RFC822Name(str(address))]), False),
    )
