"""Header fields of our own letters: encoded, folded, and closed to injection.

A field's value travels as *wire text*: printable ASCII, words parted by single spaces. Only the functions here make it
from what people wrote, and `write_field` refuses anything else, so no value can begin a line of its own.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import quote

from mailer.errors import BadAddress, LetterUnusable
from mailer.model.address import Address

Field = tuple[str, str]

FOLD_AT = 78  # RFC 5322 §2.1.1: SHOULD
LINE_OCTETS = 998  # RFC 5322 §2.1.1: MUST
MESSAGE_ID_OCTETS = 250

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*\Z")
_WIRE = re.compile(r"[!-~]+( [!-~]+)*\Z")
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_ATOMS = re.compile(rf"{_ATEXT}+( {_ATEXT}+)*\Z")
# RFC 5322 §3.6.4, less the obsolete forms and the quoted ones
_MESSAGE_ID = re.compile(rf"<{_ATEXT}+(\.{_ATEXT}+)*@({_ATEXT}+(\.{_ATEXT}+)*|\[[A-Za-z0-9.:]+\])>\Z")
_UNFIT = ("Cc", "Cs", "Zl", "Zp")  # Unicode categories that end a line somewhere or cannot be encoded
_WORD_OCTETS = 33  # of text per encoded word: 56 characters on the wire, so "HP-Outer: From:" fits before it
_LONGEST_PLAIN_WORD = 60
_KEYDATA_LINE = 76


def write_field(name: str, value: str) -> bytes:
    """Return one header field, folded where it can be, with its CRLF (RFC 5322 §2.2.3).

    value: wire text. Raises LetterUnusable for a line break, a control, a letter above ASCII, or a line over 998.
    """
    if not _NAME.match(name) or not _WIRE.match(value):
        raise LetterUnusable(f"Header field {name!a}.")
    first, *words = value.split(" ")
    lines = [f"{name}: {first}"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > FOLD_AT:
            lines.append("")
        lines[-1] += f" {word}"
    if max(map(len, lines)) > LINE_OCTETS:
        raise LetterUnusable(f"Header field {name!a}.")
    return "\r\n".join([*lines, ""]).encode("ascii")


def write_fields(fields: tuple[Field, ...]) -> bytes:
    """Return the header fields in their order, each as write_field writes it."""
    return b"".join(write_field(name, value) for name, value in fields)


def from_text(text: str) -> str:
    """Return one line of anybody's language as wire text (RFC 2047 where needed). Raises LetterUnusable."""
    _refuse_controls(text)
    words = text.split(" ")
    # "=?" would be taken for an encoded word; spaces at the ends or in a row would be lost by folding
    is_plain = _WIRE.match(text) and "=?" not in text and max(map(len, words)) <= _LONGEST_PLAIN_WORD
    return text if is_plain else _encoded_words(text)


def from_mailbox(address: Address, name: str = "") -> str:
    """Return `name <address>`, or the bare address (RFC 5322 §3.4). Raises LetterUnusable.

    An address with a local part above ASCII has no form in a header of ours: RFC 6532 would make the whole letter
    depend on every relay's SMTPUTF8.
    """
    try:
        is_sound = address.is_ascii and Address.parse(str(address)) == address
    except BadAddress:
        is_sound = False
    if not is_sound:
        raise LetterUnusable("Address.")
    return f"{_phrase(name)} <{address}>" if name else str(address)


def from_recipient(address: Address) -> str:
    """Return the To of a letter to one person; an empty group where the address has no form in a header of ours."""
    return from_mailbox(address) if address.is_ascii else "undisclosed-recipients:;"  # RFC 5322 §3.4, §A.1.3


def from_moment(moment: datetime) -> str:
    """Return a date in UTC, so that nobody's time zone shows (RFC 5322 §3.3). Raises LetterUnusable without a zone."""
    if moment.tzinfo is None:
        raise LetterUnusable("A moment without a time zone.")
    return format_datetime(moment.astimezone(UTC))


def from_message_id(text: str) -> str:
    """Return the msg-id that `text` is, checked (RFC 5322 §3.6.4). Raises LetterUnusable."""
    if not is_message_id(text):
        raise LetterUnusable("Message-ID.")
    return text


def is_message_id(text: str) -> bool:
    """Whether a stranger's Message-ID may be repeated in In-Reply-To: the strict form, and not long."""
    return len(text) <= MESSAGE_ID_OCTETS and _MESSAGE_ID.match(text) is not None


def from_mailto(address: Address) -> str:
    """Return `<mailto:…>` for List-Unsubscribe (RFC 2369 §3.2, RFC 6068 §2)."""
    return f"<mailto:{quote(str(address), safe='@+-._~!$*')}>"


def from_list_address(address: Address) -> str:
    """Return a List-Id of the list's address alone: a description would tell what the list is (RFC 2919 §3)."""
    return f"<{quote(address.local, safe='+-._~!$*')}.{address.domain}>"


def from_certificate(address: Address, certificate: bytes) -> str:
    """Return an Autocrypt value: the list's key, for programs to learn (Autocrypt Level 1, 1.1 §2.1).

    certificate: binary, minimal. Raises LetterUnusable if the field would reach the 10 KiB at which it is ignored.
    """
    keydata = base64.b64encode(certificate).decode("ascii")
    lines = [keydata[at : at + _KEYDATA_LINE] for at in range(0, len(keydata), _KEYDATA_LINE)]
    value = " ".join([f"addr={from_mailbox(address)};", "prefer-encrypt=mutual;", "keydata=", *lines])
    if len(value) > 9_000:
        raise LetterUnusable("Autocrypt.")
    return value


def _phrase(name: str) -> str:
    _refuse_controls(name)
    if not _WIRE.match(name) or "=?" in name:  # which would be taken for an encoded word
        return _encoded_words(name)
    if _ATOMS.match(name):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'  # RFC 5322 §3.2.4


def _encoded_words(text: str) -> str:
    """Return `text` as encoded words; none splits a character (RFC 2047 §5)."""
    chunks, chunk = [], b""
    for octets in (char.encode() for char in text):
        if len(chunk) + len(octets) > _WORD_OCTETS:
            chunks.append(chunk)
            chunk = b""
        chunk += octets
    return " ".join(f"=?utf-8?B?{base64.b64encode(chunk).decode('ascii')}?=" for chunk in [*chunks, chunk])


def _refuse_controls(text: str) -> None:
    if not text.strip() or any(unicodedata.category(char) in _UNFIT for char in text):
        raise LetterUnusable("A line of text that is empty or holds a line break or a control.")
