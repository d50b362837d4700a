"""Servers that others wrote: Postfix and aiosmtpd."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from aiosmtpd.smtp import SMTP, Envelope

from mailer.letters import seal
from mailer.letters.seal import Sealed
from mailer.model.address import Address
from mailer.model.failure import Failure
from mailer.model.retry import Answer, Outcome
from mailer.outward.relay import Relay, RelaySettings, open_relay
from tests.conftest import needs

OURS = Address("news+bounce-abc", "lists.example")
CONTENT = b"Subject: [...]\r\n\r\n.dot\r\n..\r\n.\r\nWords, \xe8\x87\xaa\r\n"
SIZE_LIMIT = 200_000


def letter(local: str = "reader", content: bytes = CONTENT, domain: str = "far.example") -> Sealed:
    return Sealed(Address(local, domain), OURS, content, seal._MADE_HERE)


# --- aiosmtpd --------------------------------------------------------------------------------------------------------


class Keeper:
    def __init__(self) -> None:
        self.contents: list[bytes] = []

    async def handle_DATA(self, _server: SMTP, _session: object, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.original_content, bytes)
        self.contents.append(envelope.original_content)
        return "250 2.0.0 kept"


async def test_aiosmtpd_takes_letter_after_letter() -> None:
    keeper, loop = Keeper(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(keeper, hostname="relay.example"), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    contents = [CONTENT * (number + 1) for number in range(30)]
    async with open_relay(RelaySettings("127.0.0.1", port, "none", connections=1)) as relay:
        for content in contents:
            assert await relay.send(letter(content=content)) == Outcome(Answer.ACCEPTED, 250, "2.0.0")
    server.close()
    assert keeper.contents == contents


# --- Postfix ---------------------------------------------------------------------------------------------------------

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {home}/spool
data_directory = {home}/lib
myhostname = relay.example
mydestination =
mynetworks =
alias_maps =
local_header_rewrite_clients =
inet_protocols = ipv4
maillog_file = {home}/log
maillog_file_prefixes = {home}
message_size_limit = {size_limit}
virtual_mailbox_domains = far.example
virtual_mailbox_base = {home}/mailboxes
virtual_mailbox_maps = inline:{{ reader@far.example=reader/, full@far.example=full/ }}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_recipient_restrictions =
    check_recipient_access inline:{{ {{full@far.example = 452 4.2.2 mailbox full}} }}
    reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_chain_files = {home}/tls.pem
"""
MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
127.0.0.1:{plain_port} inet n - n - - smtpd -o smtpd_discard_ehlo_keywords=pipelining
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
error unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class Postfix:
    """A Postfix of its own: port offers PIPELINING and STARTTLS, plain_port does not pipeline."""

    home: Path
    port: int
    plain_port: int

    @property
    def arrived(self) -> list[bytes]:
        """The letters in the one mailbox, behind the fields that Postfix puts before them."""
        folder = self.home / "mailboxes" / "reader" / "new"
        return [path.read_bytes() for path in folder.iterdir()] if folder.is_dir() else []


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def postfix(authority: trustme.CA) -> Iterator[Postfix]:
    program = needs("postfix")
    if os.geteuid() != 0:
        pytest.skip("Postfix starts as root only")
    home = Path(tempfile.mkdtemp(prefix="postfix-"))
    try:
        postfix = Postfix(home, *free_ports())
        configure(postfix, authority)
        subprocess.run([program, "-c", str(home / "etc"), "check"], check=True, capture_output=True)
        postconf = Path(program).with_name("postconf")
        folder = subprocess.run([postconf, "-h", "daemon_directory"], check=True, capture_output=True, text=True)
        master = Path(folder.stdout.strip()) / "master"
        subprocess.run([master, "-w", "-c", home / "etc"], check=True, capture_output=True)  # -w: until it is ready
        yield postfix
        os.kill(int((home / "spool/pid/master.pid").read_text()), signal.SIGTERM)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def configure(postfix: Postfix, authority: trustme.CA) -> None:
    home, owner = postfix.home, shutil.chown
    home.chmod(0o755)  # its processes run as another user
    for name in ("etc", "spool", "lib", "mailboxes"):
        (home / name).mkdir()
    owner(home / "lib", "postfix")
    owner(home / "mailboxes", "nobody", "nogroup")
    nobody = (home / "mailboxes").stat()
    main = MAIN_CF.format(home=home, size_limit=SIZE_LIMIT, uid=nobody.st_uid, gid=nobody.st_gid)
    (home / "etc/main.cf").write_text(main)
    (home / "etc/master.cf").write_text(MASTER_CF.format(port=postfix.port, plain_port=postfix.plain_port))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(home / "tls.pem"))


def plain(port: int) -> Relay:
    return open_relay(RelaySettings("127.0.0.1", port, "none", connections=1, timeout_s=20.0))


async def test_postfix_takes_letters_and_refuses_some_on_one_connection_with_and_without_pipelining(
    postfix: Postfix,
) -> None:
    before = len(postfix.arrived)
    for port in (postfix.port, postfix.plain_port):
        async with plain(port) as relay:
            for _ in range(3):
                assert await relay.send(letter("nobody")) == Outcome(Answer.REFUSED, 550, "5.1.1", failure=Failure.GONE)
                assert await relay.send(letter("full")) == Outcome(Answer.LATER, 452, "4.2.2", failure=Failure.FULL)
                assert (await relay.send(letter(domain="elsewhere.example"))).status == "4.7.1"  # it relays nothing
                accepted = await relay.send(letter())
                assert (accepted.answer, accepted.code, accepted.status) == (Answer.ACCEPTED, 250, "2.0.0")
    async with asyncio.timeout(30):
        while len(postfix.arrived) < before + 6:
            await asyncio.sleep(0)
    assert {content.partition(b"Subject:")[2] for content in postfix.arrived} == {CONTENT.replace(b"\r\n", b"\n")[8:]}


async def test_postfix_is_spoken_to_on_tls(postfix: Postfix, authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    settings = RelaySettings("127.0.0.1", postfix.port, "starttls", ca_file=tmp_path / "ca.pem")
    async with open_relay(settings) as relay:
        assert (await relay.send(letter())).answer is Answer.ACCEPTED
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with open_relay(settings) as relay:
        assert await relay.send(letter()) == Outcome(Answer.LATER, is_connection_lost=True)


async def test_what_postfix_says_is_too_large_is_not_sent(postfix: Postfix) -> None:
    async with plain(postfix.port) as relay:
        outcome = await relay.send(letter(content=b"A: b\r\n\r\n" + b"x\r\n" * SIZE_LIMIT))
        assert outcome == Outcome(Answer.REFUSED, 552, "5.3.4", failure=Failure.POLICY)
        assert (await relay.send(letter())).answer is Answer.ACCEPTED


async def test_a_postfix_that_is_reloaded_in_between_takes_every_letter(postfix: Postfix) -> None:
    """It ends idle connections, at some moment."""
    master = int((postfix.home / "spool/pid/master.pid").read_text())
    async with plain(postfix.port) as relay:
        for _ in range(2):
            assert (await relay.send(letter())).answer is Answer.ACCEPTED
            os.kill(master, signal.SIGHUP)
            assert (await relay.send(letter())).answer is Answer.ACCEPTED
