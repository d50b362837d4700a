"""Letters as people's programs write them: with a key in one of three places, signed, encrypted, or all of it."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pysequoia
from pysequoia import Cert, PySigner, SignatureMode

from tests import opening, x509_people
from tests.house import Person, new_key
from tests.walks.far_server import Received

FILES = Path(__file__).parents[1] / "certificates" / "files"
_numbers = itertools.count(1)


def write(sender: Person, to: str, fields: Mapping[str, str], text: str, people: Mapping[str, Person]) -> bytes:
    """Return a whole letter, CRLF. fields: Key, Signed, Sealed say how; all others stand in its header as they are.

    people: whose keys may be named, as in "attached, Mallory's" or "by Ada's old key".
    """
    key = fields.get("Key", "")
    entity = _entity(sender, key, text, people)
    if isinstance(sender, x509_people.Holder):
        entity = _as_smime(sender, entity, fields)
    elif "Signed" in fields:
        entity = sign(entity, signer_of(people[fields["Signed"].removeprefix("by ")]))
    if fields.get("Sealed", "").startswith("to ") and "S/MIME" not in fields["Sealed"]:
        entity = encrypt(entity, people[fields["Sealed"].removeprefix("to ")].certificate)
    outer = EmailMessage(policy=policy.SMTP)
    outer["From"], outer["To"], outer["Date"] = sender.address, to, datetime.now(UTC)
    outer["Message-ID"] = f"<{next(_numbers)}@client.example>"
    for name, value in fields.items():
        if name not in ("Key", "Signed", "Sealed", "Certificate"):
            outer[name] = value
    head = outer.as_bytes().partition(b"\r\n\r\n")[0] + b"\r\n"
    autocrypt = _autocrypt(sender) if key == "Autocrypt" else b""
    return head + autocrypt + b"MIME-Version: 1.0\r\n" + entity


def _as_smime(sender: x509_people.Holder, entity: bytes, fields: Mapping[str, str]) -> bytes:
    """Return an entity with the sender's certificate, a signature by OpenSSL, or in an envelope."""
    if fields.get("Certificate") == "attached":
        text = message_from_bytes(entity, policy=policy.SMTP)
        text.add_attachment(sender.x509.der, maintype="application", subtype="pkix-cert", filename="me.cer")
        del text["MIME-Version"]
        entity = text.as_bytes()
    if "Signed" in fields:
        entity = sender.sign(entity, is_opaque="inside" in fields["Signed"])
    if "Sealed" in fields:
        entity = sender.encrypt(entity, sender.of_list, is_streamed="piece" in fields["Sealed"])
    return entity.removeprefix(b"MIME-Version: 1.0\r\n")


def _autocrypt(sender: Person) -> bytes:
    """Return the header field (Autocrypt 1.1 §2.1), folded."""
    lines = base64.encodebytes(sender.certificate).decode().splitlines()
    folded = "\r\n ".join([f"Autocrypt: addr={sender.address}; keydata=", *lines])
    return f"{folded}\r\n".encode()


def _entity(sender: Person, key: str, text: str, people: Mapping[str, Person]) -> bytes:
    """Return text, and key if it goes that way, as a MIME entity: 7-bit, so that it can be signed."""
    entity = EmailMessage(policy=policy.SMTP)
    pasted = f"\n{sender.armored}" if key == "in the text" else ""
    entity.set_content(f"{text}\n{pasted}", cte="quoted-printable")
    if key.startswith("attached"):
        blob = _attached(key.removeprefix("attached").removeprefix(", "), sender, people)
        entity.add_attachment(blob, maintype="application", subtype="pgp-keys", filename="key.asc")
    del entity["MIME-Version"]
    return entity.as_bytes()


