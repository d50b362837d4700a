"""Letters hidden in letters: what one server takes for the end of a letter, another must not (SMTP smuggling, 2023)."""

from __future__ import annotations

import asyncio
import itertools
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme

from mailer.inward.door import Door, DoorSettings, Limits
from mailer.model.address import Address
from mailer.model.letter import Envelope

NEWS = Address("news", "lists.example")
BEGIN = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<news@lists.example>\r\nDATA\r\n"
SMUGGLED = b"MAIL FROM:<organiser@lists.example>\r\nRCPT TO:<news@lists.example>\r\nDATA\r\nSubject: smuggled\r\n"
END = b"\r\n.\r\n"
PATIENT = Limits(errors=10**6)  # one connection tries hundreds of letters
FALSE_ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r.\r",
    b"\r.\r\n",
    b"\r.\n",
    b"\n.\r",
    b"\r\n\x00.\r\n",
    b"\r\n.\x00\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n.\r\r\n",
    b"\n\r.\n\r",
    b"\r\n..\r\n",
    b"\r\n.\r\x00\n",
]


class Inbox:
    def __init__(self) -> None:
        self.letters: list[bytes] = []
        self.senders: list[Address | None] = []

    async def accept(self, envelopes: list[Envelope], content: bytes) -> None:
        self.letters.append(content)
        self.senders += [envelope.mail_from for envelope in envelopes]


