"""aiosqlite's thread asked once for each statement, where SQLAlchemy's adapter asks three or four times.

Making a cursor, executing, fetching and closing each cross to the thread and back, about a tenth of a millisecond each;
a statement of ours takes less. Here the four cross together, and BEGIN crosses with the first statement after it. All
else is SQLAlchemy's own.
"""

from __future__ import annotations

import collections
import sqlite3
from collections.abc import Callable
from typing import Any

import aiosqlite
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_cursor,
    AsyncAdapt_aiosqlite_dbapi,
)
from sqlalchemy.util import await_only


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    """A cursor that is there only while a statement runs; what is left of it are the rows."""

    __slots__ = ("_description", "_lastrowid", "_rowcount")

    _adapt_connection: _Connection

    def __init__(self, adapt_connection: Any) -> None:
        self._adapt_connection = adapt_connection
        self._connection = adapt_connection._connection
        self._rows = collections.deque()
        self._description, self._rowcount, self._lastrowid = None, -1, None

    @property
    def description(self) -> Any:
        return self._description

    @property
    def rowcount(self) -> int:
        return self._rowcount

    @property
    def lastrowid(self) -> Any:
        return self._lastrowid

    def close(self) -> None:
        self._rows.clear()

    async def _async_soft_close(self) -> None:
        return

    def execute(self, operation: Any, parameters: Any = None) -> Any:
        if operation.startswith("BEGIN"):
            self._adapt_connection.begin = operation
            return None
        return self._run(lambda cursor: cursor.execute(operation, parameters or ()))

    def executemany(self, operation: Any, seq_of_parameters: Any) -> Any:
        return self._run(lambda cursor: cursor.executemany(operation, seq_of_parameters))

    def _run(self, act: Callable[[sqlite3.Cursor], object]) -> None:
        begin, self._adapt_connection.begin = self._adapt_connection.begin, None

        def in_thread() -> list[Any]:
            cursor = self._connection._conn.cursor()
            try:
                if begin is not None:
                    cursor.execute(begin)
                act(cursor)
                self._description, self._rowcount = cursor.description, cursor.rowcount
                self._lastrowid = cursor.lastrowid
                return cursor.fetchall() if cursor.description else []
            finally:
                cursor.close()

        async def cross() -> list[Any]:
            async with self._adapt_connection._execute_mutex:
                rows: list[Any] = await self._connection._execute(in_thread)
                return rows

        try:
            self._rows = collections.deque(await_only(cross()))
        except Exception as error:  # noqa: BLE001 - the adapter says which are the driver's
            self._adapt_connection._handle_exception(error)


class _Connection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ("begin",)

    _cursor_cls = _Cursor

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.begin: str | None = None  # said, but not yet in the thread

    def commit(self) -> None:
        if not self._forget_begin():
            super().commit()

    def rollback(self) -> None:
        if not self._forget_begin():
            super().rollback()

    def _forget_begin(self) -> bool:
        """Return whether a transaction ends that never began."""
        begin, self.begin = self.begin, None
        return begin is not None


class Driver(AsyncAdapt_aiosqlite_dbapi):
    """What `create_async_engine(module=…)` takes."""

    def __init__(self) -> None:
        super().__init__(aiosqlite, sqlite3)

    def connect(self, *arguments: Any, **named: Any) -> AsyncAdapt_aiosqlite_connection:
        """Return a connection, open, in a thread of its own."""
        return _Connection(self, super().connect(*arguments, **named)._connection)
