"""Several workers in processes of their own: forked from one that opened the keys, and replaced when they die.

Processes and not threads, because the OpenPGP library holds the interpreter's lock while it works. What is forked has
drawn no random number yet and runs no thread, so nothing is shared that must not be.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import time
from collections.abc import Callable
from types import FrameType

from mailer.errors import MailerError, StoreError

STOP_WITHIN_S = 9.0  # whoever started us gives us ten
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0  # before a worker that died is replaced
SETTLED_S = 30.0  # one that lived so long did not die of its birth
USELESS = 3  # exit code: it would be the same for every worker, so none is replaced
_PR_SET_PDEATHSIG = 1  # prctl(2)

log = logging.getLogger("mailer")


class Crew:
    """`size` workers. work: given a worker's number from 0, runs until SIGTERM. Raise MailerError in it to end all."""

    def __init__(self, size: int, work: Callable[[int], None]) -> None:
        self._size, self._work = size, work
        self._numbers: dict[int, int] = {}  # by process id
        self._born: dict[int, float] = {}
        self._pauses = [FIRST_PAUSE_S] * size
        self._due: dict[int, float] = {}  # when a number is started again
        self._is_told = False

    def run(self) -> int:
        """Keep the workers running until SIGTERM or SIGINT; return the exit code: 0, or 1 if they were of no use."""
        for told in (signal.SIGTERM, signal.SIGINT):
            signal.signal(told, self._tell)
        for number in range(self._size):
            self._start(number)
        is_useless = False
        while not self._is_told and not is_useless:
            pid, code = self._wait()
            if pid:
                is_useless = code == USELESS
                self._mourn(pid, code)
            if not is_useless:
                self._start_due()
        self._end_all()
        return int(is_useless)

    def _tell(self, _signal: int, _frame: FrameType | None) -> None:
        self._is_told = True

    def _start(self, number: int, *, is_first: bool = True) -> None:
        parent, born = os.getpid(), time.monotonic()
        pid = os.fork()
        if pid == 0:
            self._become_worker(number, parent, is_first=is_first)
        self._numbers[pid], self._born[pid] = number, born

    def _become_worker(self, number: int, parent: int, *, is_first: bool) -> None:
        code = USELESS
        try:
            for told in (signal.SIGTERM, signal.SIGINT):
                signal.signal(told, signal.SIG_DFL)
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() == parent:
                self._work(number)
            code = 0
        except MailerError as error:
            log.error("%s", error)
            if isinstance(error, StoreError) and not is_first:
                code = 1  # the database was there before, and will be again
        except BaseException as error:  # noqa: BLE001 - whatever it was, this process must not go on as the parent
            log.error("a worker failed (%s); report it", type(error).__name__)
            code = 1
        finally:
            logging.shutdown()
            os._exit(code)

    def _wait(self) -> tuple[int, int]:
        """Return a worker that ended and its exit code, or (0, 0) after a moment: a signal may have come meanwhile."""
        pid, status = os.waitpid(-1, os.WNOHANG) if self._numbers else (0, 0)
        if not pid:
            time.sleep(0.1)
        return (pid, os.waitstatus_to_exitcode(status)) if pid in self._numbers else (0, 0)

    def _mourn(self, pid: int, code: int) -> None:
        """Say when a worker that ended is replaced: after a pause that doubles for one that fails again and again."""
        number, lived_s = self._numbers.pop(pid), time.monotonic() - self._born.pop(pid)
        if lived_s >= SETTLED_S or code < 0:  # a signal is somebody else's doing
            self._pauses[number] = FIRST_PAUSE_S
        log.error("worker %d ended (%d) and is replaced; the lines before say why", number, code)
        self._due[number] = time.monotonic() + self._pauses[number]
        self._pauses[number] = min(2 * self._pauses[number], LONGEST_PAUSE_S)

    def _start_due(self) -> None:
        for number in [number for number, due in self._due.items() if due <= time.monotonic()]:
            del self._due[number]
            self._start(number, is_first=False)

    def _end_all(self) -> None:
        """SIGTERM for all, and SIGKILL for whoever has not given its leases back in time."""
        ends = time.monotonic() + STOP_WITHIN_S
        self._send(signal.SIGTERM)
        while self._numbers and time.monotonic() < ends:
            pid, _ = self._wait()
            self._numbers.pop(pid, None)
        self._send(signal.SIGKILL)
        for pid in self._numbers:
            os.waitpid(pid, 0)

    def _send(self, told: signal.Signals) -> None:
        for pid in self._numbers:
            os.kill(pid, told)
