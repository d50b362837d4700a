"""Runs `mailer` as its users do: commands that end, and the service that goes on, each in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import TypeVar

import mailer
from mailer.errors import DemoFailed

COMMAND_WITHIN_S = 30.0
START_WITHIN_S = 30.0
STOP_WITHIN_S = 15.0

T = TypeVar("T")


def run(*arguments: str, cwd: Path) -> str:
    """Run a command of `mailer` and return what it printed. Raises DemoFailed with its last words if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - our own program, and nothing of a stranger's among its arguments
            _command(*arguments),
            cwd=cwd,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=COMMAND_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DemoFailed(f"`mailer {arguments[0]}` did not end within {COMMAND_WITHIN_S:.0f} s.") from None
    if done.returncode != 0:
        last = next(reversed(done.stderr.strip().splitlines()), "")
        raise DemoFailed(f"`mailer {' '.join(arguments[:2])}` ended with {done.returncode}: {last}")
    return done.stdout


class Service:
    """`mailer serve`, running; a context manager. What it logs is kept in a file."""

    def __init__(self, *arguments: str, cwd: Path, log: Path) -> None:
        self.log = log
        self._lines: list[str] = []
        self._changed = Condition()
        self._has_ended = False
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            _command("serve", *arguments),
            cwd=cwd,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the demonstration alone, which then ends this in good order
        )
        self._listener = Thread(target=self._listen, name="service-log", daemon=True)
        self._listener.start()

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def port(self) -> int:
        """Return the door's port, once it listens. Raises DemoFailed where it does not."""
        match = self._wait_for(lambda: next(filter(None, map(_LISTENING.search, self._lines)), None), START_WITHIN_S)
        if match is None:
            raise DemoFailed(f"The service does not come up: {next(reversed(self._lines), 'it says nothing.')}")
        return int(match[1])

    def stop(self) -> int:
        """End the service and all that it started; return its exit code, negative if it had to be killed."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._kill_group()
        return self._process.wait()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):  # nobody is left
            os.killpg(self._process.pid, signal.SIGKILL)
        self._listener.join(STOP_WITHIN_S)

    def _wait_for(self, look: Callable[[], T | None], timeout_s: float) -> T | None:
        with self._changed:
            self._changed.wait_for(lambda: look() is not None or self._has_ended, timeout_s)
            return look()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as pipe, self.log.open("wb") as log:
            for line in pipe:
                log.write(line)
                log.flush()
                with self._changed:
                    self._lines.append(line.decode(errors="replace").rstrip())
                    self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()


_LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)$")


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "mailer", *arguments]


def _environment() -> dict[str, str]:
    """As it is, but this very package, and none of the settings of an instance of the user's."""
    own = {name: value for name, value in os.environ.items() if name not in _NOT_HANDED_ON}
    where = os.pathsep.join(filter(None, [str(Path(mailer.__file__).parents[1]), own.get("PYTHONPATH")]))
    return {**own, "PYTHONPATH": where, "PYTHONUTF8": "1"}


_NOT_HANDED_ON = frozenset({"MAILER_INSTANCE", "CREDENTIALS_DIRECTORY"})
