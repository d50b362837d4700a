"""DKIM signatures over our letters (RFC 6376), for relays that do not sign themselves. The one door to dkimpy.

dkimpy chooses and canonicalises what is signed; the RSA or Ed25519 operation is that of `cryptography`. dkimpy's own
needs ten times the time and is not made to take as long for one key as for another.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Literal, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from mailer.errors import DkimKeyUnusable, LetterUnusable

Algorithm = Literal["rsa", "ed25519"]
RSA_BITS = 2048
RSA_BITS_READ = range(2048, 4097)  # RFC 8301 §3.2: verifiers need not read larger ones

# Each is signed once more often than it occurs, so that nobody on the way can add one (RFC 6376 §5.4.2): a second From
# that is shown, an Autocrypt with another key, a List-Unsubscribe that leads elsewhere (RFC 8058 §4).
CLOSED = (
    *("from", "to", "cc", "reply-to", "subject", "date", "message-id", "in-reply-to", "references"),
    *("mime-version", "content-type", "list-id", "list-unsubscribe", "list-unsubscribe-post"),
    *("autocrypt", "auto-submitted"),
)
# Signed where it occurs; mail servers may add one that says what is so anyway.
OPEN = ("content-transfer-encoding",)

# "relaxed" for the body survives all that "simple" does, and servers that take blanks off the ends of lines as well.
_CANON = b"relaxed/relaxed"
_LINE_OCTETS = 76
_CHANGED = (b"\t", b"  ", b" \r\n")  # what relaxed canonicalisation changes in a body, but for empty lines at its end


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A DKIM key with the selector under which its public half stands in the DNS."""

    selector: str
    private: RSAPrivateKey | Ed25519PrivateKey

    @classmethod
    def load(cls, pem: bytes, selector: str) -> Self:
        """Return the key in a PEM file without a passphrase: RSA of 2048 to 4096 bits, or Ed25519.

        Raises DkimKeyUnusable.
        """
        try:
            private = load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise DkimKeyUnusable("It is no private key in PEM, or one with a passphrase.") from None
        if isinstance(private, RSAPrivateKey) and private.key_size not in RSA_BITS_READ:
            raise DkimKeyUnusable(f"RSA keys have {RSA_BITS_READ[0]} to {RSA_BITS_READ[-1]} bits.")  # RFC 8301 §3.2
        if not isinstance(private, RSAPrivateKey | Ed25519PrivateKey):
            raise DkimKeyUnusable("It is neither RSA nor Ed25519.")
        return cls(selector, private)

    @property
    def algorithm(self) -> Algorithm:
        """The k= of the DNS record."""
        return "rsa" if isinstance(self.private, RSAPrivateKey) else "ed25519"

    def record_name(self, domain: str) -> str:
        """Return the name of the TXT record for letters from a domain (RFC 6376 §3.6.2.1)."""
        return f"{self.selector}._domainkey.{domain}"

    @property
    def record(self) -> str:
        """The value of the TXT record (RFC 6376 §3.6.1; RFC 8463 §4.2: Ed25519 without ASN.1)."""
        public = self.private.public_key()
        if self.algorithm == "rsa":
            blob = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        else:
            blob = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return f"v=DKIM1; k={self.algorithm}; p={base64.b64encode(blob).decode('ascii')}"

    def field(self, content: bytes, domain: str) -> bytes:
        """Return a DKIM-Signature field for a letter, folded, with its CRLF; d= is `domain`, which its From must be in.

        content: a whole message, CRLF, 7-bit. There is no t= and no x=: Date, which is signed, tells enough, and a copy
        that comes late must not fail. Raises LetterUnusable.
        """
        import dkim  # type: ignore[import-untyped] # here: it costs a process that signs nothing 15 MB

        head, _, body = content.partition(b"\r\n\r\n")
        try:
            fields, _ = dkim.rfc822_parse(head + b"\r\n\r\n")
        except dkim.MessageFormatError:
            raise LetterUnusable("Header.") from None
        names = [name.lower().decode("ascii") for name, _ in fields]
        _check_from(fields, domain)
        closed = [name for one in CLOSED for name in [one] * (names.count(one) + 1)]
        signed = closed + [name for one in OPEN for name in [one] * names.count(one)]
        policy = dkim.CanonicalizationPolicy.from_c_value(_CANON)
        body_hash = hashlib.sha256(body if _is_canonical(body) else policy.canonicalize_body(body)).digest()
        value = self._tags(domain, signed, body_hash)
        hasher = hashlib.sha256()
        included = [name.encode("ascii") for name in signed]
        own = (b"DKIM-Signature", value)
        dkim.hash_headers(hasher, policy, policy.canonicalize_headers(fields), included, own, {})
        return b"DKIM-Signature:" + value + _fold(base64.b64encode(self._sign(hasher.digest())), 2) + b"\r\n"

    def _tags(self, domain: str, signed: list[str], body_hash: bytes) -> bytes:
        names = _fold(":".join(signed).encode("ascii"), 3, after=b":")
        lines = [
            b" v=1; a=%s-sha256; c=%s;" % (self.algorithm.encode("ascii"), _CANON),
            b" d=%s;" % domain.encode("ascii"),
            b" s=%s;" % self.selector.encode("ascii"),
            b" h=%s;" % names,
            b" bh=%s;" % base64.b64encode(body_hash),
            b" b=",
        ]
        return b"\r\n".join(lines)

    def _sign(self, digest: bytes) -> bytes:
        if isinstance(self.private, RSAPrivateKey):
            return self.private.sign(digest, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
        return self.private.sign(digest)  # RFC 8463 §3: Ed25519 signs the SHA-256 digest

    def __repr__(self) -> str:
        return "DkimKey(…)"


def generate(algorithm: Algorithm) -> bytes:
    """Return a new private key: PEM, PKCS #8, without a passphrase."""
    private: RSAPrivateKey | Ed25519PrivateKey
    if algorithm == "rsa":
        private = generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    else:
        private = Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _check_from(fields: list[list[bytes]], domain: str) -> None:
    """Receivers demand that d= be the domain of From, of which there must be one (RFC 7489 §3.1, §6.6.1)."""
    found = [value.strip().lower() for name, value in fields if name.lower() == b"from"]
    if len(found) != 1 or not found[0].removesuffix(b">").endswith(b"@" + domain.encode("ascii", "replace")):
        raise LetterUnusable("It is not from the domain that is to sign it.")


def _is_canonical(body: bytes) -> bool:
    """Whether a body is what relaxed canonicalisation makes of it (RFC 6376 §3.4.4), as an armored one is."""
    is_ended = body.endswith(b"\r\n") and not body.endswith(b"\r\n\r\n") and body != b"\r\n"
    return is_ended and not any(one in body for one in _CHANGED)  # a sixth of the time of a regular expression


def _fold(text: bytes, used: int, after: bytes = b"") -> bytes:
    """Return `text` in lines; the first has so much less room. Where `after` is given, only behind that octet."""
    lines, room = [], _LINE_OCTETS - used
    while len(text) > room:
        end = text.rfind(after, 0, room) + 1 if after else room
        lines.append(text[:end])
        text, room = text[end:], _LINE_OCTETS
    return b"\r\n ".join([*lines, text])
