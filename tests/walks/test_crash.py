"""The process stops after each step of a walk, comes back on the same files, and finishes: one change, one reply."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailer.crypto import openpgp
from mailer.instance import Instance
from mailer.inward.reader import Reader
from mailer.inward.worker import LEASE_S
from mailer.model.address import Address
from mailer.model.certificate import Certificate
from mailer.model.digest import DeliveryState
from mailer.model.subscriber import Drawer, State
from mailer.outward.process import is_dead_worker, worker_name
from mailer.store import inbox, outbox, queue, roster
from tests.house import (
    CONTACT,
    LIST,
    ROSTER,
    SERVICE,
    Clock,
    House,
    Person,
    furnish,
    make_instance,
    point_relay_at,
    reply_to,
)
from tests.walks.crowd import address_of, enrol, publish_digest
from tests.walks.far_server import FarServer, Misdeed, Received

# --- A process that stops wherever it is told to ---------------------------------------------------------------------


class PowerCut(BaseException):
    """Nothing in the program catches it."""


@dataclass
class Fuse:
    """Blows at the step with a given number; `passed` are the names of the steps that were reached."""

    blows_at: int
    passed: list[str] = field(default_factory=list)

    @property
    def is_in_doubt(self) -> bool:
        """Whether it blew between the relay's yes and our commit, where nobody can know that a letter was sent."""
        decisive = [name for name in self.passed if name in ("after sending", "after a commit")]
        return decisive[-1:] == ["after sending"]

    def step(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) == self.blows_at:
            raise PowerCut(name)

    def around(self, name: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def guarded(*arguments: Any, **named: Any) -> Any:
            self.step(f"before {name}")
            result = await call(*arguments, **named)
            self.step(f"after {name}")
            return result

        return guarded

    def wire(self, house: House, reader: Reader) -> None:
        """Make a step of each commit, each look at the database, each letter read and each one relayed."""
        write, read = house.database.write, house.database.read

        @asynccontextmanager
        async def guarded_write() -> AsyncIterator[Any]:
            self.step("before a transaction")
            async with write() as tx:
                yield tx
                self.step("before a commit")
            self.step("after a commit")

        @asynccontextmanager
        async def guarded_read() -> AsyncIterator[Any]:
            async with read() as tx:
                yield tx
            self.step("after a look-up")

        write_at_once, read_at_once = house.database.write_at_once, house.database.read_at_once

        async def guarded_write_at_once(work: Callable[[Any], Awaitable[Any]]) -> Any:
            async def guarded(tx: Any) -> Any:
                self.step("before a transaction")
                result = await work(tx)
                self.step("before a commit")
                return result

            result = await write_at_once(guarded)
            self.step("after a commit")
            return result

        async def guarded_read_at_once(work: Callable[[Any], Awaitable[Any]]) -> Any:
            result = await read_at_once(work)
            self.step("after a look-up")
            return result

        if house.database.folder is not None:  # elsewhere these two come down to the two above
            house.database.write_at_once = guarded_write_at_once  # type: ignore[method-assign]
            house.database.read_at_once = guarded_read_at_once  # type: ignore[method-assign]
        connection = house.replies.routes.outlets["main"].relay.connection

        @asynccontextmanager
        async def guarded_connection() -> AsyncIterator[Any]:
            async with connection() as one:
                send, one.send = one.send, self.around("sending", one.send)  # type: ignore[method-assign]
                try:
                    yield one
                finally:
                    one.send = send  # type: ignore[method-assign]

        house.database.write = guarded_write  # type: ignore[method-assign]
        house.database.read = guarded_read  # type: ignore[method-assign]
        house.replies.routes.outlets["main"].relay.connection = guarded_connection  # type: ignore[method-assign]
        reader.read = self.around("reading", Reader.read.__get__(reader))  # type: ignore[method-assign]


@dataclass
class Building:
    """An instance on disk and a far server; `house` opens it, again and again."""

    instance: Instance
    far: FarServer
    reader: Reader
    clock: Clock

    @asynccontextmanager
    async def house(self, fuse: Fuse | None = None) -> AsyncIterator[House]:
        self.reader.__dict__.pop("read", None)
        async with AsyncExitStack() as stack:
            house = await furnish(stack, self.instance, self.far, Person(CONTACT), self.clock, self.reader)
            house.deliverer.pace = replace(house.deliverer.pace, finish_s=0.0)
            if fuse:
                fuse.wire(house, self.reader)
            yield house


@asynccontextmanager
async def building(folder: Path, **answers: str | Misdeed) -> AsyncIterator[Building]:
    clock = Clock()
    async with FarServer(answers) as far, Reader(now=clock) as reader:
        instance = point_relay_at(make_instance(folder / "instance", Person.with_key(CONTACT)), far.port)
        yield Building(instance, far, reader, clock)


async def finish(house: House) -> None:
    """Run as the service does after a start, until nothing waits any more."""
    async with asyncio.timeout(20):
        tasks = [asyncio.create_task(work.run()) for work in (house.worker, house.replies)]
        while await waits(house):
            await asyncio.sleep(0.002)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def waits(house: House) -> bool:
    async with house.database.read() as tx:
        return bool(await inbox.count(tx)) or bool(await outbox.count(tx))


async def state(house: House, address: str) -> State | None:
    person = await roster.identify(house.secrets, "news", Address.parse(address))
    async with house.database.read() as tx:
        found = await roster.find(tx, person)
    return found.subscriber.state if found else None


# --- A letter's way in ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Story:
    """A letter, and how things stand afterwards. prepare: does what comes before; returns where the letter goes."""

    prepare: Callable[[House, Person], Awaitable[str]]
    subject: str
    replies: int
    after: State | None


async def _from_nothing(_house: House, _person: Person) -> str:
    return LIST


async def _asked(house: House, person: Person) -> str:
    [question] = await house.write(person.letter("subscribe", with_key=True))
    return reply_to(question)


async def _moving(house: House, person: Person) -> str:
    """The second answer, from the new address, which is the first one with `new-` before it."""
    await house.join(person)
    [question] = await house.write(person.letter(f"change address to new-{person.address}"))
    [second] = await house.write(person.letter("ok"), to=reply_to(question))
    return reply_to(second)


STORIES = {
    "asks to join": Story(_from_nothing, "subscribe", 1, None),
    "joins": Story(_asked, "Re: [...]", 1, State.ACTIVE),
    "moves": Story(_moving, "Re: [...]", 2, None),
}


@pytest.mark.parametrize(
    ("_engine", "story"),
    [*(("sqlite", story) for story in STORIES.values()), ("postgresql", STORIES["joins"])],
    ids=[*STORIES, "joins, on PostgreSQL"],
    indirect=["_engine"],
)
async def test_a_letter_survives_a_stop_after_each_step(tmp_path: Path, story: Story) -> None:
    async with building(tmp_path) as place:
        key, steps = Person.with_key("somebody@reader.example").key, []
        for number in range(1, 100):
            person = Person(f"reader-{number}@reader.example", key)
            async with place.house() as house:
                to = await story.prepare(house, person)
                await house.send(person.letter(story.subject, with_key=to == LIST), to=to)
            place.far.letters.clear()
            fuse = Fuse(number)
            async with place.house(fuse) as house:
                try:
                    await house.work()
                except PowerCut as cut:
                    steps.append(str(cut))
                else:
                    break
            async with place.house() as house:
                if house.database.folder is None:
                    house.clock.pass_(seconds=LEASE_S)  # another door might live: only time tells that this one died
                await finish(house)
                await check(house, story, person, to, may_repeat=fuse.is_in_doubt)
        assert {"before a commit", "after a commit", "after reading", "before sending", "after sending"} <= set(steps)


async def check(house: House, story: Story, person: Person, to: str, *, may_repeat: bool) -> None:
    distinct = Counter((letter.rcpt, letter.wire) for letter in house.far.letters)
    assert len(distinct) == story.replies
    assert sum(distinct.values()) <= story.replies + may_repeat
    assert await state(house, person.address) == story.after
    if story.replies == 2:
        assert await state(house, f"new-{person.address}") == State.ACTIVE
    if to != LIST:  # the token is used up
        await house.write(person.letter("Re: [...]", "once more"), to=to)
        assert await state(house, person.address) == story.after


# --- A digest's way out ---------------------------------------------------------------------------------------------


def one_drawer() -> Drawer:
    [certificate] = openpgp.examine(Person.with_key("reader@crowd.example").certificate, datetime.now(UTC))
    assert isinstance(certificate, Certificate)
    return Drawer(certificate.blob, certificate.fingerprint)


async def test_deliveries_survive_a_stop_after_each_step(tmp_path: Path) -> None:
    async with building(tmp_path) as place:
        async with place.house() as house:
            await enrol(house.database, house.secrets, house.instance.roster_public(), 3, [one_drawer()])
        steps = []
        for number in range(1, 100):
            async with place.house() as house:
                await publish_digest(house, f"d{number}")
            place.far.letters.clear()
            try:
                async with place.house(Fuse(number)) as house:
                    await house.deliver()
                break
            except PowerCut as cut:
                steps.append(str(cut))
            async with place.house() as house:
                await house.deliver()
                check_arrived(place.far.letters, 3, repeated=2)
                async with house.database.read() as tx:
                    assert await queue.counts(tx, f"d{number}") == {DeliveryState.SENT: 3}
        assert {"before a commit", "after a commit", "before sending", "after sending"} <= set(steps)


def check_arrived(letters: list[Received], count: int, *, repeated: int) -> None:
    """Everybody got theirs; a second copy has the Message-ID of the first."""
    arrived = Counter((letter.rcpt, message_id(letter)) for letter in letters)
    assert {rcpt for rcpt, _ in arrived} == {f"RCPT TO:<{address_of(number)}>" for number in range(count)}
    assert len(arrived) == count
    assert sum(arrived.values()) <= count + repeated


def message_id(letter: Received) -> bytes:
    return letter.content.partition(b"\r\nMessage-ID:")[2].partition(b"\r\n")[0]


# --- The program itself, killed --------------------------------------------------------------------------------------

CONNECTIONS = 8  # as shipped
SUBSCRIBERS = 1000
KILLS = 4


@asynccontextmanager
async def worker(instance: Instance) -> AsyncIterator[asyncio.subprocess.Process]:
    """`mailer work` with two workers, all in a process group of their own, killed at the end if it still runs."""
    for name, passphrase in (("service", SERVICE), ("roster", ROSTER)):
        (instance.folder.parent / name).write_text(passphrase + "\n")
    files = [f"--{name}-passphrase-file={instance.folder.parent / name}" for name in ("service", "roster")]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mailer", "work", "--processes=2", "--instance", str(instance.folder), *files),
        start_new_session=True,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        _, errors = await process.communicate()
        assert b"Traceback" not in errors and b"crowd.example" not in errors, errors.decode()


async def reached(process: asyncio.subprocess.Process, condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; a process that ends before that has failed."""
    async with asyncio.timeout(60):
        while not condition():
            assert process.returncode is None
            await asyncio.sleep(0.001)


@asynccontextmanager
async def digest_on_its_way(folder: Path, count: int, **answers: str | Misdeed) -> AsyncIterator[Building]:
    async with building(folder, **answers) as place:
        async with place.house() as house:
            await enrol(house.database, house.secrets, house.instance.roster_public(), count, [one_drawer()])
            assert await publish_digest(house) == count
        yield place


async def counts(instance: Instance) -> dict[DeliveryState, int]:
    database = instance.database()
    async with database.read() as tx:
        counted = await queue.counts(tx, "d1")
    await database.close()
    return counted


async def test_a_thousand_arrive_though_the_process_is_killed_again_and_again(tmp_path: Path) -> None:
    """The lease is ten minutes: the next process must see by itself that the one before it is dead."""
    async with digest_on_its_way(tmp_path, SUBSCRIBERS) as place:
        letters, chance = place.far.letters, random.Random()
        for _ in range(KILLS):
            until = len(letters) + chance.randint(1, SUBSCRIBERS // (KILLS + 1))
            async with worker(place.instance) as process:
                await reached(process, lambda until=until: len(letters) >= until)  # type: ignore[misc]
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        async with worker(place.instance) as process:
            await reached(process, lambda: len({letter.rcpt for letter in letters}) == SUBSCRIBERS)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        check_arrived(letters, SUBSCRIBERS, repeated=KILLS * CONNECTIONS)
        assert await counts(place.instance) == {DeliveryState.SENT: SUBSCRIBERS}


async def test_a_worker_that_is_killed_is_replaced_and_its_leases_are_given_back_at_once(tmp_path: Path) -> None:
    async with digest_on_its_way(tmp_path, 400) as place:
        letters, chance, killed = place.far.letters, random.Random(), 0
        async with worker(place.instance) as process:
            for part in range(1, 4):
                await reached(process, lambda part=part: len(letters) >= 90 * part)  # type: ignore[misc]
                os.kill(chance.choice(children(process.pid)), signal.SIGKILL)
                killed += 1
            await reached(process, lambda: len({letter.rcpt for letter in letters}) == 400)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        check_arrived(letters, 400, repeated=killed * CONNECTIONS // 2)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_sigterm_sees_letters_through_gives_leases_back_and_ends_at_once(tmp_path: Path) -> None:
    async with digest_on_its_way(tmp_path, 200) as place:
        letters = place.far.letters
        async with worker(place.instance) as process:
            await reached(process, lambda: len(letters) >= 20)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                assert await process.wait() == 0
        after = await counts(place.instance)
        assert after == {DeliveryState.SENT: len(letters), DeliveryState.DUE: 200 - len(letters)}
        async with worker(place.instance) as process:
            await reached(process, lambda: len(letters) >= 200)
            process.send_signal(signal.SIGTERM)
            await process.wait()
        check_arrived(letters, 200, repeated=0)


async def test_sigterm_ends_it_though_the_relay_says_nothing(tmp_path: Path) -> None:
    async with digest_on_its_way(tmp_path, 5, DOT=Misdeed.HANG) as place:
        async with worker(place.instance) as process:
            await reached(process, lambda: len(place.far.letters) >= 2)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                assert await process.wait() == 0
        assert await counts(place.instance) == {DeliveryState.DUE: 5}


async def test_sigterm_ends_it_though_the_relay_does_not_say_goodbye(tmp_path: Path) -> None:
    async with digest_on_its_way(tmp_path, 5, QUIT=Misdeed.HANG) as place:
        async with worker(place.instance) as process:
            await reached(process, lambda: len(place.far.letters) == 5)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                assert await process.wait() == 0
        assert await counts(place.instance) == {DeliveryState.SENT: 5}


# --- Who is dead ----------------------------------------------------------------------------------------------------


def test_this_process_is_alive_and_one_that_has_its_number_but_began_before_is_not() -> None:
    assert not is_dead_worker(worker_name())
    boot, pid, started = worker_name().split(":")
    assert is_dead_worker(f"{boot}:{pid}:{int(started) - 1}")
    assert not is_dead_worker(f"{boot}:nonsense")  # nothing is known of it: its lease runs out
    assert not is_dead_worker(f"elsewhere:{pid}:{int(started) - 1}")  # another machine: only the lease's end tells


def test_a_process_that_was_killed_is_dead_before_its_parent_has_looked() -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    boot = worker_name().partition(":")[0]
    started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    name = f"{boot}:{pid}:{started}"
    assert not is_dead_worker(name)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert is_dead_worker(name)
    os.waitpid(pid, 0)
    assert is_dead_worker(name)


def test_a_process_that_proc_hides_counts_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    name = worker_name()
    monkeypatch.setattr("mailer.outward.process._started", lambda _: "")
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert not is_dead_worker(name)
