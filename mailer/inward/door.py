"""The door: takes letters in by SMTP (RFC 5321) or LMTP (RFC 2033), has each stored, and only then says 250.

What it answers depends on the configured lists alone, never on who is subscribed. aiosmtpd reads the commands; its
texts, its address parser and its DATA are replaced here, because they echo the peer, let bare CR, LF and NUL through,
and answer LMTP once instead of once per recipient.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import traceback
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Session, TLSSetupException
from aiosmtpd.smtp import Envelope as SmtpEnvelope

from mailer import metrics
from mailer.errors import ConfigError, StoreFull
from mailer.inward import admission
from mailer.model.address import Address
from mailer.model.letter import Envelope

Accept = Callable[[list[Envelope], bytes], Awaitable[None]]

LONGEST_LINE_BYTES = 64 * 1024  # RFC 5321 §4.5.3.1.6 says 998; whole bodies without a line end are seen in real mail
COMMAND_BYTES = 1024  # RFC 5321 §4.5.3.1.4 says 512 and lets each extension add to it
PROGRESS_BYTES = 64 * 1024  # a sender that needs longer than the timeout for so little is cut off
LINGER_S = 5.0  # for a peer to read our last words
COMMANDS_PER_CONNECTION = {"*": 20, "MAIL": 1000, "RCPT": 10_000, "DATA": 1000, "RSET": 1000}

_log = logging.getLogger(__name__)
logging.getLogger("mail.log").disabled = True  # aiosmtpd writes peers and addresses there, at info and above


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """Where the door listens and how much it takes. tls: for STARTTLS; None offers none. Sizes in bytes."""

    listen: tuple[tuple[str, int], ...]
    hostname: str
    max_letter_bytes: int
    max_connections: int
    max_connections_per_host: int
    max_recipients: int
    timeout_s: float
    lmtp_socket: Path | None = None
    tls: ssl.SSLContext | None = None


class Door:
    """Listens and hands letters to `accept`, one call for each commit.

    knows: whether a mailbox, given without its `+detail`, is a list of ours; it must say yes to `postmaster@` each
    domain of a list, and by that the door tells a stranger's domain (relaying) from an unknown mailbox. accept:
    stores a letter for each envelope and commits; what it raises becomes a reply to try again later.
    """

    def __init__(self, settings: DoorSettings, knows: admission.Knows, accept: Accept) -> None:
        self.settings = settings
        self.knows = knows
        self.is_closing = False
        self._accept = accept
        self._servers: list[asyncio.Server] = []
        self._socket: Path | None = None
        self._conversations: set[_Conversation] = set()
        self._storing: set[asyncio.Task[None]] = set()
        self._is_empty = asyncio.Event()

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each listening TCP socket, as bound: port 0 has become a real one."""
        names = [socket.getsockname() for server in self._servers for socket in server.sockets]
        return tuple((name[0], name[1]) for name in names if isinstance(name, tuple))

    async def open(self) -> None:
        """Listen. Raises ConfigError where an address cannot be bound; nothing listens then."""
        loop = asyncio.get_running_loop()
        try:
            for host, port in self.settings.listen:
                self._servers.append(await loop.create_server(lambda: _Conversation(self), host, port))
            if path := self.settings.lmtp_socket:
                self._servers.append(await loop.create_unix_server(lambda: _LocalConversation(self), path))
                self._socket = path
                path.chmod(0o660)  # for the mail server that shares our group
        except OSError as error:
            await self.close()
            raise ConfigError(f"The door cannot listen: {error.strerror}.") from error

    async def close(self) -> None:
        """Listen no more. Letters that are all here are stored and answered; everyone else gets 421."""
        self.is_closing = True
        for server in self._servers:
            server.close()
        for conversation in tuple(self._conversations):
            conversation.end(admission.CLOSING)
        await self._wait_for_leavers()
        if self._socket:  # not one that another instance has made
            self._socket.unlink(missing_ok=True)

    async def _wait_for_leavers(self) -> None:
        waits = [asyncio.ensure_future(self._is_empty.wait())] if self._conversations else []
        if pending := [*waits, *self._storing]:
            await asyncio.wait(pending, timeout=self.settings.timeout_s)
        for wait in waits:
            wait.cancel()
        for conversation in tuple(self._conversations):
            conversation.abort()

    def admit(self, conversation: _Conversation, host: str) -> bool:
        """Count a conversation in, unless there are too many, in all or with this host ("" is not a host)."""
        same_host = sum(1 for other in self._conversations if other.host == host)
        is_crowded = bool(host) and same_host >= self.settings.max_connections_per_host
        if is_crowded or self.is_closing or len(self._conversations) >= self.settings.max_connections:
            return False
        self._conversations.add(conversation)
        self._is_empty.clear()
        return True

    def forget(self, conversation: _Conversation) -> None:
        """Count a conversation out; once or twice is the same."""
        self._conversations.discard(conversation)
        if not self._conversations:
            self._is_empty.set()

    async def store(self, envelopes: list[Envelope], content: bytes) -> str:
        """Return the reply to a letter. What has begun to be stored is stored to the end, even if the peer leaves."""
        task = asyncio.ensure_future(self._accept(envelopes, content))
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)
        try:
            await asyncio.shield(task)
        except StoreFull:
            _log.error("A letter was not stored: there is no room.")
            return admission.NO_ROOM
        except Exception as error:  # noqa: BLE001 - the door is one of the three places where everything is caught
            _log_failure(error)
            return admission.TRY_LATER
        return admission.STORED

    async def __aenter__(self) -> Door:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _Transaction(SmtpEnvelope):
    """One mail transaction; aiosmtpd looks at mail_from and rcpt_tos, we at these."""

    def __init__(self) -> None:
        super().__init__()
        self.sender: Address | None = None
        self.recipients: list[Address] = []

    def envelopes(self) -> list[Envelope]:
        return [Envelope(self.sender, recipient) for recipient in self.recipients]


