"""All that lies here about one person, so that whoever asks is told the whole of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mailer.model.command import Verb
from mailer.store.queue import NOTICE_PREFIX
from mailer.store.roster import Found, Person, find
from mailer.store.tables import deliveries, requests, subscribers, suppressions


@dataclass(frozen=True, slots=True)
class Holdings:
    """What is held. found: as a subscriber. mark: LEFT or BANNED, and since when. requests: wait for a confirmation.

    notices: kinds, queued or sent. digests: how many deliveries are on record, by state.
    """

    found: Found | None
    bounce_score: int
    mark: tuple[str, date] | None
    requests: tuple[Verb, ...]
    notices: tuple[str, ...]
    digests: dict[str, int]

    def __bool__(self) -> bool:
        return self.found is not None or self.mark is not None or bool(self.requests)

    def __repr__(self) -> str:
        return "Holdings(…)"


async def holdings(tx: AsyncConnection, person: Person) -> Holdings:
    """Return what is held on a person, which is false for nothing. Raises SealBroken for a row tampered with.

    Left out are the counters of the day's letters: nobody can tell whose they are, and they run out.
    """
    found = await find(tx, person)
    marked = (suppressions.c.list_id == person.list_id) & (suppressions.c.mark == person.suppression)
    mark = (await tx.execute(select(suppressions.c.kind, suppressions.c.day).where(marked))).one_or_none()
    waiting = select(requests.c.verb).where(requests.c.look_up == person.index.look_up).order_by(requests.c.verb)
    verbs = (await tx.execute(waiting)).scalars().all()
    score, notices, digests = await _of_subscriber(tx, found.subscriber.id) if found else (0, [], {})
    where = (mark.kind, mark.day) if mark else None
    return Holdings(found, score, where, tuple(Verb(verb) for verb in verbs), tuple(notices), digests)


async def _of_subscriber(tx: AsyncConnection, subscriber_id: bytes) -> tuple[int, list[str], dict[str, int]]:
    own = select(subscribers.c.bounce_score).where(subscribers.c.id == subscriber_id)
    score = (await tx.execute(own)).scalar_one()
    of_them = deliveries.c.subscriber_id == subscriber_id
    is_notice = deliveries.c.job.startswith(NOTICE_PREFIX)
    jobs = (await tx.execute(select(deliveries.c.job).where(of_them, is_notice).order_by(deliveries.c.job))).scalars()
    notices = [job.removeprefix(NOTICE_PREFIX) for job in jobs]
    counts = select(deliveries.c.state, func.count()).where(of_them, ~is_notice).group_by(deliveries.c.state)
    return score, notices, {row[0]: row[1] for row in await tx.execute(counts)}
