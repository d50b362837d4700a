"""A relay behind a SOCKS5 proxy, as Tor is one: nothing is looked up here, and TLS is verified all the same."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from mailer.errors import RelayUnusable
from mailer.letters import seal
from mailer.letters.seal import Sealed
from mailer.model.address import Address
from mailer.model.retry import Answer, Outcome
from mailer.outward.relay import RelaySettings, Security, open_relay
from mailer.outward.relay.opening import open_session
from mailer.outward.relay.settings import tls_context
from tests.walks.far_server import FarServer

CONTENT = b"Subject: [...]\r\n\r\nWords.\r\n"
LOST = Outcome(Answer.LATER, is_connection_lost=True)
SHORT_S = 0.2  # for proxies that hang
NAME = "relay.example"  # no DNS knows it


def letter() -> Sealed:
    return Sealed(Address("reader", "far.example"), Address("news", "lists.example"), CONTENT, seal._MADE_HERE)


class SocksServer:
    """RFC 1928 and 1929, for one kind of request: CONNECT. Whatever the name, it leads to `port` on this machine.

    reply: 0 for success. hangs: says nothing at all.
    """

    def __init__(self, port: int, *, login: tuple[bytes, bytes] | None = None, reply: int = 0, hangs: bool = False):
        self.target, self.login, self.reply, self.hangs = port, login, reply, hangs
        self.asked_for: list[tuple[bytes, int]] = []
        self.unknown: tuple[bytes, ...] = ()  # names that lead nowhere
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> SocksServer:
        self._server = await asyncio.start_server(self._welcome, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.hangs:
                await reader.read()
            if await self._admit(reader, writer):
                await self._connect(reader, writer)
        except (OSError, EOFError):
            pass  # the client went
        finally:
            writer.transport.abort()

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        if self.login is None:
            writer.write(b"\x05\x00")
            return True
        if 2 not in methods:
            writer.write(b"\x05\xff")
            return False
        writer.write(b"\x05\x02")
        _, length = await reader.readexactly(2)
        user = await reader.readexactly(length)
        password = await reader.readexactly((await reader.readexactly(1))[0])
        writer.write(b"\x01\x00" if (user, password) == self.login else b"\x01\x01")
        return (user, password) == self.login

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(5)
        assert head[:4] == b"\x05\x01\x00\x03", "not a name"
        name = await reader.readexactly(head[4])
        self.asked_for.append((name, int.from_bytes(await reader.readexactly(2), "big")))
        reply = 4 if name in self.unknown else self.reply
        writer.write(bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]))
        if reply:
            await writer.drain()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            await asyncio.wait(
                [asyncio.create_task(_pump(reader, far_writer)), asyncio.create_task(_pump(far_reader, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            far_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while octets := await reader.read(65536):
            writer.write(octets)
            await writer.drain()
    except OSError:
        pass


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def server_tls(authority: trustme.CA, name: str = NAME) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def through(
    port: int, ca_file: Path | None, security: Security = "starttls", login: str = "", timeout_s: float = 10.0
) -> RelaySettings:
    proxy = f"socks5://{login}127.0.0.1:{port}"
    return RelaySettings(NAME, 587, security, "user", "password", ca_file, 1, timeout_s, proxy=proxy)


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every name that was asked for here."""
    names: list[Any] = []
    ask: Callable[..., Any] = socket.getaddrinfo

    def listen(host: Any, *rest: Any, **more: Any) -> Any:
        names.append(host)
        return ask(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", listen)
    return names


@pytest.mark.parametrize("security", ["starttls", "implicit"])
async def test_a_letter_goes_through_the_proxy_on_tls_and_the_proxy_looks_the_name_up(
    authority: trustme.CA, ca_file: Path, security: Security, looked_up: list[Any]
) -> None:
    async with FarServer(tls=server_tls(authority), is_implicit=security == "implicit") as far:
        async with SocksServer(far.port) as socks, open_relay(through(socks.port, ca_file, security)) as relay:
            for _ in range(3):
                assert (await relay.send(letter())).answer is Answer.ACCEPTED
    assert socks.asked_for == [(NAME.encode(), 587)]
    assert NAME not in looked_up
    assert [received.content for received in far.letters] == [CONTENT] * 3
    assert all(received.is_encrypted for received in far.letters)


@pytest.mark.parametrize("security", ["starttls", "implicit"])
@pytest.mark.parametrize("certified", ["127.0.0.1", "other.example"])
async def test_a_certificate_for_another_name_is_refused_through_the_proxy_too(
    authority: trustme.CA, ca_file: Path, security: Security, certified: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with FarServer(tls=server_tls(authority, certified), is_implicit=security == "implicit") as far:
        async with SocksServer(far.port) as socks, open_relay(through(socks.port, ca_file, security)) as relay:
            assert await relay.send(letter()) == LOST
    assert {command.split()[0] for command in far.commands} <= {"EHLO", "STARTTLS"}
    assert "SSLCertVerificationError" in caplog.text


async def test_the_login_at_the_proxy_is_used(authority: trustme.CA, ca_file: Path) -> None:
    async with FarServer(tls=server_tls(authority)) as far, SocksServer(far.port, login=(b"us:er", b"p@ss")) as socks:
        async with open_relay(through(socks.port, ca_file, login="us%3Aer:p%40ss@")) as relay:
            assert (await relay.send(letter())).answer is Answer.ACCEPTED
        async with open_relay(through(socks.port, ca_file, login="user:wrong@")) as relay:
            assert await relay.send(letter()) == LOST
        async with open_relay(through(socks.port, ca_file)) as relay:
            assert await relay.send(letter()) == LOST
    assert len(far.letters) == 1


@pytest.mark.parametrize("reply", [1, 2, 4, 5, 200])
async def test_a_proxy_that_says_no_means_later(ca_file: Path, reply: int) -> None:
    async with SocksServer(9, reply=reply) as socks, open_relay(through(socks.port, ca_file)) as relay:
        assert await relay.send(letter()) == LOST


async def test_a_proxy_that_hangs_or_is_not_there_means_later(ca_file: Path) -> None:
    async with SocksServer(9, hangs=True) as socks:
        async with open_relay(through(socks.port, ca_file, timeout_s=SHORT_S)) as relay:
            assert await relay.send(letter()) == LOST
    async with open_relay(through(socks.port, ca_file)) as relay:
        assert await relay.send(letter()) == LOST


async def test_no_address_and_no_login_is_in_the_log_when_a_proxy_fails(
    ca_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with SocksServer(9, reply=5) as socks:
        settings = through(socks.port, ca_file, login="circuit-one:pass-word@")
        async with open_relay(settings) as relay:
            await relay.send(letter())
    assert "relay main failed: " in caplog.text
    for secret in ("circuit-one", "pass-word", NAME, "127.0.0.1"):
        assert secret not in caplog.text
    assert "circuit-one" not in repr(settings)


async def test_small_packets_are_not_held_back_behind_a_proxy(authority: trustme.CA, ca_file: Path) -> None:
    async with FarServer(tls=server_tls(authority)) as far, SocksServer(far.port) as socks:
        settings = through(socks.port, ca_file)
        session = await open_session(settings, tls_context(settings))
        connected = session._wire._transport.get_extra_info("socket")
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        await session.close()


@pytest.mark.parametrize(
    "proxy",
    [
        "127.0.0.1:9050",
        "socks4://127.0.0.1:9050",
        "socks5h://127.0.0.1:9050",
        "http://127.0.0.1:9050",
        "socks5://127.0.0.1",
        "socks5://127.0.0.1:0",
        "socks5://127.0.0.1:70000",
        "socks5://127.0.0.1:port",
        "socks5://:9050",
        "socks5://[::1:9050",
        "socks5://127.0.0.1:9050/path",
        "socks5://user@127.0.0.1:9050",
        "socks5://:password@127.0.0.1:9050",
        f"socks5://{'u' * 256}:password@127.0.0.1:9050",
    ],
)
def test_a_proxy_that_is_not_understood_is_refused(proxy: str) -> None:
    with pytest.raises(RelayUnusable) as refusal:
        open_relay(RelaySettings(NAME, 587, proxy=proxy))
    assert "127.0.0.1" not in str(refusal.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", NAME])
def test_through_a_proxy_there_is_tls_or_nothing(host: str) -> None:
    with pytest.raises(RelayUnusable):
        open_relay(RelaySettings(host, 25, "none", proxy="socks5://127.0.0.1:9050"))
