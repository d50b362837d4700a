"""The relay: gives our letters to the server that takes them onward, over TLS that is verified, or not at all.

aiosmtplib does connecting, TLS and login. MAIL, RCPT and DATA are sent here, octet for octet: its address parser
would make `b@y` of `<b@y>,<c@z>`, and its DATA rewrites line ends, which breaks a signature.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

import aiosmtplib

from mailer.errors import BadAddress, LetterUnusable, RelayUnusable
from mailer.letters.seal import Open, Sealed
from mailer.model.address import Address
from mailer.model.retry import Answer, Outcome

Security = Literal["starttls", "implicit", "none"]

LINE_OCTETS = 998  # RFC 5321 §4.5.3.1.6, less CRLF
FINAL_WAIT = 2  # times timeout_s: RFC 5321 §4.5.3.2 grants the reply to the final dot twice as long as others
GOODBYE_S = 2.0  # nothing hangs on the reply to QUIT, but whoever stops the program waits for it
GO_AHEAD = 354

# Said of the session, not of a recipient: 502 and 503 commands, 530 to 538 login and TLS (RFC 4954 §6, RFC 3207 §4).
_ABOUT_US = frozenset({500, 502, 503, 530, 534, 535, 538})
_TROUBLES = (aiosmtplib.SMTPException, OSError)  # OSError: ssl.SSLError and TimeoutError are such
_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?=\s|\Z)", re.ASCII)  # RFC 3463 §2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """One relay. security "none" is for a server on this machine. ca_file: trust these authorities, no others.

    connections: at most so many at once. timeout_s: for each reply. local_hostname: said in EHLO.
    """

    host: str
    port: int
    security: Security = "starttls"
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    connections: int = 4
    timeout_s: float = 300.0
    local_hostname: str = "localhost"


class Relay:
    """A bounded pool of connections. Raises RelayUnusable for settings that cannot be used safely."""

    def __init__(self, settings: RelaySettings) -> None:
        if settings.security == "none" and not _is_loopback(settings.host):
            raise RelayUnusable("Without TLS mail goes to this machine only.")
        self._settings = settings
        self._tls = _tls_context(settings)
        self._places = asyncio.Semaphore(settings.connections)
        self._idle: list[Connection] = []
        self._is_closed = False

    async def send(self, letter: Sealed | Open, may_finish: Callable[[], bool] = lambda: True) -> Outcome:
        """As Connection.send, on whichever connection is free."""
        async with self.connection() as connection:
            return await connection.send(letter, may_finish)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Wait for a connection of one's own. It opens at the first letter, and is kept for the next user."""
        async with self._places:
            connection = self._idle.pop() if self._idle else Connection(self._settings, self._tls)
            try:
                yield connection
            except BaseException:
                connection.abort()
                raise
            self._idle.append(connection)
        if self._is_closed:
            await self.close()

    async def close(self) -> None:
        """Say goodbye on every idle connection; those in use are closed when they are given back."""
        self._is_closed = True
        idle, self._idle = self._idle, []
        await asyncio.gather(*(connection.close() for connection in idle))

    async def __aenter__(self) -> Relay:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Connection:
    """One connection, for one task at a time; opened when there is a letter, opened anew when the relay ended it."""

    def __init__(self, settings: RelaySettings, tls: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._tls = tls
        self._smtp = self._new_client()
        self._has_begun = False

    async def send(self, letter: Sealed | Open, may_finish: Callable[[], bool] = lambda: True) -> Outcome:
        """Give one letter to the relay.

        ACCEPTED: 2xx. REFUSED: the relay's 5xx about this recipient or this letter. LATER: all else – 4xx, no
        connection, or trouble that is ours or the relay's own (is_connection_lost, or a 5xx code about the session).
        may_finish is asked just before the letter goes out with its final dot; at False the connection is dropped and
        the relay has nothing. Raises LetterUnusable.
        """
        _check_letter(letter)
        was_open = self._smtp.is_connected
        try:
            outcome = await self._attempt(letter, may_finish)
            if outcome.is_connection_lost and was_open and not self._has_begun:
                outcome = await self._attempt(letter, may_finish)  # the relay had ended an idle connection
        except BaseException:
            self.abort()
            raise
        return outcome

    async def _attempt(self, letter: Sealed | Open, may_finish: Callable[[], bool]) -> Outcome:
        self._has_begun = False
        try:
            if not self._smtp.is_connected:
                await self._open()
            outcome = self._lack(letter) or await self._transact(letter, may_finish)
        except _TROUBLES as error:
            _log.warning("The relay failed: %s", type(error.__cause__ or error).__name__)
            self.abort()
            return _lost(error)
        if outcome.answer is not Answer.ACCEPTED and self._smtp.is_connected:
            await self._reset()
        return outcome

    async def _reset(self) -> None:
        """Make ready for the next letter; what became of this one is known."""
        try:
            await self._smtp.rset()
        except _TROUBLES:
            self.abort()

    async def _open(self) -> None:
        self._smtp = smtp = self._new_client()
        await smtp.connect()
        if self._tls is None and not _is_loopback(str(smtp.get_transport_info("peername")[0])):
            raise aiosmtplib.SMTPException("not this machine")  # whatever the name was resolved to
        if self._tls is not None and smtp.get_transport_info("sslcontext") is None:
            raise aiosmtplib.SMTPException("no TLS")
        if smtp.is_ehlo_or_helo_needed:
            await smtp.ehlo()
        if self._settings.username is not None:
            await smtp.login(self._settings.username, self._settings.password or "")

    def _new_client(self) -> aiosmtplib.SMTP:
        settings = self._settings
        return aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            local_hostname=settings.local_hostname,
            timeout=settings.timeout_s,
            use_tls=settings.security == "implicit",
            start_tls=settings.security == "starttls",  # never None, which goes on in clear if it is not offered
            tls_context=self._tls,
        )

    def _lack(self, letter: Sealed | Open) -> Outcome | None:
        """What this relay cannot carry, as RFC 6531 §3.5 and RFC 6152 §3 have it; None if it can."""
        has_smtputf8 = self._smtp.supports_extension("SMTPUTF8")
        if not letter.recipient.is_ascii and not has_smtputf8:
            return Outcome(Answer.REFUSED, 550, "5.6.7")
        if not letter.envelope_sender.is_ascii and not has_smtputf8:
            return Outcome(Answer.LATER, 550, "5.6.7")
        if not letter.content.isascii() and not self._smtp.supports_extension("8BITMIME"):
            return Outcome(Answer.LATER, 550, "5.6.3")
        return None

    async def _transact(self, letter: Sealed | Open, may_finish: Callable[[], bool]) -> Outcome:
        sender, recipient = b"FROM:" + _path(letter.envelope_sender), b"TO:" + _path(letter.recipient)
        reply = await self._smtp.execute_command(b"MAIL", sender, *self._options(letter))
        if not _is_yes(reply):
            return _outcome(reply, is_about_letter=False)
        self._has_begun = True
        reply = await self._smtp.execute_command(b"RCPT", recipient)
        if not _is_yes(reply):
            return _outcome(reply)
        reply = await self._smtp.execute_command(b"DATA")
        if _is_yes(reply):
            raise aiosmtplib.SMTPException("a yes before the letter")
        if reply.code != GO_AHEAD:
            return _outcome(reply)
        if not may_finish():
            raise aiosmtplib.SMTPException("too late")
        return _outcome(await self._give(letter.content))

    def _options(self, letter: Sealed | Open) -> list[bytes]:
        options = []
        if self._smtp.supports_extension("SIZE"):
            options.append(b"SIZE=%d" % len(letter.content))
        if not letter.content.isascii():
            options.append(b"BODY=8BITMIME")
        if not (letter.recipient.is_ascii and letter.envelope_sender.is_ascii):
            options.append(b"SMTPUTF8")
        return options

    async def _give(self, content: bytes) -> aiosmtplib.SMTPResponse:
        protocol = self._smtp.protocol
        if protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("gone")
        protocol.write(_with_dots(content) + b".\r\n")
        return await protocol.read_response(timeout=FINAL_WAIT * self._settings.timeout_s)

    def abort(self) -> None:
        """Drop the connection at once: closing it would first send on what the relay has not yet taken."""
        transport = self._smtp.transport
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
        self._smtp.close()

    async def close(self) -> None:
        """Say goodbye and hang up."""
        if self._smtp.is_connected:
            with suppress(*_TROUBLES):
                await self._smtp.quit(timeout=min(GOODBYE_S, self._settings.timeout_s))
        self.abort()


