"""What the tests do with a letter of ours: find the armor, read it with CPython's parser, judge it as chatmail does."""

from __future__ import annotations

import base64
import binascii
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser


def armored(content: bytes) -> bytes:
    """Return the OpenPGP message in a letter."""
    start, end = content.index(b"-----BEGIN PGP MESSAGE"), content.index(b"-----END PGP MESSAGE-----")
    return content[start : end + len(b"-----END PGP MESSAGE-----\r\n")]


def outside(content: bytes) -> bytes:
    """Return a letter less its ciphertext, in which any word may stand by chance."""
    return content.replace(armored(content), b"")


def read(content: bytes) -> EmailMessage:
    """Parse a message or an entity; CPython's parser must find no defect in any part or field."""
    message = BytesParser(EmailMessage, policy=policy.SMTP).parsebytes(content)
    assert not [defect for part in message.walk() for defect in part.defects]
    assert not [defect for part in message.walk() for value in part.values() for defect in value.defects]
    return message


def read_fields(content: bytes) -> list[tuple[str, str]]:
    """Return the header fields of a message as they stand on the wire, unfolded."""
    header = content.partition(b"\r\n\r\n")[0].decode("ascii").replace("\r\n ", " ")
    return [(name, value) for name, _, value in (line.partition(": ") for line in header.split("\r\n"))]


def body(entity: bytes) -> bytes:
    """Return what follows the header."""
    return entity.partition(b"\r\n\r\n")[2]


def chatmail_accepts(content: bytes) -> bool:
    """Whether a chatmail server takes the letter; its rules, written anew."""
    message = BytesParser(EmailMessage, policy=policy.default).parsebytes(content)
    if message.get_content_type() != "multipart/encrypted":
        return False
    parts = list(message.iter_parts())
    if [part.get_content_type() for part in parts] != ["application/pgp-encrypted", "application/octet-stream"]:
        return False
    control, armor = (str(part.get_payload()) for part in parts)
    head, tail = "-----BEGIN PGP MESSAGE-----\r\n\r\n", "-----END PGP MESSAGE-----"
    if control.strip() != "Version: 1" or not armor.startswith(head) or not armor.rstrip("\r\n").endswith(tail):
        return False
    # without a checksum line the rest of the armor is thrown away with the last "="
    body = armor.removeprefix(head).rstrip("\r\n").removesuffix(tail).rpartition("=")[0]
    try:
        return _is_session_keys_then_one_seipd(base64.b64decode(body))
    except (binascii.Error, IndexError):
        return False


def _is_session_keys_then_one_seipd(octets: bytes) -> bool:
    """New-format packets of definite length: PKESK or SKESK, then SEIPD, then nothing (RFC 9580 §4.2)."""
    tags, at = [], 0
    while at < len(octets):
        if octets[at] & 0xC0 != 0xC0:
            return False
        tags.append(octets[at] & 0x3F)
        length, at = octets[at + 1], at + 2
        if length == 255:
            length, at = int.from_bytes(octets[at : at + 4], "big"), at + 4
        elif length >= 224:
            return False
        elif length >= 192:
            length, at = ((length - 192) << 8) + octets[at] + 192, at + 1
        at += length
    return at == len(octets) and tags[-1:] == [18] and set(tags[:-1]) <= {1, 3}
