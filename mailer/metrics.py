"""Counts what happens and how long it takes, for the figures that `metrics_endpoint` shows. Off until `start`.

Every process has a file of its own in one folder, and writes its numbers there. A file belongs to whoever holds its
lock: when a process ends, the next one goes on counting in its file, so sums never fall and no dead files pile up. What
can be counted is settled at the start. There is no label into which text from outside could get.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal, get_args

from mailer.model.digest import DeliveryState
from mailer.model.failure import Failure

OTHER = "other"  # a value that the vocabulary does not have
NO_ANSWER = "no-answer"  # no reply was read: the connection could not be made, or was lost
FAILURES = (*map(str, Failure), NO_ANSWER, OTHER)
FAULTS = (str(DeliveryState.UNUSABLE_KEY), str(DeliveryState.SKIPPED), str(DeliveryState.ASIDE), OTHER)
LIMITS = ("address", "sender", "domain", "network", "contact", "overall", "unauthenticated", OTHER)
CODE_CLASSES = ("4xx", "5xx")

Stage = Literal["claim", "open", "seal", "relay", "settle", "read", "decide"]
STAGES: tuple[str, ...] = get_args(Stage)
STAGE_METRIC = "mailer_stage_seconds"
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

SAVE_EVERY_S = 0.5  # stages are many; what they took is saved so often, and with each count
MOST_PROCESSES = 256
FILE_MODE = 0o600
_DOUBLE_BYTES = 8

log = logging.getLogger("mailer")


@dataclass(frozen=True, slots=True)
class Counter:
    """One metric that only grows. values: what its label can be; one empty value where it has no label."""

    name: str
    meaning: str
    label: str = ""
    values: tuple[str, ...] = ("",)


def counters(relays: Iterable[str]) -> tuple[Counter, ...]:
    """Return every counter there is. relays: the names in config.toml."""
    return (
        Counter("mailer_letters_accepted_total", "Letters that the door took."),
        Counter("mailer_letters_refused_total", "Recipients and letters refused.", "code_class", CODE_CLASSES),
        Counter("mailer_letters_read_total", "Letters that were dealt with."),
        Counter("mailer_letters_aside_total", "Letters set aside, sealed."),
        Counter("mailer_deliveries_sent_total", "Deliveries that a relay took.", "relay", (*relays, OTHER)),
        Counter("mailer_deliveries_deferred_total", "Answers of 'later' to deliveries.", "failure", FAILURES),
        Counter("mailer_deliveries_failed_total", "Deliveries refused for good or given up.", "failure", FAILURES),
        Counter("mailer_deliveries_unsent_total", "Deliveries that came to no letter.", "state", FAULTS),
        Counter("mailer_replies_sent_total", "Replies that a relay took.", "relay", (*relays, OTHER)),
        Counter("mailer_replies_deferred_total", "Answers of 'later' to replies.", "failure", FAILURES),
        Counter("mailer_replies_withheld_total", "Letters that a limit kept from being answered.", "limit", LIMITS),
        Counter("mailer_replies_failed_total", "Replies refused for good or given up.", "failure", FAILURES),
    )


def cell(metric: str, value: str = "") -> str:
    """Return the name under which a file holds one number of a metric."""
    return f"{metric} {value}".rstrip()


def _cells(relays: Sequence[str]) -> list[str]:
    counted = [cell(one.name, value) for one in counters(relays) for value in dict.fromkeys(one.values)]
    steps = [*map(str, BOUNDS_S), "more", "sum"]
    return counted + [cell(STAGE_METRIC, f"{stage} {step}") for stage in STAGES for step in steps]


# --- What other parts call ------------------------------------------------------------------------------------------


def start(folder: Path, relays: Sequence[str]) -> None:
    """Count from now on, in a file in this folder (made 0700). Where that cannot be, say so and count nothing.

    A process that is forked afterwards counts in a file of its own.
    """
    global _book
    stop()
    try:
        _book = _Book(folder, _cells(relays))
    except OSError as error:
        log.warning("nothing is counted for the figures: %s; look at run/metrics", error.strerror)


def stop() -> None:
    """Count no more; the numbers stay."""
    global _book
    if _book is not None:
        _book.close()
    _book = None


def count_accepted(number: int = 1) -> None:
    """Count letters that the door took, one for each recipient."""
    _count("mailer_letters_accepted_total", "", number)


def count_refused(reply: str) -> None:
    """Count a recipient or a letter that the door refused. reply: what it said; only its first digit counts."""
    _count("mailer_letters_refused_total", CODE_CLASSES[0] if reply.startswith("4") else CODE_CLASSES[1])


def count_read(*, is_aside: bool) -> None:
    """Count a letter that came to its end, or that was set aside."""
    _count("mailer_letters_aside_total" if is_aside else "mailer_letters_read_total")


def count_delivery(state: DeliveryState, relay: str = "", failure: Failure | None = None) -> None:
    """Count what became of a delivery, once that is committed. DUE counts as deferred."""
    if state in (DeliveryState.SENT, DeliveryState.DUE, DeliveryState.FAILED):
        _count_answer("mailer_deliveries", state, relay, failure)
    else:
        _count("mailer_deliveries_unsent_total", state)


def count_reply(state: DeliveryState, relay: str = "", failure: Failure | None = None) -> None:
    """Count what became of a reply: SENT, DUE (it is tried again) or FAILED."""
    _count_answer("mailer_replies", state, relay, failure)


def count_withheld(limit: str) -> None:
    """Count a letter that was not answered because of a limit: one of LIMITS."""
    _count("mailer_replies_withheld_total", limit)


def stage(name: Stage) -> AbstractContextManager[None]:
    """Return a block whose time counts for a stage, waiting and failing included."""
    return _NOT_TIMED if _book is None else _Timed(name)


# --- How it is kept -------------------------------------------------------------------------------------------------

_NOT_TIMED: AbstractContextManager[None] = nullcontext()


def _count_answer(metric: str, state: DeliveryState, relay: str, failure: Failure | None) -> None:
    if state is DeliveryState.SENT:
        _count(f"{metric}_sent_total", relay)
    elif state is DeliveryState.DUE:
        _count(f"{metric}_deferred_total", failure or NO_ANSWER)
    else:
        _count(f"{metric}_failed_total", failure or NO_ANSWER)


def _count(metric: str, value: str = "", number: int = 1) -> None:
    if _book is not None:
        _book.count(metric, value, number)


class _Timed:
    """A block that is timed. Several of one stage may run at once in one event loop."""

    __slots__ = ("_began", "_stage")

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(self, *_: object) -> None:
        if _book is not None:
            ended = perf_counter()
            _book.time(self._stage, ended - self._began, ended)


class _Book:
    """The numbers of one process, in memory and in its file. For the thread that the event loop runs in."""

    def __init__(self, folder: Path, cells: list[str]) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._names = folder, cells
        self._places = {name: place for place, name in enumerate(cells)}
        self._stages = {name: self._places[cell(STAGE_METRIC, f"{name} {BOUNDS_S[0]}")] for name in STAGES}
        self._file = _take_file(folder)
        self._head = json.dumps(cells).encode("ascii") + b"\n"
        before = _read_all(self._file)
        known = parse(before)
        self._numbers = array("d", (known.get(name, 0.0) for name in cells))
        if not before.startswith(self._head):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, self._head, 0)
        self.save()

    def count(self, metric: str, value: str, number: int) -> None:
        place = self._places.get(cell(metric, value))
        if place is None:
            place = self._places[cell(metric, OTHER)]
        self._numbers[place] += number
        self.save()

    def time(self, stage: str, seconds: float, now: float) -> None:
        first = self._stages[stage]
        self._numbers[first + bisect_left(BOUNDS_S, seconds)] += 1
        self._numbers[first + len(BOUNDS_S) + 1] += seconds
        if now - self._saved > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Hand the numbers to the kernel, where they outlast this process. A full disk stops no letter."""
        self._saved = perf_counter()
        try:
            os.pwrite(self._file, self._numbers, len(self._head))
        except OSError:
            return

    def close(self, *, is_save: bool = True) -> None:
        if is_save:
            self.save()
        os.close(self._file)

    def begin_another(self) -> _Book:
        """Return a book for a forked process. The lock on this one is the parent's, and so are the numbers."""
        self.close(is_save=False)
        return _Book(self._folder, self._names)


