"""A relay that does what no relay should: its every octet is written here, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest

from mailer.letters import seal
from mailer.letters.seal import Sealed
from mailer.model.address import Address
from mailer.model.failure import Failure
from mailer.model.retry import Answer, Outcome
from mailer.outward.relay import Relay, RelaySettings, open_relay
from mailer.outward.relay.reply import REPLY_OCTETS
from mailer.outward.relay.wire import Wire
from tests.walks.far_server import FarServer

READER = Address("reader", "far.example")
OURS = Address("news+bounce-abc", "lists.example")
CONTENT = b"Subject: [...]\r\n\r\nWords.\r\n"
SHORT_S = 0.2  # for servers that hang
LOST = Outcome(Answer.LATER, is_connection_lost=True)
IN_DOUBT = replace(LOST, is_in_doubt=True)
GONE = Outcome(Answer.REFUSED, 550, "5.1.1", failure=Failure.GONE)
PIPELINING = "250-far.example\r\n250 PIPELINING"


def letter(content: bytes = CONTENT) -> Sealed:
    return Sealed(READER, OURS, content, seal._MADE_HERE)


@dataclass
class Talk:
    """One connection, from the server's side."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, reply: str) -> None:
        self.writer.write(reply.encode("latin-1") + b"\r\n")
        await self.writer.drain()

    async def welcome(self, offer: str = PIPELINING) -> None:
        await self.say("220 far.example ESMTP")
        assert (await self.reader.readline()).startswith(b"EHLO")
        await self.say(offer)

    async def read(self) -> list[str]:
        """What came in one packet, or what there is of it: command lines."""
        return (await self.reader.read(1 << 20)).decode().splitlines()

    async def take_group(self) -> list[str]:
        """MAIL, RCPT and DATA."""
        return [(await self.reader.readline()).decode().split(" ")[0].strip() for _ in range(3)]

    async def take_letter(self) -> bytes:
        return await self.reader.readuntil(b"\r\n.\r\n")


Script = Callable[[Talk], Awaitable[None]]


