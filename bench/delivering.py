"""One digest to everybody, by `mailer work` as its users run it, and how long that took.

The time runs from the moment when the first lease is in the database to the moment when nothing is due or leased any
more: from the first claim to the last settlement, without the start of the interpreter and the opening of key files.
Both are seen from outside, by asking the database; the sink says how many letters came, and to how many recipients.
"""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from subprocess import Popen
from threading import Event
from typing import Any

from sqlalchemy import text

from bench import processes
from bench.processes import BenchFailed, Far, Use
from bench.registers import House

CLAIM_POLL_S = 0.003
SINK_POLL_S = 0.05
SETTLE_POLL_S = 0.01
STANDSTILL_S = 60.0  # without a letter
START_WITHIN_S = 60.0
STAGES_SAVED_S = 0.7  # workers save their sums every half second
_LEASED = text("SELECT 1 FROM deliveries WHERE job = :job AND lease_by IS NOT NULL LIMIT 1")
_OPEN = text("SELECT 1 FROM deliveries WHERE job = :job AND state IN ('due', 'leased') LIMIT 1")
_STAGE = re.compile(r'^mailer_stage_seconds_sum\{stage="([a-z]+)"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Delivered:
    """One run. per_s: deliveries a second. peak_mib: of the worker that held most. tenths: rate of each tenth of them.

    stages: milliseconds of each stage for each delivery, as the workers count them; empty where they do not.
    idle: share of the machine's processor time that nobody used. cpu_ms: of all workers, for each delivery.
    """

    number: int
    seconds: float
    per_s: float
    peak_mib: float
    cpu_ms: float
    idle: float
    sink_share: float
    letter_octets: float
    doubles: int
    connections: int
    tenths: list[float] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Signals:
    """For whoever does something else while a digest goes out: after the first claim, and after the last settlement."""

    begun: Event = field(default_factory=Event)
    ended: Event = field(default_factory=Event)


def deliver(house: House, width: int, far: Far, signals: Signals | None = None) -> Delivered:
    """Send a new digest to everybody. Raises BenchFailed unless each subscriber got it."""
    digest_id, planned = house.plan()
    far.reset()
    command = processes.mailer("work", "--processes", str(width), *house.worker_options)
    with processes.running(command, house.log("work")) as crew:
        return asyncio.run(_measure(_Watch(house, digest_id, crew, far), planned, signals or Signals()))


async def _measure(watch: _Watch, planned: int, signals: Signals) -> Delivered:
    began = await watch.until_claimed()
    before = _Moment.now(watch)
    signals.begun.set()
    ended = await watch.until_settled(planned, began)
    signals.ended.set()
    after, stages = _Moment.now(watch), await _stages(watch.house)
    await watch.close()
    return _sum_up(planned, ended - began, before, after, stages)


@dataclass(frozen=True, slots=True)
class _Moment:
    """What everybody has used up to a moment. idle, ticks: of all cores (proc(5), /proc/stat)."""

    counted: dict[str, Any]
    used: list[Use]
    idle: float
    ticks: float

    @classmethod
    def now(cls, watch: _Watch) -> _Moment:
        used = processes.family(watch.crew.pid)
        ticks = [float(one) for one in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return cls(watch.far.stats(), used, ticks[3] + ticks[4], sum(ticks))

    @property
    def cpu_s(self) -> float:
        return sum(use.cpu_s for use in self.used)


def _sum_up(planned: int, seconds: float, before: _Moment, after: _Moment, stages: dict[str, float]) -> Delivered:
    counted, first = after.counted, before.counted
    return Delivered(
        number=planned,
        seconds=seconds,
        per_s=planned / seconds,
        peak_mib=max((use.peak_mib for use in after.used), default=0.0),
        cpu_ms=1000 * (after.cpu_s - before.cpu_s) / planned,
        idle=(after.idle - before.idle) / max(after.ticks - before.ticks, 1.0),
        sink_share=(counted["cpu_s"] - first["cpu_s"]) / (counted["wall_s"] - first["wall_s"]),
        letter_octets=counted["octets"] / counted["letters"],
        doubles=counted["letters"] - planned,
        connections=counted["most_connections"],
        tenths=[planned / 10 / (after - before) for before, after in pairwise(counted["marks"]) if after > before],
        stages={stage: 1000 * total / planned for stage, total in stages.items()},
    )


@dataclass
class _Watch:
    """Looks at one digest's deliveries from outside."""

    house: House
    digest_id: str
    crew: Popen[str]
    far: Far

    def __post_init__(self) -> None:
        self._database = self.house.database()

    async def until_claimed(self) -> float:
        """Return when the first lease was seen."""
        until = time.monotonic() + START_WITHIN_S
        while not await self._is_there(_LEASED):
            self._check(time.monotonic() > until)
            if not await self._is_there(_OPEN):
                raise BenchFailed("All was delivered before the first claim was seen: too few subscribers.")
            await asyncio.sleep(CLAIM_POLL_S)
        return time.monotonic()

    async def until_settled(self, number: int, began: float) -> float:
        """Return when nothing was due or leased any more. Raises BenchFailed where somebody got nothing."""
        before, moved = -1, began
        while (letters := self.far.stats()["letters"]) < number:
            if letters != before:
                before, moved = letters, time.monotonic()
            elif not await self._is_there(_OPEN):
                break  # settled otherwise than by a letter
            self._check(time.monotonic() > moved + STANDSTILL_S)
            await asyncio.sleep(SINK_POLL_S)
        while await self._is_there(_OPEN):
            self._check(time.monotonic() > moved + STANDSTILL_S)
            await asyncio.sleep(SETTLE_POLL_S)
        ended = time.monotonic()
        if self.far.stats()["recipients"] < number:
            raise BenchFailed("Somebody got nothing.")
        return ended

    async def close(self) -> None:
        await self._database.close()

    def _check(self, is_late: bool) -> None:
        ended = self.crew.poll() is not None
        if ended or is_late:
            log = self.house.log("work")
            last = next(reversed(log.read_text(errors="replace").strip().splitlines()), "it says nothing")
            raise BenchFailed(f"`mailer work` {'has ended' if ended else 'stands still'}: {last}")

    async def _is_there(self, question: Any) -> bool:
        async with self._database.read() as tx:
            return (await tx.execute(question, {"job": self.digest_id})).first() is not None


async def _stages(house: House) -> dict[str, float]:
    """Return the seconds that all workers spent in each stage of this digest, by their Prometheus endpoint."""
    await asyncio.sleep(STAGES_SAVED_S)
    page = await asyncio.to_thread(_metrics, house.metrics_port)
    sums = {stage: float(value) for stage, value in _STAGE.findall(page)}
    before = dict(house.stages_before)
    house.stages_before.update(sums)
    return {stage: value - before.get(stage, 0.0) for stage, value in sums.items()}


def _metrics(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            page: str = answer.read().decode()
    except OSError:
        return ""
    return page
