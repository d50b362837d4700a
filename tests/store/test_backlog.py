"""How much waits: what the cheap figures say is what the rows say."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, update

from mailer.model.digest import DeliveryState, DigestState
from mailer.store import backlog, inbox, outbox, queue
from mailer.store.backlog import Backlog
from mailer.store.queue import Settlement
from mailer.store.tables import digests
from tests.store.conftest import NOW, Register
from tests.store.test_queue import claim, plan, settle


async def count(register: Register) -> Backlog:
    async with register.database.read() as tx:
        return await backlog.count(tx)


async def send(register: Register, number: int) -> None:
    """Have a digest on its way to so many."""
    await plan(register, number)
    row = {"id": "d1", "list_id": "news", "state": DigestState.SENDING, "created": 0, "over_s": 0, "planned": number}
    await register.do(lambda tx: tx.execute(insert(digests).values(row)))


async def turn(register: Register, state: DigestState) -> None:
    await register.do(lambda tx: tx.execute(update(digests).values(state=state)))


async def test_where_nothing_waits_all_figures_are_nought(register: Register) -> None:
    assert await count(register) == Backlog(0, 0, 0, 0, 0)


async def test_letters_that_wait_and_those_set_aside_are_told_apart(register: Register) -> None:
    for one in (b"a", b"b", b"c"):
        await register.do(lambda tx, one=one: inbox.add(tx, one, b"sealed", NOW))
    await register.do(lambda tx: inbox.set_aside(tx, b"a", "malformed"))
    await register.do(lambda tx: outbox.add(tx, b"d", b"sealed", NOW))
    assert await count(register) == Backlog(inbox=2, aside=1, outbox=1, deliveries=0, notices=0)


@pytest.mark.parametrize(
    ("state", "left"),
    [
        (DeliveryState.SENT, 4),
        (DeliveryState.FAILED, 4),
        (DeliveryState.SKIPPED, 4),
        (DeliveryState.ASIDE, 4),
        (DeliveryState.DUE, 5),
    ],
)
async def test_a_delivery_waits_until_it_has_come_to_an_end(
    register: Register, state: DeliveryState, left: int
) -> None:
    await send(register, 5)
    assert (await count(register)).deliveries == 5
    [one] = await claim(register, limit=1)
    assert (await count(register)).deliveries == 5
    await settle(register, Settlement(one, state, NOW if state is DeliveryState.DUE else None))
    assert (await count(register)).deliveries == left


@pytest.mark.parametrize(
    ("state", "waiting"), [(DigestState.PAUSED, 3), (DigestState.HELD, 3), (DigestState.CANCELLED, 0)]
)
async def test_what_is_held_up_waits_and_what_is_ended_does_not(
    register: Register, state: DigestState, waiting: int
) -> None:
    await send(register, 3)
    await turn(register, state)
    assert (await count(register)).deliveries == waiting


async def test_a_notice_waits_until_it_is_sent(register: Register) -> None:
    _, new = await register.enter()
    await register.do(lambda tx: queue.add_notice(tx, "key-needed", new.subscriber_id, "news", NOW))
    assert (await count(register)).notices == 1
    [one] = await claim(register)
    await settle(register, Settlement(one, DeliveryState.SENT))
    assert (await count(register)).notices == 0
