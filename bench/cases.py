"""What is measured, and in which order: rounds of everything, so that a noisy minute falls on all alike."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from bench import certificates, cluster, delivering, door, limits
from bench.delivering import Delivered
from bench.door import Accepted
from bench.processes import Far
from bench.registers import House, Register, Stock

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One digest to one register. rounds: None for as many as of everything."""

    name: str
    engine: str
    width: int
    register: Register
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    main: int = 3000
    sizes: tuple[int, ...] = (1000, 10_000, 100_000)
    door: int = 2000
    rounds: int = 3
    encrypt_s: float = 2.0
    source: int = 10_000
    door_s: float = 4.0
    warm_up: int = 500  # subscribers of a digest before all others
    certificates: Mapping[str, int] = field(default_factory=lambda: certificates.NUMBERS)


QUICK = Scale(100, (200,), 100, 1, 0.5, 1000, 1.0, 0, certificates.QUICK_NUMBERS)
LONG = 50_000  # from this size on one round is enough: its tenths are as many measurements


@dataclass
class Results:
    """Everything measured, run by run. a: by (algorithm, processes). b: of smtp-source, with the sink's share."""

    delivered: dict[str, list[Delivered]] = field(default_factory=dict)
    accepted: dict[str, list[Accepted]] = field(default_factory=dict)
    a: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    b: list[tuple[float, float]] = field(default_factory=list)
    letter_octets: float = 0.0
    notes: list[str] = field(default_factory=list)
    postgresql: str = ""


def all_of(scale: Scale, *, is_quick: bool) -> list[Case]:
    """Return the cases of delivery; the quick ones leave out what differs little."""
    cases = [
        Case(f"{engine}-{width}-{algorithm}", engine, width, Register(scale.main, algorithm))
        for algorithm in certificates.ALGORITHMS
        for width in (1, 2)
        for engine in ("sqlite", "postgresql")
        if not is_quick or (width == 2 and algorithm == "ed25519")
    ]
    fresh = Register(scale.main, "ed25519", is_fresh=True)
    cases.append(Case("sqlite-2-ed25519-fresh", "sqlite", 2, fresh))
    for size in scale.sizes:
        rounds = 1 if size >= LONG else None
        cases.append(Case(f"size-{size}", "sqlite", 2, Register(size, "ed25519"), rounds))
    return cases


DOOR_CASES = ("door-sqlite-alone", "door-sqlite-busy", "door-postgresql-alone", "door-postgresql-busy")


