"""A digest's way out, second half: claim, unseal the address, open the drawer, encrypt, relay, settle.

Each process leases deliveries in batches and holds them, sealed, in one lane for each provider; whatever lane and relay
have room send the next. A connection to a relay begins its next letter only when the last is settled on disk. Nothing
encrypted waits anywhere: a letter is made when it is sent.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice

from mailer import metrics
from mailer.errors import CertificateUnusable, Locked, SealBroken, SecretsOutdated, SmimeKeyMissing, StoreError
from mailer.letters.seal import Open, Sealed
from mailer.model.digest import DeliveryState
from mailer.model.retry import GIVE_UP_AFTER_S, Answer, Outcome
from mailer.outward import verdict
from mailer.outward.claims import Claims
from mailer.outward.copies import Copies
from mailer.outward.lanes import Held, Lane, Lanes
from mailer.outward.routes import Outlet, Routes, is_for_another
from mailer.outward.settle import Settler
from mailer.outward.waiting import FINISH_S, see_through, wait_for_any
from mailer.store import queue
from mailer.store.database import Database
from mailer.store.ledger import Entry, Ledger, Poisoned
from mailer.store.queue import Claimed, Settlement

POLL_S = 2.0
OUTDATED_S = 600.0  # until a letter is tried again that needs a key which this process was not given
FRESH = timedelta(seconds=1)  # a subscriber who was read longer ago is read again before anything is sent
READ_AHEAD = 15  # those who come next are read along

log = logging.getLogger("mailer.outward")


@dataclass(frozen=True, slots=True)
class Pace:
    """How much one process takes on. lease_s: how long a claimed delivery is ours; batch: how many at a time.

    finish_s: how long a letter that is on its way may still take when the process is told to stop. retry_s: between
    attempts to write down what was sent.
    """

    lease_s: float = 600.0
    batch: int = 200
    give_up_after_s: float = GIVE_UP_AFTER_S
    finish_s: float = FINISH_S
    retry_s: float = POLL_S

    @property
    def usable_lease_s(self) -> float:
        """How long letters are begun: the relay's last reply and the commit must still fall into the lease."""
        return self.lease_s * 3 / 4


async def _nothing_to_begin() -> None:
    return


