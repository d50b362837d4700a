"""Deliveries: planned at once, leased to one worker, settled by whoever holds the lease, given back by the dead."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import event, select

from mailer.model.digest import DeliveryState
from mailer.model.subscriber import State
from mailer.store import queue
from mailer.store.queue import Claimed, Settlement
from mailer.store.tables import deliveries
from tests.store.conftest import NOW, Register, somebody

LEASE_S = 600.0
PROVIDERS = ("big.example", "other-1")
DUE, LEASED, SENT = DeliveryState.DUE, DeliveryState.LEASED, DeliveryState.SENT


def later(**how_long: float) -> datetime:
    return NOW + timedelta(**how_long)


async def plan(register: Register, count: int = 3, digest_id: str = "d1") -> set[bytes]:
    entered = {(await register.enter())[1].subscriber_id for _ in range(count)}
    await register.do(lambda tx: queue.plan(tx, digest_id, "news", NOW, 0, PROVIDERS))
    return entered


async def claim(
    register: Register,
    worker: str = "w",
    now: datetime = NOW,
    limit: int = 9,
    providers: tuple[str, ...] = PROVIDERS,
) -> list[Claimed]:
    """As a worker claims: what ran out is given back first, then every job is looked at."""
    async with register.database.write() as tx:
        await queue.release_expired(tx, now)
        claimed: list[Claimed] = []
        for job in ["d1", *await queue.notice_jobs(tx)]:
            claimed += await queue.claim(tx, worker, job, providers, now, LEASE_S, limit - len(claimed))
        return claimed


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
    assert await register.do(lambda tx: queue.plan(tx, "d1", "news", NOW, 0, PROVIDERS)) == 2
    async with register.database.read() as tx:
        rows = (await tx.execute(select(deliveries))).all()
    assert {row.subscriber_id for row in rows} == set(active)
    assert {(row.job, row.list_id, row.provider, row.state, row.attempts, row.lease_by) for row in rows} == {
        ("d1", "news", "other-1", DUE, 0, None)
    }


async def test_a_digest_is_shuffled_and_all_of_it_is_due_at_once(register: Register) -> None:
    await plan(register, 40)
    assert len(await claim(register, limit=40)) == 40
    orders = []
    for digest_id in ("d2", "d3"):
        await register.do(lambda tx, one=digest_id: queue.plan(tx, one, "news", NOW, 0, PROVIDERS))  # type: ignore[misc]
        async with register.database.read() as tx:
            rows = (await tx.execute(select(deliveries).where(deliveries.c.job == digest_id))).all()
        orders.append([row.subscriber_id for row in sorted(rows, key=lambda row: row.due)])
    assert orders[0] != orders[1]


async def test_a_digest_is_spread_over_its_time(register: Register) -> None:
    for _ in range(40):
        await register.enter()
    await register.do(lambda tx: queue.plan(tx, "d1", "news", NOW, 7200, PROVIDERS))
    async with register.database.read() as tx:
        due = [row.due - NOW.timestamp() for row in await tx.execute(select(deliveries))]
    assert min(due) >= 0
    assert max(due) < 7200
    assert min(due) < 3600 <= max(due)  # by chance wrong once in 10^12


async def test_whoever_is_at_a_provider_that_nobody_looks_for_goes_with_the_last(register: Register) -> None:
    await register.enter()
    await register.do(lambda tx: queue.plan(tx, "d1", "news", NOW, 0, ("big.example", "rest")))
    [claimed] = await claim(register, providers=("rest",))
    assert claimed.provider == "rest"
    await register.do(lambda tx: queue.release(tx, "w", NOW))
    assert await register.do(lambda tx: queue.adopt_strays(tx, ("big.example", "other-1"))) == 1
    assert [one.provider for one in await claim(register)] == ["other-1"]


async def test_only_the_jobs_of_notices_are_found_each_kind_once(register: Register) -> None:
    for one in await plan(register, 3):
        for kind in ("help", "probe"):
            await register.do(lambda tx, who=one, what=kind: queue.add_notice(tx, what, who, "news", NOW))  # type: ignore[misc]
    assert await register.do(queue.notice_jobs) == ["notice/help", "notice/probe"]


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
    assert await claim(register, now=later(seconds=-queue.SHUFFLED_S - 1)) == []


async def test_only_what_goes_to_these_providers_is_claimed(register: Register) -> None:
    await plan(register)
    assert await claim(register, providers=("big.example",)) == []
    assert len(await claim(register, providers=("other-1",))) == 3


async def test_what_is_given_back_can_be_claimed_and_the_rest_cannot(register: Register) -> None:
    await plan(register)
    first, *rest = await claim(register)
    await register.do(lambda tx: queue.release_these(tx, "other", rest, NOW))
    assert await claim(register, "b") == []
    await register.do(lambda tx: queue.release_these(tx, "w", rest, NOW))
    assert {one.subscriber_id for one in await claim(register, "b")} == {one.subscriber_id for one in rest}
    assert first not in rest


async def test_a_cancelled_digest_loses_what_has_not_begun(register: Register) -> None:
    await plan(register)
    await claim(register, limit=1)
    assert await register.do(lambda tx: queue.drop_open(tx, "d1")) == 2
    assert await counts(register) == {LEASED: 1}


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


async def test_claiming_takes_no_longer_when_a_million_are_due(register: Register) -> None:
    """The index gives the order: with a sort, each batch would read all that is due."""
    asked: list[tuple[str, object]] = []
    engine = register.database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *one: asked.append((one[2], one[3])))
    await claim(register, providers=("other-1",))
    await claim(register)
    queries = [(query, values) for query, values in asked if "deliveries" in query]
    assert len(queries) == 6  # twice: leases that ran out, notices (none), and one job
    if not register.database.is_sqlite:
        return  # for a table without rows PostgreSQL plans no index
    async with register.database.read() as tx:
        for query, values in queries:
            steps = [row[3] for row in await tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values)]  # type: ignore[arg-type]
            assert not [step for step in steps if step.startswith("SCAN deliveries") or "TEMP B-TREE" in step], steps


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
