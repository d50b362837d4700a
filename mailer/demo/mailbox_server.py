"""The mail server of the demonstration's readers: takes every letter by SMTP on loopback and keeps it in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from threading import Condition, Thread
from types import TracebackType

from aiosmtpd.smtp import SMTP, Envelope, Session

from mailer.errors import DemoFailed

HOST = "127.0.0.1"
START_WITHIN_S = 10.0
NAME = "mx.reader.example"


@dataclass(frozen=True, slots=True)
class Received:
    """A letter as it came: the recipient of its envelope, and its octets."""

    recipient: str
    content: bytes


class MailboxServer:
    """A context manager. It runs in a thread of its own; every method may be called from any other."""

    def __init__(self) -> None:
        self.port = 0
        self._letters: list[Received] = []
        self._changed = Condition()
        self._thread = Thread(target=self._run, name="mailbox-server", daemon=True)

    def __enter__(self) -> MailboxServer:
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        with self._changed:
            if not self._changed.wait_for(lambda: self.port, START_WITHIN_S):
                raise DemoFailed("The receiving mail server does not come up.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    @property
    def letters(self) -> list[Received]:
        """All that came so far, in order."""
        with self._changed:
            return list(self._letters)

    def wait_for(self, count: int, timeout_s: float) -> list[Received]:
        """Return all letters once there are at least `count`. Raises DemoFailed if they do not come in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._letters) >= count, timeout_s):
                missing = count - len(self._letters)
                raise DemoFailed(f"{missing} of the letters that were awaited did not come within {timeout_s:.0f} s.")
            return list(self._letters)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Keep a letter, once for each recipient (aiosmtpd calls this)."""
        content = envelope.original_content or b""
        with self._changed:
            self._letters += [Received(recipient, content) for recipient in envelope.rcpt_tos]
            self._changed.notify_all()
        return "250 2.0.0 kept"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            listening = self._loop.create_server(self._conversation, HOST, 0)
            server = self._loop.run_until_complete(listening)
            with self._changed:
                self.port = int(server.sockets[0].getsockname()[1])
                self._changed.notify_all()
            self._loop.run_forever()
            server.close()
            self._end_conversations()
        finally:
            self._loop.close()

    def _conversation(self) -> SMTP:
        return SMTP(self, hostname=NAME, ident="ESMTP", enable_SMTPUTF8=True, loop=self._loop)

    def _end_conversations(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
