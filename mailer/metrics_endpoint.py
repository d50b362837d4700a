"""Shows the figures to a Prometheus on this machine: GET /metrics, and nothing else.

The figures are of numbers and fixed words. They are taken anew every few seconds at most: whoever may look does not see
each letter by itself.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from itertools import accumulate
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from mailer import metrics
from mailer.errors import MailerError
from mailer.store import backlog
from mailer.store.backlog import Backlog
from mailer.store.database import Database

NEW_AFTER_S = 10.0
COUNT_ROWS_AFTER_S = 30.0
TRY_AGAIN_AFTER_S = 30.0
ANSWER_WITHIN_S = 5.0
REQUEST_BYTES = 4096
MOST_CONNECTIONS = 8
_PR_SET_PDEATHSIG = 1  # prctl(2)

BACKLOG = {  # field of Backlog: metric, meaning
    "inbox": ("mailer_inbox_waiting", "Letters that wait to be read."),
    "aside": ("mailer_inbox_aside", "Letters set aside, sealed, that are kept for now."),
    "outbox": ("mailer_outbox_waiting", "Replies that wait for a relay."),
    "deliveries": ("mailer_deliveries_waiting", "Deliveries of digests that wait, those held and paused too."),
    "notices": ("mailer_notices_waiting", "Deliveries of notices that wait."),
}

log = logging.getLogger("mailer")


@dataclass
class Figures:
    """The text of the figures, no older than `new_after_s`. folder: where the processes write their numbers."""

    folder: Path
    relays: tuple[str, ...]
    database: Database
    new_after_s: float = NEW_AFTER_S
    count_rows_after_s: float = COUNT_ROWS_AFTER_S
    clock: Callable[[], float] = time.monotonic
    _text: bytes = b""
    _taken: float = float("-inf")
    _backlog: Backlog | None = None
    _counted: float = float("-inf")

    async def text(self) -> bytes:
        """Return the figures as Prometheus reads them."""
        now = self.clock()
        if now - self._taken >= self.new_after_s:
            self._taken = now
            await self._count_rows(now)
            self._text = expose(metrics.add_up(self.folder, self.relays), self.relays, self._backlog)
        return self._text

    async def _count_rows(self, now: float) -> None:
        if now - self._counted < self.count_rows_after_s:
            return
        self._counted = now
        try:
            async with self.database.read() as tx:
                self._backlog = await backlog.count(tx)
        except MailerError:
            self._backlog = None  # better no figure than an old one


# --- What is said ---------------------------------------------------------------------------------------------------


def expose(sums: dict[str, float], relays: Sequence[str], waiting: Backlog | None) -> bytes:
    """Return the figures in Prometheus's text format. The library's own, of the process and of Python, are left out."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Given([*_counted(sums, relays), _timed(sums), *_waiting(waiting)]))
    return generate_latest(registry)


class _Given(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _counted(sums: dict[str, float], relays: Sequence[str]) -> Iterator[Metric]:
    for one in metrics.counters(relays):
        family = CounterMetricFamily(one.name, one.meaning, labels=[one.label] if one.label else [])
        for value in dict.fromkeys(one.values):
            family.add_metric([value] if one.label else [], sums[metrics.cell(one.name, value)])
        yield family


def _timed(sums: dict[str, float]) -> Metric:
    family = HistogramMetricFamily(metrics.STAGE_METRIC, "Seconds that each stage took.", labels=["stage"])
    for stage in metrics.STAGES:
        name = f"{stage} {{}}".format
        found = [sums[metrics.cell(metrics.STAGE_METRIC, name(step))] for step in (*metrics.BOUNDS_S, "more")]
        bounds = [*map(str, metrics.BOUNDS_S), "+Inf"]
        total = round(sums[metrics.cell(metrics.STAGE_METRIC, name("sum"))], 3)
        family.add_metric([stage], list(zip(bounds, accumulate(found), strict=True)), total)
    return family


def _waiting(waiting: Backlog | None) -> Iterator[Metric]:
    for one in fields(waiting) if waiting is not None else ():
        metric, meaning = BACKLOG[one.name]
        yield GaugeMetricFamily(metric, meaning, value=getattr(waiting, one.name))


# --- Who is answered ------------------------------------------------------------------------------------------------


async def show_for_ever(figures: Figures, host: str, port: int, opened: Callable[[int], None] | None = None) -> None:
    """Answer until cancelled. Where another process has the port, say so once and wait for it to be free.

    opened: is told the port, once it is ours.
    """
    has_said = False
    while True:
        try:
            server = await asyncio.start_server(_Answering(figures).answer, host, port, limit=REQUEST_BYTES)
        except OSError as error:
            if not has_said:
                what = os.strerror(error.errno or 0)
                log.info("the figures are not shown here: %s; once the port is free they are", what)
            has_said = True
            await asyncio.sleep(TRY_AGAIN_AFTER_S)
            continue
        async with server:
            if opened is not None:
                opened(server.sockets[0].getsockname()[1])
            await server.serve_forever()


class _Answering:
    """Answers one request on each connection, and hangs up."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._turn = asyncio.Lock()
        self._open = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MOST_CONNECTIONS:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    writer.write(await self._reply(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        except asyncio.CancelledError:  # at the end of the process; asyncio would log it as a fault
            return
        finally:
            self._open -= 1
            writer.close()

    async def _reply(self, request: bytes) -> bytes:
        method, _, rest = request.partition(b"\r\n")[0].partition(b" ")
        if rest not in (b"/metrics HTTP/1.1", b"/metrics HTTP/1.0"):
            return _http("404 Not Found")
        if method != b"GET":
            return _http("405 Method Not Allowed", more="Allow: GET\r\n")
        async with self._turn:
            return _http("200 OK", await self._figures.text(), f"Content-Type: {CONTENT_TYPE_PLAIN_0_0_4}\r\n")


def _http(status: str, body: bytes = b"", more: str = "") -> bytes:
    # RFC 9112 §9.6: one answer, then the connection closes. There is no Server field: it would name versions.
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\nCache-Control: no-store\r\n{more}"
    return f"{head}\r\n".encode("ascii") + body


# --- Beside `mailer work` -------------------------------------------------------------------------------------------


@contextmanager
def beside(folder: Path, relays: tuple[str, ...], url: str, listen: tuple[str, int] | None) -> Iterator[None]:
    """Have a child process show the figures during the block. Begin it before secrets are read and threads run."""
    if listen is None:
        yield
        return
    child = _fork(folder, relays, url, listen)
    handle = os.pidfd_open(child)  # whoever waits for all children may have waited for this one
    try:
        yield
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            os.waitpid(child, 0)
        os.close(handle)


def _fork(folder: Path, relays: tuple[str, ...], url: str, listen: tuple[str, int]) -> int:
    parent = os.getpid()
    if child := os.fork():
        return child
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # passphrases may come in there
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells the whole group; the parent ends us
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == parent:
            asyncio.run(show_for_ever(Figures(folder, relays, Database(url)), *listen))
    except Exception as error:  # noqa: BLE001 - nothing of the parent's may run in here
        log.error("the figures are not shown: %s; look at [metrics] and restart", type(error).__name__)
    finally:
        os._exit(1)
