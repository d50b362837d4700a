"""A letter's MIME structure (RFC 2045, RFC 2046), split without loss: each part keeps its raw bytes for signatures.

CPython's email package is not used: small letters stop it, it raises on real ones, and it does not keep the bytes that
a signature covers. What stands here is linear in the size of the letter and counts before it works.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from mailer.errors import Unreadable
from mailer.inward.confined import fields
from mailer.model.letter import Unreadability

# Real letters measured: at most 33 KiB of header, 12 KiB in one field (Autocrypt, ARC), 90 parts, 7 levels.
HEADER_OCTETS = 256 * 1024
FIELD_OCTETS = 64 * 1024
FIELDS = 1_000
PARTS = 1_000
DEPTH = 12

_BLANK_LINE = re.compile(rb"(?:\A|\n)\r?\n")
_FIELD = re.compile(rb"([\x21-\x39\x3b-\x7e]{1,100})[ \t]*:")
_NEW_LINE = re.compile(rb"\r?\n(?![ \t])")
_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,100}", re.ASCII)


@dataclass(frozen=True)
class Part:
    """A MIME entity. body: of a leaf; children: of a multipart, whose body is b"".

    raw: header and body as they came, kept for the parts of multipart/signed alone.
    """

    body: bytes
    fields: tuple[tuple[str, bytes], ...]
    children: tuple[Part, ...] = ()
    raw: bytes = b""

    def all(self, name: str) -> list[bytes]:
        """Return the raw values of every field of that (lower-case) name."""
        return [value for key, value in self.fields if key == name]

    def first(self, name: str) -> bytes:
        """Return the raw value of the first field of that (lower-case) name, or b""."""
        return next(iter(self.all(name)), b"")

    @cached_property
    def _content_type(self) -> tuple[str, dict[str, str]]:
        return read_content_type(self.fields)

    @property
    def type(self) -> str:
        """The content type in lower case; text/plain where none is given (RFC 2045 §5.2)."""
        return self._content_type[0]

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of Content-Type, names in lower case."""
        return self._content_type[1]

    @cached_property
    def filename(self) -> str:
        """The name under which the part would be saved, or "" (RFC 2183 §2.3)."""
        disposition = fields.parameters(self.first("content-disposition"))[1]
        return disposition.get("filename") or self.parameters.get("name", "")

    @property
    def is_attachment(self) -> bool:
        """Whether a mail program shows it as a file and not as text (RFC 2183 §2.2)."""
        disposition = fields.parameters(self.first("content-disposition"))[0]
        return disposition == "attachment" or (bool(self.filename) and self.type != "text/html")

    def decoded(self) -> bytes:
        """Return the body without its transfer encoding (RFC 2045 §6). Damage is tolerated."""
        encoding = fields.unfold(self.first("content-transfer-encoding")).strip(b" \"'").lower()
        if encoding.startswith(b"base64"):
            return fields.decode_base64(self.body)
        if encoding.startswith(b"quoted-printable"):
            return binascii.a2b_qp(self.body)
        return self.body

    def walk(self) -> Iterator[Part]:
        """Yield this part and all below it, in the order of the letter."""
        yield self
        for child in self.children:
            yield from child.walk()


def read(raw: bytes) -> Part:
    """Return the tree of a whole letter. Raises Unreadable where it is larger or deeper than any honest one."""
    return _read(raw, 0, _Budget(PARTS))


def read_content_type(header: tuple[tuple[str, bytes], ...]) -> tuple[str, dict[str, str]]:
    """Return type and parameters of a header's first Content-Type; text/plain where there is none that makes sense."""
    for name, value in header:
        if name == "content-type":
            content_type, parameters = fields.parameters(value)
            return (content_type if _TYPE.fullmatch(content_type) else "text/plain"), parameters
    return "text/plain", {}


class _Budget:
    def __init__(self, left: int) -> None:
        self.left = left

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Unreadable(Unreadability.TOO_COMPLEX)


def _read(raw: bytes, depth: int, budget: _Budget, keeps_raw: bool = False) -> Part:
    budget.take()
    if depth > DEPTH:
        raise Unreadable(Unreadability.TOO_COMPLEX)
    header, body = _split_header(raw)
    kept = raw if keeps_raw else b""
    content_type, parameters = read_content_type(header)
    boundary = parameters.get("boundary", "")
    if not content_type.startswith("multipart/") or not boundary:
        return Part(body, header, raw=kept)
    is_signed = content_type == "multipart/signed"
    pieces = _split_body(body, boundary, budget.left)
    del raw, body
    return Part(b"", header, tuple(_read(piece, depth + 1, budget, is_signed) for piece in pieces), kept)


def _split_header(raw: bytes) -> tuple[tuple[tuple[str, bytes], ...], bytes]:
    end = _BLANK_LINE.search(raw, 0, HEADER_OCTETS + 4)
    if end is None and len(raw) > HEADER_OCTETS:
        raise Unreadable(Unreadability.TOO_LARGE)
    header, body = (raw[: end.start()], raw[end.end() :]) if end else (raw, b"")
    lines = _NEW_LINE.split(header, FIELDS + 1)
    if len(lines) > FIELDS or any(len(line) > FIELD_OCTETS for line in lines):
        raise Unreadable(Unreadability.TOO_LARGE)
    found = [(_FIELD.match(line), line) for line in lines]
    # A line without a name (an mbox "From ", what a broken gateway left) is passed over.
    return tuple((name[1].decode("ascii").lower(), line[name.end() :]) for name, line in found if name), body


def _split_body(body: bytes, boundary: str, most: int) -> list[bytes]:
    """Return the raw parts between delimiter lines (RFC 2046 §5.1.1); the line break before one belongs to it."""
    delimiter = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary.encode("utf-8")) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    pieces: list[bytes] = []
    begin: int | None = None
    for found in delimiter.finditer(body):
        if begin is not None:
            pieces.append(_without_first_break(body[begin : found.start()]))
        begin = None if found[1] else found.end()
        if found[1] or len(pieces) > most:
            break
    if begin is not None:  # cut off on the way: the last part goes to the end
        pieces.append(_without_first_break(body[begin:]))
    return pieces


def _without_first_break(piece: bytes) -> bytes:
    return piece[2:] if piece.startswith(b"\r\n") else piece.removeprefix(b"\n")
