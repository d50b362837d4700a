"""An instance moves to another database, and back, in the middle of everything; no subscriber notices."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from mailer import control
from mailer.instance import Instance
from mailer.model.address import Address
from mailer.model.digest import DeliveryState
from mailer.model.subscriber import State
from mailer.store import queue, roster
from tests.cluster import Cluster
from tests.conftest import ROOT
from tests.house import CONTACT, SQLITE, Clock, House, Person, furnish, make_instance, point_relay_at, reply_to
from tests.walks.crowd import address_of, enrol, publish_digest
from tests.walks.far_server import FarServer
from tests.walks.test_crash import one_drawer

CROWD = 40  # more than are on their way at once


@dataclass
class Move:
    """An instance on disk that is opened, moved, and opened again."""

    folder: Path
    far: FarServer
    clock: Clock

    @asynccontextmanager
    async def house(self) -> AsyncIterator[House]:
        async with AsyncExitStack() as stack:
            yield await furnish(stack, Instance.open(self.folder), self.far, Person(CONTACT), self.clock)

    def copy(self, *urls: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mailer", "store", "copy", *urls, "--instance", str(self.folder)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    def to(self, former: str, url: str) -> None:
        """Move, and do with config.toml what the command says."""
        copied = self.copy(former, url)
        assert copied.returncode == 0, copied.stderr
        path = self.folder / "config.toml"
        before = path.read_text(encoding="utf-8")
        path.write_text(before.replace(f'url = "{former}"', f'url = "{url}"'), encoding="utf-8")
        assert f'\nurl = "{url}"\n' in copied.stdout and path.read_text(encoding="utf-8") != before


@pytest.fixture
async def move(tmp_path: Path) -> AsyncIterator[Move]:
    async with FarServer() as far:
        instance = point_relay_at(make_instance(tmp_path / "instance", Person.with_key(CONTACT)), far.port)
        yield Move(instance.folder, far, Clock())


async def state(house: House, address: str) -> State | None:
    person = await roster.identify(house.secrets, "news", Address.parse(address))
    async with house.database.read() as tx:
        found = await roster.find(tx, person)
    return found.subscriber.state if found else None


async def waiting(house: House) -> int:
    async with house.database.read() as tx:
        counts = await queue.counts(tx, "d1")
    return counts.get(DeliveryState.DUE, 0) + counts.get(DeliveryState.LEASED, 0)


async def test_joins_answers_leaves_and_the_rest_of_a_digest_go_on_in_the_other_database(
    move: Move, cluster: Cluster
) -> None:
    ada, bob, eve, new = (Person.with_key(f"{name}@reader.example") for name in ("ada", "bob", "eve", "new"))
    async with move.house() as house:
        await house.join(ada)
        await house.join(eve)
        await enrol(house.database, house.secrets, house.instance.roster_public(), CROWD, [one_drawer()])
        [question] = await house.write(bob.letter("subscribe", with_key=True))
        move.far.letters.clear()
        assert await publish_digest(house) == CROWD + 2
        await deliver_some(house)
        sent = len(move.far.letters)
        assert 0 < sent < CROWD + 2
        await house.send(eve.letter("unsubscribe"))  # lies in the inbox

    with cluster.fresh() as url:
        move.to(SQLITE, url)
        async with move.house() as house:
            assert not house.database.is_sqlite
            before = len(move.far.letters)
            [leaving] = await house.work()
            assert "news+confirm-" in reply_to(leaving)
            del move.far.letters[before:]
            [welcome] = await house.write(bob.letter("Re: [...]", "ok"), to=reply_to(question))
            assert await state(house, "bob@reader.example") is State.ACTIVE and bob.read(welcome)
            del move.far.letters[before:]
            assert await waiting(house) == CROWD + 2 - sent
            await deliver_some(house)
        move.to(url, "sqlite:///moved.db")

    async with move.house() as house:
        await house.deliver()
        assert await waiting(house) == 0
        digests = Counter(letter.rcpt for letter in move.far.letters)
        everybody = [*map(address_of, range(CROWD)), "ada@reader.example", "eve@reader.example"]
        assert digests == {f"RCPT TO:<{address}>": 1 for address in everybody}
        [theirs] = [one for one in move.far.letters if "ada@" in one.rcpt]
        token = str(message_from_bytes(theirs.content, policy=policy.SMTP)["List-Unsubscribe"])
        leave_at = token.partition("mailto:")[2].partition(">")[0].partition("?")[0]
        [goodbye] = await house.write(ada.letter(), to=leave_at)
        assert goodbye and await state(house, "ada@reader.example") is None
        [question] = await house.write(new.letter("subscribe", with_key=True))
        await house.write(new.letter("Re: [...]", "ok"), to=reply_to(question))
        assert await state(house, "new@reader.example") is State.ACTIVE
        await house.write(eve.letter("Re: [...]", "ok"), to=reply_to(leaving))
        assert await state(house, "eve@reader.example") is None


async def deliver_some(house: House) -> None:
    """Deliver until the far server has had three letters more."""
    enough = len(house.far.letters) + 3
    running = asyncio.ensure_future(house.deliverer.run())
    while len(house.far.letters) < enough:
        await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_service_that_runs_is_not_copied_from_under_its_feet(move: Move, cluster: Cluster) -> None:
    instance = Instance.open(move.folder)
    with cluster.fresh() as url:
        with control.claim(instance.control_path):
            assert "A service runs" in move.copy(SQLITE, url).stderr
        with instance.roster_in_use():
            assert "The register is in use" in move.copy(SQLITE, url).stderr
        assert cluster.sql("SELECT count(*) FROM pg_class WHERE relname = 'inbox'", url=url) == "0\n"


@pytest.mark.parametrize("url", ["mysql://elsewhere/mailer", "postgresql://", "mailer.db"])
async def test_what_is_no_url_is_named_so(move: Move, url: str) -> None:
    refused = move.copy(SQLITE, url)
    assert refused.returncode == 1 and 'Expected "sqlite:///FILE" or' in refused.stderr