def _after_fork() -> None:
    global _book
    if _book is not None:
        try:
            _book = _book.begin_another()
        except OSError:
            _book = None


_book: _Book | None = None
os.register_at_fork(after_in_child=_after_fork)


def _take_file(folder: Path) -> int:
    """Return the descriptor of the first file that no living process holds. Raises OSError where there is none."""
    for number in range(MOST_PROCESSES):
        descriptor = os.open(folder / f"{number:03}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        return descriptor
    raise OSError(0, "too many processes")


def _read_all(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


# --- What the endpoint reads ----------------------------------------------------------------------------------------


def add_up(folder: Path, relays: Sequence[str]) -> dict[str, float]:
    """Return the sums over all processes, living and gone, by `cell`. Only what the vocabulary has is taken."""
    sums = dict.fromkeys(_cells(relays), 0.0)
    for path in sorted(folder.glob("[0-9][0-9][0-9]")):
        try:
            found = parse(path.read_bytes())
        except OSError:
            continue
        for name in sums.keys() & found.keys():
            sums[name] += found[name]
    return sums


def parse(content: bytes) -> dict[str, float]:
    """Return the numbers in a file; none in one that is being made, or damaged."""
    head, _, body = content.partition(b"\n")
    numbers = array("d")
    numbers.frombytes(body[: len(body) // _DOUBLE_BYTES * _DOUBLE_BYTES])
    try:
        return dict(zip(json.loads(head), numbers, strict=True))
    except (ValueError, TypeError):
        return {}
