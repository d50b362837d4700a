"""The one way to the database: an engine, transactions, migrations, and what its errors mean to the operator."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import column, create_engine, event, inspect, select, table
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from mailer.errors import StoreError
from mailer.store import one_hop, postgresql
from mailer.store.at_once import AtOnce
from mailer.store.failures import as_store_errors
from mailer.store.tables import SCHEMA_VERSION
from mailer.store.turn import Turn

BUSY_TIMEOUT_S = 30.0

T = TypeVar("T")

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
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


class Database:
    """A database that holds the register and the queues; one object per process.

    url: `sqlite:///PATH` or `postgresql://…`, the driver named or not. Everything raised is a StoreError, whose text
    never holds a statement's parameters, or InstanceBusy.
    """

    def __init__(self, url: str) -> None:
        self.url = _with_driver(url)
        self.is_sqlite = self.url.startswith("sqlite")
        self._driver_errors: tuple[type[Exception], ...] = ()
        self._alone: AsyncConnection | None = None
        with as_store_errors():
            self._engine = self._sqlite() if self.is_sqlite else self._postgresql()
        self._reading = self._engine
        if not self.is_sqlite:
            one_state = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            self._reading = self._engine.execution_options(**one_state)
        self._turn = Turn(self.folder) if self.folder else None
        self._at_once = AtOnce(self._ordinary_sqlite(), self.folder) if self.folder else None

    @property
    def folder(self) -> Path | None:
        """The folder of the database's file; None where a server keeps it."""
        return self._path.parent if self.is_sqlite else None

    @property
    def engines(self) -> tuple[Engine, ...]:
        """What runs the statements: the event loop's engine, and on SQLite the one for `write_at_once`."""
        return (self._engine.sync_engine, *([self._at_once.engine] if self._at_once else []))

    async def open(self, *, alone: bool = False, may_change: bool = True) -> None:
        """Bring the schema up to date, making the file (mode 0600) if there is none. Raises StoreError.

        alone: with no other process connected, on whichever machine, else InstanceBusy; until close. That is for
        PostgreSQL: of a file, the locks in the instance's folder tell who uses it. may_change: without it nothing is
        made or brought up to date, and a database that would need it is an error.
        """
        if self.is_sqlite:
            _make_private(self._path, may_make=may_change)
        if alone and not self.is_sqlite:
            await self._take_alone()
        async with self._connected(self._engine) as connection:
            writing = await connection.execution_options(writes=True)
            await writing.run_sync(_migrate, may_change)
            await writing.commit()

    async def close(self) -> None:
        """Close every connection; SQLite then folds its journal into the file."""
        with as_store_errors(self._driver_errors):
            if self._alone is not None:
                await self._alone.close()
            if self._at_once is not None:
                await self._at_once.close()
                self._at_once = AtOnce(self._at_once.engine, self._path.parent)
            await self._engine.dispose()
        self._alone = None
        if self._turn is not None:
            self._turn.close()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Give a transaction that commits at the end of the block, or leaves no trace of it. Raises StoreError.

        On PostgreSQL it is READ COMMITTED: statements see what others committed in between, so whoever decides by what
        he read locks the rows, or does both in one statement.
        """
        async with self._connected(self._engine) as connection, AsyncExitStack() as stack:
            writing = await connection.execution_options(writes=True)
            if self._turn is not None:
                await stack.enter_async_context(self._turn.taken(BUSY_TIMEOUT_S))
            async with writing.begin():
                yield writing

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Give a transaction that sees one state of the database and changes nothing. Raises StoreError."""
        async with self._connected(self._reading) as connection:
            yield connection

    async def write_at_once(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Return what `work` returns, committed; as `write`, for work that awaits nothing but its transaction.

        On SQLite nobody waits for our event loop meanwhile. Raises StoreError.
        """
        if self._at_once is None:
            async with self.write() as tx:
                return await work(tx)
        with as_store_errors(self._driver_errors):
            return await self._at_once.write(work)

    async def read_at_once(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Return what `work` finds; as `read`, for work that awaits nothing but its transaction. Raises StoreError."""
        if self._at_once is None:
            async with self.read() as tx:
                return await work(tx)
        with as_store_errors(self._driver_errors):
            return await self._at_once.read(work)

    @asynccontextmanager
    async def _connected(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        with as_store_errors(self._driver_errors):
            async with engine.connect() as connection:
                yield connection

    async def _take_alone(self) -> None:
        with as_store_errors(self._driver_errors):
            holder = await self._engine.connect()
            try:
                await postgresql.take_alone(holder)
            except BaseException:
                await holder.close()
                raise
        self._alone = holder

    @property
    def _path(self) -> Path:
        return Path(self.url.partition(":///")[2])

    def _sqlite(self) -> AsyncEngine:
        waiting = {"timeout": BUSY_TIMEOUT_S}
        engine = create_async_engine(self.url, module=one_hop.Driver(), hide_parameters=True, connect_args=waiting)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine

    def _ordinary_sqlite(self) -> Engine:
        arguments = {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
        engine = create_engine(
            f"sqlite:///{self._path}", poolclass=StaticPool, hide_parameters=True, connect_args=arguments
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _postgresql(self) -> AsyncEngine:
        try:
            arguments = postgresql.engine_arguments()
        except ImportError:
            raise StoreError("(For PostgreSQL install the extra mailer[postgres]: asyncpg is missing.)") from None
        self._driver_errors = postgresql.driver_errors()
        engine = create_async_engine(self.url, hide_parameters=True, **arguments)
        postgresql.check_options(engine.url)
        postgresql.watch_pool(engine)
        postgresql.share_use(engine, lambda: self._alone is not None)
        return engine


def _with_driver(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return _DRIVERS.get(scheme, scheme) + separator + rest


def _make_private(path: Path, *, may_make: bool) -> None:
    # Only where there is none: to close a file that SQLite has open would drop its locks (fcntl(2), "Record locking").
    if not may_make and not path.exists():
        raise StoreError(f"(There is no {path.name}.)")
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


def _migrate(connection: Connection, may_change: bool) -> None:
    if _version(connection) == SCHEMA_VERSION:
        return
    if not may_change:
        raise StoreError("(It was made by another version of Mailer than this one, or by none.)")
    if connection.dialect.name == "postgresql":
        postgresql.take_turn_to_migrate(connection)
        if _version(connection) == SCHEMA_VERSION:  # whoever began at the same time has done it
            return
    from alembic import command  # a quarter of a second, which few commands need
    from alembic.config import Config as AlembicConfig
    from alembic.util import CommandError

    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise StoreError("(It was made by another version of Mailer than this one.)") from None


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(select(column("version_num")).select_from(table("alembic_version"))).scalar()
