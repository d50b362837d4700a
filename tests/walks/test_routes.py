"""Routes: which relay carries what, what happens when one is out of order or not liked, and who is not held up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from mailer.app import open_routes
from mailer.instance import Instance
from mailer.model.digest import DeliveryState
from mailer.model.failure import Failure
from mailer.model.retry import Answer, Outcome
from mailer.outward.routes import DISLIKES, Outlet, Route, Routes, is_for_another, shared_out
from mailer.store import paces, queue
from mailer.store.tables import deliveries
from tests.house import Clock, House, Person, furnish, make_instance, point_relay_at
from tests.walks.crowd import address_of, publish_digest
from tests.walks.far_server import FarServer, Misdeed
from tests.walks.test_deliver import counts, ends, fill, recipients

SECOND = """
[[relays]]
name = "second"
host = "127.0.0.1"
port = {port}
tls = "none"
"""


@asynccontextmanager
async def two_relays(
    folder: Path, main: FarServer, second: FarServer, routes: str = "", count: int = 4
) -> AsyncIterator[House]:
    """A house with two relays and a digest on its way; its `far` is the main one."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(main)
        await stack.enter_async_context(second)
        instance = point_relay_at(make_instance(folder / "instance", None), main.port)
        path = instance.config_path
        path.write_text(path.read_text() + SECOND.format(port=second.port) + routes)
        house = await furnish(stack, Instance.open(instance.folder), main, Person("x@y.example"), Clock())
        await fill(house, count)
        await publish_digest(house)
        yield house


def everybody(count: int) -> list[str]:
    return [address_of(number) for number in range(count)]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def at_provider(house: House, provider: str, ids: list[bytes]) -> None:
    async with house.database.write() as tx:
        await tx.execute(update(deliveries).where(deliveries.c.subscriber_id.in_(ids)).values(provider=provider))


# --- Which relay ----------------------------------------------------------------------------------------------------


async def test_without_routes_the_first_relay_carries_all(tmp_path: Path) -> None:
    main, second = FarServer(), FarServer()
    async with two_relays(tmp_path, main, second) as house:
        await house.deliver()
        assert recipients(main.letters) == everybody(4)
        assert second.connections == 0
        assert await ends(house) == {(DeliveryState.SENT, "main", None): 4}


async def test_a_route_names_the_order(tmp_path: Path) -> None:
    main, second = FarServer(), FarServer()
    routes = '[[routes]]\nproviders = ["*"]\nrelays = ["second", "main"]\n'
    async with two_relays(tmp_path, main, second, routes) as house:
        await house.deliver()
        assert recipients(second.letters) == everybody(4)
        assert await ends(house) == {(DeliveryState.SENT, "second", None): 4}


async def test_when_a_relay_cannot_be_reached_the_next_carries_all_at_once(tmp_path: Path) -> None:
    main, second = FarServer({"CONNECT": Misdeed.CLOSE}), FarServer()
    async with two_relays(tmp_path, main, second) as house:
        await house.deliver()
        assert recipients(second.letters) == everybody(4)
        assert main.connections <= 2  # those that began together; the others did not try


async def test_a_relay_that_dies_in_the_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    main, second = FarServer({"CONTENT": Misdeed.CLOSE}), FarServer()
    async with two_relays(tmp_path, main, second, count=6) as house:
        for _ in range(40):  # each time the relay is tried again, one letter more may have reached it: who knows
            await house.deliver()
            house.clock.pass_(minutes=40)
        assert recipients(second.letters) == everybody(6)
        assert main.letters == []
        assert await counts(house) == {DeliveryState.SENT: 6}


async def test_a_letter_that_the_relay_may_have_is_not_given_to_another(tmp_path: Path) -> None:
    main, second = FarServer({"DOT": [Misdeed.CLOSE]}), FarServer()
    async with two_relays(tmp_path, main, second, count=1) as house:
        await house.deliver()
        assert len(main.letters) == 1
        assert second.letters == []
        assert await counts(house) == {DeliveryState.DUE: 1}


