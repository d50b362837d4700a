"""Digests and their editions, sealed at rest under the service secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, insert, null, select, update

from mailer.model.digest import DeliveryState, DigestState, DigestStatus, Form
from mailer.model.language import Language
from mailer.store import queue, upsert
from mailer.store.database import Transaction
from mailer.store.tables import deliveries, digests, editions, seconds, signed_editions

_BEGUN = (DigestState.SENDING, DigestState.PAUSED, DigestState.HELD)
_MAY_GO_ON = (*_BEGUN, DigestState.SENT)


@dataclass(frozen=True, slots=True)
class Version:
    """Which of a digest's signed editions: language, identity ("" for the list's own) and form."""

    language: Language
    identity: str = ""
    form: Form = Form.FULL


@dataclass(frozen=True, slots=True)
class Plan:
    """When a digest leaves: from `begins` on, spread over so many seconds, and nothing after `send_before`."""

    begins: datetime
    over_s: int
    send_before: datetime


# --- Drafts ---------------------------------------------------------------------------------------------------------


async def add(
    tx: Transaction,
    digest_id: str,
    list_id: str,
    sealed: Mapping[Language, bytes],
    now: datetime,
    corrects: str | None = None,
) -> None:
    """Store a new digest as a draft, each edition sealed. corrects: the id of the digest that it puts right."""
    row = {
        "id": digest_id,
        "list_id": list_id,
        "state": DigestState.DRAFT,
        "created": seconds(now),
        "corrects": corrects,
    }
    await tx.execute(insert(digests).values(**row))
    for language, blob in sealed.items():
        await tx.execute(insert(editions).values(digest_id=digest_id, language=language, sealed=blob))


async def load_editions(tx: Transaction, digest_id: str) -> dict[Language, bytes]:
    """Return a digest's editions as composed, sealed, by language; empty if there is no such digest."""
    rows = await tx.execute(select(editions).where(editions.c.digest_id == digest_id))
    return {Language(row.language): row.sealed for row in rows}


async def load_signed(tx: Transaction, digest_id: str) -> dict[Version, bytes]:
    """Return a digest's editions as signed, sealed; empty until it begins."""
    rows = await tx.execute(select(signed_editions).where(signed_editions.c.digest_id == digest_id))
    return {Version(Language(row.language), row.identity, Form(row.form)): row.sealed for row in rows}


# --- On its way -----------------------------------------------------------------------------------------------------


async def schedule(tx: Transaction, digest_id: str, plan: Plan) -> bool:
    """Have a draft, or one scheduled already, sent at its time. Return False, changing nothing, for any other."""
    values = {
        "state": DigestState.SCHEDULED,
        "begins": seconds(plan.begins),
        "over_s": plan.over_s,
        "send_before": seconds(plan.send_before),
    }
    return await _turn(tx, digest_id, (DigestState.DRAFT, DigestState.SCHEDULED), values)


async def due(tx: Transaction, now: datetime) -> list[tuple[str, str]]:
    """Return the scheduled digests whose time has come, as (id, list id)."""
    ready = (digests.c.state == DigestState.SCHEDULED) & (digests.c.begins <= seconds(now))
    rows = await tx.execute(select(digests.c.id, digests.c.list_id).where(ready).order_by(digests.c.begins))
    return [(row.id, row.list_id) for row in rows]


async def start(tx: Transaction, digest_id: str, signed: Mapping[Version, bytes], now: datetime) -> bool:
    """Turn a scheduled digest into one on its way. Return False, changing nothing, if another process was quicker.

    The row is locked until the commit: whoever gets True plans the deliveries, and says with set_planned how many.
    """
    if not await _turn(
        tx, digest_id, (DigestState.SCHEDULED,), {"state": DigestState.SENDING, "started": seconds(now)}
    ):
        return False
    for version, blob in signed.items():
        which = {"language": version.language, "identity": version.identity, "form": version.form}
        await tx.execute(insert(signed_editions).values(digest_id=digest_id, sealed=blob, **which))
    return True


async def keep_signed(tx: Transaction, digest_id: str, version: Version, sealed: bytes) -> None:
    """Store an edition in a form that was made since its digest began; what another process kept before stays."""
    which = {"language": version.language, "identity": version.identity, "form": version.form}
    row = upsert.insert(tx, signed_editions).values(digest_id=digest_id, sealed=sealed, **which)
    await tx.execute(row.on_conflict_do_nothing())


async def set_planned(tx: Transaction, digest_id: str, planned: int) -> None:
    """Write down how many deliveries a digest has that has just been started; without any it is sent already."""
    values = {"planned": planned} if planned else {"state": DigestState.SENT}
    await tx.execute(update(digests).where(digests.c.id == digest_id).values(**values))


async def hold_late(tx: Transaction, now: datetime) -> None:
    """Hold what was scheduled and has not begun in time, because no worker was running."""
    late = update(digests).where(digests.c.state == DigestState.SCHEDULED, digests.c.send_before <= seconds(now))
    await tx.execute(late.values(state=DigestState.HELD))


