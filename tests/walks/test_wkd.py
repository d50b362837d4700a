"""Looking for the key of somebody who joins without one at their provider: through a SOCKS5 proxy, and without."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from mailer.app import key_search
from mailer.inward import wkd
from mailer.inward.key_search import KeySearch
from mailer.inward.reader import Reader
from mailer.inward.wkd import CERTIFICATE_OCTETS, KeyDirectory
from mailer.model import web_key
from mailer.model.address import Address
from mailer.model.certificate import Certificate
from tests.house import Clock, House, Person, make_instance, open_house, open_text
from tests.walks.test_relay_proxy import SocksServer

ADA = "Ada.L@reader.example"
ADVANCED, DIRECT = "openpgpkey.reader.example", "reader.example"
PATH = f"/.well-known/openpgpkey/reader.example/hu/{web_key.hashed('ada.l')}?l=Ada.L"
Answer = bytes | None  # None: silence


def ok(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content


@dataclass
class WebServer:
    """An HTTPS server that says the same to everybody, and remembers what it was asked. answer None: it is silent."""

    tls: ssl.SSLContext
    answer: bytes | None
    asked: list[tuple[str, str]] = field(default_factory=list)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        async with server:
            yield int(server.sockets[0].getsockname()[1])
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            host = next(line[6:] for line in head.split("\r\n") if line.lower().startswith("host: "))
            self.asked.append((host, head.split(" ")[1]))
            if self.answer is None:
                await reader.read()
            writer.write(self.answer or b"")
            await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@dataclass
class Web:
    """The far side: a web server behind a proxy, and the directory that asks there."""

    server: WebServer
    proxy: SocksServer
    directory: KeyDirectory
    clock: Clock

    @property
    def names(self) -> list[str]:
        return [name.decode() for name, _ in self.proxy.asked_for]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def web(authority: trustme.CA, ca_file: Path) -> Callable[..., object]:
    @asynccontextmanager
    async def open_web(
        answer: Answer, *, names: tuple[str, ...] = (ADVANCED, DIRECT), timeout_s: float = 10.0
    ) -> AsyncIterator[Web]:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(tls)
        server, clock = WebServer(tls, answer), Clock()
        async with server.listening() as port, SocksServer(port) as proxy:
            trusted = wkd.tls_context(ca_file)
            yield Web(server, proxy, KeyDirectory(trusted, f"socks5://127.0.0.1:{proxy.port}", timeout_s, clock), clock)

    return open_web


Opener = Callable[..., object]


def test_the_name_in_the_directory_is_that_of_the_draft() -> None:
    assert web_key.hashed("Joe.Doe") == "iy9q119eutrkn8s1mk4r39qejnbu3n5q"  # its example, in §3.1
    assert wkd.places(Address.parse("Joe.Doe@Example.ORG")) == (
        "https://openpgpkey.example.org/.well-known/openpgpkey/example.org/hu/iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe",
        "https://example.org/.well-known/openpgpkey/hu/iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe",
    )
    assert wkd.places(Address.parse("a&b/c+d@example.org"))[1].endswith("?l=a%26b%2Fc%2Bd")


async def test_the_advanced_method_is_asked_first_and_alone_through_the_proxy(web: Opener) -> None:
    async with web(ok(b"key")) as far:  # type: ignore[attr-defined]
        assert await far.directory.find(Address.parse(ADA)) == b"key"
        assert far.proxy.asked_for == [(ADVANCED.encode(), 443)]
        assert far.server.asked == [(ADVANCED, PATH)]


async def test_the_direct_method_is_for_where_the_advanced_name_leads_nowhere(web: Opener) -> None:
    async with web(ok(b"key")) as far:  # type: ignore[attr-defined]
        far.proxy.unknown = (ADVANCED.encode(),)
        assert await far.directory.find(Address.parse(ADA)) == b"key"
        assert far.names == [ADVANCED, DIRECT]
        assert far.server.asked == [(DIRECT, PATH.replace("/reader.example", ""))]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nkey",
        b"HTTP/1.1 302 Found\r\nLocation: https://reader.example/elsewhere\r\nContent-Length: 3\r\n\r\nkey",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ok(bytes(CERTIFICATE_OCTETS + 1)),
        b"HTTP/1.1 200 OK\r\n\r\n" + bytes(CERTIFICATE_OCTETS + 1),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nkey",
        b"not HTTP at all\r\n\r\n",
        b"",
    ],
)
async def test_any_other_answer_is_no_key_and_nothing_else_is_asked(web: Opener, answer: bytes) -> None:
    async with web(answer) as far:  # type: ignore[attr-defined]
        assert await far.directory.find(Address.parse(ADA)) is None
        assert far.names == [ADVANCED]


async def test_a_certificate_of_the_largest_size_is_taken(web: Opener) -> None:
    async with web(ok(bytes(CERTIFICATE_OCTETS))) as far:  # type: ignore[attr-defined]
        assert await far.directory.find(Address.parse(ADA)) == bytes(CERTIFICATE_OCTETS)


async def test_a_server_that_nobody_vouches_for_is_not_asked(web: Opener) -> None:
    async with web(ok(b"key"), names=("other.example",)) as far:  # type: ignore[attr-defined]
        assert await far.directory.find(Address.parse(ADA)) is None
        assert far.server.asked == []


async def test_a_silent_server_is_given_up_and_not_asked_again_for_an_hour(web: Opener) -> None:
    async with web(None, timeout_s=0.2) as far:  # type: ignore[attr-defined]
        assert await far.directory.find(Address.parse(ADA)) is None
        assert len(far.server.asked) == 1
        far.server.answer = ok(b"key")
        assert await far.directory.find(Address.parse("bob@reader.example")) is None
        assert len(far.server.asked) == 1
        far.clock.moment += timedelta(hours=1)
        assert await far.directory.find(Address.parse(ADA)) == b"key"


async def test_one_domain_is_not_asked_without_end(web: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wkd, "LOOK_UPS_PER_HOUR", 2)
    async with web(ok(b"key")) as far:  # type: ignore[attr-defined]
        found = [await far.directory.find(Address.parse(ADA)) for _ in range(3)]
        assert found == [b"key", b"key", None]
        far.clock.moment += timedelta(hours=1)
        assert await far.directory.find(Address.parse(ADA)) == b"key"


# --- Without a proxy ------------------------------------------------------------------------------------------------


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Stand in for the far name server."""

    async def look_up(_host: str, port: int, **_options: object) -> list[object]:
        return [(0, 0, 0, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)


async def test_without_a_proxy_it_connects_to_public_addresses_alone(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(ADVANCED, DIRECT).configure_cert(tls)
    server = WebServer(tls, ok(b"key"))
    async with server.listening() as port:
        resolve_to(monkeypatch, "127.0.0.1")
        trusted = wkd.tls_context(ca_file)
        assert await KeyDirectory(trusted, "", 10.0, Clock(), port).find(Address.parse(ADA)) is None
        assert server.asked == []
        lenient = KeyDirectory(trusted, "", 10.0, Clock(), port, is_public=lambda _: True)  # the positive control
        assert await lenient.find(Address.parse(ADA)) == b"key"
        resolve_to(monkeypatch, "127.0.0.1", "10.0.0.1")  # one of them is enough to refuse the name
        strict = KeyDirectory(trusted, "", 10.0, Clock(), port, is_public=lambda address: address != "10.0.0.1")
        assert await strict.find(Address.parse(ADA)) is None


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "ff02::1", "::"),
    ],
)
def test_no_address_of_a_private_network_is_public(address: str) -> None:
    assert not wkd._is_global(address)
    assert wkd._is_global("9.9.9.9")
    assert wkd._is_global("2620:fe::fe")