class Bench:
    """A whole run. home: a folder on the disk that is measured, which the benchmark's PostgreSQL lies in as well."""

    def __init__(self, home: Path, stock: Stock, far: Far, scale: Scale, say: Say) -> None:
        self._home, self._stock, self._far, self._scale, self._say = home, stock, far, scale, say
        self._houses: dict[tuple[str, Register], House] = {}
        self._server: cluster.Cluster | None = None
        self._made = 0
        self.results = Results()

    def run(self, cases: list[Case], doors: list[str]) -> None:
        """Measure; what is known so far is in `results` at any time."""
        with ExitStack() as stack:
            if needs_postgresql([*(case.name for case in cases), *doors]):
                self._server = stack.enter_context(cluster.running(self._home / "postgresql"))
                self.results.postgresql = self._server.version
            self._prepare(cases)
            for number in range(1, self._scale.rounds + 1):
                self._say(f"round {number} of {self._scale.rounds}")
                for case in cases:
                    if number <= (case.rounds or self._scale.rounds):
                        self._deliver(case)
                self._measure_limits(cases)
                for name in doors:
                    self._knock(name)

    def _prepare(self, cases: list[Case]) -> None:
        for algorithm in {case.register.algorithm: None for case in cases}:
            made = self._stock.certificates(algorithm)
            took = f", made by gpg in {made.took_s:.0f} s" if made.took_s else ""
            self._note(f"{len(made.drawers)} distinct {algorithm} certificates{took}; larger registers repeat them")
        for register in {case.register: None for case in cases if case.engine == "sqlite"}:
            mib = (self._stock.keep(register) / "mailer.db").stat().st_size / 2**20
            self._say(f"{register.size} subscribers with {register.algorithm} keys: {mib:.0f} MiB in SQLite")
        if self._scale.warm_up and cases:
            with self._furnished("sqlite", Register(self._scale.warm_up, "ed25519")) as house:
                delivering.deliver(house, 2, self._far)

    def _measure_limits(self, cases: list[Case]) -> None:
        runs = [run for each in self.results.delivered.values() for run in each]
        if not runs:
            return
        octets = sum(run.letter_octets for run in runs) / len(runs)
        self.results.letter_octets = octets
        for algorithm, width in sorted({(case.register.algorithm, case.width) for case in cases}):
            blobs = [drawer.certificate for drawer in self._stock.certificates(algorithm).drawers]
            a = limits.encrypt(blobs, limits.payload_octets(octets), width, self._scale.encrypt_s)
            self.results.a.setdefault((algorithm, width), []).append(a)
            self._say(f"  a, OpenPGP alone, {algorithm}, {width} processes: {a:.0f}/s")
        b = limits.send(self._far, self._scale.source, int(octets))
        self.results.b.append(b)
        self._say(f"  b, smtp-source alone: {b[0]:.0f}/s")

    def _deliver(self, case: Case) -> None:
        if case.register.is_fresh:  # they are fresh only once
            with self._furnished(case.engine, case.register) as house:
                delivered = delivering.deliver(house, case.width, self._far)
        else:
            delivered = delivering.deliver(self._house(case.engine, case.register), case.width, self._far)
        self.results.delivered.setdefault(case.name, []).append(delivered)
        self._say(f"  {case.name}: {delivered.per_s:.0f}/s ({delivered.seconds:.1f} s, {delivered.peak_mib:.0f} MiB)")

    def _knock(self, name: str) -> None:
        _, engine, how = name.split("-")
        with self._furnished(engine, Register(self._scale.door, "ed25519")) as house:
            accepted = door.alone(house, self._scale.door_s) if how == "alone" else door.busy(house, 2, self._far)
        self.results.accepted.setdefault(name, []).append(accepted)
        meanwhile = f", {accepted.delivered.per_s:.0f} deliveries/s" if accepted.delivered else ""
        self._say(f"  {name}: {accepted.per_s:.0f} letters/s accepted{meanwhile}")

    def _house(self, engine: str, register: Register) -> House:
        """Return the instance that all rounds use: each sends another digest to the same subscribers."""
        if (engine, register) not in self._houses:
            self._houses[engine, register] = self._furnish(engine, register)
        return self._houses[engine, register]

    @contextmanager
    def _furnished(self, engine: str, register: Register) -> Iterator[House]:
        """Give an instance that is used once."""
        house = self._furnish(engine, register)
        try:
            yield house
        finally:
            shutil.rmtree(house.folder)

    def _furnish(self, engine: str, register: Register) -> House:
        self._made += 1
        url = self._server.create(f"bench_{self._made}") if self._server and engine == "postgresql" else None
        return self._stock.furnish(self._home / f"{self._made}", register, self._far.port, url)

    def _note(self, text: str) -> None:
        self.results.notes.append(text)
        self._say(text)


def needs_postgresql(names: list[str]) -> bool:
    """Whether one of these cases runs on it."""
    return any("postgresql" in name for name in names)


def chosen(names: list[str], pattern: str | None) -> list[str]:
    """Return the names that a pattern with * and ? means; without one all."""
    return [name for name in names if pattern is None or fnmatchcase(name, pattern)]


def missing(names: list[str]) -> list[str]:
    """Return Debian's packages that these cases need and whose programs are not there."""
    programs = {
        "gnupg": shutil.which("gpg") and shutil.which("gpgconf"),
        "postfix": limits.source_path(),
        "postgresql": not needs_postgresql(names) or (cluster.program("initdb") and cluster.program("postgres")),
        "util-linux": shutil.which("setpriv"),
    }
    return [package for package, path in programs.items() if not path]
