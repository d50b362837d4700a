"""A bar for whoever watches a digest leave."""

from __future__ import annotations

import asyncio

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mailer.model.digest import DeliveryState, DigestState
from mailer.store import digests
from mailer.store.database import Database

LOOK_EVERY_S = 0.5


async def watch(database: Database, digest_id: str) -> None:
    """Show how many deliveries are settled until all are, or until interrupted; the digest goes on either way."""
    columns = (TextColumn("Delivering"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None)
        while True:
            async with database.read() as tx:
                status = await digests.status(tx, digest_id)
            if status is None:
                return
            waiting = sum(status.counts.get(state, 0) for state in (DeliveryState.DUE, DeliveryState.LEASED))
            progress.update(task, total=status.planned, completed=status.planned - waiting)
            if not waiting or status.state is DigestState.SENT:
                return
            await asyncio.sleep(LOOK_EVERY_S)