async def test_a_relay_that_came_back_is_tried_by_one_letter_and_then_carries_all(tmp_path: Path) -> None:
    main, second = FarServer({"CONNECT": [Misdeed.CLOSE, Misdeed.CLOSE]}), FarServer()
    async with two_relays(tmp_path, main, second) as house:
        await house.deliver()
        assert main.letters == []
        house.clock.pass_(seconds=5)
        await publish_digest(house, "d2")
        await house.deliver()
        assert main.letters


async def test_a_letter_that_a_relay_refuses_for_its_own_sake_goes_over_the_next(tmp_path: Path) -> None:
    main, second = FarServer({"RCPT": "550 5.7.1 Your address is on our block list"}), FarServer()
    async with two_relays(tmp_path, main, second) as house:
        await house.deliver()
        assert recipients(second.letters) == everybody(4)


async def test_a_mailbox_that_is_gone_is_gone_over_every_relay(tmp_path: Path) -> None:
    main, second = FarServer({"RCPT": "550 5.1.1 No such user here"}), FarServer()
    async with two_relays(tmp_path, main, second) as house:
        await house.deliver()
        assert second.connections == 0
        assert await ends(house) == {(DeliveryState.FAILED, "main", Failure.GONE): 4}


# --- Who is not held up ---------------------------------------------------------------------------------------------


async def test_a_provider_that_stalls_does_not_hold_up_the_others(tmp_path: Path) -> None:
    slow = set(everybody(8)[:5])

    def answer(line: str) -> str | Misdeed | None:
        return Misdeed.HANG if any(address in line for address in slow) else None

    far = FarServer(rule=answer)
    async with two_relays(tmp_path, far, FarServer(), count=0) as house:
        ids = await fill(house, 8)
        await publish_digest(house, "d2")
        await at_provider(house, "qq.com", ids[:5])
        running = asyncio.create_task(house.deliverer.run())
        await until(lambda: len(far.letters) == 3)
        assert recipients(far.letters) == everybody(8)[5:]
        assert sum("RCPT" in line and any(one in line for one in slow) for line in far.commands) == 2
        running.cancel()
        await far.hang_up()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_provider_that_refuses_is_left_alone_and_the_others_get_theirs(tmp_path: Path) -> None:
    blocked = set(everybody(12)[:9])

    def answer(line: str) -> str | None:
        return "550 5.7.1 blocked" if any(address in line for address in blocked) else None

    far = FarServer(rule=answer)
    routes = '[[routes]]\nproviders = ["*"]\nrelays = ["main"]\n'
    async with two_relays(tmp_path, far, FarServer(), routes, count=0) as house:
        ids = await fill(house, 12)
        await publish_digest(house, "d2")
        await at_provider(house, "qq.com", ids[:9])
        await house.deliver()
        assert recipients(far.letters) == everybody(12)[9:]
        tried = sum(any(one in line for one in blocked) for line in far.commands)
        assert DISLIKES <= tried < 9  # the rest was spared
        house.clock.pass_(seconds=60)
        await house.deliver()
        assert sum(any(one in line for one in blocked) for line in far.commands) == tried + 1


async def test_a_provider_gets_no_more_in_a_minute_than_its_route_says(tmp_path: Path) -> None:
    far = FarServer()
    routes = '[[routes]]\nproviders = ["*"]\nper_minute = 60\n'
    async with two_relays(tmp_path, far, FarServer(), routes, count=0) as house:
        await fill(house, 30)
        await publish_digest(house, "d2")
        await house.deliver()
        assert len(far.letters) == 5  # what a few idle seconds have saved up
        for _ in range(4):
            house.clock.pass_(seconds=3)
            await house.deliver()
        assert len(far.letters) == 5 + 4 * 3


