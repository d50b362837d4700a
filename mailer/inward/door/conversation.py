"""One connection. aiosmtpd reads the commands; its texts, its address parser and its DATA are replaced here, because
they echo the peer, let bare CR, LF and NUL through, and answer LMTP once instead of once per recipient.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, TLSSetupException

from mailer import metrics
from mailer.inward import admission
from mailer.inward.door.failing import log_failure
from mailer.inward.door.limits import COMMAND_BYTES, COMMANDS, LINE_BYTES, LINGER_S, Conduct
from mailer.inward.door.rules import Rules, Transaction
from mailer.inward.door.settings import DoorSettings
from mailer.model.letter import Envelope, Peer

_log = logging.getLogger(__name__)
logging.getLogger("mail.log").disabled = True  # aiosmtpd writes peers and addresses there, at info and above


class House(Protocol):
    """What a conversation needs of the door it is held at (door/listening)."""

    settings: DoorSettings
    knows: admission.Knows
    is_closing: bool

    def admit(self, conversation: Any, host: str) -> bool:
        """Count a conversation in, unless there are too many."""
        ...

    def forget(self, conversation: Any) -> None:
        """Count it out."""
        ...

    async def store(self, envelopes: list[Envelope], content: bytes) -> str:
        """Return the reply to a letter."""
        ...


class _BadCommandLine(Exception):
    """A command that does not end in CRLF, or has CR, LF or NUL inside."""


class _CommandReader(asyncio.StreamReader):
    """Lets no command through that two servers could read differently (RFC 5321 §2.3.8)."""

    def __init__(self, may_go_on: Callable[[], bool], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=LINE_BYTES, loop=loop)
        self._may_go_on = may_go_on

    async def readuntil(self, separator: bytes = b"\n") -> bytes:  # type: ignore[override]
        line = await super().readuntil(separator)
        if separator != b"\n":
            return line
        if not self._may_go_on():
            raise ConnectionResetError  # aiosmtpd lets the connection go, and obeys nothing more of what was sent
        if not admission.is_clean(line):
            raise _BadCommandLine
        return line


class Conversation(SMTP):
    """One connection by SMTP."""

    line_length_limit = LINE_BYTES
    greeting = "ESMTP"
    envelope: Transaction | None

    def __init__(self, door: House) -> None:
        self._door = door
        self.host = ""
        self._is_storing = False
        self._is_over = False
        settings, loop = door.settings, asyncio.get_running_loop()
        self._conduct = Conduct(settings.limits, loop.time())
        super().__init__(
            Rules(settings, door.knows),
            data_size_limit=settings.max_letter_bytes,
            enable_SMTPUTF8=True,
            hostname=settings.hostname,
            ident=self.greeting,
            tls_context=settings.tls,
            timeout=settings.timeout_s,
            command_call_limit=COMMANDS,
            loop=loop,
        )
        asyncio.StreamReaderProtocol.__init__(
            self, _CommandReader(self._may_go_on, loop), self._cb_client_connected, loop
        )
        del self._smtp_methods["AUTH"]  # nobody can log in here
        # aiosmtpd keeps one such dictionary for all connections, and each new one empties it under the others.
        self.command_size_limits = defaultdict(lambda: COMMAND_BYTES)

    @property
    def can_start_tls(self) -> bool:
        """Whether STARTTLS is offered now."""
        return bool(self.tls_context) and self._tls_protocol is None

    @property
    def _peer(self) -> Peer | None:
        return admission.peer_of(self.session.peer, self.session.host_name) if self.session else None

    # --- Coming and going -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the peer in or turn it away; after a handshake, begin anew (RFC 3207 §4.2)."""
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
        """Let the peer go."""
        self._door.forget(self)
        if self.session is not None:  # it was let in
            super().connection_lost(None)  # a peer that resets is no fault of ours, and leaves no traceback

    def eof_received(self) -> bool | None:
        """The peer says nothing more."""
        return super().eof_received() if self.session is not None else None

    def end(self, last_words: str) -> None:
        """Say 421 and hang up; a letter that is being stored is answered first."""
        if self._is_storing or self._is_over or self.transport is None:
            return
        self._is_over = True
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

    def _may_go_on(self) -> bool:
        if not self._is_over and self._conduct.count_command():
            self.end(admission.TOO_MANY_COMMANDS)
        return not self._is_over

    def _reset_timeout(self, duration: float | None = None) -> None:
        if not self._is_over:
            super()._reset_timeout(self._conduct.left_s(self.loop.time(), duration or self._door.settings.timeout_s))

    def _timeout_cb(self) -> None:
        self.end(admission.TIMED_OUT)

    # --- What is said -----------------------------------------------------------------------------------------------

    async def push(self, status: str | bytes) -> None:
        """Say a reply, in our words, unless the last one was said."""
        if self._is_over:  # the last words were said
            return
        reply = status if isinstance(status, str) else status.decode("ascii")
        words = admission.WORDS.get(reply) or admission.WORDS.get(reply[:3]) or reply
        await super().push(words)
        if self._conduct.count_reply(words):
            self.end(admission.TOO_MANY_ERRORS)

    async def handle_exception(self, error: Exception) -> str:
        """Return what the peer is told about a failure, which is next to nothing."""
        if isinstance(error, _BadCommandLine):
            return admission.WORDS["500"]
        if isinstance(error, TLSSetupException):
            _log.info("A TLS handshake failed: nothing is to be done unless all do.")
        else:
            log_failure(error)
        return admission.TRY_LATER

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's names
        """RFC 3207; aiosmtpd forgets what was said in clear, and what was sent ahead of the handshake."""
        if self.tls_context and not self.can_start_tls:  # aiosmtpd would put TLS inside TLS
            await self.push(admission.WORDS["503"])
            return
        await super().smtp_STARTTLS(arg)

    async def smtp_VRFY(self, arg: str) -> None:  # noqa: N802
        """RFC 5321 §3.5.3: the same, whatever was asked."""
        await self.push("252 2.1.5 send a letter to find out")

    async def smtp_HELP(self, arg: str) -> None:  # noqa: N802
        """RFC 5321 §4.1.1.8."""
        await self.push("214 2.0.0 see RFC 5321")

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        return admission.read_path(arg) or (None, None)

    def _getparams(self, params: Sequence[str]) -> dict[str, str | bool] | None:
        """Read the parameters of MAIL and RCPT, whose syntax is ASCII (RFC 5321 §4.1.2); one said twice is none."""
        found: dict[str, str | bool] | None = super()._getparams(params)
        is_plain = all(param.isascii() for param in params)
        return found if is_plain and found is not None and len(found) == len(params) else None

    # --- The letter -------------------------------------------------------------------------------------------------

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        """Take a letter, have it stored, and answer (RFC 5321 §4.1.1.4)."""
        if await self.check_helo_needed():
            return
        transaction = self.envelope
        if arg or transaction is None or not transaction.recipients:
            await self.push(admission.WORDS["501" if arg else "503"])
            return
        await self.push("354 end with <CR><LF>.<CR><LF>")
        self._conduct.begin_letter(self.loop.time())
        self._reset_timeout()
        content = await self._read_content()
        self.envelope = self._create_envelope()
        replies = await self._replies(self._batches(transaction.envelopes(self._peer)), content)
        for reply in self._answers(transaction, replies):
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
            if not content.refusal and content.received - timed_from >= self._door.settings.limits.progress_bytes:
                timed_from = content.received
                self._reset_timeout()

    async def _replies(self, batches: Sequence[list[Envelope]], content: admission.Content) -> list[str]:
        if content.refusal:
            self._conduct.end_letter(self.loop.time())
            self._reset_timeout()
            return [content.refusal] * len(batches)
        assert self._timeout_handle is not None
        self._timeout_handle.cancel()  # the peer has done its part
        self._is_storing = True
        letter = content.take()
        replies = [await self._door.store(batch, letter) for batch in batches]
        self._is_storing = False
        self._conduct.end_letter(self.loop.time())
        self._reset_timeout()
        return replies

    def _batches(self, envelopes: list[Envelope]) -> Sequence[list[Envelope]]:
        return [envelopes]

    def _answers(self, transaction: Transaction, replies: list[str]) -> list[str]:
        return replies

    def _create_envelope(self) -> Transaction:
        return Transaction()


class LocalConversation(Conversation, LMTP):
    """One connection by LMTP: each recipient has a reply of its own after DATA (RFC 2033 §4.2)."""

    greeting = "LMTP"

    def _batches(self, envelopes: list[Envelope]) -> Sequence[list[Envelope]]:
        return [[envelope] for envelope in envelopes]

    def _answers(self, transaction: Transaction, replies: list[str]) -> list[str]:
        """One for each RCPT that was accepted, though a mailbox that was named twice has one letter."""
        by_mailbox = dict(zip(transaction.recipients, replies, strict=True))
        return [by_mailbox[mailbox] for mailbox in transaction.named]


def _retrieve(task: asyncio.Task[None]) -> None:
    """A peer that hangs up in the middle is no fault of ours, and no traceback is written for it."""
    if not task.cancelled():
        task.exception()
