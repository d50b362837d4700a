"""What is particular to PostgreSQL: how a connection is made, that it holds nothing for long, and locks by name."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import event, func, select, text
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mailer.errors import InstanceBusy, StoreError, StoreTaken

CONNECT_S = 10.0
LONGEST_STATEMENT_S = 600.0
PING_AFTER_S = 1.0
DEAD_AFTER_S = 25  # a connection of which nothing more is heard

# A worker that is cut off must not hold rows that others skip or wait for: the server rolls back what is idle in the
# middle of a transaction, and gives up a client that no longer answers, in half a minute. PostgreSQL 14 or newer.
_SERVER_SETTINGS = {
    "idle_in_transaction_session_timeout": "30s",
    "lock_timeout": "30s",
    "statement_timeout": f"{LONGEST_STATEMENT_S:.0f}s",
    "client_connection_check_interval": "10s",
    "tcp_keepalives_idle": "10s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": f"{DEAD_AFTER_S}s",
    "jit": "off",  # it costs more than it saves on statements as short as ours
}
_KEEPALIVE = (  # the same on our side, tcp(7)
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_S * 1000),
)

# Advisory locks of this database: numbers of our own, so that other programs' are not met.
_USE = 0x6D61696C65720001  # shared by every connection; alone for a rotation or a copy
_MIGRATION = 0x6D61696C65720002
_REGISTER = 0x6D61696C65720003


def engine_arguments() -> dict[str, Any]:
    """Return what SQLAlchemy's engine is made with. Raises ImportError where asyncpg is missing."""
    import asyncpg  # type: ignore[import-untyped]

    async def connect(*arguments: Any, **named: Any) -> Any:
        connection = await asyncpg.connect(*arguments, **named)
        transport = connection._transport  # noqa: SLF001 - asyncpg has no other way to its socket
        _keep_alive(transport.get_extra_info("socket"))
        return connection

    settings = {"application_name": f"mailer {os.getpid()}", **_SERVER_SETTINGS}
    return {
        "pool_size": 8,
        "max_overflow": 8,
        "connect_args": {
            "async_creator_fn": connect,
            "timeout": CONNECT_S,
            "command_timeout": LONGEST_STATEMENT_S + CONNECT_S,
            "server_settings": settings,
        },
    }


def check_options(url: URL) -> None:
    """Raise StoreError where the URL gives an option, behind the question mark, that asyncpg does not know."""
    import asyncpg

    known = set(inspect.signature(asyncpg.connect).parameters) | {"prepared_statement_cache_size"}
    if not set(url.query) <= known:
        raise StoreError("([store] url has an option that asyncpg does not know, such as sslmode for ssl.)")


def driver_errors() -> tuple[type[Exception], ...]:
    """Return what asyncpg raises while a connection is made; later on SQLAlchemy wraps it."""
    import asyncpg

    return (asyncpg.PostgresError, asyncpg.InterfaceError)


def watch_pool(engine: AsyncEngine) -> None:
    """Try each connection that lay idle before it is used, so that a restart of the server is survived.

    Not each time, as SQLAlchemy's pool_pre_ping does: that is three round trips more for every transaction.
    """

    def note(_connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    def look(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("idle_since", time.monotonic()) < PING_AFTER_S:
            return
        dialect = engine.sync_engine.dialect
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error  # the others are gone with the same server; the pool connects anew

    event.listen(engine.sync_engine, "checkin", note)
    event.listen(engine.sync_engine, "checkout", look)


def share_use(engine: AsyncEngine, is_alone: Callable[[], bool]) -> None:
    """Make every connection hold the lock of those who use this database, or fail with StoreTaken.

    is_alone: whether it is this very process that has the database to itself.
    """

    def share(connection: Any, _record: object) -> None:
        if is_alone():
            return
        cursor = connection.cursor()
        cursor.execute(f"SELECT pg_try_advisory_lock_shared({_USE})")
        is_shared = cursor.fetchone()[0]
        cursor.close()
        connection.commit()  # the lock stays until the connection ends
        if not is_shared:
            connection.close()
            raise StoreTaken

    event.listen(engine.sync_engine, "connect", share)


async def take_alone(connection: AsyncConnection) -> None:
    """Have the database alone for as long as this connection lives. Raises InstanceBusy while anybody uses it."""
    for wait_s in (0.0, 0.2, 0.5):  # the server notices a moment later that a process has ended
        await asyncio.sleep(wait_s)
        is_ours = (await connection.execute(select(func.pg_try_advisory_lock(_USE)))).scalar_one()
        await connection.commit()
        if is_ours:
            return
    raise InstanceBusy("(Other processes, perhaps on other machines, are connected to the database.)")


def take_turn_to_migrate(connection: Connection) -> None:
    """Wait until no other process brings the schema up to date, and keep others waiting until the commit."""
    connection.execute(text("SET LOCAL lock_timeout = 0"))
    connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION)))


async def lock_register(tx: AsyncConnection, *, alone: bool) -> None:
    """Let those who enter one person (not alone) wait for those who look at many first (alone), until the commit.

    Under READ COMMITTED somebody who is looked for and not there could else be entered in between. On SQLite there is
    one writer at a time, and nothing to do.
    """
    if tx.dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
        await tx.execute(select(lock(_REGISTER)))


def _keep_alive(one: socket.socket) -> None:
    if one.family in (socket.AF_INET, socket.AF_INET6):
        for level, option, value in _KEEPALIVE:
            one.setsockopt(level, option, value)
