"""Writes down what became of deliveries, many in one commit, and says when it is on disk.

A connection to a relay begins its next letter only then: that bounds duplicates to one per connection and crash. While
the disk is full nothing more is sent, and what was sent is kept in mind: it must not be sent again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from mailer.errors import StoreError
from mailer.model.digest import DeliveryState
from mailer.store import queue, roster
from mailer.store.database import Database
from mailer.store.queue import Settlement

KEY_NOTICE = "key-no-longer-usable"
RETRY_S = 2.0

log = logging.getLogger("mailer.outward")


class Settler:
    """Group commit: whatever is handed in while one transaction is on its way goes into the next."""

    def __init__(
        self, database: Database, worker: str, clock: Callable[[], datetime], retry_s: float = RETRY_S
    ) -> None:
        self._database, self._worker, self._clock, self._retry_s = database, worker, clock, retry_s
        self._waiting: list[Settlement] = []
        self._turn = asyncio.Lock()

    async def settle(self, settlement: Settlement) -> None:
        """Return once the outcome is committed, however long that takes."""
        self._waiting.append(settlement)
        async with self._turn:
            while any(one is settlement for one in self._waiting):
                await self._commit()

    async def _commit(self) -> None:
        taken = tuple(self._waiting)
        try:
            await self._write(taken)
        except StoreError as error:
            log.warning("what was sent cannot be written down yet: %s", error)
            await asyncio.sleep(self._retry_s)
            return
        del self._waiting[: len(taken)]

    async def _write(self, settlements: Sequence[Settlement]) -> None:
        now = self._clock()
        async with self._database.write() as tx:
            await queue.settle(tx, self._worker, settlements, now)
            for one in settlements:
                if one.state is DeliveryState.UNUSABLE_KEY:
                    claimed = one.claimed
                    if await roster.suspend(tx, claimed.subscriber_id):
                        await queue.add_notice(tx, KEY_NOTICE, claimed.subscriber_id, claimed.list_id, now)