def _tls_context(settings: RelaySettings) -> ssl.SSLContext | None:
    if settings.security == "none":
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)  # verifies certificate and name
    except OSError as error:
        raise RelayUnusable("ca_file cannot be read.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_letter(letter: Sealed | Open) -> None:
    """What was signed goes out octet for octet, so it must be fit for SMTP as it is (RFC 5321 §2.3.8, §4.5.3.1.6)."""
    if not isinstance(letter, Sealed | Open):
        raise TypeError("not a letter of letters.seal")
    _path(letter.envelope_sender)
    _path(letter.recipient)
    content = letter.content
    line_ends = content.count(b"\r\n")  # counting is fifty times as fast as a regular expression
    is_crlf = content.endswith(b"\r\n") and content.count(b"\r") == line_ends == content.count(b"\n")
    if not is_crlf or b"\x00" in content:
        raise LetterUnusable("Its line ends are not all CRLF, or it holds NUL.")
    if max(map(len, content.split(b"\r\n"))) > LINE_OCTETS:
        raise LetterUnusable("It has a line longer than 998 octets.")


def _path(address: Address) -> bytes:
    """`<local@domain>` of exactly one mailbox, whoever made the Address."""
    try:
        is_one = Address.parse(str(address)) == address
    except BadAddress:
        is_one = False
    if not is_one:
        raise LetterUnusable("An address in its envelope is not one mailbox.")
    return f"<{address}>".encode()


def _with_dots(content: bytes) -> bytes:
    """RFC 5321 §4.5.2: the dot that begins a line is doubled."""
    doubled = content.replace(b"\r\n.", b"\r\n..")
    return b"." + doubled if doubled.startswith(b".") else doubled


def _is_yes(reply: aiosmtplib.SMTPResponse) -> bool:
    return 200 <= reply.code < 300


def _outcome(reply: aiosmtplib.SMTPResponse, *, is_about_letter: bool = True) -> Outcome:
    """Code and status of a reply; its text, which quotes addresses, ends here."""
    code, status, is_gone = reply.code, _status(reply.code, reply.message), reply.code == 421  # RFC 5321 §3.8
    if _is_yes(reply):
        return Outcome(Answer.ACCEPTED, code, status)
    if not 400 <= code < 600:
        raise aiosmtplib.SMTPException("out of step")
    if code >= 500 and is_about_letter and code not in _ABOUT_US:
        return Outcome(Answer.REFUSED, code, status)
    return Outcome(Answer.LATER, code, status, is_connection_lost=is_gone)


def _lost(error: Exception) -> Outcome:
    if isinstance(error, aiosmtplib.SMTPResponseException) and 400 <= error.code < 600:
        return Outcome(Answer.LATER, error.code, _status(error.code, error.message), is_connection_lost=True)
    return Outcome(Answer.LATER, is_connection_lost=True)


def _status(code: int, text: str) -> str:
    status = _STATUS.match(text)
    return status[0] if status and status[1] == str(code)[0] else ""