@pytest.mark.parametrize("domain", ["localhost", "router.local", "mail.internal", "a.home.arpa", "b.onion", "10.0.0.1"])
async def test_names_that_lead_out_of_no_network_are_not_looked_up(web: Opener, domain: str) -> None:
    async with web(ok(b"key")) as far:  # type: ignore[attr-defined]
        assert await far.directory.find(Address("ada", domain)) is None
        assert far.names == []


# --- In the walk ----------------------------------------------------------------------------------------------------


async def test_only_a_certificate_that_carries_the_address_is_theirs() -> None:
    ada, bob = Person.with_key("ada@reader.example"), Person.with_key("bob@reader.example")
    async with Reader() as reader:
        [found] = await reader.find(ada.certificate + bob.certificate, Address.parse("ADA@reader.example"))
        assert isinstance(found, Certificate)
        assert await reader.find(bob.certificate, Address.parse("ada@reader.example")) == ()
        assert await reader.find(b"rubbish", Address.parse("ada@reader.example")) == ()


def searching(house: House, far: Web) -> None:
    house.worker.receiver.key_search = KeySearch(far.directory, house.worker.receiver.listener.reader)


async def test_who_joins_without_a_key_is_asked_to_confirm_under_the_one_that_was_found(
    web: Opener, tmp_path: Path
) -> None:
    ada = Person.with_key(ADA)
    async with web(ok(ada.certificate)) as far, open_house(tmp_path / "instance") as house:  # type: ignore[attr-defined]
        searching(house, far)
        [question] = await house.write(ada.letter("subscribe"))
        assert "confirm" in ada.read(question)
        [welcome] = await house.write(ada.letter("Re: [...]", "ok"), to=reply_address(question))
        assert ada.read(welcome)
        assert far.names == [ADVANCED]  # the confirmation asks nobody


