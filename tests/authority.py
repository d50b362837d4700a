"""A certificate authority of the tests, and people with X.509 certificates: good ones, and bad in every way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mailer.crypto.smime import SmimeKey
from mailer.model.address import Address

NOW = datetime.now(UTC).replace(microsecond=0)  # programs judge by the real clock
PASSPHRASE = b"x"
_LIFE = timedelta(days=100)

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | x25519.X25519PublicKey


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return the key with a number, made once for all tests of a run."""
    del number
    return rsa.generate_private_key(65537, bits)


@dataclass(frozen=True)
class Wanted:
    """What a certificate is to be like; as it stands, a good one for mail."""

    address: str = "ada@reader.example"
    key: object = None  # rsa_key(1)
    begins: datetime = NOW - timedelta(days=1)
    ends: datetime = NOW + _LIFE
    is_ca: bool | None = False
    can_encipher: bool | None = True
    uses: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.EMAIL_PROTECTION,)
    name: str = ""
    padding: padding.PSS | None = None

    @property
    def private(self) -> rsa.RSAPrivateKey:
        return rsa_key(1) if self.key is None else self.key  # type: ignore[return-value]

    @property
    def public(self) -> PublicKey:
        """Of the key, or the key itself where it is a public one."""
        return getattr(self.private, "public_key", lambda: self.private)()

    @property
    def subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name or self.address)])


@dataclass(frozen=True)
class Authority:
    """Who issues certificates. above: who vouches for it, the root last."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...] = ()

    @classmethod
    def root(cls, name: str = "Authority of the tests", number: int = 100) -> Authority:
        wanted = Wanted(name=name, key=rsa_key(number), is_ca=True, can_encipher=None, uses=())
        return cls(wanted.private, _build(wanted, wanted.subject, wanted.private))

    def intermediate(self, number: int = 101, **bad: object) -> Authority:
        given = {
            "name": f"Intermediate {number}",
            "key": rsa_key(number),
            "is_ca": True,
            "can_encipher": None,
            "uses": (),
        }
        wanted = Wanted(**{**given, **bad})  # type: ignore[arg-type]
        return Authority(wanted.private, self.sign(wanted), (self.certificate, *self.above))

    def sign(self, wanted: Wanted) -> x509.Certificate:
        return _build(wanted, self.certificate.subject, self.key)

    def issue(self, wanted: Wanted | None = None, **changes: object) -> SmimeKey:
        """Return a person's key with its certificate and chain."""
        wanted = replace(wanted or Wanted(), **changes)  # type: ignore[arg-type]
        return SmimeKey(wanted.private, self.sign(wanted), (self.certificate, *self.above))

    @property
    def pem(self) -> bytes:
        """The root, as a file of authorities names it."""
        return pem((self.certificate, *self.above)[-1])


def self_signed(**changes: object) -> SmimeKey:
    wanted = Wanted(**changes)  # type: ignore[arg-type]
    return SmimeKey(wanted.private, _build(wanted, wanted.subject, wanted.private))


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def to_pkcs12(key: SmimeKey) -> bytes:
    """Return key and certificates as gpgsm 2.2 reads them, under PASSPHRASE."""
    old = pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC
    sealing = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(1000).key_cert_algorithm(old).hmac_hash(SHA1())
    chain = list(key.chain)
    return pkcs12.serialize_key_and_certificates(b"x", key.private, key.certificate, chain, sealing.build(PASSPHRASE))


def address_of(key: SmimeKey) -> Address:
    names = key.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return Address.parse(names.get_values_for_type(x509.RFC822Name)[0])


def _build(wanted: Wanted, issuer: x509.Name, signer: rsa.RSAPrivateKey) -> x509.Certificate:
    number = x509.random_serial_number()
    builder = x509.CertificateBuilder(issuer, wanted.subject, wanted.public, number, wanted.begins, wanted.ends)
    if wanted.is_ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(wanted.is_ca, None), critical=True)
    if wanted.can_encipher is not None:
        usage = x509.KeyUsage(True, False, wanted.can_encipher, False, False, False, False, False, False)
        builder = builder.add_extension(usage, critical=True)
    if wanted.is_ca:
        key_id = x509.SubjectKeyIdentifier.from_public_key(wanted.public)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(key_id, critical=False).add_extension(usage, critical=True)
    if wanted.uses:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(wanted.uses)), critical=False)
    if not wanted.name:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(wanted.address)]), critical=False)
    how = None if isinstance(signer, ed25519.Ed25519PrivateKey) else SHA256()
    return builder.sign(signer, how, rsa_padding=wanted.padding)
