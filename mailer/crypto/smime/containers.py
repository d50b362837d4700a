"""What a file holds, whatever it is called: certificates in PEM, DER and PKCS#7; secret keys, which nobody should send.

A stranger's bytes, so: in the confined reader only.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from mailer.crypto.smime import ber
from mailer.crypto.smime.ber import EXPLICIT_0, INTEGER, OCTET_STRING, SEQUENCE, Item, Malformed

BLOB_OCTETS = 1 << 20
CERTIFICATE_OCTETS = 32 * 1024
CERTIFICATES = 32  # in one file: somebody's own and the chain
BLOCKS = 64
ITEMS = 10_000  # nested values in one file; a certificate has 200
LABELS = frozenset(  # RFC 7468, and what OpenSSL and gpgsm write
    {"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE", "PKCS7", "PKCS #7 SIGNED DATA", "CMS", "SIGNED MESSAGE"}
)

_BEGIN, _END = "-----BEGIN ", "-----END "
_LABEL = re.compile(r"[A-Z0-9 #]{3,40}")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


@dataclass
class Contents:
    """What was found. has_secret: a private key or PKCS#12 is in it. is_too_large: more than any honest file has."""

    certificates: list[x509.Certificate] = field(default_factory=list)
    has_secret: bool = False
    is_too_large: bool = False
    has_unread: bool = False


def is_like(blob: bytes) -> bool:
    """Return whether a file looks as if it were about X.509: DER, or PEM with such a label; of OpenPGP nothing does."""
    return blob[:1] == b"\x30" or any(_is_ours(label) for label, _ in _blocks(blob))


def gather(blob: bytes) -> Contents:
    """Return the certificates in `blob`, each once, as they can be read; never raises."""
    found = Contents()
    if len(blob) > BLOB_OCTETS:
        found.is_too_large = True
        return found
    for der in [blob] if blob[:1] == b"\x30" else _from_pem(blob, found):
        _take(der, found)
    if len(found.certificates) > CERTIFICATES:
        found.is_too_large = True
    return found


def _from_pem(blob: bytes, found: Contents) -> Iterator[bytes]:
    for label, body in _blocks(blob):
        if _is_secret_label(label):
            found.has_secret = True
        elif label in LABELS:
            yield _decode(body)


def _is_ours(label: str) -> bool:
    return label in LABELS or _is_secret_label(label)


def _is_secret_label(label: str) -> bool:
    return label.endswith("PRIVATE KEY") or label == "PKCS12"


def _blocks(blob: bytes) -> Iterator[tuple[str, str]]:
    """Yield label and body of each PEM block (RFC 7468 §2), wherever it stands. Linear."""
    text, at = blob.decode("latin-1"), 0
    for _ in range(BLOCKS):
        begin = text.find(_BEGIN, at)
        label_end = text.find("-----", begin + len(_BEGIN)) if begin >= 0 else -1
        if label_end < 0:
            return
        label = text[begin + len(_BEGIN) : label_end]
        at = label_end + 5
        if not _LABEL.fullmatch(label):
            continue
        end = text.find(f"{_END}{label}-----", at)
        if end < 0:
            end = len(text)
        yield label, text[at:end]
        at = end


def _decode(body: str) -> bytes:
    """Return what a block holds; mended where mail programs break it: indented, quoted-printable left."""
    if "=3D" in body:
        body = body.replace("=\r\n", "").replace("=\n", "").replace("=3D", "=")
    body = body.partition("\n\n")[2] if ":" in body.partition("\n\n")[0] else body  # header lines of old programs
    digits = _NOT_BASE64.sub("", body)
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4))
    except binascii.Error:
        return b""


def _take(der: bytes, found: Contents) -> None:
    try:
        item = ber.read(der, ITEMS)
        if _is_secret(item):
            found.has_secret = True
            return
        ders = list(_certificates_of(item))
    except (Malformed, ValueError):
        found.has_unread = True
        return
    for one in ders:
        if len(one) > CERTIFICATE_OCTETS:
            found.is_too_large = True
        else:
            _add(one, found)


def _add(der: bytes, found: Contents) -> None:
    try:
        certificate = x509.load_der_x509_certificate(der)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        found.has_unread = True
        return
    if certificate not in found.certificates:
        found.certificates.append(certificate)


def _certificates_of(item: Item) -> Iterator[bytes]:
    """Yield the certificates, DER, that a certificate (RFC 5280 §4.1) or PKCS#7 (RFC 5652 §5.1) holds."""
    if item.children[:1] != (ber.SIGNED_DATA,):
        yield item.der
        return
    signed = item.child(1, EXPLICIT_0).child(0, SEQUENCE)
    for field_ in signed.children:
        if field_.tag == EXPLICIT_0:
            yield from (one.der for one in field_.children[: CERTIFICATES + 1] if one.tag == SEQUENCE)


def _is_secret(item: Item) -> bool:
    """Whether it is a private key, plain or encrypted (RFC 5958, RFC 8017 §A.1.2, RFC 5915), or PKCS#12 (RFC 7292)."""
    if item.tag != SEQUENCE:
        raise Malformed
    tags = [child.tag for child in item.children[:10]]
    if tags[:2] == [INTEGER, SEQUENCE] and item.children[0].content == b"\3":
        return True  # PKCS#12: version 3, then a ContentInfo
    is_plain = tags[:3] == [INTEGER, SEQUENCE, OCTET_STRING]
    is_rsa = len(tags) == 9 and set(tags) == {INTEGER}
    is_dsa = len(tags) == 6 and set(tags) == {INTEGER}
    is_sec1 = tags[:2] == [INTEGER, OCTET_STRING]
    return is_plain or is_rsa or is_dsa or is_sec1 or tags == [SEQUENCE, OCTET_STRING]
