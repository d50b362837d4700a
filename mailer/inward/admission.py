"""What the door answers, decided without touching a socket: to MAIL, to RCPT, and to the bytes of a letter.

Nothing here depends on who is subscribed. Each reply says what the sending *server* must know, and echoes nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from mailer.errors import BadAddress
from mailer.model.address import Address
from mailer.model.letter import Peer

Knows = Callable[[Address], bool]

# What aiosmtpd says itself names it and echoes the peer: said with one of these codes, it is said in these words.
WORDS = {
    "220 Ready to start TLS": "220 2.0.0 ready to start TLS",
    "221 Bye": "221 2.0.0 goodbye",
    "250 OK": "250 2.0.0 OK",
    "421": "421 4.7.0 too many commands, goodbye",
    "454": "454 4.7.0 TLS is not available",
    "500": "500 5.5.2 command not recognised",
    "501": "501 5.5.4 syntax error in parameters",
    "502": "502 5.5.1 command not implemented",
    "503": "503 5.5.1 bad sequence of commands",
    "552": "552 5.3.4 the letter is too large",
    "553": "553 5.1.3 not an address",
    "554": "554 5.7.0 TLS failed",
    "555": "555 5.5.4 parameter not implemented",
}
SENDER_OK = "250 2.1.0 OK"
RECIPIENT_OK = "250 2.1.5 OK"
NOT_AN_ADDRESS = WORDS["553"]
NEEDS_SMTPUTF8 = "550 5.6.7 non-ASCII address without SMTPUTF8"  # RFC 6531 §3.5
UNKNOWN_MAILBOX = "550 5.1.1 no such mailbox here"
NO_RELAYING = "550 5.7.1 no relaying"
TOO_MANY_RECIPIENTS = "452 4.5.3 too many recipients"  # RFC 5321 §4.5.3.1.10
TOO_LARGE = WORDS["552"]
BAD_BYTES = "550 5.6.0 bare CR, bare LF or NUL in the letter"
LONG_LINE = "550 5.6.0 a line of the letter is too long"
STORED = "250 2.0.0 stored"
NO_ROOM = "452 4.3.1 no room, try again later"
TOO_MUCH = "452 4.3.2 too much at once, try again later"
TRY_LATER = "451 4.3.0 try again later"
TOO_MANY_CONNECTIONS = "421 4.3.2 too many connections, try again later"
TOO_MANY_COMMANDS = WORDS["421"]
TOO_MANY_ERRORS = "421 4.7.0 too many errors, goodbye"
TIMED_OUT = "421 4.4.2 timed out, goodbye"
CLOSING = "421 4.3.2 closing, try again later"

NULL_PATH = "<>"  # RFC 5321 §4.5.5: bounces come from it

_PATH = re.compile(r"<([^<>\x00-\x20\x7f]*)>(?: +(.*))?\Z")  # RFC 5321 §4.1.2; Address.parse judges the mailbox
_HELO = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
_SOURCE_ROUTE = re.compile(r"@[^:@]+(,@[^:@]+)*:")  # RFC 5321 §4.1.1.3: accepted and ignored
_FORBIDDEN = re.compile(rb"[\r\n\x00]")  # RFC 5321 §2.3.8 forbids bare CR and LF, RFC 5322 §3.5 NUL


def is_clean(line: bytes) -> bool:
    """Whether a line ends in CRLF and has no CR, LF or NUL besides, so that no two servers read it differently."""
    return line.endswith(b"\r\n") and not _FORBIDDEN.search(line, 0, len(line) - 2)


def read_path(argument: str) -> tuple[str, str] | None:
    """Split `<mailbox> parameters`; the mailbox is NULL_PATH for `<>`. None if it is not that, or not UTF-8."""
    path = _PATH.match(argument)
    if path is None or any("\ud800" <= char <= "\udfff" for char in path[1]):  # bytes that were no UTF-8
        return None
    return _SOURCE_ROUTE.sub("", path[1], count=1) or NULL_PATH, path[2] or ""


def read_sender(mailbox: str, *, has_smtputf8: bool) -> Address | str | None:
    """Return the sender, None for the null reverse-path, or the reply that refuses it."""
    if mailbox == NULL_PATH:
        return None
    return _read_mailbox(mailbox, has_smtputf8=has_smtputf8)


def read_recipient(mailbox: str, knows: Knows, hostname: str, *, has_smtputf8: bool) -> Address | str:
    """Return the recipient, or the reply that refuses it.

    hostname: stands in for the domain of a bare `postmaster`, who is always known (RFC 5321 §4.5.1).
    """
    if mailbox.lower() == "postmaster":
        return Address.parse(f"postmaster@{hostname}")
    recipient = _read_mailbox(mailbox, has_smtputf8=has_smtputf8)
    if isinstance(recipient, str):
        return recipient
    without_detail, _ = recipient.split_detail()  # tokens are not looked at: every detail is answered alike
    if knows(without_detail):
        return recipient
    return UNKNOWN_MAILBOX if knows(Address("postmaster", recipient.domain)) else NO_RELAYING


def _read_mailbox(text: str, *, has_smtputf8: bool) -> Address | str:
    try:
        address = Address.parse(text)
    except BadAddress:
        return NOT_AN_ADDRESS
    if not text.isprintable():
        return NOT_AN_ADDRESS
    return address if address.is_ascii or has_smtputf8 else NEEDS_SMTPUTF8


class Content:
    """The lines of one letter without the dots of RFC 5321 §4.5.2, or the reply that refuses it.

    Holds at most `max_bytes`. refusal: None as long as the letter is good. received: bytes, kept or not.
    """

    def __init__(self, max_bytes: int) -> None:
        self.refusal: str | None = None
        self.received = 0
        self._max_bytes = max_bytes
        self._lines = bytearray()

    def add(self, line: bytes) -> None:
        """Take a line with its CRLF. A refused letter is read on to its end, but no longer kept."""
        self.received += len(line)
        text = line[1:] if line.startswith(b".") else line
        if not is_clean(line):
            self.refuse(BAD_BYTES)
        elif len(self._lines) + len(text) > self._max_bytes:
            self.refuse(TOO_LARGE)
        elif not self.refusal:
            self._lines += text

    def refuse(self, reply: str) -> None:
        """Refuse for this reason, unless there was one before."""
        self.refusal = self.refusal or reply
        self._lines = bytearray()

    def take(self) -> bytes:
        """Return the letter, once; the lines are let go."""
        lines, self._lines = self._lines, bytearray()
        return bytes(lines)


def peer_of(peername: object, helo: str | None) -> Peer | None:
    """Return who is at the other end, from a socket's peer name and EHLO; None for a Unix socket.

    A name that is none (RFC 5321 §4.1.3, §4.1.4) is not kept: it is looked up in the DNS later.
    """
    if not isinstance(peername, tuple):
        return None
    host = ipaddress.ip_address(str(peername[0]).partition("%")[0])
    mapped = host.ipv4_mapped if host.version == 6 else None
    return Peer(str(mapped or host), helo if helo and _HELO.fullmatch(helo) else "")


def host_of(peer: object) -> str:
    """Return the address that counts as one host, of a socket's peer name; "" for a peer on a Unix socket.

    Of IPv6 that is the /64, which is what one subscriber line has.
    """
    if not isinstance(peer, tuple):
        return ""
    host = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    if host.version == 4:
        return str(host)
    return str(host.ipv4_mapped or ipaddress.ip_network((host, 64), strict=False))
