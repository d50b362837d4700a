"""A digest's states: each turn is made once, by whoever is first, and only from the states that it fits."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from mailer.model.digest import DeliveryState, DigestState, DigestStatus, Form
from mailer.model.language import Language
from mailer.store import digests, queue, sightings
from mailer.store.digests import Plan, Version
from mailer.store.queue import Settlement
from mailer.store.sightings import Place, Sighting
from mailer.store.tables import deliveries, seconds
from tests.store.conftest import NOW, Register

HOUR = timedelta(hours=1)
NAMES = ("other-0", "other-1")
SIGNED = {Version(Language.EN): b"signed", Version(Language.EN, "abroad", Form.LIGHT): b"light"}
LATE = NOW + 48 * HOUR


async def draft(register: Register, digest_id: str = "d1") -> None:
    await register.do(lambda tx: digests.add(tx, digest_id, "news", {Language.EN: b"composed"}, NOW))


async def scheduled(register: Register, digest_id: str = "d1", begins: datetime = NOW) -> None:
    await draft(register, digest_id)
    assert await register.do(lambda tx: digests.schedule(tx, digest_id, Plan(begins, 0, begins + 48 * HOUR)))


async def begun(register: Register, count: int = 2, digest_id: str = "d1") -> None:
    for _ in range(count):
        await register.enter()
    await scheduled(register, digest_id)
    async with register.database.write() as tx:
        assert await digests.start(tx, digest_id, SIGNED, NOW)
        planned = await queue.plan(tx, digest_id, "news", NOW, 0, NAMES)
        await digests.set_planned(tx, digest_id, planned)


async def status(register: Register, digest_id: str = "d1") -> DigestStatus:
    async with register.database.read() as tx:
        found = await digests.status(tx, digest_id)
    assert found is not None
    return found


async def state(register: Register, digest_id: str = "d1") -> DigestState:
    return (await status(register, digest_id)).state


async def end_all(register: Register, how: DeliveryState, digest_id: str = "d1") -> None:
    async with register.database.write() as tx:
        claimed = await queue.claim(tx, "w", digest_id, NAMES, NOW, 600.0, 9)
        await queue.settle(tx, "w", [Settlement(one, how, relay="main") for one in claimed], NOW)
        await digests.finish_all(tx)


async def test_what_is_scheduled_is_due_at_its_time_and_not_before(register: Register) -> None:
    await scheduled(register, begins=NOW + HOUR)
    async with register.database.read() as tx:
        assert await digests.due(tx, NOW + HOUR - timedelta(seconds=1)) == []
        assert await digests.due(tx, NOW + HOUR) == [("d1", "news")]


async def test_a_digest_that_has_begun_keeps_every_version_that_was_signed(register: Register) -> None:
    await begun(register)
    async with register.database.read() as tx:
        assert await digests.load_signed(tx, "d1") == SIGNED
    found = await status(register)
    assert (found.state, found.planned, found.started) == (DigestState.SENDING, 2, NOW)


async def test_of_two_that_start_a_digest_one_wins(register: Register) -> None:
    await scheduled(register)

    async def start() -> bool:
        async with register.database.write() as tx:
            return await digests.start(tx, "d1", SIGNED, NOW)

    assert sorted(await asyncio.gather(start(), start())) == [False, True]


async def test_a_digest_to_nobody_is_sent_at_once(register: Register) -> None:
    await begun(register, 0)
    assert await state(register) is DigestState.SENT


async def test_what_has_begun_is_not_scheduled_again(register: Register) -> None:
    await begun(register)
    assert not await register.do(lambda tx: digests.schedule(tx, "d1", Plan(NOW, 0, LATE)))


async def test_what_is_late_is_held_and_goes_on_when_told(register: Register) -> None:
    await begun(register)
    assert await register.do(lambda tx: digests.on_their_way(tx, LATE - timedelta(seconds=1))) == ["d1"]
    assert await register.do(lambda tx: digests.on_their_way(tx, LATE)) == []
    assert await state(register) is DigestState.HELD
    assert await register.do(lambda tx: digests.resume(tx, "d1", LATE, LATE + HOUR))
    assert await register.do(lambda tx: digests.on_their_way(tx, LATE)) == ["d1"]


async def test_what_could_not_begin_in_time_is_held_and_begins_when_told(register: Register) -> None:
    await scheduled(register)
    await register.do(lambda tx: digests.hold_late(tx, LATE))
    assert await state(register) is DigestState.HELD
    async with register.database.read() as tx:
        assert await digests.due(tx, LATE) == []
    assert await register.do(lambda tx: digests.resume(tx, "d1", LATE, LATE + HOUR))
    found = await status(register)
    assert (found.state, found.begins, found.send_before) == (DigestState.SCHEDULED, LATE, LATE + HOUR)


async def test_a_pause_keeps_deliveries_and_a_resume_sends_them(register: Register) -> None:
    await begun(register)
    assert await register.do(lambda tx: digests.pause(tx, "d1"))
    assert await register.do(lambda tx: digests.on_their_way(tx, NOW)) == []
    assert not await register.do(lambda tx: digests.pause(tx, "d1"))
    assert await register.do(lambda tx: digests.resume(tx, "d1", NOW, LATE))
    assert (await status(register)).counts == {DeliveryState.DUE: 2}


@pytest.mark.parametrize("make", [draft, scheduled])
async def test_what_has_not_begun_can_neither_be_paused_nor_resumed(register: Register, make: object) -> None:
    assert callable(make)
    await make(register)
    assert not await register.do(lambda tx: digests.pause(tx, "d1"))
    assert not await register.do(lambda tx: digests.resume(tx, "d1", NOW, LATE))


async def test_cancelling_what_is_scheduled_or_held_unbegun_gives_a_draft(register: Register) -> None:
    for digest_id in ("d1", "d2"):
        await scheduled(register, digest_id)
    assert await register.do(lambda tx: digests.cancel(tx, "d1")) == 0
    await register.do(lambda tx: digests.hold_late(tx, LATE))
    assert await register.do(lambda tx: digests.cancel(tx, "d2")) == 0
    for digest_id in ("d1", "d2"):
        found = await status(register, digest_id)
        assert (found.state, found.begins, found.send_before) == (DigestState.DRAFT, None, None)


async def test_cancelling_ends_what_waits_and_what_workers_give_back_later(register: Register) -> None:
    await begun(register, 3)
    async with register.database.write() as tx:
        assert len(await queue.claim(tx, "w", "d1", NAMES, NOW, 600.0, 1)) == 1
    assert await register.do(lambda tx: digests.cancel(tx, "d1")) == 2
    await register.do(lambda tx: queue.release(tx, "w", NOW))
    assert (await status(register)).counts == {DeliveryState.DUE: 1}
    await register.do(digests.finish_all)
    found = await status(register)
    assert (found.state, found.counts) == (DigestState.CANCELLED, {})
    assert await register.do(lambda tx: digests.cancel(tx, "d1")) is None


async def test_what_was_set_aside_is_tried_again_though_the_digest_was_sent(register: Register) -> None:
    await begun(register, 2)
    await end_all(register, DeliveryState.ASIDE)
    assert await state(register) is DigestState.SENT
    async with register.database.read() as tx:
        assert len(await queue.set_aside(tx, "d1", 1)) == 1
        assert len(await queue.set_aside(tx, "d1", 9)) == 2
    assert await register.do(lambda tx: digests.retry(tx, "d1", NOW, LATE)) == 2
    found = await status(register)
    assert (found.state, found.counts) == (DigestState.SENDING, {DeliveryState.DUE: 2})
    assert await register.do(lambda tx: digests.retry(tx, "d1", NOW, LATE)) == 0


async def test_of_a_cancelled_digest_nothing_is_tried_again(register: Register) -> None:
    await begun(register, 1)
    async with register.database.write() as tx:
        [claimed] = await queue.claim(tx, "w", "d1", NAMES, NOW, 600.0, 9)
        await queue.settle(tx, "w", [Settlement(claimed, DeliveryState.ASIDE)], NOW)
    await register.do(lambda tx: digests.cancel(tx, "d1"))
    assert await register.do(lambda tx: digests.retry(tx, "d1", NOW, LATE)) is None
    assert (await status(register)).counts == {DeliveryState.ASIDE: 1}


async def test_what_is_left_can_be_spread_anew(register: Register) -> None:
    await begun(register, 20)
    await register.do(lambda tx: queue.spread(tx, "d1", LATE, 7200))
    async with register.database.read() as tx:
        due = (await tx.execute(select(deliveries.c.due))).scalars().all()
    assert len(set(due)) > 10 and all(seconds(LATE) <= one < seconds(LATE + 2 * HOUR) for one in due)


async def test_of_a_copy_the_first_sighting_is_kept(register: Register) -> None:
    seen = Sighting(NOW, Place.JUNK)
    await register.do(lambda tx: sightings.note(tx, "d1", b"seed", seen))
    await register.do(lambda tx: sightings.note(tx, "d1", b"seed", Sighting(LATE, Place.INBOX)))
    await register.do(lambda tx: sightings.note(tx, "d2", b"seed", Sighting(LATE, Place.INBOX)))
    async with register.database.read() as tx:
        assert await sightings.of_digest(tx, "d1") == {b"seed": seen}