async def hold_all(tx: Transaction) -> int:
    """Hold every digest that is on its way or scheduled, and give back all leases; return how many digests."""
    leased = update(deliveries).where(deliveries.c.state == DeliveryState.LEASED)
    await tx.execute(leased.values(state=DeliveryState.DUE, lease_by=null()))
    on_their_way = digests.c.state.in_((DigestState.SENDING, DigestState.SCHEDULED))
    return (await tx.execute(update(digests).where(on_their_way).values(state=DigestState.HELD))).rowcount


async def on_their_way(tx: Transaction, now: datetime) -> list[str]:
    """Return the digests that may be delivered now, the oldest first; those that are too late are held from here on."""
    late = update(digests).where(digests.c.state == DigestState.SENDING, digests.c.send_before <= seconds(now))
    await tx.execute(late.values(state=DigestState.HELD))
    sending = select(digests.c.id).where(digests.c.state == DigestState.SENDING)
    return list((await tx.execute(sending.order_by(digests.c.started, digests.c.id))).scalars())


async def finish_all(tx: Transaction) -> int:
    """Mark as sent every digest of which no delivery waits any more; return how many.

    Of a cancelled one, erase what workers have given back since.
    """
    cancelled = select(digests.c.id).where(digests.c.state == DigestState.CANCELLED)
    given_back = (deliveries.c.state == DeliveryState.DUE) & deliveries.c.job.in_(cancelled)
    await tx.execute(delete(deliveries).where(given_back))
    waits = (DeliveryState.DUE, DeliveryState.LEASED)
    is_open = exists().where(deliveries.c.job == digests.c.id, deliveries.c.state.in_(waits))
    done = update(digests).where(digests.c.state == DigestState.SENDING, ~is_open)
    return (await tx.execute(done.values(state=DigestState.SENT))).rowcount


async def pause(tx: Transaction, digest_id: str) -> bool:
    """Let nothing more of a digest leave for now. Return False, changing nothing, if it is not being sent."""
    return await _turn(tx, digest_id, (DigestState.SENDING,), {"state": DigestState.PAUSED})


async def resume(tx: Transaction, digest_id: str, now: datetime, send_before: datetime) -> bool:
    """Go on with a digest that was paused or held, until `send_before`. Return False if it is neither.

    One that was held before it began is scheduled for now: a worker signs it and begins.
    """
    until = {"send_before": seconds(send_before)}
    anew = until | {"state": DigestState.SCHEDULED, "begins": seconds(now)}
    if await _turn(tx, digest_id, (DigestState.HELD,), anew, digests.c.started.is_(None)):
        return True
    return await _turn(tx, digest_id, (DigestState.PAUSED, DigestState.HELD), until | {"state": DigestState.SENDING})


async def cancel(tx: Transaction, digest_id: str) -> int | None:
    """End a digest: what has not begun to leave never will. Return how many deliveries that were, or None.

    One that has not begun at all is a draft again.
    """
    draft = {"state": DigestState.DRAFT, "begins": None, "send_before": None, "over_s": 0}
    if await _turn(tx, digest_id, (DigestState.SCHEDULED, DigestState.HELD), draft, digests.c.started.is_(None)):
        return 0
    if not await _turn(tx, digest_id, _BEGUN, {"state": DigestState.CANCELLED}):
        return None
    return await queue.drop_open(tx, digest_id)


async def retry(tx: Transaction, digest_id: str, now: datetime, send_before: datetime) -> int | None:
    """Have deliveries that were set aside tried again; return how many, or None if the digest does not go on."""
    state = (await tx.execute(select(digests.c.state).where(digests.c.id == digest_id))).scalar_one_or_none()
    if state not in _MAY_GO_ON:
        return None
    number = await queue.retry_aside(tx, digest_id, now)
    if number:
        again = {"state": DigestState.SENDING, "send_before": seconds(send_before)}
        await _turn(tx, digest_id, (DigestState.SENT,), again)
    return number


# --- For the organiser ----------------------------------------------------------------------------------------------


async def status(tx: Transaction, digest_id: str) -> DigestStatus | None:
    """Return a digest's counts, or None if there is no such digest."""
    row = (await tx.execute(select(digests).where(digests.c.id == digest_id))).one_or_none()
    if row is None:
        return None
    return DigestStatus(
        id=row.id,
        list_id=row.list_id,
        state=DigestState(row.state),
        created=datetime.fromtimestamp(row.created, UTC),
        languages=tuple(sorted(await load_editions(tx, digest_id))),
        planned=row.planned,
        counts=await queue.counts(tx, digest_id),
        tallies=await queue.ends(tx, digest_id),
        corrects=row.corrects,
        begins=_moment(row.begins),
        over_s=row.over_s,
        send_before=_moment(row.send_before),
        started=_moment(row.started),
    )


async def ids(tx: Transaction) -> list[str]:
    """Return the ids of all digests, newest first."""
    newest_first = select(digests.c.id).order_by(digests.c.created.desc(), digests.c.id)
    return list((await tx.execute(newest_first)).scalars())


async def _turn(
    tx: Transaction, digest_id: str, which: tuple[DigestState, ...], values: dict[str, Any], *more: ColumnElement[bool]
) -> bool:
    one = update(digests).where(digests.c.id == digest_id, digests.c.state.in_(which), *more)
    return (await tx.execute(one.values(**values))).rowcount == 1


def _moment(value: int | None) -> datetime | None:
    return None if value is None else datetime.fromtimestamp(value, UTC)
