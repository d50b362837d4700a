from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trustme

from mailer.errors import ConfigError, StoreBusy, StoreError, StoreFull
from mailer.inward import admission
from mailer.inward.door import Door, DoorSettings, Limits
from mailer.model.address import Address
from mailer.model.letter import Envelope, Peer

NEWS = Address("news", "lists.example")
CLIENT = Peer("127.0.0.1", "me.example")
KNOWN = {NEWS, Address("自由", "lists.example"), Address("postmaster", "lists.example")}
SETTINGS = DoorSettings(
    listen=(("127.0.0.1", 0),),
    hostname="door.example",
    max_letter_bytes=1000,
    max_connections=30,
    max_connections_per_host=30,
    max_recipients=3,
    timeout_s=20.0,
)
TO_NEWS = "EHLO me.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<news@lists.example>\r\n"
SHORT_S = 0.2


@dataclass
class Inbox:
    """What the store would keep; fails or waits when told to."""

    stored: list[tuple[list[Envelope], bytes]] = field(default_factory=list)
    failure: Exception | None = None
    room: int = 1000
    may_commit: asyncio.Event = field(default_factory=asyncio.Event)
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_commit.set()

    async def accept(self, envelopes: list[Envelope], content: bytes) -> None:
        self.has_begun.set()
        await self.may_commit.wait()
        if self.failure:
            raise self.failure
        if len(self.stored) >= self.room:
            raise StoreFull
        self.stored.append((envelopes, content))


