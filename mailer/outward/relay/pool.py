"""A relay: a bounded number of connections, each for one task at a time, kept for the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Protocol

from mailer.letters.seal import Open, Sealed
from mailer.model.retry import Outcome


class Connection(Protocol):
    """A way to a relay, for one task at a time."""

    async def send(self, letter: Sealed | Open, may_finish: Callable[[], bool] = lambda: True) -> Outcome:
        """Give one letter to the relay.

        ACCEPTED: 2xx. REFUSED: the relay's 5xx about this recipient or this letter. LATER: all else – 4xx, no
        connection, or trouble that is ours or the relay's own (is_connection_lost, or a 5xx code about the session).
        may_finish is asked just before the letter goes out; at False the relay gets nothing. Raises LetterUnusable.
        """
        ...

    def abort(self) -> None:
        """Drop what is open at once; the next letter opens it anew."""
        ...

    async def close(self) -> None:
        """Say goodbye and hang up."""
        ...


class Relay:
    """A bounded pool of connections. name: as in config.toml. places: how many there may be at once."""

    def __init__(self, name: str, places: int, connect: Callable[[], Connection]) -> None:
        self.name = name
        self.places = places
        self._connect = connect
        self._free = asyncio.Semaphore(places)
        self._idle: list[Connection] = []
        self._is_closed = False

    async def send(self, letter: Sealed | Open, may_finish: Callable[[], bool] = lambda: True) -> Outcome:
        """As Connection.send, on whichever connection is free."""
        async with self.connection() as connection:
            return await connection.send(letter, may_finish)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Wait for a connection of one's own. It opens at the first letter, and is kept for the next user."""
        async with self._free:
            connection = self._idle.pop() if self._idle else self._connect()
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
