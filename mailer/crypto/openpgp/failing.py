"""How pysequoia's failures are kept in: its exceptions carry fingerprints and stack traces, its panics no Exception."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mailer.errors import MailerError

_NOT_OURS = (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError)


@contextmanager
def failing_as(failure: Exception) -> Iterator[None]:
    """Turn whatever pysequoia raises into `failure`; a panic is a BaseException (PyO3's PanicException)."""
    try:
        yield
    except (*_NOT_OURS, MailerError):
        raise
    except BaseException:  # noqa: BLE001 - the class of a panic cannot be imported
        raise failure from None
