"""OpenPGP around a letter: layers of encryption and signature are peeled from the outside in, and from nowhere else.

A signature proves something only where it covers all that `Letter.text` is taken from. So it counts only if it is met
on the way from the letter's root: a signed part beside another, below an attachment or in the middle of a text proves
nothing ("Johnny, you are fired!", Müller et al., USENIX Security 2019). A signature around a ciphertext proves nothing
either: whoever passes on another's ciphertext can sign it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mailer.crypto import openpgp, smime
from mailer.crypto.smime import SmimeKey
from mailer.errors import DecryptionFailed
from mailer.inward.confined import armored, charsets, fields, parts, visible
from mailer.inward.confined.parts import Part
from mailer.model.certificate import is_x509

LAYERS = 5

_BEGIN_MESSAGE = b"-----BEGIN PGP MESSAGE-----"
_BEGIN_SIGNED = "-----BEGIN PGP SIGNED MESSAGE-----"
_BEGIN_SIGNATURE = "-----BEGIN PGP SIGNATURE-----"
_END_SIGNATURE = "-----END PGP SIGNATURE-----"
_SIGNED_HEAD = re.compile(  # RFC 9580 §7: no other line may stand before the text, where a reader would see it
    re.escape(_BEGIN_SIGNED) + r"[ \t]*\n(?:(?:Hash|Charset):[ \t]*[\w, -]*\n)*[ \t]*\n"
)
_CHARSET = re.compile(rb"^Charset:[ \t]*([\w.:+-]{1,40})", re.MULTILINE)
_NEW_LINE = re.compile(rb"\r?\n")


@dataclass(frozen=True, slots=True)
class Peeled:
    """What is left. payload: the innermost entity; text: what it shows; signature: only one that covers all of that.

    is_payload_signed: it covers what is attached, too, and not the text alone. cms: S/MIME signatures that stood around
    it. They prove nothing (crypto.smime), but hold their signers' certificates.
    """

    payload: Part
    text: str = ""
    was_encrypted: bool = False
    is_signed: bool = False
    signature: openpgp.Signature | None = None
    is_wrapped: bool = False
    is_payload_signed: bool = False
    cms: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Ring:
    """The keys at hand: the list's secret ones, and the certificate whose signature is looked for; now: aware.

    authorities: PEM, who must vouch for X.509 certificates; b"" if nobody need.
    """

    keys: tuple[openpgp.ListKey, ...]
    certificates: tuple[bytes, ...]
    now: datetime
    smime: tuple[SmimeKey, ...] = ()
    authorities: bytes = b""

    @classmethod
    def of(cls, keys: Sequence[bytes], certificate: bytes | None, now: datetime, authorities: bytes = b"") -> Ring:
        """Return the ring of these keys: transferable ones (RFC 9580 §10), binary, and those for S/MIME, PEM."""
        pem = [key for key in keys if key.startswith(b"-----")]
        pgp = tuple(openpgp.ListKey.from_secret(key) for key in keys if key not in pem)
        certificates = (certificate,) if certificate else ()
        return cls(pgp, certificates, now, tuple(map(SmimeKey.from_pem, pem)), authorities)

    @property
    def on_file(self) -> bytes:
        """The sender's OpenPGP certificate, or b""."""
        return next((one for one in self.certificates if not is_x509(one)), b"")

    @property
    def fingerprints(self) -> frozenset[str]:
        """The fingerprints of the list's keys."""
        return frozenset([*(key.fingerprint for key in self.keys), *(key.fingerprint for key in self.smime)])


def peel(root: Part, ring: Ring) -> Peeled:
    """Return the letter without its OpenPGP and S/MIME layers. Raises DecryptionFailed where one does not open."""
    peeled = Peeled(root)
    for _ in range(LAYERS):
        further = _peel_once(peeled, ring)
        if further is None:
            break
        peeled = further
    around_all = peeled.signature
    peeled = replace(peeled, text=visible.text_of(peeled.payload))
    peeled = _open_inline(peeled, ring)
    peeled = _verify_inline(peeled, ring)
    if peeled.is_wrapped:
        peeled = replace(peeled, signature=None)
    is_payload_signed = peeled.signature is not None and peeled.signature is around_all
    anywhere = [*root.walk(), *peeled.payload.walk()]
    is_signed = peeled.is_signed or any(map(_is_signed, anywhere))
    return replace(peeled, is_signed=is_signed, is_payload_signed=is_payload_signed)


