"""The sockets of the door and everybody who stands at it; and where a letter goes once it is all here."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import TracebackType

from mailer.errors import ConfigError, StoreBusy, StoreFull
from mailer.inward import admission
from mailer.inward.door.conversation import Conversation, LocalConversation
from mailer.inward.door.failing import log_failure
from mailer.inward.door.settings import Accept, DoorSettings
from mailer.model.letter import Envelope

_log = logging.getLogger(__name__)


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
        self._conversations: set[Conversation] = set()
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
                self._servers.append(await loop.create_server(lambda: Conversation(self), host, port))
            if path := self.settings.lmtp_socket:
                self._servers.append(await loop.create_unix_server(lambda: LocalConversation(self), path))
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

    def admit(self, conversation: Conversation, host: str) -> bool:
        """Count a conversation in, unless there are too many, in all or with this host ("" is not a host)."""
        same_host = sum(1 for other in self._conversations if other.host == host)
        is_crowded = bool(host) and same_host >= self.settings.max_connections_per_host
        if is_crowded or self.is_closing or len(self._conversations) >= self.settings.max_connections:
            return False
        self._conversations.add(conversation)
        self._is_empty.clear()
        return True

    def forget(self, conversation: Conversation) -> None:
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
        except StoreBusy:
            _log.warning("A letter was not stored: too much comes in at once. The sender tries again.")
            return admission.TOO_MUCH
        except StoreFull:
            _log.error("A letter was not stored: there is no room. Make some; the sender tries again.")
            return admission.NO_ROOM
        except Exception as error:  # noqa: BLE001 - the door is one of the three places where everything is caught
            log_failure(error)
            return admission.TRY_LATER
        return admission.STORED

    async def __aenter__(self) -> Door:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