# --- The parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "another"),
    [
        (Outcome(Answer.ACCEPTED, 250), False),
        (Outcome(Answer.LATER, is_connection_lost=True), True),
        (Outcome(Answer.LATER, is_connection_lost=True, is_in_doubt=True), False),
        (Outcome(Answer.REFUSED, 550, "5.1.1", failure=Failure.GONE), False),
        (Outcome(Answer.REFUSED, 552, "5.2.2", failure=Failure.FULL), False),
        (Outcome(Answer.REFUSED, 550, "5.7.1", failure=Failure.POLICY), True),
        (Outcome(Answer.REFUSED, 550, failure=Failure.CENSORED), True),
        (Outcome(Answer.LATER, 450, "4.2.0", failure=Failure.TEMPORARY), False),
    ],
)
def test_another_relay_is_asked_where_it_may_do_better(outcome: Outcome, another: bool) -> None:
    assert is_for_another(outcome) is another


@pytest.mark.parametrize(("connections", "shares"), [(20, [10, 10]), (5, [3, 2]), (1, [1, 0])])
def test_connections_are_shared_out_among_the_processes(connections: int, shares: list[int]) -> None:
    assert [shared_out(connections, number, 2) for number in range(2)] == shares


async def test_a_process_opens_its_share_of_every_relay(tmp_path: Path) -> None:
    instance = make_instance(tmp_path / "instance", None)
    path = instance.config_path
    path.write_text(path.read_text().replace("connections = 8", "connections = 5") + SECOND.format(port=25))
    async with AsyncExitStack() as stack:
        routes = await open_routes(stack, Instance.open(instance.folder), 1, 2)
        assert {name: outlet.relay.places for name, outlet in routes.outlets.items()} == {"main": 2, "second": 4}


async def test_a_process_without_a_share_leaves_a_relay_to_the_others(tmp_path: Path) -> None:
    instance = make_instance(tmp_path / "instance", None)
    path = instance.config_path
    second = SECOND.format(port=25) + "connections = 1\n"
    route = '[[routes]]\nproviders = ["qq.com"]\nconnections = 1\n'
    path.write_text(path.read_text() + second + route)
    async with AsyncExitStack() as stack:
        first = await open_routes(stack, Instance.open(instance.folder), 0, 2)
        other = await open_routes(stack, Instance.open(instance.folder), 1, 2)
        assert (list(first.outlets), list(other.outlets)) == (["main", "second"], ["main"])
        assert (first.route("qq.com").connections, other.open_to("qq.com")) == (1, [])


async def test_a_paced_share_is_one_for_all_processes(tmp_path: Path) -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    async with two_relays(tmp_path, FarServer(), FarServer(), count=0) as house:
        async with house.database.write() as tx:
            assert await paces.left(tx, "qq.com", 120, 100, now) == 10
            await paces.use(tx, "qq.com", 120, 10, now)
        async with house.database.write() as tx:
            assert await paces.left(tx, "qq.com", 120, 100, now) == 0
            assert await paces.left(tx, "163.com", 120, 100, now) == 10
            assert await paces.left(tx, "qq.com", 120, 100, now + timedelta(seconds=1)) == 2
            assert await paces.left(tx, "qq.com", 120, 1, now + timedelta(days=1)) == 1


def test_a_provider_without_a_route_has_all_relays_and_no_limits() -> None:
    outlets = {name: Outlet(None) for name in ("main", "second")}  # type: ignore[arg-type]
    routes = Routes(outlets, {"qq.com": Route(("second",), per_minute=5)}, lambda: datetime.now(UTC))
    assert routes.route("gmail.com") == Route(("main", "second"))
    assert routes.route("qq.com").per_minute == 5
    assert [outlets[name] for name in ("main", "second")] == routes.open_to("gmail.com")


async def test_what_a_route_limits_is_not_claimed_beyond_it(tmp_path: Path) -> None:
    routes = '[[routes]]\nproviders = ["*"]\nconnections = 1\n'
    far = FarServer({"CONTENT": [Misdeed.STALL]})
    async with two_relays(tmp_path, far, FarServer(), routes, count=3) as house:
        running = asyncio.create_task(house.deliverer.run())
        await until(lambda: "DATA" in far.commands)
        assert far.most_at_once == 1
        far.resumed.set()
        await until(lambda: len(far.letters) == 3)
        assert far.most_at_once == 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        async with house.database.read() as tx:
            assert await queue.counts(tx, "d1") == {DeliveryState.SENT: 3}