def _peel_once(peeled: Peeled, ring: Ring) -> Peeled | None:
    part = peeled.payload
    if _is_smime(part):
        return _peel_smime(peeled, ring)
    if (ciphertext := _ciphertext_of(part)) is not None:
        message, is_wrapped = ciphertext
        opened = openpgp.decrypt(message, ring.keys, ring.certificates, ring.now)
        payload = parts.read(opened.plaintext)
        return Peeled(
            payload,
            was_encrypted=True,
            is_signed=True,
            signature=opened.signature and _dated(opened.signature, payload),
            is_wrapped=peeled.is_wrapped or is_wrapped,
        )
    if _is_cms_signed(part) and len(part.children) == 2:
        return replace(peeled, payload=part.children[0], cms=(*peeled.cms, part.children[1].decoded()))
    if _is_signed(part) and len(part.children) == 2:
        signature = _verify(part, ring)
        return replace(peeled, payload=part.children[0], is_signed=True, signature=signature or peeled.signature)
    if part.type == "multipart/mixed" and len(part.children) == 1 and part.children[0].type in _SECURED:
        return replace(peeled, payload=part.children[0])
    return None


def _dated(signature: openpgp.Signature, payload: Part) -> openpgp.Signature:
    """Give a signature that does not say when it was made the Date that stands inside it (RFC 9788 §2.1)."""
    return signature if signature.created else replace(signature, created=fields.moment(payload.first("date")))


def _peel_smime(peeled: Peeled, ring: Ring) -> Peeled | None:
    """Open an envelope, or take the text out of a signature around it (RFC 8551 §3.3, §3.5.2).

    Nothing authenticates what an envelope holds, so no signature outside it counts for that.
    """
    blob = peeled.payload.decoded()
    match smime.kind_of(blob):
        case smime.Kind.ENVELOPED:
            return Peeled(parts.read(smime.decrypt(blob, ring.smime)), was_encrypted=True, is_wrapped=peeled.is_wrapped)
        case smime.Kind.SIGNED:
            return replace(peeled, payload=_content_of(blob), cms=(*peeled.cms, blob))
        case smime.Kind.CERTIFICATES:
            return None
    raise DecryptionFailed


def _content_of(blob: bytes) -> Part:
    try:
        return parts.read(smime.content_of(blob))
    except smime.Malformed:
        raise DecryptionFailed from None


_SMIME = ("application/pkcs7-mime", "application/x-pkcs7-mime")
_CMS_SIGNATURE = ("application/pkcs7-signature", "application/x-pkcs7-signature")
_SECURED = ("multipart/signed", "multipart/encrypted", *_SMIME)


def _is_smime(part: Part) -> bool:
    """Whether a part is PKCS#7; some gateways call it application/octet-stream (RFC 8551 §3.9)."""
    return not part.children and (part.type in _SMIME or part.filename.lower() == "smime.p7m")


def _is_cms_signed(part: Part) -> bool:
    children = part.children
    return part.type == "multipart/signed" and any(child.type in _CMS_SIGNATURE for child in children[1:])


def _is_signed(part: Part) -> bool:
    """Whether a part is multipart/signed by OpenPGP (RFC 3156 §5); the protocol parameter gets lost on the way."""
    children = part.children
    return part.type == "multipart/signed" and any(child.type == "application/pgp-signature" for child in children[1:])


def _verify(part: Part, ring: Ring) -> openpgp.Signature | None:
    """Check a detached signature over the first part, in the canonical form that was signed (RFC 3156 §5)."""
    payload = _NEW_LINE.sub(b"\r\n", part.children[0].raw)
    return openpgp.verify_detached(payload, part.children[1].decoded(), ring.certificates, ring.now)


