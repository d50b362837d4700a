"""What the database's errors mean to the operator. Nothing of a statement or its parameters comes through."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mailer.errors import StoreConflict, StoreDamaged, StoreError, StoreFull, StoreRefused, StoreUnreachable

_SQLITE_NAMES: dict[str, type[StoreError]] = {
    "SQLITE_FULL": StoreFull,
    "SQLITE_IOERR_WRITE": StoreFull,
    "SQLITE_IOERR_FSYNC": StoreFull,
    "SQLITE_IOERR_SHMSIZE": StoreFull,
    "SQLITE_IOERR_TRUNCATE": StoreFull,
    "SQLITE_CORRUPT": StoreDamaged,
    "SQLITE_NOTADB": StoreDamaged,
    "SQLITE_CORRUPT_INDEX": StoreDamaged,
    "SQLITE_CORRUPT_VTAB": StoreDamaged,
}
_SQLSTATES: dict[str, type[StoreError]] = {  # what a code begins with (PostgreSQL, Appendix A)
    "53100": StoreFull,  # disk_full
    "53200": StoreFull,  # out_of_memory
    "XX001": StoreDamaged,  # data_corrupted
    "XX002": StoreDamaged,  # index_corrupted
    "23": StoreConflict,  # integrity constraint violation
    "40": StoreConflict,  # serialization_failure, deadlock_detected
    "28": StoreRefused,  # invalid authorization
    "3D": StoreRefused,  # no such database
    "3F": StoreRefused,  # no such schema
    "42501": StoreRefused,  # insufficient_privilege
    "08": StoreUnreachable,  # connection exception
    "57P": StoreUnreachable,  # shut down, starting up
    "25P03": StoreUnreachable,  # idle_in_transaction_session_timeout
    "53300": StoreUnreachable,  # too_many_connections
}


@contextmanager
def as_store_errors(driver_errors: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn what the database and its library raise into StoreError, without the statement and its parameters.

    driver_errors: what the driver of a server raises by itself; none for SQLite.
    """
    try:
        yield
    except DBAPIError as error:
        found = StoreUnreachable() if error.connection_invalidated else _store_error(error.orig or error)
        _empty(error)
        raise found from None
    except sqlite3.Error as error:
        raise _store_error(error) from None
    except driver_errors as error:
        raise _store_error(error) from None
    except OSError as error:
        kind = StoreUnreachable if driver_errors else StoreError
        raise kind(f"({type(error).__name__})") from None
    except SQLAlchemyError as error:
        raise StoreError(f"({type(error).__name__})") from None


def _store_error(error: BaseException) -> StoreError:
    name = getattr(error, "sqlite_errorname", None)
    if name is not None:
        kind = StoreConflict if name.startswith("SQLITE_CONSTRAINT") else _SQLITE_NAMES.get(name, StoreError)
        return kind(f"({name})")
    state = getattr(error, "sqlstate", None)
    if state is None:
        return StoreError(f"({type(error).__name__})")
    kind = next((kind for start, kind in _SQLSTATES.items() if state.startswith(start)), StoreError)
    return kind(f"({state})")


def _empty(error: DBAPIError) -> None:
    """Take the words out of an error that stays behind ours as its context: PostgreSQL's quote what was stored."""
    error.args, error.orig, error.statement, error.params = (), None, None, None
    error.__cause__ = error.__context__ = None
