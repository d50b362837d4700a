"""Letters that the door accepts in a second, alone and while a digest goes out, and how long one sender waits.

Postfix's smtp-source writes to `mailer serve` over 20 sessions; the letters are sealed, stored, committed and then
answered with 250, and the service reads them behind that as it always does. They have no sender (RFC 5321 §4.5.5), so
that no answers mix with the copies at the sink. One more client sends a letter now and then and takes the time.
"""

from __future__ import annotations

import re
import smtplib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

from bench import delivering, limits, processes
from bench.delivering import Delivered, Signals
from bench.processes import BenchFailed, Far
from bench.registers import LIST, House

LETTER_OCTETS = 3000  # a few lines and a small key
BATCH = 200
PAUSE_S = 0.02
START_WITHIN_S = 60.0
_LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)$", re.MULTILINE)
_LETTER = b"Subject: help\r\n\r\n" + (b"x" * 70 + b"\r\n") * (LETTER_OCTETS // 72)


@dataclass(frozen=True, slots=True)
class Accepted:
    """One run. waits_ms: what each of the letters that were timed took, from MAIL to 250."""

    per_s: float
    waits_ms: list[float] = field(default_factory=list)
    delivered: Delivered | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def alone(house: House, seconds: float) -> Accepted:
    """Write to the door for so long."""
    with _serving(house) as port:
        until = time.monotonic() + seconds
        per_s, waits_ms = _knock(port, lambda: time.monotonic() >= until)
        return Accepted(per_s, waits_ms)


def busy(house: House, width: int, far: Far) -> Accepted:
    """Write to the door while a digest goes out, from the first claim to the last settlement."""
    signals = Signals()
    with _serving(house) as port, ThreadPoolExecutor(1) as beside:
        delivery = beside.submit(delivering.deliver, house, width, far, signals)
        while not (signals.begun.wait(0.05) or delivery.done()):
            pass
        per_s, waits_ms = _knock(port, lambda: signals.ended.is_set() or delivery.done())
        return Accepted(per_s, waits_ms, delivery.result())


@contextmanager
def _serving(house: House) -> Iterator[int]:
    """Run `mailer serve`; give the door's port."""
    log = house.log("serve")
    log.unlink(missing_ok=True)
    with processes.running(processes.mailer("serve", *house.options), log) as process:
        yield _port(log, process)


def _port(log: Path, process: Popen[str]) -> int:
    until = time.monotonic() + START_WITHIN_S
    while not (found := _LISTENING.search(log.read_text(errors="replace"))):
        if process.poll() is not None or time.monotonic() > until:
            raise BenchFailed("`mailer serve` does not come up.")
        time.sleep(0.05)
    return int(found[1])


def _knock(port: int, is_over: Callable[[], bool]) -> tuple[float, list[float]]:
    """Return letters a second that were answered with 250, and the waits of those that were timed."""
    stop, number = threading.Event(), 0
    with ThreadPoolExecutor(1) as beside:
        timing = beside.submit(_time_letters, port, stop)
        began = time.monotonic()
        try:
            while not number or not is_over():
                limits.source(port, BATCH, LETTER_OCTETS, sender="", to=LIST)
                number += BATCH
        finally:
            seconds = time.monotonic() - began
            stop.set()
        waits_ms = timing.result()
    return (number + len(waits_ms)) / seconds, waits_ms


def _time_letters(port: int, stop: threading.Event) -> list[float]:
    waits_ms: list[float] = []
    with smtplib.SMTP("127.0.0.1", port, local_hostname="timer.example") as client:
        while not waits_ms or not stop.wait(PAUSE_S):
            began = time.monotonic()
            client.sendmail("", [LIST], _LETTER)
            waits_ms.append(1000 * (time.monotonic() - began))
    return waits_ms


def percentile(values: list[float], percent: int) -> float:
    """Return the value that so many percent of all do not surpass."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]
