"""Processes that the benchmark starts: each is stopped by its own id, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STOP_WITHIN_S = 20.0
COMMAND_WITHIN_S = 120.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class BenchFailed(Exception):
    """The benchmark cannot go on; the text says why."""


def environment() -> dict[str, str]:
    """As it is, but with this very checkout, and without an instance of the user's."""
    own = {name: value for name, value in os.environ.items() if name not in ("MAILER_INSTANCE", "GNUPGHOME")}
    return {**own, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "LC_ALL": "C.UTF-8"}


def mailer(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "mailer", *arguments]


def run(command: Sequence[str], within_s: float = COMMAND_WITHIN_S) -> str:
    """Run a command to its end and return what it printed. Raises BenchFailed with its last words."""
    done = subprocess.run(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within_s,
        start_new_session=True,
        check=False,
    )
    if done.returncode:
        last = next(reversed((done.stderr or done.stdout).strip().splitlines()), "")
        raise BenchFailed(f"{Path(command[0]).name} {' '.join(command[1:6])} … ended with {done.returncode}: {last}")
    return done.stdout


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


@contextmanager
def running(
    command: Sequence[str],
    log: Path | None = None,
    stop: signal.Signals = signal.SIGTERM,
    *,
    is_spoken_to: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """Run a process beside us. log: for what it writes to standard error. is_spoken_to: with pipes to and from it."""
    pipe = subprocess.PIPE if is_spoken_to else subprocess.DEVNULL
    with open(log or os.devnull, "ab") as errors:
        process = subprocess.Popen(
            command,
            env=environment(),
            stdin=pipe,
            stdout=pipe,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C is for the benchmark, which stops each in good order
        )
    try:
        yield process
    finally:
        end(process, stop)


def end(process: subprocess.Popen[str], stop: signal.Signals = signal.SIGTERM) -> None:
    """Stop a process, and kill what is left of its group; once or twice is the same."""
    if process.poll() is None:
        process.send_signal(stop)
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # it began a session of its own, so the group is its own as well
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


class Far:
    """A sink in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port: int = self._read()["port"]

    def stats(self) -> dict[str, Any]:
        return self._ask("stats")

    def reset(self) -> dict[str, Any]:
        """Begin to count anew; return what was counted until now."""
        return self._ask("reset")

    def _ask(self, question: str) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise BenchFailed("The sink has ended.")
        facts: dict[str, Any] = json.loads(line)
        return facts


@contextmanager
def sink() -> Iterator[Far]:
    with running([sys.executable, "-P", "-m", "bench.sink"], is_spoken_to=True) as process:
        yield Far(process)


@dataclass(frozen=True, slots=True)
class Use:
    """What a process has used so far. peak_mib: the most memory that it ever held (VmHWM)."""

    pid: int
    cpu_s: float
    peak_mib: float


def family(pid: int) -> list[Use]:
    """Return what a process and its descendants have used, those that are there."""
    parents = {one: facts[0] for one in _pids() if (facts := _stat(one))}
    members = {pid}
    while more := {one for one, parent in parents.items() if parent in members} - members:
        members |= more
    return [use for one in sorted(members) if (use := _use(one))]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _stat(pid: int) -> tuple[int, float] | None:
    """Parent and seconds of CPU (proc(5), /proc/pid/stat: fields 4, 14 and 15)."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(after_name[1]), (int(after_name[11]) + int(after_name[12])) / TICKS_PER_S


def _use(pid: int) -> Use | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    peak = next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)
    facts = _stat(pid)
    return Use(pid, facts[1], peak) if facts and peak else None
