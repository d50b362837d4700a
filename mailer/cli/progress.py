"""A bar for whoever watches a digest leave."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mailer.model import rate, times
from mailer.model.digest import DeliveryState, DigestState, DigestStatus
from mailer.store import digests
from mailer.store.database import Database

LOOK_EVERY_S = 0.5
LOOK_SHARE = 20  # to count a million rows takes a while: the database has so many times as long for other things
_TROUBLES = (DeliveryState.FAILED, DeliveryState.UNUSABLE_KEY, DeliveryState.ASIDE)


async def watch(database: Database, digest_id: str) -> None:
    """Show how many deliveries have ended until all have, or until interrupted; the digest goes on either way."""
    columns = (TextColumn("Delivering"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    window = rate.Window()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None)
        while True:
            began_s = time.monotonic()
            async with database.read() as tx:
                status = await digests.status(tx, digest_id)
            if status is None:
                return
            looked_s = time.monotonic()
            per_s = window.look(looked_s, rate.ended(status))
            words = describe(status, per_s, datetime.now(UTC))
            progress.update(task, total=status.planned, completed=rate.ended(status), description=words)
            if status.state is not DigestState.SENDING:
                return
            await asyncio.sleep(max(LOOK_EVERY_S, LOOK_SHARE * (looked_s - began_s)))


def describe(status: DigestStatus, per_s: float | None, now: datetime) -> str:
    """Return rate, time left and what went wrong, for the end of the bar. per_s: over the last half minute."""
    if status.state is not DigestState.SENDING:
        return str(status.state)
    left = rate.time_left(status, per_s, now)
    troubles = [f"{number} {state}" for state in _TROUBLES if (number := status.counts.get(state, 0))]
    parts = [rate.in_words(per_s) if per_s else "", f"{times.in_words(left)} left" if left else "", *troubles]
    return ", ".join(filter(None, parts))
