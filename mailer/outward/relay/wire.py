"""An open connection: octets go out at once, replies are awaited one by one, and one that breaks stays broken."""

from __future__ import annotations

import asyncio
from collections import deque

from mailer.outward.relay.reply import OutOfStep, Reply, ReplyReader


class Wire(asyncio.Protocol):
    """Speaks on a transport that somebody else has opened and secured. Errors are OSError, TimeoutError among them."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._due = 0  # replies that the relay still owes
        self._error: OSError | None = None
        self._waiter: asyncio.Future[None] | None = None
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether nothing has gone wrong so far."""
        return self._error is None and not self._transport.is_closing()

    @property
    def has_unsent(self) -> bool:
        """Whether octets wait here for the relay to take them."""
        return self._transport.get_write_buffer_size() > 0

    def write(self, octets: bytes, replies: int = 1) -> None:
        """Send, in one piece, what will be answered by so many replies. Raises OSError if the connection is broken."""
        self._check()
        self._due += replies
        self._transport.write(octets)

    async def reply(self, until: float) -> Reply:
        """Return the next reply. until: in the loop's time. Raises OSError; the connection is then broken."""
        if not self._replies:
            await self._wait(until)
        return self._replies.popleft()

    def abort(self) -> None:
        """Drop the connection at once: closing it would first send on what the relay has not yet taken."""
        self._break(ConnectionAbortedError())

    async def _wait(self, until: float) -> None:
        timer = self._loop.call_at(until, self._break, TimeoutError())
        try:
            while not self._replies:
                self._check()
                self._waiter = self._loop.create_future()
                await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _check(self) -> None:
        if self._error is not None:
            raise type(self._error) from self._error
        if self._transport.is_closing():
            raise ConnectionResetError

    def _break(self, error: OSError) -> None:
        self._error = self._error or error
        self._transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take in replies; what comes unasked breaks the connection, so that it answers no later question."""
        try:
            self._take_in(data)
        except OutOfStep as error:
            self._break(error)
        self._wake()

    def _take_in(self, data: bytes) -> None:
        for reply in self._reader.feed(data):
            if not self._due:
                raise OutOfStep
            self._due -= 1
            self._replies.append(reply)
        if self._reader.is_within_reply and not self._due:
            raise OutOfStep

    def connection_lost(self, exc: Exception | None) -> None:
        """The relay hung up, or the network did."""
        self._break(exc if isinstance(exc, OSError) else ConnectionResetError())