def _ciphertext_of(part: Part) -> tuple[bytes, bool] | None:
    """Return the message that `part` is made to carry, and whether other visible text stands beside it.

    RFC 3156 §4, and what Exchange (multipart/mixed with the same parts) and list servers (a footer beside) make of it.
    """
    if part.type == "multipart/encrypted":
        return _pick(part), False
    if part.type != "multipart/mixed":
        return None
    nested = [child for child in part.children if child.type == "multipart/encrypted"]
    is_torn = any(child.type == "application/pgp-encrypted" for child in part.children)
    if len(nested) != 1 and not is_torn:
        return None
    others = [child for child in part.children if child not in nested and not _carries_message(child)]
    is_wrapped = any(visible.text_of(child).strip() for child in others if child.type != "application/pgp-encrypted")
    return _pick(nested[0] if nested else part), is_wrapped


def _pick(part: Part) -> bytes:
    message = next((child.decoded() for child in part.children if _carries_message(child)), b"")
    if not message:
        raise DecryptionFailed
    return message


def _carries_message(part: Part) -> bool:
    if part.children or part.type == "application/pgp-encrypted":
        return False
    content = part.decoded()
    return _BEGIN_MESSAGE in content[:4096] or (part.type == "application/octet-stream" and content[:1] >= b"\x80")


def _open_inline(peeled: Peeled, ring: Ring) -> Peeled:
    """Open a message that stands in the text; what stands around it is dropped, and then no signature counts."""
    found = next(armored.blocks(peeled.text, "MESSAGE"), None)
    if found is None:
        return peeled
    begin, end = found
    around = peeled.text[:begin] + peeled.text[end:]
    message = "\n".join(line.strip() for line in peeled.text[begin:end].split("\n")).encode()
    try:
        opened = openpgp.decrypt(message, ring.keys, ring.certificates, ring.now)
    except DecryptionFailed:
        if around.strip():
            return peeled
        raise
    leaf = visible.single_leaf(peeled.payload)
    charset = _CHARSET.search(message)
    hint = charset[1].decode() if charset else leaf.parameters.get("charset") if leaf else None
    return replace(
        peeled,
        text=charsets.clean_text(charsets.guess(opened.plaintext, hint))[: visible.TEXT_CHARACTERS],
        was_encrypted=True,
        is_signed=True,
        signature=opened.signature,
        is_wrapped=peeled.is_wrapped or bool(around.strip()),
    )


def _verify_inline(peeled: Peeled, ring: Ring) -> Peeled:
    """Take the signed words out of a cleartext signature (RFC 9580 §7), which counts if it is the whole text."""
    text = peeled.text.strip()
    if _BEGIN_SIGNED not in text:
        return peeled
    is_whole = text.endswith(_END_SIGNATURE) and text.count(_BEGIN_SIGNED) == text.count(_BEGIN_SIGNATURE) == 1
    if not is_whole or not _SIGNED_HEAD.match(text):
        return replace(peeled, text=_without_armor(peeled.text), is_signed=True)
    leaf = visible.single_leaf(peeled.payload)
    is_as_sent = leaf is not None and leaf.type == "text/plain" and _BEGIN_SIGNED.encode() in leaf.decoded()
    message = leaf.decoded().strip() if leaf and is_as_sent else text.encode()
    try:
        opened = openpgp.verify_cleartext(message, ring.certificates, ring.now)
    except DecryptionFailed:
        return replace(peeled, text=_without_armor(text), is_signed=True)
    charset = leaf.parameters.get("charset") if leaf and is_as_sent else "utf-8"
    words = charsets.clean_text(charsets.decode(opened.plaintext, charset))[: visible.TEXT_CHARACTERS]
    return replace(peeled, text=words, is_signed=True, signature=opened.signature or peeled.signature)


def _without_armor(text: str) -> str:
    """Return the text without the lines of cleartext signatures, dash escapes undone (RFC 9580 §7.1, §7.2)."""
    kept: list[str] = []
    is_header = is_signature = False
    for line in text.split("\n"):
        mark = line.rstrip()
        if mark == _BEGIN_SIGNED:
            is_header = True
        elif is_header:
            is_header = bool(mark)
        elif mark == _BEGIN_SIGNATURE or is_signature:
            is_signature = mark != _END_SIGNATURE
        else:
            kept.append(line.removeprefix("- "))
    return "\n".join(kept)
