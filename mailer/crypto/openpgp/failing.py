"""How pysequoia's failures are kept in: its exceptions carry fingerprints and stack traces, its panics no Exception."""

from __future__ import annotations

import os
from types import TracebackType

from mailer.errors import MailerError

# Read when the first of its errors is made. Sequoia makes some for each message, and where RUST_BACKTRACE is set each
# carries a stack trace: a sixth of what encrypting takes, for text that nobody is to see.
os.environ["RUST_LIB_BACKTRACE"] = "0"

_NOT_OURS = (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError)


class failing_as:  # noqa: N801 - reads as the `with` statement that it is for, like contextlib.suppress
    """Turn whatever pysequoia raises into `failure`; a panic is a BaseException (PyO3's PanicException).

    A class, because a generator costs several times as much, and this is around every packet.
    """

    def __init__(self, failure: Exception | type[Exception]) -> None:
        self._failure = failure

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, (*_NOT_OURS, MailerError)):
            raise self._failure from None
