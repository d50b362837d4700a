"""A queue before an SQLite file, for the processes that write to it.

SQLite lets a writer that finds the file locked sleep and look again, up to a tenth of a second later, and whoever just
wrote is quicker: under load somebody waits a hundred times as long as the others. The kernel's lock on the folder is
handed on at once and in order. It is an addition only: what keeps writers apart is SQLite's own lock.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from mailer.errors import StoreError


class Turn:
    """One process's place in the queue. The kernel gives it up with the process, however that ends (flock(2))."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._inside = asyncio.Lock()  # of this process one stands in the queue at a time
        self._descriptor: int | None = None
        self._waiting: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def taken(self, within_s: float) -> AsyncIterator[None]:
        """Be the one who writes. Raises StoreError where another keeps its turn for longer than that."""
        try:
            async with asyncio.timeout(within_s):
                await self._inside.acquire()
        except TimeoutError:
            raise StoreError("(SQLITE_BUSY)") from None
        try:
            await self._enter(within_s)
            yield
        finally:
            self._leave()
            self._inside.release()

    def close(self) -> None:
        """Leave the queue for good; what is taken later opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    async def _enter(self, within_s: float) -> None:
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                return  # SQLite will say what is wrong
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await self._wait(self._descriptor, within_s)
        except OSError:
            return  # a file system without such locks: SQLite's own have to do

    async def _wait(self, descriptor: int, within_s: float) -> None:
        if self._waiting is None or self._waiting.done():  # one thread waits, however often somebody loses patience
            self._waiting = asyncio.ensure_future(asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_EX))
        waiting = self._waiting
        try:
            async with asyncio.timeout(within_s):
                await asyncio.shield(waiting)
        except TimeoutError:
            waiting.add_done_callback(lambda _: self._leave())
            raise StoreError("(SQLITE_BUSY)") from None
        except asyncio.CancelledError:
            waiting.add_done_callback(lambda _: self._leave())  # what comes too late must not stay taken
            raise

    def _leave(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