@dataclass
class Client:
    """Says bytes, reads replies."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, text: str | bytes) -> None:
        self.writer.write(text if isinstance(text, bytes) else text.encode())

    async def reply(self) -> str:
        lines = [(await self.reader.readline()).decode()]
        while lines[-1][3:4] == "-":
            lines.append((await self.reader.readline()).decode())
        return "".join(lines)

    async def ask(self, text: str | bytes) -> str:
        self.say(text)
        return await self.reply()

    async def begin(self, text: str = TO_NEWS) -> None:
        """Read the greeting, say some commands at once, and read the replies to all."""
        await self.reply()
        self.say(text)
        for _ in text.splitlines():
            assert (await self.reply())[0] in "23"

    async def rest(self) -> str:
        return (await self.reader.read()).decode()


@asynccontextmanager
async def call(door: Door) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(*door.addresses[0])
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def house(**changes: object) -> AsyncIterator[tuple[Door, Inbox]]:
    inbox = Inbox()
    async with Door(replace(SETTINGS, **changes), KNOWN.__contains__, inbox.accept) as door:  # type: ignore[arg-type]
        yield door, inbox


async def talk(*lines: str | bytes, **changes: object) -> list[str]:
    """What is answered to each line, the greeting aside."""
    async with house(**changes) as (door, _), call(door) as client:
        await client.reply()
        return [await client.ask(line + ("\r\n" if isinstance(line, str) else b"\r\n")) for line in lines]  # type: ignore[operator]


# --- A letter comes in -----------------------------------------------------------------------------------------------


async def test_a_letter_is_stored_octet_for_octet_with_its_envelope() -> None:
    async with house() as (door, inbox), call(door) as client:
        await client.begin(TO_NEWS + "DATA\r\n")
        assert (
            await client.ask(b"Subject: \xe8\x87\xaa\r\n\r\n..dot\r\n...\r\n \xff\r\n.\r\n") == "250 2.0.0 stored\r\n"
        )
    sender = Address("a", "b.example")
    assert inbox.stored == [([Envelope(sender, NEWS, CLIENT)], b"Subject: \xe8\x87\xaa\r\n\r\n.dot\r\n..\r\n \xff\r\n")]


async def test_250_comes_only_after_the_commit() -> None:
    async with house() as (door, inbox), call(door) as client:
        inbox.may_commit.clear()
        await client.begin(TO_NEWS + "DATA\r\n")
        client.say("A: b\r\n.\r\n")
        reply = asyncio.ensure_future(client.reply())
        await inbox.has_begun.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        is_early = reply.done()
        inbox.may_commit.set()
        assert not is_early
        assert (await reply).startswith("250")
        assert len(inbox.stored) == 1


async def test_a_letter_to_several_lists_is_one_commit_with_an_envelope_for_each() -> None:
    async with house() as (door, inbox), call(door) as client:
        await client.begin(TO_NEWS + "RCPT TO:<news+key@lists.example>\r\nDATA\r\n")
        assert (await client.ask("A: b\r\n.\r\n")).startswith("250")
    assert [str(envelope.rcpt_to) for envelope in inbox.stored[0][0]] == [
        "news@lists.example",
        "news+key@lists.example",
    ]
    assert len(inbox.stored) == 1


async def test_bounces_come_from_nobody() -> None:
    async with house() as (door, inbox), call(door) as client:
        await client.begin(TO_NEWS.replace("a@b.example", "") + "DATA\r\n")
        await client.ask("A: b\r\n.\r\n")
    assert inbox.stored[0][0][0].mail_from is None


async def test_several_letters_go_through_one_connection() -> None:
    async with house() as (door, inbox), call(door) as client:
        await client.begin(TO_NEWS + "DATA\r\n")
        for number in range(3):
            client.say(f"A: {number}\r\n.\r\n" + TO_NEWS.partition("\r\n")[2] + "DATA\r\n")
            assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "250", "354"]
    assert [content for _, content in inbox.stored] == [b"A: 0\r\n", b"A: 1\r\n", b"A: 2\r\n"]


# --- Who is known ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipient", "reply"),
    [
        ("<news@lists.example>", "250 2.1.5 OK"),
        ("<news@LISTS.example>", "250 2.1.5 OK"),
        ("<news+confirm-aaaaaaaaaaaaaaaaaaaaaaaa@lists.example>", "250 2.1.5 OK"),
        ("<news+anything@lists.example>", "250 2.1.5 OK"),
        ("<@relay.example:news@lists.example>", "250 2.1.5 OK"),
        ("<postmaster@lists.example>", "250 2.1.5 OK"),
        ("<postmaster>", "250 2.1.5 OK"),
        ("<Postmaster>", "250 2.1.5 OK"),
        ("<nobody@lists.example>", "550 5.1.1 no such mailbox here"),
        ("<a@elsewhere.example>", "550 5.7.1 no relaying"),
        ("<news%lists.example@elsewhere.example>", "550 5.7.1 no relaying"),
        ("<a%elsewhere.example@lists.example>", "550 5.1.1 no such mailbox here"),
        ("<elsewhere.example!a@lists.example>", "550 5.1.1 no such mailbox here"),
        ("<@lists.example:a@elsewhere.example>", "550 5.7.1 no relaying"),
        ('<"a@elsewhere.example"@lists.example>', "553 5.1.3 not an address"),
        ("<postmaster@elsewhere.example>", "550 5.7.1 no relaying"),
        ("<news>", "553 5.1.3 not an address"),
        ("<>", "553 5.1.3 not an address"),
        ("news@lists.example", "553 5.1.3 not an address"),
        ("<news@[127.0.0.1]>", "553 5.1.3 not an address"),
        ("<自由@lists.example>", "550 5.6.7 non-ASCII address without SMTPUTF8"),
        ("<news@lists.example> NOTIFY=NEVER", "555 5.5.4 parameter not implemented"),
    ],
)
async def test_each_recipient_has_its_answer(recipient: str, reply: str) -> None:
    assert (await talk("EHLO x", "MAIL FROM:<a@b.example>", f"RCPT TO:{recipient}"))[-1] == reply + "\r\n"


async def test_a_list_above_ascii_is_reached_with_smtputf8() -> None:
    async with house() as (door, inbox), call(door) as client:
        await client.begin("EHLO x\r\nMAIL FROM:<é@b.example> SMTPUTF8\r\nRCPT TO:<自由@lists.example>\r\nDATA\r\n")
        await client.ask("A: b\r\n.\r\n")
    assert str(inbox.stored[0][0][0].rcpt_to) == "自由@lists.example"


async def test_a_token_in_the_detail_is_not_even_shown_to_who_knows_the_lists() -> None:
    asked = []

    def knows(address: Address) -> bool:
        asked.append(str(address))
        return True

    async with Door(SETTINGS, knows, Inbox().accept) as door, call(door) as client:
        await client.begin("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<news+unsubscribe-token@lists.example>\r\n")
    assert asked == ["news@lists.example"]


async def test_bare_postmaster_is_stored_as_of_our_host() -> None:
    async with house() as (door, inbox), call(door) as client:
        await client.begin("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<PostMaster>\r\nDATA\r\n")
        await client.ask("A: b\r\n.\r\n")
    assert str(inbox.stored[0][0][0].rcpt_to) == "postmaster@door.example"


async def test_too_many_recipients_are_told_to_come_in_another_letter() -> None:
    replies = await talk("EHLO x", "MAIL FROM:<>", *["RCPT TO:<news@lists.example>"] * 4)
    assert [reply[:9] for reply in replies[2:]] == ["250 2.1.5"] * 3 + ["452 4.5.3"]


async def test_a_mailbox_that_is_named_again_and_again_gets_one_letter() -> None:
    async with house() as (door, inbox), call(door) as client:
        again = "RCPT TO:<news+KEY@Lists.example>\r\nRCPT TO:<news+key@lists.example>\r\n"
        await client.begin(TO_NEWS + again + "DATA\r\n")
        assert (await client.ask("A: b\r\n.\r\n")).startswith("250")
    [(envelopes, _)] = inbox.stored
    assert [str(envelope.rcpt_to) for envelope in envelopes] == ["news@lists.example", "news+KEY@lists.example"]


async def test_too_much_at_once_is_told_to_come_later(caplog: pytest.LogCaptureFixture) -> None:
    async with house() as (door, inbox), call(door) as client:
        inbox.failure = StoreBusy()
        await client.begin(TO_NEWS + "DATA\r\n")
        assert await client.ask("A: b\r\n.\r\n") == "452 4.3.2 too much at once, try again later\r\n"
    assert "too much comes in at once" in caplog.text


async def test_guessing_tells_the_same_for_every_address_and_token() -> None:
    guesses = [f"RCPT TO:<news+{detail}@lists.example>" for detail in ("confirm-a", "bounce-b", "unsubscribe-c", "x")]
    replies = [await talk("EHLO x", "MAIL FROM:<guess@b.example>", guess) for guess in guesses]
    assert all(reply == replies[0] for reply in replies)
    asked = await talk(
        "EHLO x", "VRFY reader@b.example", "VRFY news@lists.example", "VRFY nobody@lists.example", "VRFY"
    )
    assert len(set(asked[1:])) == 1


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        b"<a b@c.example>",
        b"<a@c.example>\x00",
        b"<a\x00@c.example>",
        b"<a\r@c.example>",
        b"<a\n@c.example>",
        b"<a\t@c.example>",
        b"<\xff@c.example>",
        b"<\xed\xa0\x80@c.example>",
        b"<a@c.example\xff>",
        b"<a@\x7fc.example>",
        "<a\u2028b@c.example>".encode(),
        "<a\u202eb@c.example>".encode(),
        b"<a@c.example>,<d@e.example>",
        b"<a@c.example",
        b"a@c.example>",
        b"<<a@c.example>>",
        b'<"a b"@c.example>',
        b"<a@" + b"x" * 300 + b".example>",
        b"<" + b"a" * 65 + b"@c.example>",
    ],
)
@pytest.mark.parametrize("command", [b"MAIL FROM:", b"RCPT TO:"])
async def test_an_address_that_is_none_is_refused(path: bytes, command: bytes) -> None:
    async with house() as (door, inbox), call(door) as client:
        await client.reply()
        await client.ask("EHLO x\r\n")
        if command == b"RCPT TO:":
            await client.ask("MAIL FROM:<> SMTPUTF8\r\n")
        assert (await client.ask(command + path + b" SMTPUTF8\r\n"))[0] == "5"
        client.say("QUIT\r\n")
        await client.rest()
    assert inbox.stored == []


@pytest.mark.parametrize("line", [b"A: \x00\r\n", b"a\rb\r\n", b"a\nb\r\n", b"a\r\r\n", b"\n\r\n", b"..\n\r\n"])
async def test_a_letter_with_bare_cr_or_lf_or_nul_is_refused_and_the_next_is_not(line: bytes) -> None:
    async with house() as (door, inbox), call(door) as client:
        await client.begin(TO_NEWS + "DATA\r\n")
        assert (await client.ask(b"A: b\r\n" + line + b".\r\n")).startswith("550 5.6.0")
        assert inbox.stored == []
        client.say(TO_NEWS.partition("\r\n")[2] + "DATA\r\nA: b\r\n.\r\n")
        assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "354", "250"]


async def test_a_letter_as_large_as_allowed_is_taken_and_one_octet_more_is_not() -> None:
    for size, code in ((1000, "250"), (1001, "552")):
        async with house() as (door, _), call(door) as client:
            await client.begin(TO_NEWS + "DATA\r\n")
            assert (await client.ask(b"x" * (size - 2) + b"\r\n.\r\n"))[:3] == code


async def test_a_letter_that_is_announced_as_too_large_is_refused_at_mail() -> None:
    replies = await talk("EHLO x", "MAIL FROM:<a@b.example> SIZE=1001", "MAIL FROM:<a@b.example> SIZE=1000")
    assert [reply[:9] for reply in replies[1:]] == ["552 5.3.4", "250 2.1.0"]


async def test_of_a_letter_that_is_too_large_no_more_is_kept_than_allowed() -> None:
    content = admission.Content(100)
    for _ in range(1000):
        content.add(b"x" * 48 + b"\r\n")
        assert len(content._lines) <= 100
    assert content.refusal == "552 5.3.4 the letter is too large"
    assert len(content._lines) == 0


async def test_long_lines_are_taken_and_endless_ones_are_not() -> None:
    for length, code in ((5000, "250"), (65_000, "250"), (70_000, "550"), (300_000, "550")):
        async with house(max_letter_bytes=10**6) as (door, inbox), call(door) as client:
            await client.begin(TO_NEWS + "DATA\r\n")
            assert (await client.ask(b"A: b\r\n" + b"x" * length + b"\r\n.\r\n"))[:3] == code
            assert (await client.ask("NOOP\r\n"))[:3] == "250"
        assert len(inbox.stored) == (code == "250")


async def test_a_piece_of_an_endless_line_is_not_taken_for_the_end_of_the_letter() -> None:
    async with house(max_letter_bytes=10**6) as (door, inbox), call(door) as client:
        await client.begin(TO_NEWS + "DATA\r\n")
        (conversation,) = door._conversations
        client.say(b"x" * 70_000 + b".")
        while conversation._reader._buffer != b".":  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        client.say(b"\r\nVRFY x\r\n.\r\nNOOP\r\n")
        assert [await client.reply() for _ in range(2)] == [f"{admission.LONG_LINE}\r\n", "250 2.0.0 OK\r\n"]
    assert inbox.stored == []


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("VRFY news@lists.example", "252"),
        ("VRFY nobody@lists.example", "252"),
        ("EXPN news", "502 5.5.1"),
        ("HELP", "214 2.0.0"),
        ("HELP MAIL", "214 2.0.0"),
        ("AUTH PLAIN AGEAYg==", "500 5.5.2"),
        ("AUTH LOGIN", "500 5.5.2"),
        ("STARTTLS", "454 4.7.0"),
        ("LHLO x", "500 5.5.2"),
        ("GET / HTTP/1.1", "500 5.5.2"),
        ("XYZZY <script>", "500 5.5.2"),
        ("\u4f60", "500 5.5.2"),
        ("", "500 5.5.2"),
        ("NOOP", "250 2.0.0"),
        ("RSET", "250 2.0.0"),
        ("DATA", "503 5.5.1"),
        ("RCPT TO:<news@lists.example>", "503 5.5.1"),
        ("MAIL FROM:", "553 5.1.3"),
        ("MAIL TO:<a@b.example>", "501 5.5.4"),
        ("MAIL FROM:<a@b.example> BODY=BINARYMIME", "501 5.5.4"),
        ("MAIL FROM:<a@b.example> SIZE=x", "501 5.5.4"),
        ("MAIL FROM:<a@b.example> SIZE=²", "501 5.5.4"),
        ("MAIL FROM:<a@b.example> SIZE=1 SIZE=2", "501 5.5.4"),
        ("MAIL FROM:<a@b.example> BODY=²", "501 5.5.4"),
        ("MAIL FROM:<a@b.example> AUTH=<>", "555 5.5.4"),
        ("MAIL FROM:<a@b.example> RET=HDRS", "555 5.5.4"),
        ("NOOP " + "x" * 2000, "500 5.5.2"),
        ("QUIT", "221 2.0.0"),
    ],
)
async def test_each_command_has_its_answer_with_an_enhanced_status_code(line: str, reply: str) -> None:
    answer = (await talk("EHLO x", line))[-1]
    assert answer.startswith(reply)
    assert answer[4:9].count(".") == 2
    for echo in ("news", "nobody", "XYZZY", "script", "xxx", "Error", "Python"):
        assert echo not in answer


async def test_without_a_greeting_nothing_is_taken() -> None:
    replies = await talk("MAIL FROM:<a@b.example>", "RCPT TO:<news@lists.example>", "DATA")
    assert [reply[:3] for reply in replies] == ["503"] * 3


async def test_the_greeting_names_the_host_and_no_program() -> None:
    async with house() as (door, _), call(door) as client:
        assert await client.reply() == "220 door.example ESMTP\r\n"
        assert await client.ask("HELO x\r\n") == "250 door.example\r\n"
        assert (await client.ask("EHLO x\r\n")).splitlines() == [
            "250-door.example",
            "250-SIZE 1000",
            "250-8BITMIME",
            "250-SMTPUTF8",
            "250-PIPELINING",
            "250 ENHANCEDSTATUSCODES",
        ]


async def test_a_long_command_is_taken_whoever_else_connects_meanwhile() -> None:
    """aiosmtpd keeps the limits of all connections in one dictionary, which every new connection empties."""
    sender = "a" * 60 + "@" + ".".join(["b" * 60] * 3) + ".example"
    async with house() as (door, _), call(door) as client:
        await client.begin("EHLO x\r\n")
        async with call(door) as other:
            await other.reply()
            assert (await client.ask(f"MAIL FROM:<{sender}> SIZE=1 BODY=8BITMIME{' ' * 400}\r\n"))[:3] == "250"


# --- What fails here -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "reply"),
    [
        (StoreFull(), "452 4.3.1 no room, try again later"),
        (StoreError(), "451 4.3.0 try again later"),
        (ValueError("a@b.example did something"), "451 4.3.0 try again later"),
    ],
)
async def test_a_letter_that_cannot_be_stored_is_to_be_sent_again(
    failure: Exception, reply: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with house() as (door, inbox), call(door) as client:
        inbox.failure = failure
        await client.begin(TO_NEWS + "DATA\r\n")
        assert await client.ask("A: b\r\n.\r\n") == reply + "\r\n"
        inbox.failure = None
        client.say(TO_NEWS.partition("\r\n")[2] + "DATA\r\nA: b\r\n.\r\n")
        assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "354", "250"]
    assert len(caplog.records) == 1
    assert "b.example" not in caplog.text


async def test_a_fault_of_ours_is_told_to_the_operator_by_class_and_place_and_to_the_peer_not_at_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def knows(address: Address) -> bool:
        raise LookupError(f"no {address}")

    async with Door(SETTINGS, knows, Inbox().accept) as door, call(door) as client:
        await client.reply()
        client.say(TO_NEWS)
        replies = [await client.reply() for _ in range(3)]
    assert replies[-1] == "451 4.3.0 try again later\r\n"
    assert "The door failed: LookupError at test_door.py:" in caplog.text
    assert "example" not in caplog.text


async def test_nothing_of_envelope_content_or_peer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with house() as (door, _), call(door) as client:
        await client.begin(TO_NEWS + "DATA\r\n")
        await client.ask("Subject: planted\r\n.\r\n")
        await client.ask("MAIL FROM:<no one@b.example>\r\n")
        await client.ask("XYZZY planted\r\n")
        await client.ask("AUTH PLAIN planted\r\n")
    logging.getLogger("mailer.inward.door").error("this is how the test would see it: control")
    assert "control" in caplog.text
    for secret in ("planted", "b.example", "lists.example", "127.0.0.1", "no one"):
        assert secret not in caplog.text


# --- Limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_host"])
async def test_too_many_connections_are_turned_away_until_one_ends(limit: str) -> None:
    async with house(**{limit: 2}) as (door, _), call(door) as first, call(door) as second:
        assert [(await client.reply())[:3] for client in (first, second)] == ["220", "220"]
        async with call(door) as third:
            assert await third.reply() == "421 4.3.2 too many connections, try again later\r\n"
            assert await third.rest() == ""
        await second.ask("QUIT\r\n")
        await second.rest()
        async with call(door) as fourth:
            assert (await fourth.reply())[:3] == "220"


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        (("192.0.2.1", 1), "192.0.2.1"),
        (("::ffff:192.0.2.1", 1, 0, 0), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 1, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::1", 1, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64"),
        ("", ""),
        (None, ""),
    ],
)
def test_an_ipv6_network_counts_as_one_host(peer: object, host: str) -> None:
    assert admission.host_of(peer) == host


@pytest.mark.parametrize("said", ["", "EHL", "EHLO x\r\n", TO_NEWS, TO_NEWS + "DATA\r\n", TO_NEWS + "DATA\r\nA: b\r\n"])
async def test_who_says_nothing_for_too_long_is_sent_away(said: str) -> None:
    async with house(timeout_s=SHORT_S) as (door, inbox), call(door) as client:
        client.say(said)
        assert (await client.rest()).splitlines()[-1] == "421 4.4.2 timed out, goodbye"
    assert inbox.stored == []


async def test_who_sends_drop_by_drop_is_sent_away() -> None:
    drops = Limits(progress_bytes=10**9)  # to who can send as fast as a test
    async with house(timeout_s=SHORT_S, limits=drops) as (door, inbox), call(door) as client:
        client.say(TO_NEWS + "DATA\r\n")
        rest = asyncio.ensure_future(client.rest())
        while not rest.done():
            client.say("a\r\n")
            await asyncio.sleep(0)
        await asyncio.wait([rest])
        assert isinstance(rest.exception(), ConnectionResetError) or "421 4.4.2" in rest.result()
    assert inbox.stored == []


async def test_a_letter_may_take_longer_than_the_timeout_as_long_as_it_moves() -> None:
    changes = {"timeout_s": SHORT_S, "max_letter_bytes": 10**9, "limits": Limits(progress_bytes=1)}
    async with house(**changes) as (door, _), call(door) as client:
        await client.begin(TO_NEWS + "DATA\r\n")
        clock = asyncio.get_running_loop()
        began = clock.time()
        while clock.time() - began < 2 * SHORT_S:
            client.say("a\r\n")
            await asyncio.sleep(0)
        assert (await client.ask(".\r\n"))[:3] == "250"


async def test_a_slow_store_is_not_taken_for_a_slow_peer() -> None:
    async with house(timeout_s=SHORT_S) as (door, inbox), call(door) as client:
        inbox.may_commit.clear()
        await client.begin(TO_NEWS + "DATA\r\n")
        client.say("A: b\r\n.\r\n")
        asyncio.get_running_loop().call_later(2 * SHORT_S, inbox.may_commit.set)
        assert (await client.reply())[:3] == "250"


async def test_too_many_commands_end_the_connection() -> None:
    async with house() as (door, _), call(door) as client:
        client.say("NOOP\r\n" * 30)
        assert (await client.rest()).splitlines()[-1] == "421 4.7.0 too many commands, goodbye"


async def test_too_much_nonsense_ends_the_connection() -> None:
    async with house() as (door, _), call(door) as client:
        client.say("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nC: d\r\nE: f\r\nG: h\r\n")
        assert (await client.rest()).splitlines()[-1].startswith("502 5.5.1")


# --- Leaving and closing ---------------------------------------------------------------------------------------------


async def test_a_letter_that_is_being_stored_when_the_peer_leaves_is_stored_to_the_end() -> None:
    async with house() as (door, inbox):
        inbox.may_commit.clear()
        async with call(door) as client:
            await client.begin(TO_NEWS + "DATA\r\n")
            client.say("A: b\r\n.\r\n")
            await inbox.has_begun.wait()
        while door._conversations:
            await asyncio.sleep(0)
        inbox.may_commit.set()
    assert len(inbox.stored) == 1


@pytest.mark.parametrize("said", ["EHLO x\r\n", TO_NEWS + "DATA\r\n", "EHLO x\r\nSTARTTLS\r\n"])
async def test_a_peer_that_resets_the_connection_leaves_nothing_and_no_traceback(
    tls: ssl.SSLContext, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    reset = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: RST instead of FIN
    async with house(tls=tls) as (door, _):
        for _ in range(20):
            async with call(door) as client:
                await client.begin(said)
                client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        while door._conversations:
            await asyncio.sleep(0)
    gc.collect()
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_closing_answers_the_letter_that_is_all_here_and_sends_the_others_away() -> None:
    async with house() as (door, inbox), call(door) as storing, call(door) as writing, call(door) as idle:
        inbox.may_commit.clear()
        await storing.begin(TO_NEWS + "DATA\r\n")
        storing.say("A: b\r\n.\r\n")
        await inbox.has_begun.wait()
        await writing.begin(TO_NEWS + "DATA\r\n")
        await idle.reply()
        closing = asyncio.ensure_future(door.close())
        assert await writing.rest() == "421 4.3.2 closing, try again later\r\n"
        assert await idle.rest() == "421 4.3.2 closing, try again later\r\n"
        assert not closing.done()
        inbox.may_commit.set()
        assert (await storing.rest()).splitlines() == ["250 2.0.0 stored", "421 4.3.2 closing, try again later"]
        await closing
    assert len(inbox.stored) == 1


async def test_a_store_that_never_ends_does_not_keep_the_door_from_closing() -> None:
    async with house(timeout_s=SHORT_S) as (door, inbox), call(door) as client:
        inbox.may_commit.clear()
        await client.begin(TO_NEWS + "DATA\r\n")
        client.say("A: b\r\n.\r\n")
        await inbox.has_begun.wait()
        await door.close()
        assert await client.rest() == ""
        inbox.may_commit.set()


async def test_a_closed_door_listens_no_more() -> None:
    async with house() as (door, _):
        address = door.addresses[0]
    with pytest.raises(OSError):
        await asyncio.open_connection(*address)


async def test_a_port_that_is_taken_is_named_as_a_fault_of_the_configuration(tmp_path: Path) -> None:
    async with house() as (door, _):
        taken = replace(SETTINGS, listen=(("127.0.0.1", 0), door.addresses[0]))
        second = Door(taken, KNOWN.__contains__, Inbox().accept)
        with pytest.raises(ConfigError):
            await second.open()
        assert all(not server.is_serving() for server in second._servers)


async def test_a_second_instance_that_cannot_listen_leaves_the_first_ones_socket_alone(tmp_path: Path) -> None:
    async with house(lmtp_socket=tmp_path / "lmtp") as (door, _):
        same = replace(SETTINGS, listen=(door.addresses[0],), lmtp_socket=tmp_path / "lmtp")
        with pytest.raises(ConfigError):
            await Door(same, KNOWN.__contains__, Inbox().accept).open()
        reader, writer = await asyncio.open_unix_connection(tmp_path / "lmtp")
        assert await Client(reader, writer).reply() == "220 door.example LMTP\r\n"
        writer.transport.abort()


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("door.example").configure_cert(context)
    return context


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_a_letter_comes_in_through_starttls(tls: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    async with house(tls=tls) as (door, inbox), call(door) as client:
        await client.reply()
        assert "STARTTLS" in await client.ask("EHLO x\r\n")
        assert await client.ask("STARTTLS\r\n") == "220 2.0.0 ready to start TLS\r\n"
        await client.writer.start_tls(trusting, server_hostname="door.example")
        assert (await client.ask("MAIL FROM:<>\r\n"))[:3] == "503"  # RFC 3207 §4.2: what was said before is forgotten
        offered = await client.ask("EHLO x\r\n")
        assert "STARTTLS" not in offered
        assert "AUTH" not in offered
        assert (await client.ask("STARTTLS\r\n"))[:9] == "503 5.5.1"
        client.say(TO_NEWS + "DATA\r\n")
        assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "250", "354"]
        assert (await client.ask("A: b\r\n.\r\n"))[:3] == "250"
    assert len(inbox.stored) == 1


async def test_a_failed_handshake_leaves_no_connection_behind(
    tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tls=tls) as (door, _), call(door) as client:
        await client.begin("EHLO x\r\nSTARTTLS\r\n")
        client.say("this is no handshake\r\n")
        assert b"421" not in await client.reader.read()
        while door._conversations:
            await asyncio.sleep(0)
    assert "this is no" not in caplog.text


async def test_a_handshake_that_never_comes_is_timed_out_without_a_word_in_clear(tls: ssl.SSLContext) -> None:
    async with house(tls=tls, timeout_s=SHORT_S) as (door, _), call(door) as client:
        await client.begin("EHLO x\r\nSTARTTLS\r\n")
        assert await client.rest() == ""


# --- LMTP ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def local(tmp_path: Path, **changes: object) -> AsyncIterator[tuple[Client, Inbox]]:
    path = tmp_path / "lmtp"
    async with house(listen=(), lmtp_socket=path, **changes) as (_, inbox):
        assert path.stat().st_mode & 0o777 == 0o660
        reader, writer = await asyncio.open_unix_connection(path)
        yield Client(reader, writer), inbox
        writer.transport.abort()
    assert not path.exists()


BY_LMTP = TO_NEWS.replace("EHLO", "LHLO")


async def test_lmtp_answers_for_each_recipient_and_stores_for_each(tmp_path: Path) -> None:
    async with local(tmp_path) as (client, inbox):
        await client.begin(BY_LMTP + "RCPT TO:<news+key@lists.example>\r\nDATA\r\n")
        client.say("A: b\r\n.\r\nNOOP\r\n")
        assert [await client.reply() for _ in range(3)] == ["250 2.0.0 stored\r\n"] * 2 + ["250 2.0.0 OK\r\n"]
    assert [len(envelopes) for envelopes, _ in inbox.stored] == [1, 1]


async def test_lmtp_answers_each_time_that_a_mailbox_is_named_and_stores_once(tmp_path: Path) -> None:
    async with local(tmp_path) as (client, inbox):
        inbox.room = 1
        again = "RCPT TO:<news+key@lists.example>\r\nRCPT TO:<news@LISTS.example>\r\n"
        await client.begin(BY_LMTP + again + "DATA\r\n")
        client.say("A: b\r\n.\r\nNOOP\r\n")
        assert [(await client.reply())[:3] for _ in range(4)] == ["250", "452", "250", "250"]
    assert len(inbox.stored) == 1


@pytest.mark.parametrize(
    ("content", "code"), [(b"x" * 2000, "552"), (b"a\nb", "550"), (b"x" * 70_000, "550"), (b"\x00", "550")]
)
async def test_lmtp_refuses_a_letter_once_for_each_recipient(tmp_path: Path, content: bytes, code: str) -> None:
    async with local(tmp_path) as (client, inbox):
        await client.begin(BY_LMTP + "RCPT TO:<news+key@lists.example>\r\nDATA\r\n")
        client.say(content + b"\r\n.\r\nNOOP\r\n")
        assert [(await client.reply())[:3] for _ in range(3)] == [code, code, "250"]
    assert inbox.stored == []


async def test_lmtp_says_later_for_the_one_recipient_that_could_not_be_stored(tmp_path: Path) -> None:
    async with local(tmp_path) as (client, inbox):
        inbox.room = 1
        await client.begin(BY_LMTP + "RCPT TO:<news+key@lists.example>\r\nDATA\r\n")
        client.say("A: b\r\n.\r\n")
        assert [(await client.reply())[:3] for _ in range(2)] == ["250", "452"]


async def test_lmtp_has_its_own_greeting(tmp_path: Path) -> None:
    async with local(tmp_path) as (client, _):
        assert await client.reply() == "220 door.example LMTP\r\n"
        assert (await client.ask("EHLO x\r\n"))[:3] == "500"
        assert (await client.ask("HELO x\r\n"))[:3] == "500"
        offered = await client.ask("LHLO x\r\n")
        assert "PIPELINING" in offered  # RFC 2033 §5 demands both
        assert "ENHANCEDSTATUSCODES" in offered


# --- Another program's client ----------------------------------------------------------------------------------------


async def test_swaks_delivers_through_tls_and_is_refused_a_relay(
    needs: Callable[[str], str], tls: ssl.SSLContext
) -> None:
    swaks = needs("swaks")

    def run(to: str, *more: str) -> subprocess.CompletedProcess[str]:
        host, port = door.addresses[0]
        command = [swaks, "--server", host, "--port", str(port), "--from", "a@b.example", "--to", to, *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    async with house(tls=tls) as (door, inbox):
        good = await asyncio.to_thread(run, "news@lists.example", "--tls", "--body", "Words.\n.\nmore")
        relayed = await asyncio.to_thread(run, "a@elsewhere.example")
    assert good.returncode == 0, good.stdout
    assert relayed.returncode != 0
    assert "550 5.7.1 no relaying" in relayed.stdout
    assert inbox.stored[0][1].endswith(b"Words.\r\n.\r\nmore\r\n\r\n\r\n")
