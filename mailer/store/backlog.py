"""How much waits in each queue, at a price that does not grow with the number of subscribers."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from mailer.model.digest import DeliveryState, DigestState
from mailer.store import inbox, outbox, queue
from mailer.store.database import Transaction
from mailer.store.tables import deliveries, digests, tallies

_OPEN = (DeliveryState.DUE, DeliveryState.LEASED)
_UNDER_WAY = (DigestState.SENDING, DigestState.PAUSED, DigestState.HELD)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Letters to read, letters set aside, replies, digest deliveries (paused and held ones too) and notices."""

    inbox: int
    aside: int
    outbox: int
    deliveries: int
    notices: int


async def count(tx: Transaction) -> Backlog:
    """Return what waits. Deliveries of a digest are worked out from what was planned and what has ended.

    So those of subscribers who left in between are counted until the digest has ended.
    """
    letters = await inbox.count(tx)
    waiting = letters.pop("waiting", 0)
    return Backlog(waiting, sum(letters.values()), await outbox.count(tx), await _deliveries(tx), await _notices(tx))


async def _deliveries(tx: Transaction) -> int:
    under_way = select(digests.c.id).where(digests.c.state.in_(_UNDER_WAY))
    planned = select(func.sum(digests.c.planned)).where(digests.c.state.in_(_UNDER_WAY))
    ended = select(func.sum(tallies.c.number)).where(tallies.c.job.in_(under_way))
    aside = select(func.count()).where(deliveries.c.job.in_(under_way), deliveries.c.state == DeliveryState.ASIDE)
    figures = [int((await tx.execute(one)).scalar() or 0) for one in (planned, ended, aside)]
    return max(0, figures[0] - figures[1] - figures[2])


async def _notices(tx: Transaction) -> int:
    jobs = await queue.notice_jobs(tx)
    waiting = select(func.count()).where(deliveries.c.job.in_(jobs), deliveries.c.state.in_(_OPEN))
    return int((await tx.execute(waiting)).scalar_one())
