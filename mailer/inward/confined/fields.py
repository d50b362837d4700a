"""Header fields: from raw bytes to values. Nothing here trusts the sender; everything is linear and bounded."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote_to_bytes

from mailer.errors import BadAddress, Unreadable
from mailer.inward.confined import charsets
from mailer.model.address import Address
from mailer.model.letter import Unreadability

ENCODED_WORDS = 500
PARAMETERS = 64
VALUE_CHARACTERS = 2_000
DATE_OCTETS = 100

_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?\r\n]*)\?=")
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))
_PARAMETER = re.compile(r';\s*([^\s=;"*]{1,80})(\*\d{1,3})?(\*)?\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"]*))', re.DOTALL)
_MESSAGE_ID = re.compile(r"<[\x21-\x3b\x3d\x3f-\x7e]{1,248}>")


def decode_value(raw: bytes, hint: str | None = None) -> str:
    """Return a field's value as one line of text, encoded words decoded (RFC 2047). hint: the body's charset."""
    text = charsets.guess(unfold(raw)[: 4 * VALUE_CHARACTERS], hint)
    return charsets.clean_line(decode_words(text))[:VALUE_CHARACTERS]


def decode_words(text: str) -> str:
    """Return `text` with its encoded words decoded; neighbours in one charset are joined as bytes before.

    Chinese mail programs cut characters in two between encoded words, against RFC 2047 §5.
    """
    pieces: list[str] = []
    pending = bytearray()
    charset, end = "", 0
    for count, found in enumerate(_ENCODED_WORD.finditer(text)):
        if count >= ENCODED_WORDS:
            break
        between = text[end : found.start()]
        label = found[1].partition("*")[0].lower()  # RFC 2231 §5: the language follows a star
        if pending and (between.strip() or label != charset):
            pieces.append(charsets.decode(bytes(pending), charset))
            pending.clear()
        if between.strip() or not end:
            pieces.append(between)
        pending += decode_word(found[2], found[3])
        charset, end = label, found.end()
    if pending:
        pieces.append(charsets.decode(bytes(pending), charset))
    return "".join(pieces) + text[end:]


def decode_word(encoding: str, payload: str) -> bytes:
    """Return the bytes of an encoded word (RFC 2047 §4)."""
    raw = payload.encode("utf-8", "replace")
    if encoding in "bB":
        return decode_base64(raw)
    return binascii.a2b_qp(raw, header=True)


def decode_base64(raw: bytes) -> bytes:
    """Return what the base64 before the first padding says; what is no base64 is skipped (RFC 2045 §6.8)."""
    digits = raw.translate(None, _NOT_BASE64).partition(b"=")[0]
    whole = digits[: len(digits) - 1] if len(digits) % 4 == 1 else digits
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))


def unfold(raw: bytes) -> bytes:
    """Return a field's value on one line (RFC 5322 §2.2.3)."""
    return re.sub(rb"[\r\n]+[ \t]?", b" ", raw).strip()


def parameters(raw: bytes) -> tuple[str, dict[str, str]]:
    """Return the value before the first `;`, lower case, and its parameters (RFC 2045 §5.1, RFC 2231 §3, §4).

    Raises Unreadable where there are more parameters than any honest letter has.
    """
    text = charsets.guess(unfold(raw))
    value, _, _ = text.partition(";")
    pieces: dict[str, list[tuple[int, bool, str]]] = {}
    for count, (name, section, extended, quoted, plain) in enumerate(_parameters_of(text[len(value) :])):
        if count >= PARAMETERS:
            raise Unreadable(Unreadability.TOO_COMPLEX)
        number = int(section[1:]) if section else 0
        content = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain.strip()
        pieces.setdefault(name.lower(), []).append((number, bool(extended), content))
    return charsets.clean_line(value).lower(), {name: _printable(_join(found)) for name, found in pieces.items()}


def mailbox(raw: bytes) -> Address:
    """Return the one mailbox that From names (RFC 5322 §3.6.2, §3.4). Raises Unreadable for none, several or a group.

    The display name is never decoded: nothing in it may become an address.
    """
    bare = _ENCODED_WORD.sub(" ", _without_comments_and_quotes(charsets.guess(unfold(raw))))
    angles = re.findall(r"<([^<>]*)>", bare)
    before, _, after = bare.partition("<") if angles else ("", "", bare)
    rest = after.partition(">")[2] if angles else ""
    is_group = ":" in before + after.partition(">")[0] and ";" in bare
    has_comma = "," in rest or ("," in before and "@" in before) or (not angles and "," in after)
    if len(angles) > 1 or is_group or has_comma or "@" in rest:
        raise Unreadable(Unreadability.SEVERAL_SENDERS)
    try:
        return Address.parse((angles[0] if angles else after).strip())
    except (BadAddress, UnicodeError):
        raise Unreadable(Unreadability.NO_SENDER) from None


def message_id(raw: bytes) -> str | None:
    """Return the identifier with its angle brackets, or None (RFC 5322 §3.6.4)."""
    found = _MESSAGE_ID.search(unfold(raw).decode("ascii", "replace"))
    return found[0] if found else None


def moment(raw: bytes) -> datetime | None:
    """Return the moment that Date names, UTC, or None (RFC 5322 §3.3)."""
    try:
        found = parsedate_to_datetime(unfold(raw)[:DATE_OCTETS].decode("ascii", "replace"))
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)  # -0000 says nothing of a zone
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _parameters_of(text: str) -> Iterator[tuple[str, str, str, str, str]]:
    for found in _PARAMETER.finditer(text):
        yield found[1], found[2] or "", found[3] or "", found[4] or "", found[5] or ""


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:VALUE_CHARACTERS])


def _join(sections: list[tuple[int, bool, str]]) -> str:
    ordered = sorted(sections, key=lambda section: section[0])
    if not any(is_extended for _, is_extended, _ in ordered):
        return "".join(content for _, _, content in ordered)
    first = ordered[0][2]
    charset = first.partition("'")[0] if first.count("'") >= 2 else "utf-8"
    contents = [first.split("'", 2)[2] if first.count("'") >= 2 else first, *(content for _, _, content in ordered[1:])]
    return charsets.decode(unquote_to_bytes("".join(contents)), charset)


def _without_comments_and_quotes(text: str) -> str:
    """Return `text` without comments, each quoted string replaced by NUL (RFC 5322 §3.2.2, §3.2.4)."""
    kept: list[str] = []
    depth, is_quoted, is_escaped = 0, False, False
    for char in text:
        if is_escaped:
            is_escaped = False
        elif char == "\\" and (depth or is_quoted):
            is_escaped = True
        elif is_quoted:
            is_quoted = char != '"'
            kept += "" if is_quoted else "\0"
        elif char == "(":
            depth += 1
        elif char == ")" and depth:
            depth -= 1
        elif not depth and char == '"':
            is_quoted = True
        elif not depth:
            kept.append(char)
    if depth or is_quoted:
        raise Unreadable(Unreadability.NO_SENDER)
    return "".join(kept)