class _Rules:
    """What is answered to EHLO, MAIL and RCPT: decided here, said by aiosmtpd."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, smtp: _Conversation, session: Session, _envelope: _Transaction, hostname: str, _offered: list[str]
    ) -> list[str]:
        session.host_name = hostname
        size = f"SIZE {self._door.settings.max_letter_bytes}"
        offered = [smtp.hostname, size, "8BITMIME", "SMTPUTF8", "PIPELINING", "ENHANCEDSTATUSCODES"]
        if smtp.can_start_tls:
            offered.append("STARTTLS")
        return [*(f"250-{line}" for line in offered[:-1]), f"250 {offered[-1]}"]

    async def handle_MAIL(  # noqa: N802
        self, _smtp: _Conversation, _session: Session, transaction: _Transaction, mailbox: str, _options: list[str]
    ) -> str:
        sender = admission.read_sender(mailbox, has_smtputf8=transaction.smtp_utf8)
        if isinstance(sender, str):
            return sender
        transaction.sender, transaction.mail_from = sender, mailbox
        return admission.SENDER_OK

    async def handle_RCPT(  # noqa: N802
        self, _smtp: _Conversation, _session: Session, transaction: _Transaction, mailbox: str, _options: list[str]
    ) -> str:
        if len(transaction.recipients) >= self._door.settings.max_recipients:
            metrics.count_refused(admission.TOO_MANY_RECIPIENTS)
            return admission.TOO_MANY_RECIPIENTS
        hostname, has_smtputf8 = self._door.settings.hostname, transaction.smtp_utf8
        recipient = admission.read_recipient(mailbox, self._door.knows, hostname, has_smtputf8=has_smtputf8)
        if isinstance(recipient, str):
            metrics.count_refused(recipient)
            return recipient
        transaction.recipients.append(recipient)
        transaction.rcpt_tos.append(mailbox)
        return admission.RECIPIENT_OK


class _BadCommandLine(Exception):
    """A command that does not end in CRLF, or has CR, LF or NUL inside."""


class _CommandReader(asyncio.StreamReader):
    """Lets no command through that two servers could read differently (RFC 5321 §2.3.8)."""

    async def readuntil(self, separator: bytes = b"\n") -> bytes:  # type: ignore[override]
        line = await super().readuntil(separator)
        if separator == b"\n" and not admission.is_clean(line):
            raise _BadCommandLine
        return line


class _Conversation(SMTP):
    """One connection."""

    line_length_limit = LONGEST_LINE_BYTES
    greeting = "ESMTP"
    envelope: _Transaction | None

    def __init__(self, door: Door) -> None:
        self._door = door
        self.host = ""
        self._is_storing = False
        settings, loop = door.settings, asyncio.get_running_loop()
        super().__init__(
            _Rules(door),
            data_size_limit=settings.max_letter_bytes,
            enable_SMTPUTF8=True,
            hostname=settings.hostname,
            ident=self.greeting,
            tls_context=settings.tls,
            timeout=settings.timeout_s,
            command_call_limit=COMMANDS_PER_CONNECTION,
            loop=loop,
        )
        reader = _CommandReader(limit=LONGEST_LINE_BYTES, loop=loop)
        asyncio.StreamReaderProtocol.__init__(self, reader, self._cb_client_connected, loop)
        del self._smtp_methods["AUTH"]  # nobody can log in here
        # aiosmtpd keeps one such dictionary for all connections, and each new one empties it under the others.
        self.command_size_limits = defaultdict(lambda: COMMAND_BYTES)

    @property
    def can_start_tls(self) -> bool:
        return bool(self.tls_context) and self._tls_protocol is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._original_transport is None:
            assert isinstance(transport, asyncio.WriteTransport)
            self.host = admission.host_of(transport.get_extra_info("peername"))
            if not self._door.admit(self, self.host):
                transport.write(admission.TOO_MANY_CONNECTIONS.encode("ascii") + b"\r\n")
                transport.close()
                return
        super().connection_made(transport)
        assert self._handler_coroutine is not None
        self._handler_coroutine.add_done_callback(_retrieve)

    def connection_lost(self, error: Exception | None) -> None:
        self._door.forget(self)
        if self.session is not None:  # it was let in
            super().connection_lost(None)  # a peer that resets is no fault of ours, and leaves no traceback

    def eof_received(self) -> bool | None:
        return super().eof_received() if self.session is not None else None

    def end(self, last_words: str) -> None:
        """Say 421 and hang up; a letter that is being stored is answered first."""
        if self._is_storing or self.transport is None:
            return
        is_shaking_hands = self._tls_protocol is not None and (self.session is None or self.session.ssl is None)
        if not is_shaking_hands:  # what is said in the middle of a handshake would go out in clear
            self._writer.write(last_words.encode("ascii") + b"\r\n")
        self.transport.close()
        if self._timeout_handle:
            self._timeout_handle.cancel()
        self._timeout_handle = self.loop.call_later(LINGER_S, self.abort)

    def abort(self) -> None:
        """Hang up at once."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()

    async def push(self, status: str | bytes) -> None:
        reply = status if isinstance(status, str) else status.decode("ascii")
        await super().push(admission.WORDS.get(reply) or admission.WORDS.get(reply[:3]) or reply)

    async def handle_exception(self, error: Exception) -> str:
        if isinstance(error, _BadCommandLine):
            return admission.WORDS["500"]
        if isinstance(error, TLSSetupException):
            _log.info("A TLS handshake failed.")
        else:
            _log_failure(error)
        return admission.TRY_LATER

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802
        if self.tls_context and not self.can_start_tls:  # aiosmtpd would put TLS inside TLS
            await self.push(admission.WORDS["503"])
            return
        await super().smtp_STARTTLS(arg)

    async def smtp_VRFY(self, arg: str) -> None:  # noqa: N802
        await self.push("252 2.1.5 send a letter to find out")  # RFC 5321 §3.5.3, whatever was asked

    async def smtp_HELP(self, arg: str) -> None:  # noqa: N802
        await self.push("214 2.0.0 see RFC 5321")

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        if await self.check_helo_needed():
            return
        transaction = self.envelope
        if arg or transaction is None or not transaction.recipients:
            await self.push(admission.WORDS["501" if arg else "503"])
            return
        await self.push("354 end with <CR><LF>.<CR><LF>")
        content = await self._read_content()
        self.envelope = self._create_envelope()
        for reply in await self._replies(self._batches(transaction.envelopes()), content):
            if reply != admission.STORED:
                metrics.count_refused(reply)
            await self.push(reply)
        if self._door.is_closing:
            self.end(admission.CLOSING)

    async def _read_content(self) -> admission.Content:
        """Only CRLF ends a line, only CRLF . CRLF the letter (RFC 5321 §4.1.1.4)."""
        content, is_line_start, timed_from = admission.Content(self._door.settings.max_letter_bytes), True, 0
        while True:
            try:
                line = await self._reader.readuntil(b"\r\n")
            except asyncio.LimitOverrunError as overrun:
                await self._reader.read(overrun.consumed)
                content.refuse(admission.LONG_LINE)
                is_line_start = False
                continue
            if is_line_start and line == b".\r\n":
                return content
            is_line_start = True
            content.add(line)
            if not content.refusal and content.received - timed_from >= PROGRESS_BYTES:
                timed_from = content.received
                self._reset_timeout()

    async def _replies(self, batches: Sequence[list[Envelope]], content: admission.Content) -> list[str]:
        if content.refusal:
            return [content.refusal] * len(batches)
        assert self._timeout_handle is not None
        self._timeout_handle.cancel()  # the peer has done its part
        self._is_storing = True
        letter = content.take()
        replies = [await self._door.store(batch, letter) for batch in batches]
        self._is_storing = False
        self._reset_timeout()
        return replies

    def _batches(self, envelopes: list[Envelope]) -> Sequence[list[Envelope]]:
        return [envelopes]

    def _create_envelope(self) -> _Transaction:
        return _Transaction()

    def _timeout_cb(self) -> None:
        self.end(admission.TIMED_OUT)

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        return admission.read_path(arg) or (None, None)


class _LocalConversation(_Conversation, LMTP):
    """One connection by LMTP: each recipient has a reply of its own after DATA (RFC 2033 §4.2)."""

    greeting = "LMTP"

    def _batches(self, envelopes: list[Envelope]) -> Sequence[list[Envelope]]:
        return [[envelope] for envelope in envelopes]


def _log_failure(error: Exception) -> None:
    """Log where something failed; its text may hold what the peer said."""
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f"{Path(place[0].filename).name}:{place[0].lineno}" if place else "?"
    _log.error("The door failed: %s at %s", type(error).__name__, where)


def _retrieve(task: asyncio.Task[None]) -> None:
    """A peer that hangs up in the middle is no fault of ours, and no traceback is written for it."""
    if not task.cancelled():
        task.exception()