@dataclass
class Misbehaving:
    """Plays one script per connection, the last for all further ones. When a script ends the connection does."""

    scripts: list[Script]
    connections: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keep the task, so that the test sees what failed in it."""
        self.tasks.append(asyncio.create_task(self.play(reader, writer)))

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        try:
            await script(Talk(reader, writer))
        except (OSError, EOFError):
            pass  # the client went
        finally:
            writer.close()


@asynccontextmanager
async def relay_to(*scripts: Script, timeout_s: float = 10.0) -> AsyncIterator[tuple[Relay, Misbehaving]]:
    far = Misbehaving(list(scripts))
    server = await asyncio.start_server(far.welcome, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with open_relay(RelaySettings("127.0.0.1", port, "none", connections=1, timeout_s=timeout_s)) as relay:
        yield relay, far
    server.close()
    await asyncio.gather(*far.tasks)
    await server.wait_closed()


async def outcome_of(script: Script, content: bytes = CONTENT, timeout_s: float = 10.0) -> Outcome:
    async with relay_to(script, timeout_s=timeout_s) as (relay, _):
        return await relay.send(letter(content))


# --- What goes in one packet -----------------------------------------------------------------------------------------


async def test_with_pipelining_the_group_is_one_packet_and_the_letter_another() -> None:
    packets: list[list[str]] = []

    async def script(talk: Talk) -> None:
        await talk.welcome()
        packets.append(await talk.read())
        await talk.say("250 OK\r\n250 OK\r\n354 go")
        packets.append(await talk.read())
        await talk.say("250 2.0.0 queued")

    assert (await outcome_of(script)).answer is Answer.ACCEPTED
    group, content = packets
    assert [line.split(" ")[0] for line in group] == ["MAIL", "RCPT", "DATA"]
    assert content == [*CONTENT.decode().splitlines(), "."]


async def test_a_letter_takes_two_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    write = Wire.write

    def note(self: Wire, octets: bytes, replies: int = 1) -> None:
        writes.append(octets)
        write(self, octets, replies)

    monkeypatch.setattr(Wire, "write", note)
    async with FarServer() as far, open_relay(RelaySettings(far.host, far.port, "none")) as relay:
        await relay.send(letter())
    assert [octets[:4] for octets in writes] == [b"MAIL", b"Subj", b"QUIT"]


async def test_without_pipelining_each_command_waits_for_the_reply_to_the_last() -> None:
    packets: list[str] = []

    async def script(talk: Talk) -> None:
        await talk.welcome("250 far.example")
        for reply in ("250 OK", "250 OK", "354 go", "250 queued"):
            packets.append(" ".join(line.split(" ")[0] for line in await talk.read()))
            await talk.say(reply)

    assert (await outcome_of(script)).answer is Answer.ACCEPTED
    assert packets == ["MAIL", "RCPT", "DATA", "Subject:  Words. ."]


async def test_a_refusal_is_reset_in_the_same_packet_as_the_next_letter() -> None:
    packets: list[list[str]] = []

    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        await talk.say("250 OK\r\n550 5.1.1 unknown\r\n503 5.5.1 no recipient")
        packets.append(await talk.read())
        await talk.say("250 reset\r\n250 OK\r\n250 OK\r\n354 go")
        await talk.take_letter()
        await talk.say("250 queued")

    async with relay_to(script) as (relay, _):
        assert await relay.send(letter()) == GONE
        assert (await relay.send(letter())).answer is Answer.ACCEPTED
    assert [line.split(" ")[0] for line in packets[0]] == ["RSET", "MAIL", "RCPT", "DATA"]


async def test_replies_that_come_octet_by_octet_are_understood() -> None:
    async def drip(talk: Talk, reply: str) -> None:
        for octet in f"{reply}\r\n":
            talk.writer.write(octet.encode())
            await asyncio.sleep(0)  # lets the client read it

    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        await drip(talk, "250-one\r\n250 OK\r\n250-2.1.5 two\r\n250 2.1.5 lines\r\n354 go")
        await talk.take_letter()
        await drip(talk, "250-2.0.0 taken\r\n250 2.0.0 queued")

    assert await outcome_of(script) == Outcome(Answer.ACCEPTED, 250, "2.0.0")


async def test_a_relay_that_answers_a_group_slowly_is_waited_for() -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        for reply in ("250 OK", "250 OK", "354 go"):
            for _ in range(50):
                await asyncio.sleep(0)
            await talk.say(reply)
        await talk.take_letter()
        await talk.say("250 queued")

    assert (await outcome_of(script)).answer is Answer.ACCEPTED


# --- Groups that are answered strangely ------------------------------------------------------------------------------


async def test_told_to_go_ahead_without_a_recipient_a_lone_dot_is_all_it_gets() -> None:
    sent: list[bytes] = []

    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        await talk.say("250 OK\r\n550 5.1.1 unknown\r\n354 go")
        sent.append(await talk.reader.readline())
        await talk.say("250 2.0.0 queued, says the liar")
        assert (await talk.reader.readline()) == b"RSET\r\n"
        await talk.take_group()
        await talk.say("250 reset\r\n250 OK\r\n250 OK\r\n354 go")
        await talk.take_letter()
        await talk.say("250 queued")

    async with relay_to(script) as (relay, far):
        assert await relay.send(letter()) == GONE
        assert (await relay.send(letter())).answer is Answer.ACCEPTED
    assert sent == [b".\r\n"]
    assert far.connections == 1


async def test_a_recipient_taken_without_a_sender_gets_not_even_a_dot() -> None:
    rest: list[bytes] = []

    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        await talk.say("550 5.7.1 sender refused\r\n250 OK\r\n354 go")
        rest.append(await talk.reader.read())

    assert await outcome_of(script) == Outcome(Answer.LATER, 550, "5.7.1", failure=Failure.POLICY)
    assert rest == [b""]


@pytest.mark.parametrize(
    ("replies", "outcome"),
    [
        ("250 OK\r\n250 OK\r\n451 4.3.0 busy", Outcome(Answer.LATER, 451, "4.3.0", failure=Failure.TEMPORARY)),
        ("250 OK\r\n250 OK\r\n554 5.7.1 no", Outcome(Answer.REFUSED, 554, "5.7.1", failure=Failure.POLICY)),
        ("250 OK\r\n250 OK\r\n250 OK", LOST),
        ("250 OK\r\n250 OK\r\n354 go\r\n250 queued", LOST),  # a yes before the letter
        ("250 OK\r\n250 OK\r\n354 go\r\n421 closing", LOST),
        ("250 OK\r\n250 OK\r\n354 go\r\n25", LOST),
        ("250 OK\r\n354 go\r\n354 go", LOST),
        ("354 go\r\n250 OK\r\n250 OK", LOST),
        ("250 OK\r\n550 5.1.1 unknown\r\n250 OK", GONE),
        ("250 OK\r\n550 5.1.1 unknown\r\n554 no\r\n250 and more", GONE),
        ("250 OK\r\n550 5.1.1 unknown", GONE),
        ("250 OK\r\n550 5.1.1 unknown\r\nnonsense", GONE),
        ("250 OK\r\n550-5.1.1 un\r\n250 known", LOST),
        ("250 OK\r\n\x00\x00\x00", LOST),
        ("\x16\x03\x01", LOST),
        ("250 OK\r\n" + 40 * ("250-" + 2000 * "x" + "\r\n"), LOST),
        ("250 OK\r\n" + (REPLY_OCTETS + 1) * "x", LOST),
    ],
)
async def test_what_a_group_is_answered_has_one_outcome_and_never_brings_the_letter(
    replies: str, outcome: Outcome
) -> None:
    rest: list[bytes] = []

    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        await talk.say(replies)
        talk.writer.write_eof()
        rest.append(await talk.reader.read())

    assert await outcome_of(script) == outcome
    assert b"Words" not in b"".join(rest)


async def test_half_a_reply_behind_the_go_ahead_is_one_too_many() -> None:
    rest: list[bytes] = []

    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        talk.writer.write(b"250 OK\r\n250 OK\r\n354 go\r\n25")
        rest.append(await talk.reader.read())

    assert await outcome_of(script) == LOST
    assert rest == [b""]


async def test_a_relay_that_takes_data_without_a_recipient_and_without_a_letter_is_not_asked_again() -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        await talk.say("250 OK\r\n550 5.1.1 unknown\r\n250 OK")
        assert await talk.reader.read() == b""

    async with relay_to(script) as (relay, far):
        assert await relay.send(letter()) == GONE
        assert await relay.send(letter()) == GONE
    assert far.connections == 2


async def test_a_new_connection_that_fails_is_not_tried_again_at_once() -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()

    async with relay_to(script) as (relay, far):
        assert await relay.send(letter()) == LOST
    assert far.connections == 1


@pytest.mark.parametrize("replies", ["250 OK", "250 OK\r\n250 OK", "250 OK\r\n250 OK\r\n354-go"])
async def test_a_group_that_is_never_answered_to_its_end_is_given_up(replies: str) -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        await talk.say(replies)
        await talk.reader.read()

    assert await outcome_of(script, timeout_s=SHORT_S) == LOST


async def test_a_reply_that_trickles_without_end_has_no_longer_than_any_other() -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        has_hung_up = False
        while not has_hung_up:
            talk.writer.write(b"2")
            with suppress(TimeoutError):
                has_hung_up = await asyncio.wait_for(talk.reader.read(), SHORT_S / 8) == b""

    assert await outcome_of(script, timeout_s=SHORT_S) == LOST


# --- The letter ------------------------------------------------------------------------------------------------------

LARGE = CONTENT * 400_000  # more than the network holds while nobody reads


@pytest.mark.parametrize(
    ("reply", "answer"), [("250 2.0.0 queued", Answer.LATER), ("552 5.3.4 too large", Answer.REFUSED)]
)
async def test_an_answer_before_the_letter_was_taken_is_no_yes_and_ends_the_connection(
    reply: str, answer: Answer
) -> None:
    async def hasty(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        await talk.say("250 OK\r\n250 OK\r\n354 go")
        await talk.reader.readexactly(100)
        await talk.say(reply)
        await talk.reader.read()

    async def orderly(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        await talk.say("250 OK\r\n250 OK\r\n354 go")
        await talk.take_letter()
        await talk.say("250 queued")

    async with relay_to(hasty, orderly) as (relay, far):
        assert (await relay.send(letter(LARGE))).answer is answer
        assert (await relay.send(letter())).answer is Answer.ACCEPTED
    assert far.connections == 2


@pytest.mark.parametrize("last_words", ["", "nonsense\r\n", "354 go\r\n", "25"])
async def test_what_happens_behind_the_final_dot_leaves_doubt(last_words: str) -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        await talk.say("250 OK\r\n250 OK\r\n354 go")
        await talk.take_letter()
        talk.writer.write(last_words.encode())

    assert await outcome_of(script) == IN_DOUBT


async def test_a_yes_stands_though_the_relay_says_more_or_hangs_up() -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        await talk.say("250 OK\r\n250 OK\r\n354 go")
        await talk.take_letter()
        await talk.say("250 2.0.0 queued\r\n421 4.3.2 closing")

    async with relay_to(script) as (relay, far):
        for number in (1, 2):
            assert await relay.send(letter()) == Outcome(Answer.ACCEPTED, 250, "2.0.0")
            assert far.connections == number


async def test_421_behind_the_final_dot_is_an_answer() -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        await talk.say("250 OK\r\n250 OK\r\n354 go")
        await talk.take_letter()
        await talk.say("421 4.3.2 closing")

    assert await outcome_of(script) == Outcome(
        Answer.LATER, 421, "4.3.2", is_connection_lost=True, failure=Failure.TEMPORARY
    )


@pytest.mark.parametrize("unasked", ["421 4.4.2 idle too long", "250 queued", "nonsense", "2"])
@pytest.mark.parametrize("hangs_up", [True, False])
async def test_what_is_said_unasked_to_an_idle_connection_answers_no_later_letter(unasked: str, hangs_up: bool) -> None:
    has_spoken = asyncio.Event()

    async def chatty(talk: Talk) -> None:
        await orderly(talk)
        await talk.say(unasked)
        has_spoken.set()
        if not hangs_up:
            assert await talk.reader.read() == b""  # not one command more

    async def orderly(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()
        await talk.say("250 OK\r\n250 OK\r\n354 go")
        await talk.take_letter()
        await talk.say("250 2.0.0 queued")

    async with relay_to(chatty, orderly) as (relay, far):
        assert (await relay.send(letter())).answer is Answer.ACCEPTED
        await has_spoken.wait()
        assert (await relay.send(letter())).answer is Answer.ACCEPTED
    assert far.connections == 2


async def test_a_relay_that_never_answers_again_when_reused_is_not_tried_for_ever() -> None:
    async def silent(talk: Talk) -> None:
        await talk.welcome()
        await talk.take_group()

    async def once(talk: Talk) -> None:
        await silent(talk)
        await talk.say("250 OK\r\n250 OK\r\n354 go")
        await talk.take_letter()
        await talk.say("250 queued")
        await talk.take_group()

    async with relay_to(once, silent) as (relay, far):
        assert (await relay.send(letter())).answer is Answer.ACCEPTED
        assert await relay.send(letter()) == LOST
    assert far.connections == 2


# --- SIZE ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "is_taken"),
    [
        (f"SIZE {len(CONTENT)}", True),
        (f"SIZE {len(CONTENT) - 1}", False),
        ("SIZE 0", True),  # RFC 1870 §4: no fixed maximum
        ("SIZE", True),
        ("SIZE many", True),
        ("SIZE -1", True),
        ("SIZE " + "9" * 5000, True),
    ],
)
async def test_a_letter_larger_than_the_relay_takes_is_refused_unsent(size: str, is_taken: bool) -> None:
    async with FarServer(extensions=["PIPELINING", size]) as far:
        async with open_relay(RelaySettings(far.host, far.port, "none")) as relay:
            outcome = await relay.send(letter())
    assert len(far.letters) == is_taken
    if not is_taken:
        assert outcome == Outcome(Answer.REFUSED, 552, "5.3.4", failure=Failure.POLICY)
        assert [command.split()[0] for command in far.commands] == ["EHLO", "QUIT"]
