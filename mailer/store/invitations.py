"""Invitation cards that wait to be used. Only the code on a card opens its row; a used one leaves nothing behind."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mailer.crypto import tokens, vault
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.model.card import Batch, Card
from mailer.model.language import Language
from mailer.store.tables import invitations, seconds

__all__ = ["Batch", "Invitation", "add", "erase_all", "find", "is_alive", "list_batches", "purge", "use", "withdraw"]

_FIELD = "invitation"


@dataclass(frozen=True, slots=True)
class Invitation:
    """A card to be stored. code and words stand on the card and nowhere else."""

    batch: str
    number: int
    code: str
    words: str
    language: Language

    def __repr__(self) -> str:
        return "Invitation(…)"


async def add(
    tx: AsyncConnection,
    secrets: ServiceSecrets,
    list_id: str,
    new: Sequence[Invitation],
    made: date,
    expires: datetime,
) -> None:
    """Keep cards: each passphrase sealed under a key for which the code and the service secrets are needed."""
    rows = [
        {
            "mark": _mark(secrets, list_id, one.code),
            "list_id": list_id,
            "batch": one.batch,
            "number": one.number,
            "language": one.language,
            "sealed": vault.seal_under_token(secrets.rest_key, one.code, one.words.ljust(32).encode(), list_id, _FIELD),
            "made": made,
            "expires": seconds(expires),
        }
        for one in new
    ]
    await tx.execute(insert(invitations), rows)


async def find(tx: AsyncConnection, secrets: ServiceSecrets, list_id: str, code: str, now: datetime) -> Card | None:
    """Return the card that a code stands on; None where it has run out, was used or withdrawn. Raises SealBroken."""
    mark = _mark(secrets, list_id, code)
    alive = (invitations.c.mark == mark) & (invitations.c.list_id == list_id) & (invitations.c.expires > seconds(now))
    row = (await tx.execute(select(invitations).where(alive))).one_or_none()
    if row is None:
        return None
    words = vault.open_under_token(secrets.rest_key, code, row.sealed, list_id, _FIELD)
    return Card(mark, words.decode("ascii").rstrip(), Language(row.language))


async def is_alive(tx: AsyncConnection, mark: bytes, now: datetime) -> bool:
    """Return whether a card can still be used."""
    alive = (invitations.c.mark == mark) & (invitations.c.expires > seconds(now))
    return (await tx.execute(select(invitations.c.mark).where(alive))).first() is not None


async def use(tx: AsyncConnection, mark: bytes) -> bool:
    """Erase a card that admitted somebody. Return False if it is not there any more: a code works once."""
    return (await tx.execute(delete(invitations).where(invitations.c.mark == mark))).rowcount == 1


async def list_batches(tx: AsyncConnection, list_id: str) -> list[Batch]:
    """Return what is left of each batch, the newest first, and those whose time is over until they are erased."""
    found = select(invitations).where(invitations.c.list_id == list_id).order_by(invitations.c.number)
    batches: dict[str, Batch] = {}
    for row in await tx.execute(found):
        earlier = batches[row.batch].numbers if row.batch in batches else ()
        expires = datetime.fromtimestamp(row.expires, UTC)
        batches[row.batch] = Batch(row.batch, Language(row.language), row.made, expires, (*earlier, row.number))
    return sorted(batches.values(), key=lambda batch: (batch.made, batch.name), reverse=True)


async def withdraw(tx: AsyncConnection, list_id: str, batch: str, numbers: Collection[int] = ()) -> int:
    """Erase cards of a batch that were not used, all of them or those with these numbers; return how many."""
    which = (invitations.c.list_id == list_id) & (invitations.c.batch == batch)
    if numbers:
        which &= invitations.c.number.in_(numbers)
    return (await tx.execute(delete(invitations).where(which))).rowcount


async def erase_all(tx: AsyncConnection) -> int:
    """Erase the cards of every list; return how many: those of a backup may have been used or withdrawn since."""
    return (await tx.execute(delete(invitations))).rowcount


async def purge(tx: AsyncConnection, now: datetime) -> None:
    """Erase cards whose time is over."""
    await tx.execute(delete(invitations).where(invitations.c.expires <= seconds(now)))


def _mark(secrets: ServiceSecrets, list_id: str, code: str) -> bytes:
    return tokens.mark(secrets.token_key, tokens.Purpose.INVITATION, list_id, code)
