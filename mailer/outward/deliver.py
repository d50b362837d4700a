"""A digest's way out, second half: claim, unseal the address, open the drawer, encrypt, relay, settle.

One process claims deliveries in batches under a lease; each of its connections takes one after the other and begins
the next only when the last is settled on disk. Nothing encrypted waits anywhere: a letter is made when it is sent.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mailer.errors import CertificateUnusable, Locked, MailerError, SealBroken, StoreError
from mailer.letters.seal import Open, Sealed
from mailer.model.digest import DeliveryState
from mailer.model.retry import FIRST_WAIT_S, GIVE_UP_AFTER_S, Answer, Outcome, is_final, next_attempt
from mailer.outward.copies import Copies
from mailer.outward.process import is_dead_worker
from mailer.outward.relay import Connection, Relay
from mailer.outward.settle import Settler
from mailer.outward.waiting import FINISH_S, see_through, wait
from mailer.store import digests, queue
from mailer.store.database import Database
from mailer.store.ledger import Ledger, Poisoned
from mailer.store.queue import Claimed, Settlement

POLL_S = 2.0
LONGEST_PAUSE_S = 60.0

log = logging.getLogger("mailer.outward")


@dataclass(frozen=True, slots=True)
class Pace:
    """How much one process takes on. lease_s: how long a claimed delivery is ours; batch: how many at a time.

    finish_s: how long a letter that is on its way may still take when the process is told to stop. retry_s: between
    attempts to write down what was sent.
    """

    lease_s: float = 600.0
    batch: int = 50
    connections: int = 4
    give_up_after_s: float = GIVE_UP_AFTER_S
    finish_s: float = FINISH_S
    retry_s: float = POLL_S

    @property
    def usable_lease_s(self) -> float:
        """How long letters are begun: the relay's last reply and the commit must still fall into the lease."""
        return self.lease_s * 3 / 4


@dataclass
class Deliverer:
    """One delivering process. ledger holds the roster key; worker names the process in the leases."""

    database: Database
    ledger: Ledger
    copies: Copies
    relay: Relay
    worker: str
    pace: Pace = field(default_factory=Pace)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    chance: random.Random = field(default_factory=random.SystemRandom)
    _pause_s: float = 0.0
    _may_be_done: bool = True  # a digest may have had its last delivery since we looked
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Deliver until cancelled; letters on their way are then seen through, and leases given back."""
        try:
            await see_through(self._deliver_for_ever(), self.pace.finish_s, self._stopping)
        finally:
            await asyncio.shield(self._release())

    async def _deliver_for_ever(self) -> None:
        has_looked = False
        while not self._stopping.is_set():
            try:
                has_looked = has_looked or await self._release_dead()
                claimed = await self.deliver_batch()
            except StoreError as error:
                log.warning("deliveries wait: %s", error)
                claimed = 0
            if self._pause_s or not claimed:
                await wait(self._stopping, self._pause_s or POLL_S)

    async def _release_dead(self) -> bool:
        async with self.database.write() as tx:
            await queue.release_dead(tx, is_dead_worker, self.clock())
        return True

    async def deliver_batch(self) -> int:
        """Claim a batch and deliver it over as many connections as the pace allows; return how many were claimed."""
        claimed_at = self.clock()
        async with self.database.write() as tx:
            await queue.release(tx, self.worker, claimed_at)  # what a batch before this one could not settle
            claimed = await queue.claim(tx, self.worker, claimed_at, self.pace.lease_s, self.pace.batch)
            await self.ledger.absorb(tx, [one.subscriber_id for one in claimed])
            if len(claimed) < self.pace.batch and self._may_be_done:
                await digests.finish_all(tx)
        self._may_be_done = bool(claimed)
        settler = Settler(self.database, self.worker, self.clock, self.pace.retry_s)
        until = claimed_at + timedelta(seconds=self.pace.usable_lease_s)
        batch = _Batch(iter(claimed), settler, until, self._pause_s)
        self._pause_s = 0.0
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.pace.connections, len(claimed))):
                group.create_task(self._deliver_each(batch))
        return len(claimed)

    async def _deliver_each(self, batch: _Batch) -> None:
        async with self.relay.connection() as connection:
            for claimed in batch.todo:
                if self._stopping.is_set() or self.clock() >= batch.until:
                    return
                await batch.settler.settle(await self._deliver(connection, claimed, batch))

    async def _deliver(self, connection: Connection, claimed: Claimed, batch: _Batch) -> Settlement:
        if self._pause_s:
            return self._postponed(claimed, self._pause_s)
        letter = await self._letter(claimed)
        if isinstance(letter, Settlement):
            return letter
        try:
            outcome = await connection.send(letter, lambda: self.clock() < batch.until)
        except Exception as error:  # noqa: BLE001 - one letter must not stop the others
            return _set_aside(claimed, error)
        return self._settlement(claimed, outcome, batch.pause_before_s)

    async def _letter(self, claimed: Claimed) -> Sealed | Open | Settlement:
        """Return the letter, made from what the register holds at this moment, or why there is none."""
        try:
            async with self.database.read() as tx:
                entry = (await self.ledger.entries(tx, [claimed.subscriber_id])).get(claimed.subscriber_id)
            if isinstance(entry, Poisoned):
                return _set_aside(claimed, SealBroken())
            letter = await self.copies.make(claimed, entry) if entry else None  # who left gets nothing more
            return letter or Settlement(claimed, DeliveryState.SKIPPED)
        except CertificateUnusable:
            return Settlement(claimed, DeliveryState.UNUSABLE_KEY)
        except (StoreError, Locked) as error:
            log.warning("deliveries wait: %s", error)
            self._pause_s = POLL_S
            return self._postponed(claimed, self._pause_s)
        except Exception as error:  # noqa: BLE001 - as in _deliver
            return _set_aside(claimed, error)

    def _settlement(self, claimed: Claimed, outcome: Outcome, pause_before_s: float) -> Settlement:
        now = self.clock()
        if outcome.answer is Answer.ACCEPTED:
            return Settlement(claimed, DeliveryState.SENT)
        attempts = claimed.attempts + 1
        if is_final(outcome, attempts):
            return Settlement(claimed, DeliveryState.FAILED)
        if outcome.is_connection_lost:
            self._pause_s = min(max(2 * pause_before_s, 1.0), LONGEST_PAUSE_S)
            return self._postponed(claimed, FIRST_WAIT_S)  # others first: it may be this letter that the relay dislikes
        retry_at = next_attempt(attempts, claimed.first or now, now, self.chance.random(), self.pace.give_up_after_s)
        return Settlement(claimed, DeliveryState.DUE if retry_at else DeliveryState.FAILED, retry_at)

    def _postponed(self, claimed: Claimed, wait_s: float) -> Settlement:
        retry_at = self.clock() + timedelta(seconds=wait_s)
        return Settlement(claimed, DeliveryState.DUE, retry_at, is_attempt=False)

    async def _release(self) -> None:
        async with self.database.write() as tx:
            await queue.release(tx, self.worker, self.clock())


def _set_aside(claimed: Claimed, error: Exception) -> Settlement:
    """Keep a delivery for the operator to look at, and let the rest go on."""
    what = error if isinstance(error, MailerError) else type(error).__name__  # others' texts may quote a letter
    log.error("a delivery was set aside: %s", what)
    return Settlement(claimed, DeliveryState.ASIDE)


@dataclass(frozen=True, slots=True)
class _Batch:
    """What was claimed together. until: when no letter is begun any more."""

    todo: Iterator[Claimed]
    settler: Settler
    until: datetime
    pause_before_s: float
