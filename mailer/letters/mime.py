"""MIME entities of our own letters, as bytes: CRLF, 7-bit, and fit to be signed (RFC 3156 §3, §5).

An *entity* is header fields, an empty line and a body. It ends with CRLF. Boundaries are random and say nothing of the
program that chose them.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from mailer.errors import LetterUnusable
from mailer.letters.fields import LINE_OCTETS, Field, write_field, write_fields
from mailer.letters.write import Attachment

_QP_LINE = 76  # RFC 2045 §6.7 (5)
_HP = 'hp="cipher"; protected-headers="v1"'
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_CONTENT_TYPE = re.compile(r"(application|audio|image|text|video)/[a-z0-9][a-z0-9.+-]*\Z")
_CONTENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}@[A-Za-z0-9.-]{1,64}\Z")
_PROTECTABLE = re.compile(r"multipart/(alternative|mixed); boundary=[^;]+\Z")
_TEXT_OCTETS = b"\t\r\n" + bytes(range(0x20, 0x7F))
_PAD_LINE = b"." * 76 + b"\r\n"
_CONTROL_PART = b"\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
_MESSAGE_HEAD = (
    b'\r\nContent-Type: application/octet-stream; name="encrypted.asc"'
    b'\r\nContent-Disposition: inline; filename="encrypted.asc"\r\n\r\n'
)
_CMS_HEAD = write_fields(
    (
        ("Content-Type", 'application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"'),
        ("Content-Transfer-Encoding", "base64"),
        ("Content-Disposition", 'attachment; filename="smime.p7m"'),
    )
)
_ARMOR_HEAD = b"-----BEGIN PGP MESSAGE-----\r\n\r\n"
_ARMOR_TAIL = b"\r\n-----END PGP MESSAGE-----\r\n"
_ANY_BOUNDARY = b"=" * 32  # as long as each, so that a field folded with it fits
_ENCRYPTED_TYPE = write_field(
    "Content-Type",
    f'multipart/encrypted; protocol="application/pgp-encrypted"; boundary="{_ANY_BOUNDARY.decode("ascii")}"',
)


@dataclass(frozen=True, slots=True)
class InlineImage:
    """A picture that HTML shows as `cid:CONTENT_ID`. content_id: local@domain, plain ASCII, without the brackets."""

    content_id: str
    content_type: str
    content: bytes


def text_part(text: str, subtype: str = "plain") -> bytes:
    """Return a text entity: UTF-8, LF or CRLF line ends in, CRLF out, 7bit if that holds and quoted-printable if not.

    Raises LetterUnusable for controls other than tab and line ends.
    """
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if any(unicodedata.category(char) in ("Cc", "Cs") and char != "\t" for line in lines for char in line):
        raise LetterUnusable("A control character in the text.")
    encoding, body = _encode_text(("\r\n".join(lines) + "\r\n").encode())
    return _entity((("Content-Type", f"text/{subtype}; charset=utf-8"), ("Content-Transfer-Encoding", encoding)), body)


def attachment_part(attachment: Attachment) -> bytes:
    """Return the entity of an attachment: base64, or the rules of text_part for text and armored keys."""
    if not _FILENAME.match(attachment.filename):
        raise LetterUnusable("An attachment's file name.")
    disposition = ("Content-Disposition", f'attachment; filename="{attachment.filename}"')
    return _file_part(attachment.content_type, attachment.content, (disposition,))


def alternative(text: str, html: str, images: Sequence[InlineImage] = ()) -> bytes:
    """Return multipart/alternative of plain text and HTML, the HTML with its pictures (RFC 2046 §5.1.4, RFC 2387)."""
    page = text_part(html, "html")
    if images:
        page = multipart("related", [page, *map(_image_part, images)], 'type="text/html"')
    return multipart("alternative", [text_part(text), page])


def mixed(entity: bytes, attachments: Sequence[Attachment] = ()) -> bytes:
    """Return multipart/mixed of an entity and its attachments; with none it is there for the root (see protected)."""
    return multipart("mixed", [entity, *map(attachment_part, attachments)])


def protected(payload: bytes, fields: Sequence[Field], outer: Sequence[Field]) -> bytes:
    """Return `payload` with its protected header fields, checked by check_payload (RFC 9788 §2.1, §2.2, §5).

    payload: multipart/alternative or multipart/mixed, as made here; Thunderbird shows a protected subject on no other
    root, and only with `protected-headers`. fields: what the reader sees, wire text. outer: the fields that stand
    outside the encryption, each recorded in an HP-Outer. Raises LetterUnusable.
    """
    head, _, body = payload.partition(b"\r\n\r\n")
    name, _, content_type = head.decode("ascii", "replace").replace("\r\n ", " ").partition(": ")
    if name.lower() != "content-type" or not _PROTECTABLE.match(content_type):
        raise LetterUnusable("The root of the payload.")
    records = tuple(("HP-Outer", f"{name}: {value}") for name, value in outer)
    header = write_fields((*fields, *records, ("Content-Type", f"{content_type}; {_HP}")))
    whole = header + b"\r\n" + body
    check_payload(whole)
    return whole


def check_payload(payload: bytes) -> None:
    """Raise LetterUnusable unless `payload` survives every relay unchanged, so that its signature does.

    7-bit text, CRLF only, no line over 998 octets, no space at a line's end, no "From " at its start (RFC 3156 §3, §5).
    """
    # whole-buffer operations: a pattern walks megabytes octet by octet, and the event loop waits
    ends = payload.count(b"\r\n")
    is_text = not payload.translate(None, _TEXT_OCTETS) and payload.count(b"\r") == ends == payload.count(b"\n")
    if not payload.endswith(b"\r\n") or not is_text:
        raise LetterUnusable("Not 7-bit text with CRLF line ends.")
    if max(map(len, payload.split(b"\r\n"))) > LINE_OCTETS:
        raise LetterUnusable("A line of more than 998 octets.")
    if _is_fragile(payload):
        raise LetterUnusable('A space at the end of a line, or "From " at its start.')


def multipart(subtype: str, parts: Sequence[bytes], parameters: str = "") -> bytes:
    """Return a multipart entity of `parts`, byte for byte, with an empty preamble (RFC 2046 §5.1.1).

    parameters: wire text such as `protocol="…"`.
    """
    boundary = new_boundary()
    value = "; ".join(filter(None, [f"multipart/{subtype}", parameters, f'boundary="{boundary}"']))
    delimiter = f"--{boundary}".encode("ascii")
    body = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts)
    return b"".join((write_field("Content-Type", value), b"\r\n", body, delimiter, b"--\r\n"))


def encrypted(header: bytes, armored: bytes) -> bytes:
    """Return a whole message: `header`, then multipart/encrypted as the strictest receiver, chatmail, wants it.

    Two parts, nothing but the armor in the second, its name the one by which Mailvelope finds it (RFC 3156 §4).
    Raises LetterUnusable.
    """
    _checked_armor(armored)
    boundary = new_boundary().encode("ascii")
    delimiter = b"\r\n--" + boundary
    # one join: this runs for every subscriber, and the armor is by far the longest piece
    return b"".join(
        (
            *(header, _ENCRYPTED_TYPE.replace(_ANY_BOUNDARY, boundary)),
            *(delimiter, _CONTROL_PART),
            *(delimiter, _MESSAGE_HEAD, armored),
            *(delimiter, b"--\r\n"),
        )
    )


def armored_text(armored: bytes) -> bytes:
    """Return an entity whose text is nothing but an armored OpenPGP message. Raises LetterUnusable.

    The charset is that of the text inside, for programs that decrypt in place.
    """
    head = (("Content-Type", "text/plain; charset=utf-8"), ("Content-Transfer-Encoding", "7bit"))
    return _entity(head, _checked_armor(armored))


def armored_file(filename: str, armored: bytes) -> bytes:
    """Return the entity of a file that is an armored OpenPGP message. Raises LetterUnusable."""
    return sealed_file(filename, "application/octet-stream", _checked_armor(armored))


def sealed_file(filename: str, content_type: str, content: bytes) -> bytes:
    """Return the entity of an encrypted file; it alone, with what `covered` makes of it, may stand in clear."""
    if not _FILENAME.match(filename):
        raise LetterUnusable("An attachment's file name.")
    is_text = content.startswith(_ARMOR_HEAD)
    head = (
        ("Content-Type", f'{content_type}; name="{filename}"'),
        ("Content-Transfer-Encoding", "7bit" if is_text else "base64"),
        ("Content-Disposition", f'attachment; filename="{filename}"'),
    )
    return _entity(head, content if is_text else base64.encodebytes(content).replace(b"\n", b"\r\n"))


def covered(cover: str, file: bytes) -> bytes:
    """Return multipart/mixed of a cover text and one encrypted file. Raises LetterUnusable unless it is ASCII.

    cover: the same for all readers; other letters would tell their language.
    """
    if not cover.isascii():
        raise LetterUnusable("A cover text with letters that tell a language.")
    return multipart("mixed", [text_part(cover), file])


def signed(payload: bytes, signature: bytes, micalg: str) -> bytes:
    """Return multipart/signed of a payload and its armored detached signature (RFC 3156 §5)."""
    head = (
        ("Content-Type", 'application/pgp-signature; name="signature.asc"'),
        ("Content-Disposition", 'attachment; filename="signature.asc"'),
    )
    parameters = f'micalg={micalg}; protocol="application/pgp-signature"'
    return multipart("signed", [payload, _entity(head, signature)], parameters)


def cms_signed(payload: bytes, signature: bytes, micalg: str) -> bytes:
    """Return multipart/signed of a payload and its detached CMS signature, DER (RFC 8551 §3.5.3)."""
    head = (
        ("Content-Type", 'application/pkcs7-signature; name="smime.p7s"'),
        ("Content-Transfer-Encoding", "base64"),
        ("Content-Disposition", 'attachment; filename="smime.p7s"'),
    )
    parameters = f'protocol="application/pkcs7-signature"; micalg={micalg}'
    return multipart("signed", [payload, _entity(head, _base64(signature))], parameters)


def cms_enveloped(header: bytes, envelope: bytes) -> bytes:
    """Return a whole message: `header`, then an envelope, DER, and nothing else (RFC 8551 §3.3)."""
    return b"".join((header, _CMS_HEAD, b"\r\n", _base64(envelope)))


def padme(length: int) -> int:
    """Return the length to which `length` octets are padded: at most 12 % more, log log of them distinguishable.

    Source: Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", §4.
    """
    exponent = length.bit_length() - 1
    free_bits = max(exponent - exponent.bit_length(), 0)
    mask = (1 << free_bits) - 1
    return (length + mask) & ~mask


def with_preamble(entity: bytes, length: int) -> bytes:
    """Return a multipart entity made here, grown to `length` octets by its preamble, which no program shows.

    length: that of `entity`, or at least 2 more. Lines of dots: no boundary of ours (hexadecimal) is in them.
    """
    missing = length - len(entity)
    if not missing:
        return entity
    if missing < 2:
        raise LetterUnusable("No room for padding.")
    start = entity.index(b"\r\n\r\n") + 4
    whole_lines, rest = divmod(missing, len(_PAD_LINE))
    last = b"." * (rest - 2) + b"\r\n" if rest >= 2 else b"\r\n" * rest
    padding = _PAD_LINE * whole_lines + last
    # one octet is no line: the line before gives up one of its dots
    return b"".join((entity[:start], padding[1:] if rest == 1 else padding, memoryview(entity)[start:]))


def new_boundary() -> str:
    """Return a boundary that no body contains: 128 random bits, hexadecimal (RFC 2046 §5.1.1)."""
    return secrets.token_hex(16)


def _base64(octets: bytes) -> bytes:
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


def _checked_armor(armored: bytes) -> bytes:
    if not armored.startswith(_ARMOR_HEAD) or not armored.endswith(_ARMOR_TAIL):
        raise LetterUnusable("Not an armored OpenPGP message.")
    return armored


def _is_fragile(text: bytes) -> bool:
    """Whether a relay or a mailbox file may change it: space at a line's end (RFC 3156 §5), "From " at its start."""
    return any(found in text for found in (b" \r\n", b"\t\r\n", b"\nFrom ")) or text.startswith(b"From ")


