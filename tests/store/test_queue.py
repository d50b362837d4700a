"""Deliveries: planned at once, leased to one worker, settled by whoever holds the lease, given back by the dead."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import event, select

from mailer.model.digest import DeliveryState, DigestState
from mailer.model.language import Language
from mailer.model.subscriber import State
from mailer.store import digests, queue
from mailer.store.queue import Claimed, Settlement
from mailer.store.tables import deliveries
from tests.store.conftest import NOW, Register, somebody

LEASE_S = 600.0
DUE, LEASED, SENT = DeliveryState.DUE, DeliveryState.LEASED, DeliveryState.SENT


def later(**how_long: float) -> datetime:
    return NOW + timedelta(**how_long)


async def plan(register: Register, count: int = 3, digest_id: str = "d1") -> set[bytes]:
    entered = {(await register.enter())[1].subscriber_id for _ in range(count)}
    await register.do(lambda tx: queue.plan(tx, digest_id, "news", NOW))
    return entered


async def claim(register: Register, worker: str = "w", now: datetime = NOW, limit: int = 9) -> list[Claimed]:
    async with register.database.write() as tx:
        return await queue.claim(tx, worker, now, LEASE_S, limit)


async def settle(register: Register, *settlements: Settlement, worker: str = "w", now: datetime = NOW) -> None:
    await register.do(lambda tx: queue.settle(tx, worker, settlements, now))


async def counts(register: Register, job: str = "d1") -> dict[DeliveryState, int]:
    async with register.database.read() as tx:
        return await queue.counts(tx, job)


# --- Planning -------------------------------------------------------------------------------------------------------


async def test_each_active_subscriber_of_the_list_gets_one_and_nobody_else(register: Register) -> None:
    active = [(await register.enter())[1].subscriber_id for _ in range(2)]
    for state in (State.INVITED, State.PAUSED, State.SUSPENDED):
        await register.enter(state=state)
    await register.enter(somebody("x@y.example", "other"))
    assert await register.do(lambda tx: queue.plan(tx, "d1", "news", NOW)) == 2
    async with register.database.read() as tx:
        rows = (await tx.execute(select(deliveries))).all()
    assert {row.subscriber_id for row in rows} == set(active)
    assert {(row.job, row.list_id, row.state, row.attempts, row.lease_by) for row in rows} == {
        ("d1", "news", DUE, 0, None)
    }


async def test_a_notice_is_queued_once_until_it_is_forgotten(register: Register) -> None:
    _, new = await register.enter()

    async def add() -> None:
        await register.do(lambda tx: queue.add_notice(tx, "help", new.subscriber_id, "news", NOW))

    await add()
    await add()
    [claimed] = await claim(register)
    assert (claimed.notice, claimed.subscriber_id, claimed.attempts, claimed.first) == (
        "help",
        new.subscriber_id,
        0,
        None,
    )
    await settle(register, Settlement(claimed, SENT))
    await add()
    assert await claim(register) == []
    await register.do(lambda tx: queue.drop_notices(tx, new.subscriber_id))
    await add()
    assert len(await claim(register)) == 1


async def test_forgetting_notices_keeps_digests_and_other_peoples_notices(register: Register) -> None:
    ids = sorted(await plan(register, 2))
    for one in ids:
        await register.do(lambda tx, one=one: queue.add_notice(tx, "help", one, "news", NOW))  # type: ignore[misc]
    await register.do(lambda tx: queue.drop_notices(tx, ids[0]))
    assert {(one.job, one.subscriber_id) for one in await claim(register)} == {
        ("d1", ids[0]),
        ("d1", ids[1]),
        ("notice/help", ids[1]),
    }


# --- Claiming -------------------------------------------------------------------------------------------------------


async def test_a_delivery_is_in_one_workers_hands(register: Register) -> None:
    planned = await plan(register)
    first, second = await claim(register, "a", limit=2), await claim(register, "b")
    assert (len(first), len(second)) == (2, 1)
    assert {one.subscriber_id for one in first + second} == planned
    assert await claim(register, "c") == []


async def test_what_is_not_due_yet_is_not_claimed(register: Register) -> None:
    await plan(register)
    assert await claim(register, now=later(seconds=-1)) == []


async def test_a_lease_that_ran_out_is_claimed_by_another(register: Register) -> None:
    await plan(register)
    await claim(register, "dead")
    assert await claim(register, "b", later(seconds=LEASE_S - 1)) == []
    assert len(await claim(register, "b", later(seconds=LEASE_S))) == 3


@pytest.mark.parametrize("state", [state for state in DeliveryState if state not in (DUE, LEASED)])
async def test_what_is_final_is_not_claimed_again(register: Register, state: DeliveryState) -> None:
    await plan(register, 1)
    [claimed] = await claim(register)
    await settle(register, Settlement(claimed, state))
    assert await counts(register) == {state: 1}
    assert await claim(register, now=later(days=30)) == []


async def test_leases_that_ran_out_go_before_what_is_due_and_no_more_than_asked_for(register: Register) -> None:
    await plan(register, 4)
    dead = await claim(register, "dead", limit=1)
    [first, *rest] = await claim(register, "b", later(seconds=LEASE_S), limit=3)
    assert first.subscriber_id == dead[0].subscriber_id
    assert len(rest) == 2


async def test_claiming_takes_no_longer_when_a_million_are_due(register: Register) -> None:
    """The index gives the order: with a sort, each batch would read all that is due."""
    asked: list[tuple[str, object]] = []
    engine = register.database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *one: asked.append((one[2], one[3])))
    await claim(register)
    queries = [(query, values) for query, values in asked if query.startswith("SELECT")]
    assert queries
    async with register.database.read() as tx:
        for query, values in queries:
            steps = [row[3] for row in await tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values)]  # type: ignore[arg-type]
            assert all("USING INDEX" in step for step in steps), steps


# --- Settling -------------------------------------------------------------------------------------------------------


async def test_a_retry_waits_until_it_is_due_and_is_counted_from_its_first_attempt(register: Register) -> None:
    await plan(register, 1)
    [first] = await claim(register)
    await settle(register, Settlement(first, DUE, later(minutes=5)))
    assert await claim(register, now=later(minutes=4)) == []
    [second] = await claim(register, now=later(minutes=5))
    assert (second.attempts, second.first) == (1, NOW)
    await settle(register, Settlement(second, DUE, later(minutes=9)), now=later(minutes=6))
    [third] = await claim(register, now=later(minutes=9))
    assert (third.attempts, third.first) == (2, NOW)


async def test_what_never_reached_the_far_server_counts_for_nothing(register: Register) -> None:
    await plan(register, 1)
    [claimed] = await claim(register)
    await settle(register, Settlement(claimed, DUE, later(seconds=1), is_attempt=False))
    [again] = await claim(register, now=later(seconds=1))
    assert (again.attempts, again.first) == (0, None)


@pytest.mark.parametrize(("state", "is_kept"), [(SENT, True), (DeliveryState.FAILED, False), (DUE, False)])
async def test_after_the_lease_only_a_yes_still_counts(register: Register, state: DeliveryState, is_kept: bool) -> None:
    await plan(register, 1)
    [late] = await claim(register, "late")
    await claim(register, "quick", later(seconds=LEASE_S))
    await settle(register, Settlement(late, state), worker="late", now=later(seconds=LEASE_S))
    assert await counts(register) == ({state: 1} if is_kept else {LEASED: 1})


async def test_settling_what_was_erased_meanwhile_is_no_error(register: Register) -> None:
    await plan(register, 1)
    [claimed] = await claim(register)
    await register.do(lambda tx: tx.execute(deliveries.delete()))
    await settle(register, Settlement(claimed, SENT))
    assert await counts(register) == {}


# --- Giving back ----------------------------------------------------------------------------------------------------


async def test_a_worker_gives_back_its_own_leases_alone(register: Register) -> None:
    await plan(register)
    mine = await claim(register, "mine", limit=2)
    await claim(register, "other")
    assert await register.do(lambda tx: queue.release(tx, "mine", NOW)) == 2
    assert {one.subscriber_id for one in await claim(register, "next")} == {one.subscriber_id for one in mine}


async def test_what_was_settled_is_not_given_back(register: Register) -> None:
    await plan(register, 1)
    [claimed] = await claim(register)
    await settle(register, Settlement(claimed, SENT))
    assert await register.do(lambda tx: queue.release(tx, "w", NOW)) == 0
    assert await counts(register) == {SENT: 1}


async def test_the_leases_of_the_dead_are_given_back_and_those_of_the_living_are_not(register: Register) -> None:
    await plan(register)
    dead = await claim(register, "dead", limit=1)
    await claim(register, "alive")
    assert await register.do(lambda tx: queue.release_dead(tx, lambda worker: worker == "dead", NOW)) == 1
    assert [one.subscriber_id for one in await claim(register, "next")] == [dead[0].subscriber_id]


# --- Digests --------------------------------------------------------------------------------------------------------

EDITIONS = {Language.EN: b"sealed en", Language.ZH_HANT: b"sealed hant"}


async def add(register: Register, digest_id: str = "d1", now: datetime = NOW) -> None:
    await register.do(lambda tx: digests.add(tx, digest_id, "news", EDITIONS, now))


async def start(register: Register, digest_id: str = "d1", planned: int = 3) -> object:
    signed = dict.fromkeys(EDITIONS, b"signed")
    return await register.do(lambda tx: digests.start(tx, digest_id, signed, planned, NOW))


async def state_of(register: Register, digest_id: str = "d1") -> DigestState | None:
    async with register.database.read() as tx:
        status = await digests.status(tx, digest_id)
    return status.state if status else None


async def test_a_digest_that_is_not_there_has_no_status_and_no_editions(register: Register) -> None:
    async with register.database.read() as tx:
        assert await digests.status(tx, "none") is None
        assert await digests.load_editions(tx, "none") == {}
    assert await start(register, "none") is False


async def test_a_digest_is_started_once(register: Register) -> None:
    await add(register)
    assert await state_of(register) is DigestState.DRAFT
    assert await start(register) is True
    assert await start(register) is False
    async with register.database.read() as tx:
        editions = await digests.load_editions(tx, "d1")
        status = await digests.status(tx, "d1")
    assert {language: (one.sealed, one.signed) for language, one in editions.items()} == {
        language: (sealed, b"signed") for language, sealed in EDITIONS.items()
    }
    assert status is not None
    assert (status.languages, status.planned) == ((Language.EN, Language.ZH_HANT), 3)


async def test_a_digest_for_nobody_is_sent_at_once(register: Register) -> None:
    await add(register)
    await start(register, planned=0)
    assert await state_of(register) is DigestState.SENT


async def test_a_draft_can_be_removed_and_a_digest_on_its_way_stays(register: Register) -> None:
    await add(register)
    await register.do(lambda tx: digests.remove(tx, "d1"))
    assert await state_of(register) is None
    await add(register, "d2")
    await start(register, "d2")
    await register.do(lambda tx: digests.remove(tx, "d2"))
    assert await state_of(register, "d2") is DigestState.SENDING
    async with register.database.read() as tx:
        assert len(await digests.load_editions(tx, "d2")) == 2


@pytest.mark.parametrize("waits", [DUE, LEASED])
async def test_a_digest_is_sent_when_nothing_of_it_waits(register: Register, waits: DeliveryState) -> None:
    await plan(register, 2)
    for digest_id in ("d1", "d2", "draft"):
        await add(register, digest_id)
    await start(register, "d1")
    await start(register, "d2")
    first, second = await claim(register)
    await settle(register, Settlement(first, SENT))
    if waits is DUE:
        await settle(register, Settlement(second, DUE, later(minutes=1)))
    assert await register.do(digests.finish_all) == 1  # d2, of which nothing was planned here
    assert await state_of(register, "d1") is DigestState.SENDING
    await settle(register, Settlement(second, DeliveryState.FAILED))
    if waits is DUE:
        [second] = await claim(register, now=later(minutes=1))
        await settle(register, Settlement(second, DeliveryState.FAILED))
    assert await register.do(digests.finish_all) == 1
    assert await state_of(register, "d1") is DigestState.SENT
    assert await state_of(register, "draft") is DigestState.DRAFT


async def test_digests_are_named_newest_first(register: Register) -> None:
    for number, digest_id in enumerate(("old", "newer", "newest")):
        await add(register, digest_id, later(seconds=number))
    async with register.database.read() as tx:
        assert await digests.ids(tx) == ["newest", "newer", "old"]
