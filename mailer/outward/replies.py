"""Sends the replies that wait in the outbox, each until a relay says yes or no for good."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mailer import metrics
from mailer.crypto import vault
from mailer.crypto.keyring import Keyring
from mailer.errors import LetterUnusable, Locked, SealBroken, StoreError
from mailer.letters import seal
from mailer.model.digest import DeliveryState
from mailer.model.provider import Providers
from mailer.model.retry import GIVE_UP_AFTER_S, Answer, Outcome, is_final, next_attempt
from mailer.outward.routes import Routes
from mailer.outward.waiting import see_through, wait
from mailer.store import outbox
from mailer.store.database import Database

BATCH = 20
LEASE_S = 300.0
LEASE_USED = timedelta(seconds=LEASE_S / 2)  # so long replies are begun, one after the other
POLL_S = 5.0

log = logging.getLogger("mailer.outward")


@dataclass
class ReplySender:
    """Empties the outbox. `answered` is set by the inward walk when something may wait there."""

    database: Database
    keyring: Keyring
    routes: Routes
    providers: Providers
    answered: asyncio.Event
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    give_up_after_s: float = GIVE_UP_AFTER_S
    chance: random.Random = field(default_factory=random.SystemRandom)
    _gone: set[bytes] = field(default_factory=set)  # taken by the relay, but not yet erased

    async def run(self) -> None:
        """Send replies until cancelled, waiting while the service is locked."""
        has_looked = False
        while True:
            await self.keyring.wait_until_unlocked()
            self.answered.clear()
            try:
                has_looked = has_looked or await self._release_all()
                while await self.send_batch():
                    pass
            except (StoreError, Locked) as error:
                log.warning("replies wait in the outbox: %s", error)
            await wait(self.answered, POLL_S)

    async def _release_all(self) -> bool:
        async with self.database.write() as tx:
            await outbox.release_all(tx, self.clock())
        return True

    async def send_batch(self) -> int:
        """Send the replies that are due; return how many there were. Raises StoreError, Locked."""
        begins = self.clock()
        async with self.database.write() as tx:
            queued = await outbox.claim(tx, begins, LEASE_S, BATCH)
        for one in queued:
            if self.clock() - begins < LEASE_USED:  # the rest may be another door's before this relay has answered
                await see_through(self._send(one))
        return len(queued)

    async def _send(self, queued: outbox.Queued) -> None:
        outcome, relay = await self._give(queued)
        now = self.clock()
        retry_at = None
        if outcome.answer is not Answer.ACCEPTED and not is_final(outcome, queued.attempts + 1):
            tried, chance = queued.attempts + 1, self.chance.random()
            retry_at = next_attempt(tried, queued.queued, now, chance, self.give_up_after_s)
        async with self.database.write() as tx:
            if retry_at is None:
                await outbox.remove(tx, queued.id)
            else:
                await outbox.postpone(tx, queued.id, retry_at)
        self._gone.discard(queued.id)
        self._count(outcome, relay, is_given_up=retry_at is None)
        if outcome.answer is not Answer.ACCEPTED:
            what_now = "tried again" if retry_at else "given up"
            log.warning("a reply was not taken (%d %s); %s", outcome.code, outcome.status, what_now)

    def _count(self, outcome: Outcome, relay: str, *, is_given_up: bool) -> None:
        if outcome.answer is Answer.ACCEPTED:
            metrics.count_reply(DeliveryState.SENT, relay)
        else:
            metrics.count_reply(DeliveryState.FAILED if is_given_up else DeliveryState.DUE, relay, outcome.failure)

    async def _give(self, queued: outbox.Queued) -> tuple[Outcome, str]:
        """Return what became of a reply, and the name of the relay that answered."""
        if queued.id in self._gone:
            return Outcome(Answer.ACCEPTED), ""
        try:
            opened = vault.open_at_rest(self.keyring.secrets.rest_key, queued.sealed, "outbox", queued.id)
            letter = seal.from_bytes(opened)
            outcome, relay = await self.routes.send(letter, self.providers.name_of(letter.recipient))
        except (SealBroken, LetterUnusable) as error:
            log.error("a reply is dropped: %s", error)
            return Outcome(Answer.REFUSED), ""
        except (StoreError, Locked):
            raise
        except Exception as error:  # noqa: BLE001 - one reply must not stop the others, nor the door beside them
            log.error("a reply could not be sent (%s); tried again. Report it", type(error).__name__)
            return Outcome(Answer.LATER), ""
        if outcome.answer is Answer.ACCEPTED:
            self._gone.add(queued.id)
        return outcome, relay