@dataclass
class Deliverer:
    """One delivering process. ledger holds the roster key; worker names the process in the leases.

    begin_digests: called each time before anything is claimed; it begins those whose time has come.
    """

    database: Database
    ledger: Ledger
    copies: Copies
    routes: Routes
    providers: Sequence[str]
    worker: str
    pace: Pace = field(default_factory=Pace)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    chance: random.Random = field(default_factory=random.SystemRandom)
    begin_digests: Callable[[], Awaitable[object]] = _nothing_to_begin
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _wants_more: asyncio.Event = field(default_factory=asyncio.Event)
    _on_their_way: set[asyncio.Task[None]] = field(default_factory=set)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _is_store_down: bool = False
    _fault: BaseException | None = None  # of ours; this process ends by it, and another takes its place

    def __post_init__(self) -> None:
        places = sum(outlet.relay.places for outlet in self.routes.outlets.values())
        self._lanes = Lanes({name: _limit(self.routes.route(name).connections, places) for name in self.providers})
        self._claims = Claims(self.database, self.ledger, self.routes, self._lanes, self.worker, self.pace.lease_s)
        self._settler = Settler(self.database, self.worker, self.clock, self.pace.retry_s)

    async def run(self) -> None:
        """Deliver until cancelled; letters on their way are then seen through, and leases given back."""
        try:
            await see_through(self._deliver_for_ever(), self.pace.finish_s, self._stopping)
        finally:
            await asyncio.shield(self._release())

    async def deliver_due(self) -> int:
        """Deliver all that is due and can be; return how many were claimed. Raises StoreError."""
        claimed = 0
        self._claims.look_everywhere()
        while taken := await self._restock():
            claimed += taken
            while self._on_their_way:
                await asyncio.wait(self._on_their_way)
            if self._fault is not None:
                raise self._fault
            self._claims.look_everywhere()
        await self._settler.finish()
        return claimed

    # --- Claim ------------------------------------------------------------------------------------------------------

    async def _deliver_for_ever(self) -> None:
        while not self._stopping.is_set():
            self._wants_more.clear()
            await self._try_to_restock()
            await wait_for_any(self._wants_more, self._stopping, timeout_s=POLL_S)
        if self._on_their_way:
            await asyncio.wait(self._on_their_way, timeout=self.pace.finish_s)

    async def _try_to_restock(self) -> None:
        if self._fault is not None:
            raise self._fault
        try:
            await self._restock()
            await self._settler.write_answers()
        except (StoreError, Locked) as error:
            log.warning("deliveries wait: %s", error)

    async def _restock(self) -> int:
        """Claim what the lanes have room for; return how many."""
        now = self.clock()
        self._is_store_down = False
        await self.begin_digests()
        held = await self._claims.take(now, self.pace.batch, until=now + timedelta(seconds=self.pace.usable_lease_s))
        await self._claims.give_back(now)
        self._lanes.add(held)
        self._dispatch()
        return len(held)

    def _dispatch(self) -> None:
        """Begin as many deliveries as lanes and relays have room for."""
        if self._stopping.is_set() or self._is_store_down or self._fault is not None:
            return
        has_begun = True
        while has_begun and self.routes.have_room:
            has_begun = False
            for lane in self._lanes.in_turn():
                outlets = self.routes.open_to(lane.provider)
                if outlets and outlets[0].has_room:
                    has_begun = True
                    self._begin(lane, outlets)

    def _begin(self, lane: Lane, outlets: list[Outlet]) -> None:
        held = lane.begin()
        is_little_left = not lane.waiting or self._lanes.waiting <= self.pace.batch // 2
        if is_little_left and lane.wants_more(self.clock()):
            self._wants_more.set()
        if held.claimed.attempts:  # a letter that failed before is not the one to try out a relay that did
            outlets.sort(key=self.routes.is_in_doubt)
        outlets[0].busy += 1
        self.routes.begin(outlets[0], lane.provider)
        task = asyncio.create_task(self._deliver(lane, held, outlets))
        self._on_their_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._on_their_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fault = task.exception()
            self._wants_more.set()
        self._dispatch()

    # --- Encrypt, relay, settle -------------------------------------------------------------------------------------

    async def _deliver(self, lane: Lane, held: Held, outlets: list[Outlet]) -> None:
        began, first = asyncio.get_running_loop().time(), outlets[0]
        is_well = False
        try:
            is_well = await self._deliver_over(held, lane, outlets)
        except BaseException:
            self.routes.drop(first, lane.provider)
            raise
        finally:
            first.busy -= 1
            lane.end(asyncio.get_running_loop().time() - began, is_well=is_well)

    async def _deliver_over(self, held: Held, lane: Lane, outlets: list[Outlet]) -> bool:
        """Try one outlet after the other; return whether the provider answered about the letter itself."""
        refused: tuple[Outcome, Outlet] | None = None
        for outlet in outlets:
            if refused is not None:
                if not self.routes.is_open(outlet, lane.provider):
                    continue
                self.routes.begin(outlet, lane.provider)
            outcome = await self._deliver_by(outlet, held, lane)
            if outcome is None or not is_for_another(outcome):
                return outcome is None or outcome.answer is not Answer.LATER
            refused = outcome, outlet
        if refused is not None:
            outcome, outlet = refused
            await self._settler.settle(self._verdict(held.claimed, outcome, outlet.name))
        return False

    async def _deliver_by(self, outlet: Outlet, held: Held, lane: Lane) -> Outcome | None:
        """Return what a relay said of the letter, settled unless it is one for another relay; None if none was sent.

        The letter is made while others are still being settled, and the connection is kept until it is settled itself:
        it begins no other letter before that.
        """
        began = self.clock()
        letter, made_at = await self._letter(held, lane, outlet), self.clock()
        if isinstance(letter, Settlement):
            await self._settle_unsent(letter, outlet, lane)
            return None
        async with lane.gate, outlet.relay.connection() as connection:
            if self.clock() - made_at > FRESH:
                letter = await self._letter(held, lane, outlet)
            if self.clock() >= held.until:
                letter = verdict.postpone(held.claimed, self.clock(), 0.0)
            if isinstance(letter, Settlement):
                await self._settle_unsent(letter, outlet, lane)
                return None
            try:
                with metrics.stage("relay"):
                    outcome = await connection.send(letter, lambda: self.clock() < held.until)
            except Exception as error:  # noqa: BLE001 - one letter must not stop the others
                await self._settle_unsent(verdict.set_aside(held.claimed, error, outlet.name), outlet, lane)
                return None
            self.routes.note(outlet, lane.provider, began, outcome)
            if not is_for_another(outcome):
                await self._settler.settle(self._verdict(held.claimed, outcome, outlet.name))
            return outcome

    async def _settle_unsent(self, settlement: Settlement, outlet: Outlet, lane: Lane) -> None:
        self.routes.drop(outlet, lane.provider)
        await self._settler.settle(settlement)

    async def _letter(self, held: Held, lane: Lane, outlet: Outlet) -> Sealed | Open | Settlement:
        """Return the letter, made from what the register holds at this moment, or why there is none."""
        claimed = held.claimed
        try:
            entry = await self._entry(held, lane)
            if isinstance(entry, Poisoned):
                return verdict.set_aside(claimed, SealBroken(), "")
            most = self.routes.route(lane.provider).max_octets
            with metrics.stage("seal"):
                letter = await self.copies.make(claimed, entry, outlet.identity, most)
                return outlet.prepare(letter) if letter else Settlement(claimed, DeliveryState.SKIPPED)
        except CertificateUnusable:
            return Settlement(claimed, DeliveryState.UNUSABLE_KEY)
        except (SecretsOutdated, SmimeKeyMissing) as error:
            log.warning("a letter that needs a key of the list's waits: %s", error)
            return verdict.postpone(claimed, self.clock(), OUTDATED_S)
        except (StoreError, Locked) as error:
            log.warning("deliveries wait: %s", error)
            self._is_store_down = True
            return verdict.postpone(claimed, self.clock(), POLL_S)
        except Exception as error:  # noqa: BLE001 - as in _deliver_by
            return verdict.set_aside(claimed, error, "")

    async def _entry(self, held: Held, lane: Lane) -> Entry | Poisoned | None:
        """Return the subscriber as of now, or a moment ago; those who come next in the lane are read along."""
        async with self._reading:
            now = self.clock()
            if now - held.read_at > FRESH:
                await self._claims.read([held, *islice(lane.waiting, READ_AHEAD)], now)
        return held.entry

    def _verdict(self, claimed: Claimed, outcome: Outcome, relay: str) -> Settlement:
        return verdict.settlement(claimed, outcome, relay, self.clock(), self.chance.random, self.pace.give_up_after_s)

    async def _release(self) -> None:
        with suppress(StoreError):
            await self._settler.finish()
        # in the thread that claims, so after a claim that was still on its way
        await self.database.write_at_once(lambda tx: queue.release(tx, self.worker, self.clock()))


def _limit(connections: int, places: int) -> int:
    """Return how many letters to one provider may be on their way: a quarter of all places is left to the others."""
    limit = max(places - max(places // 4, 1), 1)
    return min(connections, limit) if connections else limit
