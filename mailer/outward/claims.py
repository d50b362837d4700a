"""Claims deliveries for the lanes that have room: of every job that may be delivered now, provider by provider."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mailer import metrics
from mailer.errors import StoreError
from mailer.outward.lanes import Held, Lane, Lanes
from mailer.outward.process import is_dead_worker
from mailer.outward.routes import Routes
from mailer.store import digests, paces, queue
from mailer.store.database import Database, Transaction
from mailer.store.ledger import Ledger
from mailer.store.queue import Claimed

NEVER = datetime.min.replace(tzinfo=UTC)
LOOK_AGAIN = timedelta(seconds=2)  # where nothing was due, so long passes until the next look


@dataclass
class Claims:
    """Takes leases for one worker, and gives back those that cannot be used."""

    database: Database
    ledger: Ledger
    routes: Routes
    lanes: Lanes
    worker: str
    lease_s: float
    _has_looked: bool = False
    _notices_dry_until: datetime | None = None
    _next_end: datetime | None = None
    _jobs: frozenset[str] = frozenset()  # the digests that may be delivered

    async def take(self, now: datetime, batch: int, until: datetime) -> list[Held]:
        """Claim for the lanes that want more, about `batch` in all, and read the subscribers. Raises StoreError."""
        ready = [lane for lane in self.lanes if lane.wants_more(now) and self.routes.open_to(lane.provider)]
        share = max((batch - self.lanes.waiting) // max(len(ready), 1), 1)
        with metrics.stage("claim"):
            claimed = await self._lease(ready, now, share)
        with metrics.stage("open"):
            return await self._held(claimed, now, until)

    async def _lease(self, ready: Sequence[Lane], now: datetime, share: int) -> list[Claimed]:
        async def lease(tx: Transaction) -> tuple[list[str], list[Claimed], dict[str, list[Claimed]]]:
            await self._tidy(tx, now)
            jobs = await digests.on_their_way(tx, now)
            notices = await self._claim_notices(tx, ready, now, share)
            copies = await self._claim_copies(tx, jobs, ready, now, share)
            claimed = [*notices, *(one for found in copies.values() for one in found)]
            await self.ledger.absorb(tx, [one.subscriber_id for one in claimed])
            if self._looks_for_ends(now):
                await digests.finish_all(tx)
            return jobs, notices, copies

        jobs, notices, copies = await self.database.write_at_once(lease)
        self._jobs = frozenset(jobs)
        if self._looks_for_ends(now):
            self._next_end = now + LOOK_AGAIN
        self._has_looked = True
        self._notices_dry_until = None if notices else now + LOOK_AGAIN
        for lane in ready:
            found = copies[lane.provider]
            lane.low, lane.dry_until = len(found) // 2, None if len(found) == share else now + LOOK_AGAIN
        return [*notices, *(one for found in copies.values() for one in found)]

    async def _held(self, claimed: Sequence[Claimed], now: datetime, until: datetime) -> list[Held]:
        held = [Held(one, None, NEVER, until) for one in claimed]
        if held:
            with suppress(StoreError):  # they are ours all the same; each is read again before it is sent
                await self.read(held, now)
        return held

    def look_everywhere(self) -> None:
        """Forget where nothing was due a moment ago."""
        self._notices_dry_until = self._next_end = None
        for lane in self.lanes:
            lane.dry_until = None

    async def read(self, held: Sequence[Held], now: datetime) -> None:
        """Read the subscribers of these deliveries as the register has them now. Raises StoreError."""
        ids = [one.claimed.subscriber_id for one in held]
        entries = await self.database.read_at_once(lambda tx: self.ledger.entries(tx, ids))
        for one in held:
            one.entry, one.read_at = entries.get(one.claimed.subscriber_id), now

    async def give_back(self, now: datetime) -> None:
        """Give back what waits and is not to leave: no way is open to it, it has waited too long, or was stopped.

        Raises StoreError.
        """
        back: list[Claimed] = []
        for lane in self.lanes:
            if lane.waiting and (not self.routes.open_to(lane.provider) or lane.waiting[0].until <= now):
                back += lane.take_out(lambda _: True)
            else:
                back += lane.take_out(lambda one: one.notice is None and one.job not in self._jobs)
        if back:
            await self.database.write_at_once(lambda tx: queue.release_these(tx, self.worker, back, now))

    async def _tidy(self, tx: Transaction, now: datetime) -> None:
        if not self._has_looked:
            await queue.release(tx, self.worker, now)  # what one before us in this very process had
            await queue.release_dead(tx, is_dead_worker, now)
        if await queue.release_expired(tx, now) or not self._has_looked:
            await queue.adopt_strays(tx, [lane.provider for lane in self.lanes])

    def _looks_for_ends(self, now: datetime) -> bool:
        return self._next_end is None or self._next_end <= now

    async def _claim_notices(self, tx: Transaction, lanes: Sequence[Lane], now: datetime, share: int) -> list[Claimed]:
        """Claim notices for all these lanes at once."""
        if not lanes or (self._notices_dry_until is not None and now < self._notices_dry_until):
            return []
        providers = [lane.provider for lane in lanes]
        claimed: list[Claimed] = []
        jobs = await queue.notice_jobs(tx)
        await queue.adopt_strays(tx, [lane.provider for lane in self.lanes], jobs)
        for job in jobs:
            if queue.is_announcement(job.removeprefix(queue.NOTICE_PREFIX)):  # to everybody, like a digest
                for provider in providers:
                    claimed += await self._claim_for(tx, job, provider, now, share)
            else:
                claimed += await queue.claim(tx, self.worker, job, providers, now, self.lease_s, share)
        return claimed

    async def _claim_copies(
        self, tx: Transaction, jobs: Sequence[str], lanes: Sequence[Lane], now: datetime, share: int
    ) -> dict[str, list[Claimed]]:
        """Claim up to `share` deliveries of digests for each lane, the oldest digest first."""
        claimed: dict[str, list[Claimed]] = {lane.provider: [] for lane in lanes}
        for job in jobs:
            for provider, found in claimed.items():
                if len(found) < share:
                    found.extend(await self._claim_for(tx, job, provider, now, share - len(found)))
        return claimed

    async def _claim_for(self, tx: Transaction, job: str, provider: str, now: datetime, room: int) -> list[Claimed]:
        per_minute = self.routes.route(provider).per_minute
        if per_minute:
            room = await paces.left(tx, provider, per_minute, room, now)
        if not room:
            return []
        found = await queue.claim(tx, self.worker, job, [provider], now, self.lease_s, room)
        if per_minute and found:
            await paces.use(tx, provider, per_minute, len(found), now)
        return found
