"""A real Postfix as relay: what it cannot deliver comes back to the door as its own letters, and is counted.

Two instances on loopback: the relay, and behind it a far server that refuses some readers. The relay hands everything
for the list's domain back to the door.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import select

from mailer.model.failure import Failure
from mailer.model.weather import SENT
from mailer.store import bounces
from mailer.store.tables import subscribers
from tests.conftest import needs
from tests.conversations import post
from tests.house import CONTACT, Clock, House, Person, furnish, make_instance, point_relay_at
from tests.walks.crowd import publish_digest
from tests.walks.far_server import FarServer
from tests.walks.test_deliver import fill

DOMAIN = "crowd.example"
REFUSED = {  # what the far server says to the readers that `fill` makes, by their number
    "0000": ("550 5.1.1 <reader>: Recipient address rejected: User unknown", Failure.GONE),
    "0001": ("552 5.2.2 mailbox full", Failure.FULL),
    "0002": ("550 Mail content denied. http://service.mail.qq.example/help", Failure.CENSORED),
    "0003": ("554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", Failure.POLICY),
    "0004": ("550 5.7.26 Unauthenticated email, no SPF and no DKIM", Failure.AUTHENTICATION),
}
PATIENCE_S = 60
MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {home}/spool
data_directory = {home}/lib
myhostname = relay.example
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
inet_protocols = ipv4
inet_interfaces = 127.0.0.1
smtp_dns_support_level = disabled
smtp_host_lookup = native
maillog_file = {home}/log
maillog_file_prefixes = {home}
transport_maps = inline:{{ {{lists.example = smtp:[127.0.0.1]:{door}}}, {{crowd.example = smtp:[127.0.0.1]:{far}}} }}
default_transport = error:5.4.4 nothing leaves this machine
"""
MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
proxymap unix - - n - - proxymap
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
smtp unix - - n - - smtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Refusing(FarServer):
    """Refuses a reader by the number in the address, and takes the rest."""

    def next_answer(self, verb: str):  # type: ignore[no-untyped-def]
        if verb != "RCPT":
            return super().next_answer(verb)
        return next((text for number, (text, _) in REFUSED.items() if f"reader-{number}@" in self.commands[-1]), None)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextmanager
def postfix(port: int, door: int, far: int) -> Iterator[None]:
    program = needs("postfix")
    if os.geteuid() != 0:
        pytest.skip("Postfix starts as root only")
    home = Path(tempfile.mkdtemp(prefix="postfix-"))
    try:
        home.chmod(0o755)  # its processes run as another user
        for name in ("etc", "spool", "lib"):
            (home / name).mkdir()
        shutil.chown(home / "lib", "postfix")
        (home / "etc/main.cf").write_text(MAIN_CF.format(home=home, door=door, far=far))
        (home / "etc/master.cf").write_text(MASTER_CF.format(port=port))
        subprocess.run([program, "-c", str(home / "etc"), "check"], check=True, capture_output=True)
        postconf = Path(program).with_name("postconf")
        folder = subprocess.run([postconf, "-h", "daemon_directory"], check=True, capture_output=True, text=True)
        master = Path(folder.stdout.strip()) / "master"
        subprocess.run([master, "-w", "-c", home / "etc"], check=True, capture_output=True)  # -w: until it is ready
        yield
    finally:
        with suppress(FileNotFoundError):
            os.kill(int((home / "spool/pid/master.pid").read_text()), signal.SIGTERM)
        shutil.rmtree(home, ignore_errors=True)


async def test_what_postfix_sends_back_is_counted_for_the_reader_and_by_its_reason(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        far, contact = await stack.enter_async_context(Refusing()), Person.with_key(CONTACT)
        port = free_port()
        instance = point_relay_at(make_instance(tmp_path / "instance", contact), port)
        house = await furnish(stack, instance, far, contact, Clock())
        stack.enter_context(postfix(port, house.door.addresses[0][1], far.port))
        ids = await fill(house, len(REFUSED) + 1)
        await publish_digest(house)
        await house.deliver()
        found = await wait_for_reports(house, len(REFUSED))
        assert found == {SENT: len(ids), **{failure.value: 1 for _, failure in REFUSED.values()}}
        assert [post.recipient(one) for one in far.letters] == [f"reader-0005@{DOMAIN}"]
        async with house.database.read() as tx:
            scores = {row.id: row.bounce_score for row in await tx.execute(select(subscribers))}
        assert [scores[one] for one in ids] == [1, 0, 0, 0, 0, 0]


async def wait_for_reports(house: House, number: int) -> dict[str, int]:
    """Deal with what comes to the door until so many reports have counted; return the weather."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await house.worker.arrived.wait()
            house.worker.arrived.clear()
            assert await house.work() == []  # nothing is answered
            async with house.database.read() as tx:
                found = await bounces.weather(tx, house.clock().date())
            outcomes = {
                outcome: sum(one.number for one in found if one.outcome == outcome)
                for outcome in {one.outcome for one in found}
            }
            if sum(outcomes.values()) - outcomes.get(SENT, 0) >= number:
                return outcomes
