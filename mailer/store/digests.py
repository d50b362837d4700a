"""Digests and their editions, sealed at rest under the service secrets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mailer.model.digest import DigestState, DigestStatus
from mailer.model.language import Language
from mailer.store import queue
from mailer.store.tables import digests, editions, seconds


@dataclass(frozen=True, slots=True)
class StoredEdition:
    """An edition as stored: sealed as composed and, once the digest was sent, sealed as signed."""

    language: Language
    sealed: bytes
    signed: bytes | None


async def add(tx: AsyncConnection, digest_id: str, list_id: str, sealed: dict[Language, bytes], now: datetime) -> None:
    """Store a new digest as a draft, each edition sealed."""
    row = {"id": digest_id, "list_id": list_id, "state": DigestState.DRAFT, "created": seconds(now)}
    await tx.execute(insert(digests).values(**row))
    for language, blob in sealed.items():
        await tx.execute(insert(editions).values(digest_id=digest_id, language=language, sealed=blob))


async def start(
    tx: AsyncConnection, digest_id: str, signed: dict[Language, bytes], planned: int, now: datetime
) -> bool:
    """Turn a draft into a digest on its way. Return False, changing nothing, if it was started already."""
    draft = update(digests).where(digests.c.id == digest_id, digests.c.state == DigestState.DRAFT)
    state = DigestState.SENDING if planned else DigestState.SENT
    started = await tx.execute(draft.values(state=state, started=seconds(now), planned=planned))
    if started.rowcount != 1:
        return False
    for language, blob in signed.items():
        one = (editions.c.digest_id == digest_id) & (editions.c.language == language)
        await tx.execute(update(editions).where(one).values(signed=blob))
    return True


async def load_editions(tx: AsyncConnection, digest_id: str) -> dict[Language, StoredEdition]:
    """Return a digest's editions by language; empty if there is no such digest."""
    rows = await tx.execute(select(editions).where(editions.c.digest_id == digest_id))
    return {Language(row.language): StoredEdition(Language(row.language), row.sealed, row.signed) for row in rows}


async def finish_all(tx: AsyncConnection) -> int:
    """Mark as sent every digest of which no delivery waits any more; return how many. Scans what still waits."""
    done = update(digests).where(digests.c.state == DigestState.SENDING, digests.c.id.not_in(queue.open_jobs()))
    return (await tx.execute(done.values(state=DigestState.SENT))).rowcount


async def remove(tx: AsyncConnection, digest_id: str) -> None:
    """Erase a digest that was never sent."""
    draft = delete(digests).where(digests.c.id == digest_id, digests.c.state == DigestState.DRAFT)
    if (await tx.execute(draft)).rowcount == 1:
        await tx.execute(delete(editions).where(editions.c.digest_id == digest_id))


async def status(tx: AsyncConnection, digest_id: str) -> DigestStatus | None:
    """Return a digest's counts, or None if there is no such digest."""
    row = (await tx.execute(select(digests).where(digests.c.id == digest_id))).one_or_none()
    if row is None:
        return None
    languages = tuple(sorted(await load_editions(tx, digest_id)))
    return DigestStatus(
        id=row.id,
        list_id=row.list_id,
        state=DigestState(row.state),
        created=datetime.fromtimestamp(row.created, UTC),
        languages=languages,
        planned=row.planned,
        counts=await queue.counts(tx, digest_id),
    )


async def ids(tx: AsyncConnection) -> list[str]:
    """Return the ids of all digests, newest first."""
    newest_first = select(digests.c.id).order_by(digests.c.created.desc(), digests.c.id)
    return list((await tx.execute(newest_first)).scalars())
