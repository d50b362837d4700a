"""ASCII armor: finds every block in whatever text surrounds it (RFC 9580 §6)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class BlockKind(StrEnum):
    """What the header line says that is inside."""

    PUBLIC_KEY = "PUBLIC KEY BLOCK"
    PRIVATE_KEY = "PRIVATE KEY BLOCK"
    SECRET_KEY = "SECRET KEY BLOCK"  # PGP 5
    MESSAGE = "MESSAGE"
    SIGNATURE = "SIGNATURE"
    SIGNED_MESSAGE = "SIGNED MESSAGE"
    FILE = "ARMORED FILE"  # GnuPG's word for anything


@dataclass(frozen=True, slots=True)
class Block:
    """One block. content: decoded; None where it is no base64. The checksum is not looked at."""

    kind: BlockKind
    content: bytes | None


# A block may be quoted or indented, and its last line may be lost; the next BEGIN ends it too.
_BEGIN = re.compile(
    rb"-----BEGIN PGP (?P<kind>(PUBLIC|PRIVATE|SECRET) KEY BLOCK|MESSAGE|SIGNATURE|SIGNED MESSAGE|ARMORED FILE)"
    rb"[, A-Z0-9/]{0,20}-----"
)
_END = re.compile(rb"-----(END|BEGIN) PGP ")
_QUOTING = b"> \t|"
_MARKUP = re.compile(rb"<[^<>]{1,200}>|&nbsp;")  # base64 has no such characters
_SIGNED_MESSAGE = re.compile(rb"(?m)^-----BEGIN PGP SIGNED MESSAGE-----[ \t]*\r?\n")
_BLANK_LINE = re.compile(rb"(?m)^[ \t]*\r?\n")
_OUR_HEAD, _OUR_TAIL = b"-----BEGIN PGP MESSAGE-----\n\n", b"\n=xxxx\n-----END PGP MESSAGE-----\n"
_OUR_LINE = 64
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


def find_blocks(text: bytes, limit: int) -> Iterator[Block]:
    """Yield the armored blocks in `text`, at most `limit`. Knows CRLF, quoting by `>`, indentation, UTF-16."""
    text = _as_ascii(text)
    at = 0
    for _ in range(limit):
        begin = _BEGIN.search(text, at)
        if begin is None:
            return
        end = _END.search(text, begin.end())
        at = end.start() if end else len(text)
        yield Block(BlockKind(begin["kind"].decode()), _decode(text[begin.end() : at]))


def _as_ascii(text: bytes) -> bytes:
    """PowerShell's `gpg --export --armor > key.asc` writes UTF-16."""
    if text[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return text.decode("utf-16", errors="replace").encode("ascii", errors="replace")
    return text


def _decode(text: bytes) -> bytes | None:
    body = []
    for line in _lines(text):
        if b":" in line:  # an armor header, or what was mangled of one
            continue
        digits, _, rest = line.partition(b"=")
        body.append(digits)
        if rest.strip(b"="):  # the checksum; RFC 9580 §6.1: not needed, and MUST NOT be relied on
            break
    digits = _NO_BASE64.sub(b"", b"".join(body))  # as GnuPG does; the signatures tell whether it was too much
    if not digits or len(digits) % 4 == 1:
        return None
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))


def _lines(text: bytes) -> list[bytes]:
    """Return what stands below the BEGIN line, rid of what a web page, a mail program or a quotation did to it."""
    if b"=3D" in text:
        text = binascii.a2b_qp(text)
    if b"<" in text or b"&" in text:
        text = _MARKUP.sub(b"\n", text)
    lines = [line.strip(_QUOTING) for line in re.split(rb"\r\n|\r|\n", text)]
    return lines[1:] if any(lines[1:]) else lines[0].split()  # all in one line, as some forms hand it on


def peek(message: bytes, octets: int) -> tuple[bytes, int]:
    """Return the first octets, at least that many, of a message that pysequoia armored; and how many it has in all.

    message: armored, LF line ends, with its checksum. Raises ValueError where it is laid out in another way.
    """
    start, end = len(_OUR_HEAD), len(message) - len(_OUR_TAIL)
    if not message.startswith(_OUR_HEAD) or message[end : end + 2] != _OUR_TAIL[:2]:
        raise ValueError("not as pysequoia armors")
    lines, rest = divmod(end - start, _OUR_LINE + 1)
    digits = lines * _OUR_LINE + rest - message.count(b"=", end - 2, end)
    some_lines = octets // (_OUR_LINE // 4 * 3) + 1
    return binascii.a2b_base64(message[start : min(start + some_lines * (_OUR_LINE + 1), end)]), digits * 3 // 4


def split_cleartext(message: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return the first cleartext-signed message in `message` (RFC 9580 §7): all of it, its text, its signature block.

    The text is without dash-escaping, line ends as they are, and without the last of them. None if there is none.
    """
    begin = _SIGNED_MESSAGE.search(message)
    signature = message.find(b"-----BEGIN PGP SIGNATURE-----", begin.end()) if begin else -1
    end = message.find(b"-----END PGP SIGNATURE-----", signature)
    if begin is None or signature < 0 or end < 0:
        return None
    head_and_text = message[begin.end() : signature]
    blank = _BLANK_LINE.search(head_and_text)
    text = head_and_text[blank.end() :] if blank else b""
    text = re.sub(rb"(?m)^- ", b"", text)
    whole = message[begin.start() : end] + b"-----END PGP SIGNATURE-----\n"
    return whole, text.removesuffix(b"\n").removesuffix(b"\r"), message[signature:end]
