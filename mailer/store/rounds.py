"""Rounds through the whole register, page by page: one worker at a time, wherever it runs, and none twice.

A page's work and the step to the next are one commit, made only by whoever still has the page. So whoever dies leaves
nothing half done, and whoever was too slow does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import null, select, update

from mailer.store import upsert
from mailer.store.database import Transaction
from mailer.store.tables import rounds, seconds

EVERY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Page:
    """A page in a worker's hands. before, moment: of the last round and of this one, UTC. place: behind this id."""

    name: str
    before: datetime
    moment: datetime
    place: bytes


async def due(tx: Transaction, name: str) -> datetime:
    """Return when the next page is to be looked at; in the past where no round was ever made."""
    found = (await tx.execute(select(rounds.c.due).where(rounds.c.name == name))).scalar_one_or_none()
    return _moment(found or 0)


async def take(tx: Transaction, name: str, now: datetime, lease: timedelta) -> Page | None:
    """Return the page that is due, ours for so long; None where none is, or somebody has it."""
    row = (await tx.execute(select(rounds).where(rounds.c.name == name))).one_or_none()
    until = seconds(now + lease)
    if row is None:
        first = {"name": name, "before": 0, "moment": seconds(now), "place": b"", "due": until}
        made = await tx.execute(upsert.insert(tx, rounds).values(first).on_conflict_do_nothing())
        return Page(name, _moment(0), _moment(seconds(now)), b"") if made.rowcount else None
    if row.due > seconds(now):
        return None
    before, moment = row.before, row.moment
    if row.place is None:  # the round has ended: this is the next one
        before, moment = row.moment, max(row.moment, seconds(now))
    place = row.place or b""
    mine = update(rounds).where(rounds.c.name == name, rounds.c.due == row.due, rounds.c.moment == row.moment)
    taken = mine.values(before=before, moment=moment, place=place, due=until)
    return Page(name, _moment(before), _moment(moment), place) if (await tx.execute(taken)).rowcount else None


async def turn(tx: Transaction, page: Page, place: bytes | None, due_at: datetime) -> bool:
    """Go on behind `place`, None at the end of the round; return False where the page is not ours any more."""
    ours = (rounds.c.name == page.name) & (rounds.c.moment == seconds(page.moment)) & (rounds.c.place == page.place)
    at = max(due_at, page.moment + EVERY) if place is None else due_at
    changed = update(rounds).where(ours).values(place=null() if place is None else place, due=seconds(at))
    return bool((await tx.execute(changed)).rowcount)


def _moment(value: int) -> datetime:
    return datetime.fromtimestamp(value, UTC)