@asynccontextmanager
async def door_and_peer(
    inbox: Inbox, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    settings = DoorSettings((("127.0.0.1", 0),), "door.example", 100_000, 10, 10, 10, 20.0, tls=tls, limits=PATIENT)
    async with Door(settings, {NEWS}.__contains__, inbox.accept) as door:
        reader, writer = await asyncio.open_connection(*door.addresses[0])
        writer.write(b"EHLO x\r\n")
        await replies(reader, 2)
        yield reader, writer
        writer.transport.abort()


async def replies(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    """The codes of the next replies."""
    codes: list[bytes] = []
    while len(codes) < count:
        line = await reader.readline()
        if line[3:4] != b"-":
            codes.append(line[:3])
    return codes


async def send(inbox: Inbox, content: bytes) -> list[bytes]:
    """What is answered to one letter and the NOOP behind it."""
    async with door_and_peer(inbox) as (reader, writer):
        writer.write(BEGIN + content + END + b"NOOP\r\n")
        assert await replies(reader, 3) == [b"250", b"250", b"354"]
        codes = await replies(reader, 2)
        writer.write(b"QUIT\r\n")
        rest = await reader.read()
        assert rest.startswith(b"221"), "one reply to the letter, and not one more"
        return codes


@pytest.mark.parametrize("false_end", FALSE_ENDS)
async def test_a_false_end_neither_splits_a_letter_nor_is_let_through(false_end: bytes) -> None:
    inbox = Inbox()
    codes = await send(inbox, b"Subject: outer\r\n\r\nhello" + false_end + SMUGGLED)
    if false_end == b"\r\n..\r\n":  # a doubled dot is no end, and quite in order
        assert codes == [b"250", b"250"]
        assert inbox.letters == [b"Subject: outer\r\n\r\nhello\r\n.\r\n" + SMUGGLED + b"\r\n"]
    else:
        assert codes == [b"550", b"250"]
        assert inbox.letters == []
    assert Address("organiser", "lists.example") not in inbox.senders


async def test_control_the_true_end_does_split_it() -> None:
    """The same bytes around the true end are two letters: so the test above would see a false end being believed."""
    inbox = Inbox()
    async with door_and_peer(inbox) as (reader, writer):
        writer.write(BEGIN + b"Subject: outer\r\n\r\nhello" + END + SMUGGLED + b".\r\n")
        assert await replies(reader, 8) == [b"250", b"250", b"354", b"250"] * 2
    assert inbox.senders[-1] == Address("organiser", "lists.example")


async def test_control_without_the_guard_a_false_end_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailer.inward.admission.is_clean", lambda _line: True)
    inbox = Inbox()
    assert await send(inbox, b"hello\n.\n" + SMUGGLED) == [b"250", b"250"]
    assert b"hello\n.\n" in inbox.letters[0]


async def test_every_arrangement_of_cr_lf_and_dot_is_taken_as_one_letter_or_refused() -> None:
    pieces = [b"\r", b"\n", b".", b"a"]
    bodies = [b"".join(body) for size in range(6) for body in itertools.product(pieces, repeat=size)]
    bodies = [body for body in bodies if END not in b"\r\n" + body + b"\r\n"]
    for some in _batches(bodies, 200):
        inbox = Inbox()
        async with door_and_peer(inbox) as (reader, writer):
            for body in some:
                writer.write(BEGIN + body + END)
                expected = b"250" if _is_crlf_only(body) else b"550"
                assert await replies(reader, 4) == [b"250", b"250", b"354", expected], body
        assert inbox.letters == [_without_dots(body + b"\r\n") for body in some if _is_crlf_only(body)]


def _batches(bodies: list[bytes], size: int) -> list[list[bytes]]:
    return [bodies[start : start + size] for start in range(0, len(bodies), size)]


def _is_crlf_only(body: bytes) -> bool:
    return not re.search(rb"[\r\n]", body.replace(b"\r\n", b""))


def _without_dots(letter: bytes) -> bytes:
    return b"\r\n".join(line.removeprefix(b".") for line in letter.split(b"\r\n"))


@pytest.mark.parametrize("content", [b"Subject: a\r\n\r\nb", b"hello\n.\nMAIL FROM:<>\r\n", b""])
async def test_it_does_not_matter_how_the_bytes_are_cut(content: bytes) -> None:
    whole, cut = Inbox(), Inbox()
    expected = await send(whole, content)
    async with door_and_peer(cut) as (reader, writer):
        writer.write(BEGIN)
        await replies(reader, 3)
        for octet in content + END + b"NOOP\r\n":
            writer.write(bytes([octet]))
            await writer.drain()
            await asyncio.sleep(0)
        assert await replies(reader, 2) == expected
    assert cut.letters == whole.letters


@pytest.mark.parametrize(
    "command",
    [
        b"NOOP\n",
        b"NOOP\r",
        b"NOOP\nNOOP\r\n",
        b"NOOP\rNOOP\r\n",
        b"MAIL FROM:<a@b.example>\rRCPT TO:<news@lists.example>\r\n",
        b"MAIL FROM:<a@b.example>\x00\r\n",
        b"NOOP\r\r\n",
    ],
)
async def test_a_command_that_ends_in_anything_but_crlf_is_not_obeyed(command: bytes) -> None:
    async with door_and_peer(Inbox()) as (reader, writer):
        writer.write(command + b"\r\nQUIT\r\n")
        answers = (await reader.read()).splitlines()
    assert {answer[:3] for answer in answers[:-1]} <= {b"500", b"250"}
    assert answers[0][:3] == b"500"
    assert answers[-1][:3] == b"221"


@pytest.mark.parametrize(
    "injected",
    [
        b"NOOP\r\n",
        b"EHLO evil.example\r\n",
        b"EHLO evil.example\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<news@lists.example>\r\nDATA\r\n",
        b"MAIL FROM:<evil",
    ],
)
async def test_what_was_said_in_clear_is_not_carried_into_tls(injected: bytes) -> None:
    """CVE-2024-34083 and CVE-2021-38371: commands behind STARTTLS, in the same segment, by somebody in the middle."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("door.example").configure_cert(tls)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    inbox = Inbox()
    async with door_and_peer(inbox, tls) as (reader, writer):
        writer.write(b"STARTTLS\r\n" + injected)
        assert await replies(reader, 1) == [b"220"]
        await writer.start_tls(trusting, server_hostname="door.example")
        writer.write(b"MAIL FROM:<a@b.example>\r\nEHLO x\r\n" + BEGIN + b"Subject: mine\r\n.\r\n")
        assert await replies(reader, 6) == [b"503", b"250", b"250", b"250", b"354", b"250"]
    assert inbox.senders == [Address("a", "b.example")]
