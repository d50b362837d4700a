"""The one way to the database: an engine, transactions, migrations, and what its errors mean to the operator."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import column, event, inspect, select, table
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from mailer.errors import StoreConflict, StoreDamaged, StoreError, StoreFull
from mailer.store.tables import SCHEMA_VERSION

BUSY_TIMEOUT_S = 30.0

Transaction = AsyncConnection  # what the other folders call it: SQLAlchemy's door is here

# WAL with FULL syncs before each commit returns, so that 250 comes after the disk (TRAPS: NORMAL does not).
# secure_delete overwrites what is erased; nothing spills into temporary files.
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 16777216",
)
_FULL = {"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_TRUNCATE"}
_DAMAGED = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CORRUPT_INDEX", "SQLITE_CORRUPT_VTAB"}
_CONFLICT = ("SQLITE_CONSTRAINT", "23")  # 23…: PostgreSQL, integrity constraint violation
_FULL_SQLSTATES = {"53100", "53200"}  # PostgreSQL: disk_full, out_of_memory


class Database:
    """A database that holds the register and the queues; one object per process.

    url: SQLAlchemy URL without a driver detail, `sqlite:///PATH` or `postgresql://…`. Everything raised is a
    StoreError; its text never holds a statement's parameters.
    """

    def __init__(self, url: str) -> None:
        self.url = _with_driver(url)
        self.is_sqlite = self.url.startswith("sqlite")
        arguments: dict[str, Any] = {"timeout": BUSY_TIMEOUT_S} if self.is_sqlite else {}
        try:
            with _as_store_errors():
                self._engine = create_async_engine(self.url, hide_parameters=True, connect_args=arguments)
        except ImportError as error:
            raise StoreError(f"(The Python package {error.name} is missing.)") from None
        if self.is_sqlite:
            event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self._engine.sync_engine, "begin", _begin_sqlite)

    @property
    def folder(self) -> Path | None:
        """The folder of the database's file; None where a server keeps it."""
        return Path(self.url.partition(":///")[2]).parent if self.is_sqlite else None

    async def open(self) -> None:
        """Bring the schema up to date, making the file (mode 0600) if there is none. Raises StoreError."""
        if self.is_sqlite:
            _make_private(Path(self.url.partition(":///")[2]))
        with _as_store_errors():
            async with self._engine.connect() as connection:
                writing = await connection.execution_options(writes=True)
                await writing.run_sync(_migrate)
                await writing.commit()

    async def close(self) -> None:
        """Close every connection; SQLite then folds its journal into the file."""
        await self._engine.dispose()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Give a transaction that commits at the end of the block, or leaves no trace of it. Raises StoreError."""
        with _as_store_errors():
            async with self._engine.connect() as connection:
                writing = await connection.execution_options(writes=True)
                async with writing.begin():
                    yield writing

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Give a transaction that sees one state of the database and changes nothing. Raises StoreError."""
        with _as_store_errors():
            async with self._engine.connect() as connection:
                yield connection


def _with_driver(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    return drivers.get(scheme, scheme) + separator + rest


def _make_private(path: Path) -> None:
    # Only where there is none: to close a file that SQLite has open would drop its locks (fcntl(2), "Record locking").
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not path.is_file() or not os.access(path, os.R_OK | os.W_OK):
            raise StoreError(f"({path.name} is no file that this user may read and write.)") from None
    except OSError as error:
        raise StoreError(f"({error.strerror})") from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where sqlite3 guesses
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: one that reads first and writes later fails where another wrote in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _migrate(connection: Connection) -> None:
    if _version(connection) == SCHEMA_VERSION:
        return
    from alembic import command  # a quarter of a second, which few commands need
    from alembic.config import Config as AlembicConfig

    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(select(column("version_num")).select_from(table("alembic_version"))).scalar()


@contextmanager
def _as_store_errors() -> Iterator[None]:
    """Turn what the database library raises into StoreError, without the statement and its parameters."""
    try:
        yield
    except DBAPIError as error:
        raise _store_error(error.orig or error) from None
    except sqlite3.Error as error:
        raise _store_error(error) from None
    except (SQLAlchemyError, OSError) as error:
        raise StoreError(f"({type(error).__name__})") from None


def _store_error(error: BaseException) -> StoreError:
    name = str(getattr(error, "sqlite_errorname", "") or getattr(error, "sqlstate", "") or type(error).__name__)
    if name in _FULL or name in _FULL_SQLSTATES:
        return StoreFull(f"({name})")
    if name in _DAMAGED:
        return StoreDamaged(f"({name})")
    if name.startswith(_CONFLICT):
        return StoreConflict(f"({name})")
    return StoreError(f"({name})")
