"""What is between the door and the inbox: each letter is sealed and committed before the door says 250."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mailer import metrics
from mailer.crypto.transit import TransitPublic
from mailer.errors import StoreBusy, StoreFull
from mailer.model.letter import Envelope
from mailer.store import inbox
from mailer.store.database import Database

ROW_ID_BYTES = 12
AT_ONCE_BYTES = 128 * 1024 * 1024  # of letters in memory; a dozen of the largest that config.toml ships with
WRITTEN = 2  # times: into the database's journal, and from there into its file


@dataclass
class Intake:
    """Stores letters without any secret: a locked service accepts mail all the same (DESIGN §5).

    folder: on the disk whose free space is looked at. at_once_bytes: while so much is being stored, over all
    connections, no further letter is taken. arrived: set when a letter came in.
    """

    database: Database
    transit: TransitPublic
    folder: Path
    min_free_bytes: int = 0
    at_once_bytes: int = AT_ONCE_BYTES
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    random: Callable[[int], bytes] = os.urandom
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _being_stored_bytes: int = 0

    async def accept(self, envelopes: list[Envelope], content: bytes) -> None:
        """Store a letter once for each recipient, in one commit.

        Raises StoreFull, StoreBusy, StoreError; nothing is kept then.
        """
        with self._room_for(len(content) * len(envelopes)):
            await self._store(envelopes, content)
        metrics.count_accepted(len(envelopes))
        self.arrived.set()

    @contextmanager
    def _room_for(self, size: int) -> Iterator[None]:
        """Hold so many bytes of what may be stored at once; one letter may go beyond it, whatever its size."""
        if self._being_stored_bytes >= self.at_once_bytes:
            raise StoreBusy
        needed = WRITTEN * (self._being_stored_bytes + size)  # nobody knows how much of it the disk has already
        if shutil.disk_usage(self.folder).free < self.min_free_bytes + needed:
            raise StoreFull
        self._being_stored_bytes += size
        try:
            yield
        finally:
            self._being_stored_bytes -= size

    async def _store(self, envelopes: list[Envelope], content: bytes) -> None:
        """Seal and write one copy after the other: together they may be hundreds of megabytes."""
        rows = [(self.random(ROW_ID_BYTES), envelope) for envelope in envelopes]
        blob = await self._seal(*rows[0], content)  # before the transaction: nobody need wait for the usual one
        async with self.database.write() as tx:
            await inbox.add(tx, rows[0][0], blob, self.clock())
            for row_id, envelope in rows[1:]:
                blob = await self._seal(row_id, envelope, content)
                await inbox.add(tx, row_id, blob, self.clock())

    async def _seal(self, row_id: bytes, envelope: Envelope, content: bytes) -> bytes:
        return await asyncio.to_thread(self.transit.seal, envelope, content, row_id)
