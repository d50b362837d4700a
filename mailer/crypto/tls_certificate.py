"""What a server's TLS certificate says of itself (RFC 5280), for those who look whether it is in order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from mailer.errors import VaultError


@dataclass(frozen=True, slots=True)
class TlsCertificate:
    """The first certificate of a chain, the server's own. names: of subjectAltName, lower-case. der: the whole."""

    not_before: datetime
    not_after: datetime
    names: frozenset[str]
    der: bytes
    public_key: bytes

    @classmethod
    def from_pem(cls, chain: bytes) -> Self:
        """Return the first certificate in a PEM file. Raises VaultError."""
        try:
            found = x509.load_pem_x509_certificates(chain)[0]
            public = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except (ValueError, IndexError, TypeError):
            raise VaultError("It is no certificate in PEM.") from None
        return cls(
            found.not_valid_before_utc,
            found.not_valid_after_utc,
            _names(found),
            found.public_bytes(Encoding.DER),
            public,
        )

    def is_for(self, host: str) -> bool:
        """Whether it is for this host; one label may be a star (RFC 9525 §6.3)."""
        host = host.lower()
        return host in self.names or "*." + host.partition(".")[2] in self.names

    def has_key(self, pem: bytes) -> bool:
        """Whether this private key, in PEM, is the certificate's. Raises VaultError."""
        try:
            public = load_pem_private_key(pem, None).public_key()
        except (ValueError, TypeError):
            raise VaultError("It is no private key in PEM, or one with a passphrase.") from None
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == self.public_key


def _names(certificate: x509.Certificate) -> frozenset[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    dns = extension.value.get_values_for_type(x509.DNSName)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return frozenset({name.lower() for name in dns} | {str(address) for address in addresses})
