"""Writes down what became of deliveries, many in one commit, and says when it is on disk.

A connection to a relay begins its next letter only then: that bounds duplicates to one per connection and crash. While
the disk is full nothing more is sent, and what was sent is kept in mind: it must not be sent again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from mailer import metrics
from mailer.errors import StoreConflict, StoreError
from mailer.model.digest import DeliveryState
from mailer.model.failure import Failure
from mailer.model.weather import SENT
from mailer.store import bounces, queue, roster
from mailer.store.database import Database, Transaction
from mailer.store.queue import Claimed, Settlement

KEY_NOTICE = "key-no-longer-usable"
RETRY_S = 2.0
AT_ONCE_S = 0.05  # two workers stood in each other's way
ANSWERS_EVERY = timedelta(seconds=1)  # what providers answered is written down; a crash may take so much along

Answers = dict[date, Counter[tuple[str, str]]]  # how often, by day, by provider and what it said

log = logging.getLogger("mailer.outward")


@dataclass
class _Group:
    """Settlements that are committed together. is_written: set once they are."""

    settlements: list[Settlement]
    is_written: asyncio.Future[None]


class Settler:
    """Group commit: whatever is handed in while one transaction is on its way goes into the next."""

    def __init__(
        self, database: Database, worker: str, clock: Callable[[], datetime], retry_s: float = RETRY_S
    ) -> None:
        self._database, self._worker, self._clock, self._retry_s = database, worker, clock, retry_s
        self._next: _Group | None = None
        self._writing: asyncio.Task[None] | None = None
        self._answers: Answers = {}
        self._answers_due = clock()

    async def settle(self, settlement: Settlement) -> None:
        """Return once the outcome is committed, however long that takes."""
        if self._next is None:
            self._next = _Group([], asyncio.get_running_loop().create_future())
        group = self._next
        group.settlements.append(settlement)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        with metrics.stage("settle"):
            await asyncio.shield(group.is_written)

    async def write_answers(self) -> None:
        """Write down what providers answered, if that is due. Raises StoreError."""
        if self._answers and self._writing is None and self._clock() >= self._answers_due:
            await self._write([])

    async def finish(self) -> None:
        """Wait for what is being written, and write what is left to count. Raises StoreError."""
        if self._writing is not None:
            await self._writing
        self._answers_due = self._clock()
        await self.write_answers()

    async def _write_all(self) -> None:
        try:
            while (group := self._next) is not None:
                self._next = None
                await self._write_group(group)
        finally:
            self._writing = None

    async def _write_group(self, group: _Group) -> None:
        while not group.is_written.done():
            try:
                await self._write(group.settlements)
            except StoreError as error:
                log.warning("what was sent cannot be written down yet: %s", error)
                await asyncio.sleep(
                    min(self._retry_s, AT_ONCE_S) if isinstance(error, StoreConflict) else self._retry_s
                )
            except asyncio.CancelledError:
                group.is_written.cancel()
                raise
            except BaseException as error:  # noqa: BLE001 - whoever waits for it is told, and ends by it
                group.is_written.set_exception(error)
                return
            else:
                group.is_written.set_result(None)
        for one in group.settlements:
            metrics.count_delivery(one.state, one.relay, one.failure)

    async def _write(self, settlements: Sequence[Settlement]) -> None:
        now = self._clock()
        answers = self._take_answers(now)

        async def write(tx: Transaction) -> None:
            await queue.settle(tx, self._worker, settlements, now)
            for one in settlements:
                if one.state is DeliveryState.UNUSABLE_KEY:
                    await self._suspend(tx, one.claimed, now)
                if one.failure is Failure.GONE and one.state is DeliveryState.FAILED:
                    is_probe = one.claimed.notice == bounces.PROBE
                    await bounces.count_failure(
                        tx, one.claimed.subscriber_id, one.failure, now.date(), is_probe=is_probe
                    )
            for day, counted in answers.items():
                await bounces.count_weather(tx, counted, day)

        try:
            await self._database.write_at_once(write)
        except BaseException:
            self._keep_answers(answers)
            self._answers_due = now
            raise
        if settlements:
            self._keep_answers({now.date(): Counter(_answers(settlements))})

    def _take_answers(self, now: datetime) -> Answers:
        """Return the answers that are to be written now; who writes at the same time gets none of them."""
        if now < self._answers_due:
            return {}
        taken, self._answers, self._answers_due = self._answers, {}, now + ANSWERS_EVERY
        return taken

    def _keep_answers(self, answers: Answers) -> None:
        for day, counted in answers.items():
            self._answers.setdefault(day, Counter()).update(counted)

    async def _suspend(self, tx: Transaction, claimed: Claimed, now: datetime) -> None:
        if await roster.suspend(tx, claimed.subscriber_id):
            await queue.add_notice(tx, KEY_NOTICE, claimed.subscriber_id, claimed.list_id, now)


def _answers(settlements: Sequence[Settlement]) -> Iterator[tuple[str, str]]:
    """Give what providers said: "sent", or a Failure. A letter that is tried again counts with its first answer alone.

    Otherwise one reader whose letters are refused again and again would show.
    """
    for one in settlements:
        if one.state is DeliveryState.SENT:
            yield one.claimed.provider, SENT
        elif one.failure is not None and one.claimed.attempts == 0:
            yield one.claimed.provider, one.failure