def _encode_text(text: bytes) -> tuple[str, bytes]:
    is_plain = text.isascii() and not _is_fragile(text) and max(map(len, text.split(b"\r\n"))) <= _QP_LINE
    return ("7bit", text) if is_plain else ("quoted-printable", _quoted_printable(text))


def _quoted_printable(text: bytes) -> bytes:
    encoded = binascii.b2a_qp(text, istext=True)
    # a soft break right behind the word keeps the line within 76 octets
    return re.sub(rb"^From(?= )", b"=46rom=\r\n", encoded, flags=re.MULTILINE)


def _image_part(image: InlineImage) -> bytes:
    if not _CONTENT_ID.match(image.content_id) or not image.content_type.startswith("image/"):
        raise LetterUnusable("An inline picture.")
    fields = (("Content-ID", f"<{image.content_id}>"), ("Content-Disposition", "inline"))
    return _file_part(image.content_type, image.content, fields)


def _file_part(content_type: str, content: bytes, fields: tuple[Field, ...]) -> bytes:
    if not _CONTENT_TYPE.match(content_type):
        raise LetterUnusable("A content type.")
    if content_type.startswith("text/") or content_type == "application/pgp-keys":
        text = b"\r\n".join([*content.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n"), b""])
        encoding, body = _encode_text(text)
    else:
        octets = base64.encodebytes(content).replace(b"\n", b"\r\n")
        encoding, body = "base64", octets or b"\r\n"
    charset = "; charset=utf-8" if content_type.startswith("text/") else ""
    head = (("Content-Type", content_type + charset), ("Content-Transfer-Encoding", encoding))
    return _entity((*head, *fields), body)


def _entity(fields: tuple[Field, ...], body: bytes) -> bytes:
    return write_fields(fields) + b"\r\n" + body
