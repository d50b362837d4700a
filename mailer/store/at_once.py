"""A whole transaction in one visit to a thread, for the few that a busy process makes again and again.

Where each statement comes back to the event loop, a transaction lasts as long as a dozen rounds of that loop, and with
SQLite everybody else who writes waits for it. Here the same functions run without a loop: they await nothing but their
transaction, and that one answers at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")


class AtOnce:
    """One thread with one connection. engine: SQLAlchemy's ordinary one, whose connections may change threads."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, "store")

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Return what `work` returns, committed. Raises what it raises, and SQLAlchemy's errors."""
        return await self._run(self._write, work)

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Return what `work` finds in one state of the database."""
        return await self._run(self._read, work)

    async def close(self) -> None:
        """Let what has begun come to its end, and close the connection."""
        await asyncio.to_thread(self._thread.shutdown)
        self.engine.dispose()

    async def _run(self, how: Callable[[Any], T], work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, how, work)

    def _write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        with _turn(self._folder), self.engine.connect() as connection:
            writing = connection.execution_options(writes=True)
            with writing.begin():
                return _drive(work, writing)

    def _read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        with self.engine.connect() as connection:
            return _drive(work, connection)


class _Transaction:
    """What the functions of the store use of an AsyncConnection, over an ordinary connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.dialect = connection.dialect

    async def execute(self, *arguments: Any) -> Any:
        return self._connection.execute(*arguments)


def _drive(work: Callable[[AsyncConnection], Awaitable[T]], connection: Connection) -> T:
    """Run a coroutine that never has to wait."""
    coroutine = cast(Coroutine[Any, Any, T], work(cast(AsyncConnection, _Transaction(connection))))
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    coroutine.close()
    raise TypeError("what runs at once awaits nothing but its transaction")


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Stand in the queue that `Turn` stands in, in a place of our own (flock(2): each open() is one)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system without such locks: SQLite's own have to do
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
