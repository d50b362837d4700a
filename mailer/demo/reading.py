"""How a reader's mail program looks at a letter: what stands outside, what is inside, and whose signature is on it.

Every function raises DemoFailed where a promise is not kept; none of them trusts what the service says of itself.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

from mailer.crypto import openpgp
from mailer.crypto.openpgp import ListKey, Signature
from mailer.demo import search
from mailer.errors import DecryptionFailed, DemoFailed
from mailer.model.certificate import Certificate

OUTER_SUBJECT = "[...]"


@dataclass(frozen=True, slots=True)
class Opened:
    """A letter, decrypted and verified. subject: the protected one. signed_by: the fingerprint of the list's key."""

    subject: str
    text: str
    signed_by: str
    has_picture: bool = False

    def __repr__(self) -> str:
        return "Opened(…)"


@dataclass(frozen=True, slots=True)
class Signed:
    """A multipart/signed entity, split: the octets that are signed, and the armored signature (RFC 3156 §5)."""

    payload: bytes
    signature: bytes

    def __repr__(self) -> str:
        return "Signed(…)"


def parse(content: bytes) -> EmailMessage:
    """Return a message or an entity, parsed."""
    message = message_from_bytes(content, _class=EmailMessage, policy=policy.SMTP)
    if not isinstance(message, EmailMessage):
        raise TypeError
    return message


def field(content: bytes, name: str) -> str:
    """Return a header field of a letter. Raises DemoFailed if there is none."""
    value = parse(content)[name]
    if value is None:
        raise DemoFailed(f"A letter has no {name}.")
    return str(value)


def armored(content: bytes) -> bytes:
    """Return the OpenPGP message in a letter that is encrypted as RFC 3156 §4 has it. Raises DemoFailed."""
    message = parse(content)
    if message.get_content_type() != "multipart/encrypted":
        raise DemoFailed("A letter is not encrypted.")
    if message["Subject"] != OUTER_SUBJECT:
        raise DemoFailed("A letter shows its subject outside.")
    parts = list(message.iter_parts())
    if [part.get_content_type() for part in parts] != ["application/pgp-encrypted", "application/octet-stream"]:
        raise DemoFailed("An encrypted letter has other parts than RFC 3156 says.")
    octets = parts[1].get_payload(decode=True)
    return octets if isinstance(octets, bytes) else b""


def open_reply(content: bytes, key: ListKey, list_certificate: bytes) -> Opened:
    """Return a reply to one person, signed and encrypted in one go (RFC 3156 §6.2)."""
    opened = _decrypt(armored(content), key, [list_certificate])
    return _look(opened.plaintext, opened.signature)


def open_copy(content: bytes, key: ListKey, list_certificate: bytes) -> Opened:
    """Return a copy of a digest: encrypted to one reader, the signature inside for all (RFC 3156 §4, §5)."""
    inside = split_signed(_decrypt(armored(content), key).plaintext)
    signature = openpgp.verify_detached(inside.payload, inside.signature, [list_certificate])
    return _look(inside.payload, signature)


def check_closed_to(content: bytes, key: ListKey) -> None:
    """Raise DemoFailed if this key, somebody else's, opens the letter."""
    try:
        openpgp.decrypt(armored(content), [key], [])
    except DecryptionFailed:
        return
    raise DemoFailed("A copy opens with another reader's key.")


def check_silent(content: bytes, opened: Opened) -> None:
    """Raise DemoFailed if subject or text of a copy can be read from outside."""
    longest = max(opened.text.splitlines(), key=len)
    for secret in (opened.subject, longest):
        if search.find(content, secret):
            raise DemoFailed("The subject or the text of a copy stands outside the encryption.")


def split_signed(entity: bytes) -> Signed:
    """Return the signed octets and the signature in a multipart/signed entity. Raises DemoFailed."""
    message = parse(entity)
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/signed" or not boundary:
        raise DemoFailed("What is in a copy is not signed.")
    parts = entity.split(b"\r\n--" + boundary.encode())  # RFC 2046 §5.1.1: the line end belongs to the delimiter
    if len(parts) != 4:
        raise DemoFailed("What is signed in a copy has not two parts.")
    signature = parse(parts[2][2:]).get_payload(decode=True)
    return Signed(parts[1][2:], signature if isinstance(signature, bytes) else b"")


def list_certificate(content: bytes, fingerprint: str) -> bytes:
    """Return the list's certificate from the Autocrypt field of a letter; it must have the fingerprint known."""
    keydata = field(content, "Autocrypt").partition("keydata=")[2]
    try:
        blob = base64.b64decode("".join(keydata.split()), validate=True)
    except binascii.Error:
        raise DemoFailed("The key in a letter's header cannot be read.") from None
    found = [one for one in openpgp.examine(blob, datetime.now(UTC)) if isinstance(one, Certificate)]
    if [one.fingerprint for one in found] != [fingerprint]:
        raise DemoFailed("The key in a letter's header is not the list's.")
    return blob


def outside(content: bytes, fields: Sequence[str]) -> list[str]:
    """Return lines that show what a mail provider sees of a letter: these header fields, and the armor's beginning."""
    message = parse(content)
    shown = [f"{name}: {_short(' '.join(str(message[name]).split()))}" for name in fields if name in message]
    return [*shown, "", *armored(content).decode("ascii").split("\r\n")[:4], "…"]


def _decrypt(message: bytes, key: ListKey, certificates: Sequence[bytes] = ()) -> openpgp.Opened:
    try:
        return openpgp.decrypt(message, [key], certificates)
    except DecryptionFailed:
        raise DemoFailed("A letter does not open with its reader's key.") from None


def _look(payload: bytes, signature: Signature | None) -> Opened:
    if signature is None:
        raise DemoFailed("A letter carries no good signature by the list's key.")
    message = parse(payload)
    plain = message.get_body(("plain",))
    if message["Subject"] is None or plain is None:
        raise DemoFailed("A letter has no protected subject, or no text.")
    has_picture = any(part.get_content_maintype() == "image" for part in message.walk())
    text = str(plain.get_content()).replace("\r\n", "\n")
    return Opened(str(message["Subject"]), text, signature.fingerprint, has_picture)


def _short(value: str, width: int = 66) -> str:
    return value if len(value) <= width else value[: width - 1] + "…"
