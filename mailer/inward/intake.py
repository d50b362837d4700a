"""What is between the door and the inbox: each letter is sealed and committed before the door says 250."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mailer import metrics
from mailer.crypto.transit import TransitPublic
from mailer.errors import StoreFull
from mailer.model.letter import Envelope
from mailer.store import inbox
from mailer.store.database import Database

ROW_ID_BYTES = 12


@dataclass
class Intake:
    """Stores letters without any secret: a locked service accepts mail all the same (DESIGN §5).

    folder: on the disk whose free space is looked at. arrived: set when a letter came in.
    """

    database: Database
    transit: TransitPublic
    folder: Path
    min_free_bytes: int = 0
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    random: Callable[[int], bytes] = os.urandom
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def accept(self, envelopes: list[Envelope], content: bytes) -> None:
        """Store a letter once for each recipient, in one commit. Raises StoreFull, StoreError; nothing is kept then."""
        if shutil.disk_usage(self.folder).free < self.min_free_bytes + len(content) * len(envelopes):
            raise StoreFull
        rows = [(self.random(ROW_ID_BYTES), envelope) for envelope in envelopes]

        def seal() -> list[tuple[bytes, bytes]]:
            return [(row_id, self.transit.seal(envelope, content, row_id)) for row_id, envelope in rows]

        sealed = await asyncio.to_thread(seal)  # one recipient each: together they may be hundreds of megabytes
        async with self.database.write() as tx:
            for row_id, blob in sealed:
                await inbox.add(tx, row_id, blob, self.clock())
        metrics.count_accepted(len(envelopes))
        self.arrived.set()
