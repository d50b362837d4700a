"""Two workers on machines of their own deliver one digest, and the network of one of them is cut in the middle."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from mailer.instance import Instance
from mailer.model.digest import DeliveryState
from mailer.store import queue
from tests import house
from tests.cluster import Cluster, free_port
from tests.conftest import ROOT, needs
from tests.house import CONTACT, ROSTER, SERVICE, Clock, Person, furnish, make_instance
from tests.walks.crowd import enrol, publish_digest
from tests.walks.far_server import FarServer
from tests.walks.test_crash import check_arrived, one_drawer

SUBSCRIBERS = 600
CONNECTIONS = 8  # as shipped
SERVER = "10.231.77.5"  # where database and relay are; the three are networks of this test's own
LEASE_S = 30  # the least that config.toml allows


def ip(*arguments: str) -> None:
    subprocess.run([needs("ip"), *arguments], check=True, capture_output=True)


@dataclass
class Machine:
    """A network namespace whose one cable leads to the server."""

    name: str
    number: int

    @property
    def cable(self) -> str:
        """The server's end of it."""
        return f"{self.name}s"

    def make(self) -> None:
        ours, theirs = f"10.231.77.{8 * self.number + 1}", f"10.231.77.{8 * self.number + 2}"
        ip("netns", "add", self.name)
        ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("address", "add", f"{ours}/30", "dev", self.cable)
        ip("link", "set", self.cable, "up")
        ip("-n", self.name, "address", "add", f"{theirs}/30", "dev", "eth0")
        ip("-n", self.name, "link", "set", "eth0", "up")
        ip("-n", self.name, "route", "add", SERVER, "via", ours)

    def cut(self) -> None:
        """From now on nothing that it sends arrives, and nothing says so."""
        ip("link", "set", self.cable, "down")

    def mend(self) -> None:
        ip("link", "set", self.cable, "up")

    def remove(self) -> None:
        subprocess.run([needs("ip"), "netns", "del", self.name], check=False, capture_output=True)
        subprocess.run([needs("ip"), "link", "del", self.cable], check=False, capture_output=True)


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    if os.getuid() != 0:
        pytest.skip("only root makes network namespaces")
    server, both = f"m{os.getpid()}", (Machine(f"m{os.getpid()}a", 1), Machine(f"m{os.getpid()}b", 2))
    try:
        try:
            ip("link", "add", server, "type", "veth", "peer", "name", f"{server}p")
        except subprocess.CalledProcessError:
            pytest.skip("no network namespaces can be made here")
        ip("address", "add", f"{SERVER}/32", "dev", server)
        ip("link", "set", server, "up")
        for one in both:
            one.make()
        yield both
    finally:
        for one in both:
            one.remove()
        subprocess.run([needs("ip"), "link", "del", server], check=False, capture_output=True)


@pytest.fixture
def shared(machines: tuple[Machine, Machine]) -> Iterator[Cluster]:
    """A PostgreSQL that both machines reach."""
    assert machines
    cluster = Cluster.make(SERVER, free_port())
    yield cluster
    cluster.remove()


@asynccontextmanager
async def relay(folder: Path) -> AsyncIterator[FarServer]:
    """A relay that both machines reach, with a certificate that they verify."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(SERVER).configure_cert(tls)
    async with FarServer(tls=tls, is_implicit=True, host=SERVER) as far:
        yield far


def instance_for(folder: Path, url: str, far: FarServer, ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    monkeypatch.setattr(house, "database_url", url)
    path = make_instance(folder, None).config_path
    text = path.read_text(encoding="utf-8")
    for before, after in {
        'host = "127.0.0.1"\nport = 465': f'host = "{SERVER}"\nport = {far.port}',
        'tls = "none"': 'tls = "verify"',
        'ca_file = ""': f'ca_file = "{ca_file}"',
        "given up for this time, in seconds.\ntimeout_s = 60": "given up for this time, in seconds.\ntimeout_s = 3",
        "lease_s = 600": f"lease_s = {LEASE_S}",
    }.items():
        text = text.replace(before, after)
    path.write_text(text, encoding="utf-8")
    return Instance.open(folder)


@asynccontextmanager
async def worker(machine: Machine, instance: Instance) -> AsyncIterator[asyncio.subprocess.Process]:
    """`mailer work` on a machine, with that machine's own copy of the instance."""
    folder = instance.folder.parent / machine.name
    shutil.copytree(instance.folder, folder)
    for name, passphrase in (("service", SERVICE), ("roster", ROSTER)):
        (folder / name).write_text(passphrase + "\n")
    files = [f"--{name}-passphrase-file={folder / name}" for name in ("service", "roster")]
    process = await asyncio.create_subprocess_exec(
        *(needs("ip"), "netns", "exec", machine.name, sys.executable, "-m", "mailer", "work", "--processes", "1"),
        *("--instance", str(folder), *files),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        _, errors = await process.communicate()
        assert b"Traceback" not in errors and b"crowd.example" not in errors, errors.decode()


async def until(condition: Callable[[], bool], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


async def test_all_arrives_though_one_of_two_machines_is_cut_off_in_the_middle(
    machines: tuple[Machine, Machine], shared: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, stays = machines
    url = f"postgresql+asyncpg://mailer@{SERVER}:{shared.port}/postgres"

    def connected() -> set[str]:
        rows = shared.sql("SELECT DISTINCT client_addr FROM pg_stat_activity WHERE client_addr IS NOT NULL")
        return set(rows.split())

    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(relay(tmp_path))
        instance = instance_for(tmp_path / "instance", url, far, tmp_path / "ca.pem", monkeypatch)
        assert (instance.config.relay.timeout_s, instance.config.delivery.lease_s) == (3, LEASE_S)
        office = await furnish(stack, instance, far, Person(CONTACT), Clock())
        await enrol(office.database, office.secrets, office.instance.roster_public(), SUBSCRIBERS, [one_drawer()])
        process = await stack.enter_async_context(worker(lost, instance))
        other = await stack.enter_async_context(worker(stays, instance))
        await until(lambda: {f"10.231.77.{8 * one.number + 2}" for one in machines} <= connected(), 20)

        assert await publish_digest(office) == SUBSCRIBERS
        leases = "SELECT count(DISTINCT lease_by) FROM deliveries"
        await until(lambda: len(far.letters) >= 20 and shared.sql(leases) == "2\n", 20)
        await asyncio.to_thread(lost.cut)
        cut_at = len(far.letters)
        assert cut_at < SUBSCRIBERS
        await until(lambda: len({letter.rcpt for letter in far.letters}) == SUBSCRIBERS, LEASE_S + 30)

        await asyncio.to_thread(lost.mend)
        for one in (process, other):
            one.send_signal(signal.SIGTERM)
        assert [await asyncio.wait_for(one.wait(), 15) for one in (process, other)] == [0, 0]
        check_arrived(far.letters, SUBSCRIBERS, repeated=CONNECTIONS)
        async with office.database.read() as tx:
            assert await queue.counts(tx, "d1") == {DeliveryState.SENT: SUBSCRIBERS}
        assert max(Counter(letter.rcpt for letter in far.letters).values()) <= 2
