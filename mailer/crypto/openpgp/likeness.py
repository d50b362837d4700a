"""What a file is that holds no certificate: so that whoever sent it hears more than that."""

from __future__ import annotations

import re

from mailer.crypto.openpgp import armor, packets
from mailer.crypto.openpgp.armor import BlockKind
from mailer.crypto.openpgp.packets import Tag
from mailer.model.certificate import Found, Refusal, Refused

_BLOCKS_MAX = 3
_HEAD_OCTETS = 4096
# RFC 7468; OpenSSH's, PuTTY's and GnuPG's own; PKCS #12 (RFC 7292 §4: version 3, then pkcs7-data)
_SECRET = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ )?PRIVATE KEY-----|PuTTY-User-Key-File-|\A(?:Key: )?\([0-9:]*(?:protected-)?private-key"
)
_PKCS12 = re.compile(
    rb"\A\x30(?:\x80|[\x81-\x84].{1,4}?)\x02\x01\x03\x30.{1,5}?\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07", re.DOTALL
)
_X509 = re.compile(rb"-----BEGIN (?:X509 |TRUSTED |NEW )?(?:CERTIFICATE|CERTIFICATE REQUEST|PKCS7|CMS|PUBLIC KEY)-----")
_DER = re.compile(rb"\A\x30(?:\x80|[\x81-\x84].{1,4}?)[\x30\x06]", re.DOTALL)
_SSH = re.compile(rb"(?m)^(?:ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-\S+|sk-\S+) AAAA|^---- BEGIN SSH2 PUBLIC KEY ----")
_OF_BLOCK = {
    BlockKind.MESSAGE: Found.MESSAGE,
    BlockKind.SIGNATURE: Found.SIGNATURE,
    BlockKind.SIGNED_MESSAGE: Found.MESSAGE,
}
_OF_TAG = {
    **dict.fromkeys((Tag.PKESK, Tag.SKESK, Tag.ONE_PASS, Tag.COMPRESSED, Tag.SED), Found.MESSAGE),
    **dict.fromkeys((Tag.LITERAL, Tag.SEIPD, Tag.AED), Found.MESSAGE),
    **dict.fromkeys((Tag.USER_ID, Tag.USER_ATTRIBUTE, Tag.PUBLIC_SUBKEY), Found.PART),
    Tag.PUBLIC_KEY: Found.BROKEN,
}
_VERSIONS, _KEY_REVOCATION = (b"\x02", b"\x03", b"\x04", b"\x05", b"\x06"), b"\x20"
_TRUST = 12  # what GnuPG noted for itself (RFC 9580 §5.10)


def refuse(blob: bytes) -> Refused:
    """Return the refusal of a file without certificates: NOT_A_CERTIFICATE, or SECRET for any program's secret key."""
    head = blob[:_HEAD_OCTETS]
    if _SECRET.search(blob) or _PKCS12.match(head):
        return Refused(Refusal.SECRET, found=Found.FILE_KEY)
    return Refused(Refusal.NOT_A_CERTIFICATE, found=_find(blob, head))


def _find(blob: bytes, head: bytes) -> Found | None:
    if not blob.strip():
        return Found.EMPTY
    blocks = list(armor.find_blocks(blob, _BLOCKS_MAX))
    if blocks:
        return _OF_BLOCK.get(blocks[0].kind) or _of_packets(blocks[0].content or b"") or Found.BROKEN
    if _X509.search(head) or _DER.match(head):
        return Found.X509
    return Found.SSH if _SSH.search(head) else _of_packets(blob)


def _of_packets(content: bytes) -> Found | None:
    first = next((tag for tag in packets.tags(content) if tag != _TRUST), None)
    if first == Tag.SIGNATURE:
        return _of_signature(content)
    return _OF_TAG.get(Tag(first)) if first in set(Tag) else None


def _of_signature(content: bytes) -> Found | None:
    try:
        body = next(packets.walk(content)).body
    except packets.Malformed:
        return None
    if body[:1] not in _VERSIONS:  # a picture, perhaps
        return None
    kind = body[2:3] if body[:1] == b"\x03" else body[1:2]
    return Found.REVOCATION if kind == _KEY_REVOCATION else Found.SIGNATURE