def reply_address(question: object) -> str:
    from tests.house import reply_to

    return reply_to(question)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["another's", "rubbish", "nothing"])
async def test_where_none_of_theirs_is_found_they_are_asked_for_one(web: Opener, tmp_path: Path, kind: str) -> None:
    ada, bob = Person.with_key(ADA), Person.with_key("bob@reader.example")
    answer = {"another's": ok(bob.certificate), "rubbish": ok(b"rubbish"), "nothing": b"HTTP/1.1 404 No\r\n\r\n"}[kind]
    async with web(answer) as far, open_house(tmp_path / "instance") as house:  # type: ignore[attr-defined]
        searching(house, far)
        [reply] = await house.write(ada.letter("subscribe"))
        assert "no OpenPGP public key" in open_text(reply)
        assert len(far.server.asked) == 1


async def test_a_member_is_asked_for_like_a_stranger_and_keeps_their_key(web: Opener, tmp_path: Path) -> None:
    """Else a provider who writes in its people's names would see who is a member: they would not be asked for."""
    ada, other = Person.with_key(ADA), Person.with_key(ADA)
    async with web(ok(other.certificate)) as far, open_house(tmp_path / "instance") as house:  # type: ignore[attr-defined]
        await house.join(ada)
        searching(house, far)
        [reply] = await house.write(ada.letter("subscribe"))
        assert far.names == [ADVANCED]
        assert ada.read(reply)


@pytest.mark.parametrize("subject", ["help", "unsubscribe", "status", "my key"])
async def test_for_nothing_but_joining_is_anybody_asked(web: Opener, tmp_path: Path, subject: str) -> None:
    ada = Person.with_key(ADA)
    async with web(ok(ada.certificate)) as far, open_house(tmp_path / "instance") as house:  # type: ignore[attr-defined]
        searching(house, far)
        await house.write(ada.letter(subject))
        await house.write(ada.letter("subscribe", with_key=True))
        assert far.names == []


async def test_it_is_off_unless_the_settings_say_otherwise(tmp_path: Path) -> None:
    instance = make_instance(tmp_path / "house", None)
    async with Reader() as reader:
        assert key_search(instance, reader) is None
        path = instance.folder / "config.toml"
        wanted = '[wkd]\nenabled = true\nproxy = "socks5://127.0.0.1:9050"\n[was]'
        before, _, after = path.read_text().partition("[wkd]")
        path.write_text(before + wanted.removesuffix("[was]") + after.partition('ca_file = ""')[2])
        found = key_search(type(instance).open(instance.folder), reader)
        assert found is not None
        assert found.directory.proxy == "socks5://127.0.0.1:9050"
