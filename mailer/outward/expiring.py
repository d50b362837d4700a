"""Looks once a day, page by page, whose key runs out, and queues a warning for them.

When a key ends stands in nothing but its owner's sealed drawer, so every drawer has to be opened; most are done with
after one look at the certificate. The pages are spread over some hours, and one worker at a time has one in its hands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mailer.crypto import certificates
from mailer.crypto.openpgp.expiry import outlives
from mailer.model import warning
from mailer.model.subscriber import Drawer, Method
from mailer.store import queue, rounds
from mailer.store.database import Database, Transaction
from mailer.store.ledger import Entry, Ledger
from mailer.store.rounds import Page

ROUND = "keys that run out"
PAGE = 200  # a million subscribers are 5,000 pages, three hours at one every two seconds
PAUSE = timedelta(seconds=2)
LEASE = timedelta(minutes=2)  # whoever has not dealt with a page by then is taken for dead
LOOK_AGAIN = timedelta(minutes=1)

log = logging.getLogger("mailer.outward")


def expiry(method: Method, drawer: Drawer) -> datetime | None:
    """Return when nothing can be sealed to somebody's key or certificate any more, UTC; None: never, or there is none.

    Which of the two is used says the method.
    """
    blob = {Method.OPENPGP: drawer.certificate, Method.SMIME: drawer.x509}.get(method)
    return certificates.expiry(blob) if blob else None


@dataclass
class KeyWatch:
    """One worker's part in the daily look at the register."""

    database: Database
    ledger: Ledger
    clock: Callable[[], datetime]
    page: int = PAGE
    _next: datetime = field(default_factory=lambda: datetime.min.replace(tzinfo=UTC))

    async def look(self) -> int:
        """Look at one page, if one is due; return how many are warned. Cheap where none is. Raises StoreError."""
        now = self.clock()
        if now < self._next:
            return 0
        due = await self.database.read_at_once(lambda tx: rounds.due(tx, ROUND))
        if due > now:
            self._next = min(due, now + LOOK_AGAIN)
            return 0
        self._next = now + PAUSE
        page = await self.database.write_at_once(lambda tx: rounds.take(tx, ROUND, now, LEASE))
        return await self._look_at(page) if page is not None else 0

    async def _look_at(self, page: Page) -> int:
        entries = await self.database.read_at_once(lambda tx: self.ledger.active_page(tx, page.place, self.page))
        ids = [subscriber_id for subscriber_id, _ in entries]
        warned = [one for _, one in entries if isinstance(one, Entry) and self._is_due(one, page)]
        place = ids[-1] if len(ids) == self.page else None
        due = self.clock() + PAUSE

        async def write(tx: Transaction) -> bool:
            if not await rounds.turn(tx, page, place, due):
                return False
            await self.ledger.absorb(tx, ids)
            for one in warned:
                subscriber = one.subscriber
                await queue.add_notice(tx, queue.KEY_EXPIRES, subscriber.id, subscriber.list_id, self.clock())
            return True

        return len(warned) if await self.database.write_at_once(write) else 0

    def _is_due(self, entry: Entry, page: Page) -> bool:
        try:
            return self._falls_due(entry, page)
        except Exception as error:  # noqa: BLE001 - one certificate must not stop the look at the others
            log.error("a key could not be looked at (%s)", type(error).__name__)
            return False

    def _falls_due(self, entry: Entry, page: Page) -> bool:
        certificate = entry.drawer.certificate
        if entry.subscriber.method is Method.OPENPGP and outlives(certificate, page.moment + warning.FIRST):
            return False
        ends = expiry(entry.subscriber.method, entry.drawer)
        return warning.is_due(ends, page.before, page.moment)
