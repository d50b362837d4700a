"""Looks by IMAP whether a copy has arrived in an organiser's own mailbox. It reads, and changes nothing there.

The provider may be the censor's: TLS is verified, all that a server says is bounded in size and time, and nothing of
it is shown or kept but in which kind of folder the copy lies, and when it came.
"""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import re
import socket
import ssl
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from mailer.errors import MailboxUnusable
from mailer.outward.relay.settings import is_loopback
from mailer.store.sightings import Place, Sighting

TIMEOUT_S = 20.0
WHOLE_S = 60.0  # for one mailbox
MAX_OCTETS = 1024 * 1024  # of all that a server says; a list of folders takes a few thousand
MAX_FOLDERS = 200

_FOLDER = re.compile(  # RFC 3501 §7.2.2
    rb"""\((?P<flags>[^()]*)\) (?:"(?:[^"\\]|\\.)*"|NIL) (?P<name>"(?:[^"\\\r\n]|\\["\\])*"|[^\s"(){%*\\]+)"""
)
_JUNK_FLAGS = frozenset({b"\\junk", b"\\spam"})  # RFC 6154 §2, and what some say
_CLOSED_FLAGS = frozenset({b"\\noselect", b"\\nonexistent"})  # RFC 3501 §7.2.2, RFC 5258 §3
_JUNK_NAMES = (b"junk", b"spam", b"bulk", b"&V4NXPpCuTvY-", b"&V4NXPpD1TvY-")  # 垃圾邮件, 垃圾郵件 (RFC 3501 §5.1.3)
_NUMBERS = re.compile(rb"[0-9]{1,10}")
_MESSAGE_ID = re.compile(r"<[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+>")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Where to look. is_plain: without TLS, on this machine only."""

    host: str
    port: int
    username: str
    password: str
    is_plain: bool = False
    ca_file: Path | None = None

    def __repr__(self) -> str:
        return "Mailbox(…)"


class Trouble(StrEnum):
    """Why nobody could look."""

    UNREACHABLE = "unreachable"
    TLS = "tls"
    LOGIN = "login"
    NONSENSE = "nonsense"  # the server does not speak IMAP, or says too much


@dataclass(frozen=True, slots=True)
class _Folder:
    """name: as it goes back onto the wire."""

    name: str
    place: Place


async def look(mailbox: Mailbox, message_ids: Collection[str], now: datetime) -> Sighting | Trouble | None:
    """Return when and where the first of these messages came, None if none has, or why nobody could look.

    Raises MailboxUnusable for settings that cannot be used.
    """
    if mailbox.is_plain and not is_loopback(mailbox.host):
        raise MailboxUnusable("(Without TLS only on this machine.)")
    if not all(_MESSAGE_ID.fullmatch(one) for one in message_ids):
        raise MailboxUnusable("(That is no Message-ID of ours.)")
    return await asyncio.to_thread(_look, mailbox, tuple(message_ids), now)


def _look(mailbox: Mailbox, message_ids: tuple[str, ...], now: datetime) -> Sighting | Trouble | None:
    try:
        client = _connect(mailbox)
    except ssl.SSLError:
        return Trouble.TLS
    except (imaplib.IMAP4.error, _TooMuch, ValueError):
        return Trouble.NONSENSE
    except OSError:
        return Trouble.UNREACHABLE
    try:
        return _search(client, mailbox, message_ids, now)
    except (imaplib.IMAP4.error, _TooMuch, ValueError, LookupError, TypeError):
        return Trouble.NONSENSE  # imaplib trusts its server, and stumbles in many ways
    except OSError:
        return Trouble.UNREACHABLE
    finally:
        client.shutdown()


def _search(
    client: _Bounded, mailbox: Mailbox, message_ids: tuple[str, ...], now: datetime
) -> Sighting | Trouble | None:
    try:
        client.login(mailbox.username, mailbox.password)
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error:
        return Trouble.LOGIN
    for folder in _in_order(_folders(client)):
        answer, _ = client.select(folder.name, readonly=True)  # EXAMINE
        if answer == "OK":
            for message_id in message_ids:
                number = _find(client, message_id)
                if number is not None:
                    return Sighting(_arrived(client, number, now), folder.place)
    return None


def _folders(client: _Bounded) -> Iterator[_Folder]:
    """Give the folders that can be opened, as RFC 3501 §7.2.2 lists them."""
    _, lines = client.list()
    for line in lines[:MAX_FOLDERS]:
        found = _FOLDER.fullmatch(line) if isinstance(line, bytes) else None  # a literal names no provider's folder
        if found is None or not found["name"].isascii():
            continue
        flags = {flag.lower() for flag in found["flags"].split()}
        if not flags & _CLOSED_FLAGS:
            yield _Folder(found["name"].decode("ascii"), _place(found["name"].strip(b'"'), flags))


def _place(name: bytes, flags: set[bytes]) -> Place:
    if name.lower() == b"inbox":
        return Place.INBOX
    is_junk = bool(flags & _JUNK_FLAGS) or any(one in name.lower() or one in name for one in _JUNK_NAMES)
    return Place.JUNK if is_junk else Place.ELSEWHERE


def _in_order(folders: Iterator[_Folder]) -> list[_Folder]:
    """Return the folders with a name for "all mail" behind those that say more."""
    order = (Place.INBOX, Place.JUNK, Place.ELSEWHERE)
    return sorted(folders, key=lambda one: order.index(one.place))


def _find(client: _Bounded, message_id: str) -> str | None:
    answer, found = client.uid("SEARCH", "HEADER", "Message-ID", f'"{message_id}"')
    numbers = _NUMBERS.findall(found[0]) if answer == "OK" and found and isinstance(found[0], bytes) else []
    return numbers[0].decode() if numbers else None


def _arrived(client: _Bounded, number: str, now: datetime) -> datetime:
    """Return when the mailbox got the message; now, if it does not say or says a time to come."""
    _, found = client.uid("FETCH", number, "(INTERNALDATE)")
    said = imaplib.Internaldate2tuple(found[0]) if found and isinstance(found[0], bytes) else None
    return min(datetime.fromtimestamp(time.mktime(said), UTC), now) if said else now


# --- The connection -------------------------------------------------------------------------------------------------


class _TooMuch(Exception):
    """The server said more, or took longer, than looking into a mailbox needs."""


class _Bounded(imaplib.IMAP4):
    """imaplib reads literals of any size, lines without end, and octet by octet for ever; this one stops."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._left = MAX_OCTETS
        self._alarm = threading.Timer(WHOLE_S, self._cut)
        self._alarm.daemon = True
        self._connection: socket.socket | None = None
        super().__init__(host, port, TIMEOUT_S)

    def read(self, size: int) -> bytes:
        self._take(size)
        return super().read(size)

    def readline(self) -> bytes:
        line = super().readline()
        self._take(len(line))
        return line

    def shutdown(self) -> None:
        """Close the connection without a word: LOGOUT would wait for an answer."""
        self._alarm.cancel()
        with contextlib.suppress(OSError):
            super().shutdown()

    def _create_socket(self, timeout: float | None) -> socket.socket:
        connection = socket.create_connection((self.host, self.port), timeout)
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_hostname=self.host, do_handshake_on_connect=False)
            self._connection = connection
            self._alarm.start()
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
        except BaseException:
            self._alarm.cancel()
            connection.close()
            raise
        return connection

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            if self._connection is not None:
                self._connection.shutdown(socket.SHUT_RDWR)

    def _take(self, octets: int) -> None:
        self._left -= octets
        if self._left < 0:
            raise _TooMuch


def _connect(mailbox: Mailbox) -> _Bounded:
    tls = None if mailbox.is_plain else ssl.create_default_context(cafile=mailbox.ca_file)
    return _Bounded(mailbox.host, mailbox.port, tls)
