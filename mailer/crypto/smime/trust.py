"""Whether one of the configured certificate authorities vouches for a certificate (RFC 5280 §6)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder

from mailer.errors import CertificateAuthoritiesUnusable

DEPTH = 3  # authorities between a person and the root
INTERMEDIATES = 6  # that are looked at; each step could branch to all of them


def read_authorities(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Return the certificates in a file of authorities. Raises CertificateAuthoritiesUnusable."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError:
        raise CertificateAuthoritiesUnusable from None


def is_vouched_for(
    certificate: x509.Certificate, intermediates: Sequence[x509.Certificate], now: datetime, authorities: bytes
) -> bool:
    """Return whether a chain of valid signatures leads from an authority to a certificate, all of them alive at `now`.

    What stands in the certificate itself is judged elsewhere. authorities: PEM, as `read_authorities` takes it.
    """
    verifier = (
        PolicyBuilder()
        .store(_store(authorities))
        .time(now)
        .max_chain_depth(DEPTH)
        .extension_policies(ca_policy=_CA, ee_policy=ExtensionPolicy.permit_all())
        .build_client_verifier()
    )
    try:
        verifier.verify(certificate, list(intermediates[:INTERMEDIATES]))
    except verification.VerificationError:
        return False
    return True


@lru_cache(maxsize=2)
def _store(authorities: bytes) -> verification.Store:
    return verification.Store(list(read_authorities(authorities)))


def _check_basic(_policy: Policy, _certificate: x509.Certificate, basic: x509.BasicConstraints) -> None:
    if not basic.ca:
        raise ValueError


def _check_usage(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError


_CA = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _check_basic)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_usage)
)