def _attached(which: str, sender: Person, people: Mapping[str, Person]) -> bytes:
    """Return a key file: of somebody, from the collection of certificates, or spoilt in one of three ways."""
    if which.endswith(".asc"):
        return (FILES / which).read_bytes()
    if which == "damaged":
        lines = (FILES / "usable.asc").read_bytes().splitlines(keepends=True)
        return b"".join([*lines[:4], *lines[6:]])
    if which == "too-large":
        return bytes(new_key(sender.address).extract_certificate()) * 3000
    if which == "two":
        return (FILES / "usable.asc").read_bytes() + (FILES / "usable-rsa2048.asc").read_bytes()
    return (people[which.removesuffix("'s")] if which else sender).armored.encode()


def signer_of(person: Person) -> PySigner:
    """Return what signs as a person."""
    assert person.key is not None
    return person.key.signer()


def sign(entity: bytes, signer: PySigner) -> bytes:
    """Return multipart/signed over an entity (RFC 3156 §5)."""
    signature = pysequoia.sign(signer, entity, mode=SignatureMode.DETACHED)
    return signed(entity, signature)


def signed(entity: bytes, signature: bytes) -> bytes:
    """Return multipart/signed of an entity and its armored signature."""
    parts = (entity, b"Content-Type: application/pgp-signature\r\n\r\n" + with_crlf(signature))
    return multipart("signed", 'micalg=pgp-sha512; protocol="application/pgp-signature"', parts)


def encrypt(entity: bytes, certificate: bytes, signer: PySigner | None = None) -> bytes:
    """Return multipart/encrypted around an entity (RFC 3156 §4), with a signer signed in one go (§6.2)."""
    message = pysequoia.encrypt(entity, [Cert.from_bytes(certificate)], signer)
    return encrypted(message)


def encrypted(message: bytes) -> bytes:
    """Return multipart/encrypted of an armored message."""
    version = b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
    octets = b"Content-Type: application/octet-stream\r\n\r\n" + with_crlf(message)
    return multipart("encrypted", 'protocol="application/pgp-encrypted"', (version, octets))


def with_crlf(armored: bytes) -> bytes:
    """Return text as SMTP wants it (RFC 5321 §2.3.8)."""
    return armored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def clearsign(text: str, signer: PySigner) -> str:
    """Return text under the cleartext signature framework (RFC 9580 §7)."""
    return pysequoia.sign(signer, text.encode(), mode=SignatureMode.CLEAR).decode()


def armored(certificate: bytes) -> bytes:
    """Return a certificate as text."""
    return str(pysequoia.armor(certificate, pysequoia.ArmorKind.PublicKey)).encode()


def multipart(subtype: str, parameters: str, parts: tuple[bytes, ...]) -> bytes:
    """Return parts in one entity."""
    boundary = f"part{next(_numbers)}of"
    head = f'Content-Type: multipart/{subtype}; boundary="{boundary}"; {parameters}\r\n\r\n'.encode()
    middle = b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts)
    return head + middle + f"--{boundary}--\r\n".encode()


# --- Reading what came back -----------------------------------------------------------------------------------------


def recipient(received: Received) -> str:
    """Return whom SMTP brought a letter to."""
    return received.rcpt.partition("<")[2].partition(">")[0]


def outside(received: Received) -> EmailMessage:
    """Return a letter as everybody on the way sees it."""
    return message_from_bytes(received.content, policy=policy.SMTP)


def is_sealed(received: Received) -> bool:
    """Return whether a letter is encrypted."""
    return opening.form_of(received.content) is not opening.Form.CLEAR


def message_in(received: Received) -> bytes:
    """Return the armored message of a sealed letter."""
    _version, octets = outside(received).iter_parts()
    return bytes(octets.get_content())


def subject_for(received: Received, reader: Person) -> str:
    """Return the subject that a reader sees, or why there is none."""
    if not is_sealed(received):
        return str(outside(received)["Subject"])
    try:
        parts = reader.open(received).walk()
        return next(str(part["Subject"]) for part in parts if part["Subject"])  # of a digest below its signature
    except Exception as error:  # noqa: BLE001 - pysequoia raises Exception
        return f"(cannot be opened: {type(error).__name__})"
