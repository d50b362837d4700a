"""Copies that were seen in the organisers' own mailboxes: when and where, by digest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import select

from mailer.store.database import Transaction
from mailer.store.tables import seconds, sightings
from mailer.store.upsert import insert


class Place(StrEnum):
    """Where in a mailbox a copy was found; the folders' own names are nobody's business."""

    INBOX = "inbox"
    JUNK = "junk"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class Sighting:
    """One copy that arrived. seen: when it came, by the mailbox's own clock."""

    seen: datetime
    place: Place


async def note(tx: Transaction, digest_id: str, seed_id: bytes, sighting: Sighting) -> None:
    """Keep the first sighting of a copy: where organisers put it later says nothing about its arrival."""
    row = {"digest_id": digest_id, "seed_id": seed_id, "seen": seconds(sighting.seen), "place": sighting.place}
    await tx.execute(insert(tx, sightings).values(**row).on_conflict_do_nothing())


async def of_digest(tx: Transaction, digest_id: str) -> dict[bytes, Sighting]:
    """Return what was seen of a digest, by the seed's id."""
    rows = await tx.execute(select(sightings).where(sightings.c.digest_id == digest_id))
    return {row.seed_id: Sighting(datetime.fromtimestamp(row.seen, UTC), Place(row.place)) for row in rows}
