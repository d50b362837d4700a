"""Takes letters out of the inbox, the oldest first, for as long as the service runs.

A letter that cannot be dealt with is set aside, sealed, under a reason; the next one is dealt with all the same.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import timedelta

from mailer import metrics
from mailer.errors import Locked, SealBroken, StoreConflict, StoreError, TemplateError, Unreadable
from mailer.inward.answer import NoContact
from mailer.inward.receive import ContactFull, Receiver
from mailer.model.retention import Retention
from mailer.store import inbox, retention

LEASE_S = 300.0
POLL_S = 5.0
MOST_ATTEMPTS = 3
MOST_STARTS = 10  # a letter that was begun so often without an end brings down the process itself
PURGE_EVERY_S = 3600.0

log = logging.getLogger("mailer.inward")


@dataclass
class InboxWorker:
    """Runs the walk. `arrived` is set by the door; `answered` is set when replies may wait in the outbox.

    lanes: letters dealt with at once; more than one where each may wait for somebody's name servers.
    """

    receiver: Receiver
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    keep: Retention = field(default_factory=Retention)
    lanes: int = 1

    async def run(self) -> None:
        """Deal with letters until cancelled, waiting while the service is locked."""
        has_looked = False
        while True:
            await self.receiver.keyring.wait_until_unlocked()
            self.arrived.clear()
            try:
                has_looked = has_looked or await self._release_all()
                await self._deal_with_all()
            except (StoreError, Locked) as error:
                log.warning("letters wait in the inbox: %s", error)
            await _wait(self.arrived, POLL_S)

    async def _deal_with_all(self) -> None:
        """Deal with letters until none waits, in as many lanes as there are. Raises StoreError, Locked."""
        lanes = [self._deal_in_turn() for _ in range(self.lanes)]
        ended = await asyncio.gather(*lanes, return_exceptions=True)  # none is left behind by another's fault
        if fault := next((one for one in ended if one is not None), None):
            raise fault

    async def _deal_in_turn(self) -> None:
        while await self.deal_with_next():
            self.answered.set()

    async def _release_all(self) -> bool:
        async with self.receiver.database.write() as tx:
            await inbox.release_all(tx, self.receiver.clock())
        return True

    async def deal_with_next(self) -> bool:
        """Deal with the oldest letter that waits; return False if none does. Raises StoreError, Locked."""
        async with self.receiver.database.write() as tx:
            waiting = await inbox.claim(tx, self.receiver.clock(), LEASE_S, 1)
        if not waiting:
            return False
        aside = await self._try(waiting[0])
        if aside:
            metrics.count_read(is_aside=True)
            log.warning("a letter was set aside, sealed (%s): `mailer doctor` says what to do", aside)
            async with self.receiver.database.write() as tx:
                await inbox.set_aside(tx, waiting[0].id, aside)
        return True

    async def purge_for_ever(self) -> None:
        """Erase, every hour, what has been kept long enough ([retention])."""
        while True:
            now = self.receiver.clock()
            try:
                async with self.receiver.database.write() as tx:
                    await retention.purge(tx, self.keep, now)
            except StoreError as error:
                log.warning("what has run out could not be erased: %s", error)
            await asyncio.sleep(PURGE_EVERY_S)

    async def _try(self, waiting: inbox.Waiting) -> str | None:
        """Walk one letter; return the reason to set it aside, or None."""
        if waiting.attempts > MOST_STARTS:
            return "failed"
        try:
            await self.receiver.receive(waiting)
        except StoreConflict as error:
            return await self._try_again(waiting, error)
        except (StoreError, Locked):
            await self._give_back(waiting, is_attempt=False)
            raise
        except ContactFull:
            return "contact-limit"
        except NoContact:
            return "no-contact-key"
        except SealBroken:
            return "seal-broken"
        except TemplateError as error:
            log.error("%s", error)
            return "template"
        except Unreadable as error:
            return error.reason
        except Exception as error:  # noqa: BLE001 - one letter must not stop the others
            return await self._try_again(waiting, error)
        metrics.count_read(is_aside=False)
        return None

    async def _try_again(self, waiting: inbox.Waiting, error: Exception) -> str | None:
        what = type(error).__name__  # its text may quote the letter
        log.error("a letter failed (%s, attempt %d of %d); report it", what, waiting.attempts, MOST_ATTEMPTS)
        if waiting.attempts >= MOST_ATTEMPTS:
            return "failed"
        await self._give_back(waiting, is_attempt=True)
        return None

    async def _give_back(self, waiting: inbox.Waiting, is_attempt: bool) -> None:
        due = self.receiver.clock() + timedelta(seconds=min(2.0**waiting.attempts, 60.0))
        async with self.receiver.database.write() as tx:
            await inbox.release(tx, waiting, due, is_attempt)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
