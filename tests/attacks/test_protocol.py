"""SMTP as nobody honest speaks it: to relay through the door, to keep it busy, or to get past it. Raw sockets."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from mailer.inward.door import Door, DoorSettings, Limits
from mailer.inward.door.limits import LEAST_S, LINE_BYTES, Conduct
from mailer.model.address import Address
from mailer.model.letter import Envelope
from mailer.model.mailing_list import Directory, MailingList

SHORT_S = 0.2
TOKEN = "abcdefghijklmnopqrstuvwx"
DIRECTORY = Directory((MailingList("news", Address("news", "lists.example")),), "door.example")
SETTINGS = DoorSettings((("127.0.0.1", 0),), "door.example", 100_000, 10, 10, 10, 20.0)
LETTER = "MAIL FROM:<a@b.example>\r\nRCPT TO:<news@lists.example>\r\nDATA\r\nSubject: x\r\n\r\nsubscribe\r\n.\r\n"


class Inbox:
    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def accept(self, envelopes: list[Envelope], _content: bytes) -> None:
        self.envelopes += envelopes


@asynccontextmanager
async def door(inbox: Inbox, **changes: object) -> AsyncIterator[Door]:
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    async with Door(settings, lambda mailbox: DIRECTORY.find(mailbox) is not None, inbox.accept) as opened:
        yield opened


async def say(text: str | bytes, inbox: Inbox | None = None, **changes: object) -> list[str]:
    """Everything that is answered to `text`, sent at once, up to the end of the connection."""
    raw = text if isinstance(text, bytes) else text.encode()
    async with door(inbox or Inbox(), **changes) as opened:
        reader, writer = await asyncio.open_connection(*opened.addresses[0])
        writer.write(b"EHLO x\r\n" + raw)
        try:
            answers = (await reader.read()).decode().splitlines()
        except ConnectionResetError:  # it hung up while we were still talking
            answers = []
        writer.transport.abort()
    return [line for line in answers if line[3:4] == " "][2:]


# --- Relaying -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipient",
    [
        "victim@elsewhere.example",
        "victim%elsewhere.example@lists.example",
        "victim%elsewhere.example@[127.0.0.1]",
        "victim%elsewhere.example@door.example",
        "elsewhere.example!victim",
        "elsewhere.example!victim@lists.example",
        "lists.example!elsewhere.example!victim",
        "@lists.example:victim@elsewhere.example",
        "@lists.example,@door.example:victim@elsewhere.example",
        "@elsewhere.example:news%lists.example@elsewhere.example",
        "victim@elsewhere.example@lists.example",
        "news@lists.example@elsewhere.example",
        '"victim@elsewhere.example"@lists.example',
        '"victim@elsewhere.example"',
        '"news@lists.example"@elsewhere.example',
        "victim@[192.0.2.1]",
        "victim@[IPv6:2001:db8::1]",
        "victim@192.0.2.1",
        "victim@#3221225985",
        "victim",
        "victim@",
        "@",
        "news@lists.example.elsewhere.example",
        "news@elsewhere.example+lists.example",
        "news@lists.example>,<victim@elsewhere.example",
        "postmaster@elsewhere.example",
        "news@lists",
        "news@.lists.example.elsewhere.example",
        "victim+news@elsewhere.example",
        "|/bin/sh@lists.example",
        "news@lists.example|id",
    ],
)
async def test_no_form_of_address_makes_this_a_relay(recipient: str) -> None:
    inbox = Inbox()
    answers = await say(f"MAIL FROM:<>\r\nRCPT TO:<{recipient}>\r\nDATA\r\nSubject: x\r\n\r\n.\r\nQUIT\r\n", inbox)
    assert answers[1][0] == "5"
    assert answers[2][:3] == "503"
    assert inbox.envelopes == []


@pytest.mark.parametrize(
    "recipient",
    [
        f"news+confirm-{TOKEN}@lists.example",
        f"NEWS+CONFIRM-{TOKEN.upper()}@LISTS.EXAMPLE",
        f"News+Confirm-{TOKEN.title()}@Lists.Example.",
        f"@one.example,@two.example:news+confirm-{TOKEN}@lists.example",
    ],
)
async def test_a_token_arrives_however_servers_change_its_case(recipient: str) -> None:
    inbox = Inbox()
    await say(LETTER.replace("news@lists.example", recipient) + "QUIT\r\n", inbox)
    (envelope,) = inbox.envelopes
    assert envelope.rcpt_to.split_detail()[1] == f"confirm-{TOKEN}"
    assert DIRECTORY.find(envelope.rcpt_to) is not None


@pytest.mark.parametrize(
    ("sender", "reply"),
    [
        ("小明@例子.example", "250"),
        ("ñews@lists.example", "250"),
        ("a\u200bb@b.example", "553"),
        ("a\u202eb@b.example", "553"),
        ("\ufeffa@b.example", "553"),
    ],
)
async def test_non_ascii_addresses_are_taken_where_they_can_be_seen(sender: str, reply: str) -> None:
    answers = await say(f"MAIL FROM:<{sender}> SMTPUTF8\r\nQUIT\r\n")
    assert answers[0][:3] == reply
    (without, _) = await say(f"MAIL FROM:<{sender}>\r\nQUIT\r\n")
    assert without[0] == "5"


# --- Commands that are not there ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        *(
            "BDAT 30 LAST",
            "TURN",
            "ETRN lists.example",
            "ATRN",
            "EXPN news",
            "XCLIENT ADDR=127.0.0.1",
            "XFORWARD NAME=x",
        ),
        *("AUTH PLAIN AGEAYg==", "AUTH LOGIN", "SEND FROM:<a@b.example>", "SOML FROM:<a@b.example>", "LHLO x", "DEBUG"),
        *("WIZ", "MAIL\tFROM:<a@b.example>", "MAIL  FROM <a@b.example>", "STARTTLS", "BURL imap://x LAST"),
    ],
)
async def test_what_is_not_offered_does_nothing(command: str) -> None:
    inbox = Inbox()
    answers = await say(f"{command}\r\nRCPT TO:<news@lists.example>\r\nDATA\r\nQUIT\r\n", inbox)
    assert answers[0][0] in "45"
    assert [answer[:3] for answer in answers[1:]] == ["503", "503", "221"]
    assert inbox.envelopes == []


async def test_a_chunk_by_bdat_is_no_letter_but_a_row_of_bad_commands() -> None:
    inbox = Inbox()
    chunk = "Subject: x\r\n\r\nsubscribe\r\n"
    answers = await say(LETTER.partition("DATA")[0] + f"BDAT {len(chunk)} LAST\r\n{chunk}QUIT\r\n", inbox)
    assert {answer[:3] for answer in answers[2:-1]} == {"500"}
    assert inbox.envelopes == []


@pytest.mark.parametrize(
    "name", ["x", "[127.0.0.1]", "x" * 900, "news@lists.example", "a b c", "\u00e9", "<>", "x\x01y"]
)
async def test_what_a_peer_calls_itself_changes_nothing(name: str) -> None:
    inbox = Inbox()
    answers = await say(f"EHLO {name}\r\n{LETTER}QUIT\r\n", inbox)
    assert answers[-2:] == ["250 2.0.0 stored", "221 2.0.0 goodbye"]
    (envelope,) = inbox.envelopes
    assert envelope.peer is not None
    assert envelope.peer.helo in (name, "")


async def test_a_new_greeting_forgets_the_letter_begun_before() -> None:
    inbox = Inbox()
    answers = await say(LETTER.partition("DATA")[0] + "EHLO y\r\nDATA\r\nQUIT\r\n", inbox)
    assert [answer[:3] for answer in answers] == ["250", "250", "250", "503", "221"]


# --- Keeping the door busy ------------------------------------------------------------------------------------------


async def test_a_letter_that_trickles_in_is_cut_off_even_if_it_always_moves() -> None:
    limits = Limits(progress_bytes=1, letter_s=SHORT_S)
    inbox = Inbox()
    async with door(inbox, limits=limits, max_letter_bytes=10**9) as opened:
        reader, writer = await asyncio.open_connection(*opened.addresses[0])
        writer.write(b"EHLO x\r\n" + LETTER.partition("Subject")[0].encode())
        answers = asyncio.ensure_future(reader.read())
        while not answers.done():
            writer.write(b"a\r\n")
            await asyncio.sleep(0)
        await asyncio.wait([answers])
        assert isinstance(answers.exception(), ConnectionResetError) or b"421 4.4.2" in answers.result()
        writer.transport.abort()
    assert inbox.envelopes == []


async def test_who_talks_on_without_sending_a_letter_is_sent_away_in_the_end() -> None:
    async with door(Inbox(), limits=Limits(between_letters_s=SHORT_S)) as opened:
        reader, writer = await asyncio.open_connection(*opened.addresses[0])
        writer.write(b"EHLO x\r\n" + b"NOOP\r\nRSET\r\n" * 5)
        async with asyncio.timeout(SETTINGS.timeout_s / 2):  # each command alone would have had all of it
            answers = (await reader.read()).splitlines()
        assert answers[-1] == b"421 4.4.2 timed out, goodbye"
        assert answers[-2] == b"250 2.0.0 OK"
        writer.transport.abort()


async def test_a_storm_of_resets_ends_the_connection() -> None:
    answers = await say("RSET\r\n" * 40 + "QUIT\r\n", limits=Limits(commands=30))
    assert answers[-1] == "421 4.7.0 too many commands, goodbye"
    assert len(answers) == 30  # EHLO was one of them


async def test_letters_in_between_pay_for_the_commands() -> None:
    inbox = Inbox()
    answers = await say((LETTER + "RSET\r\n") * 20 + "QUIT\r\n", inbox, limits=Limits(commands=10))
    assert answers[-1][:3] == "221"
    assert len(inbox.envelopes) == 20


async def test_guessing_mailboxes_ends_the_connection_and_nothing_behind_is_obeyed() -> None:
    inbox = Inbox()
    guesses = "".join(f"RCPT TO:<reader{number}@lists.example>\r\n" for number in range(60))
    answers = await say(f"MAIL FROM:<>\r\n{guesses}RSET\r\n{LETTER}QUIT\r\n", inbox)
    assert answers[-1] == "421 4.7.0 too many errors, goodbye"
    assert len(answers) == 1 + 51 + 1
    assert inbox.envelopes == []


@pytest.mark.parametrize(
    "junk", [b"a" * (20 * LINE_BYTES), b"MAIL FROM:<" + b"a" * (2 * LINE_BYTES), b"\x00" * 300_000]
)
async def test_a_command_without_an_end_is_not_kept_and_timed_out(junk: bytes) -> None:
    inbox = Inbox()
    answers = await say(junk, inbox, timeout_s=SHORT_S)
    assert answers == [] or answers[-1] == "421 4.4.2 timed out, goodbye"
    assert inbox.envelopes == []


async def test_the_door_is_as_good_as_new_after_all_of_this() -> None:
    inbox = Inbox()
    async with door(inbox) as opened:
        for nonsense in (b"\x16\x03\x01\x02\x00" * 50, b"\r\n" * 60, b"DATA\r\n" * 30, b"GET / HTTP/1.1\r\n\r\n" * 30):
            reader, writer = await asyncio.open_connection(*opened.addresses[0])
            writer.write(nonsense)
            writer.write_eof()
            with suppress(ConnectionResetError):
                await reader.read()
            writer.transport.abort()
        reader, writer = await asyncio.open_connection(*opened.addresses[0])
        writer.write(b"EHLO x\r\n" + LETTER.encode() + b"QUIT\r\n")
        assert b"250 2.0.0 stored" in await reader.read()
        writer.transport.abort()
    assert len(inbox.envelopes) == 1


def test_time_is_counted_from_the_last_letter_and_no_command_prolongs_it() -> None:
    conduct = Conduct(Limits(letter_s=30.0, between_letters_s=10.0), now=100.0)
    assert conduct.left_s(100.0, timeout_s=60.0) == 10.0
    assert conduct.left_s(104.0, timeout_s=60.0) == 6.0
    assert conduct.left_s(104.0, timeout_s=2.0) == 2.0
    conduct.begin_letter(109.0)
    assert conduct.left_s(109.0, timeout_s=60.0) == 30.0
    conduct.end_letter(120.0)
    assert conduct.left_s(131.0, timeout_s=60.0) == LEAST_S


async def test_swaks_is_refused_when_it_pipelines_to_strangers(needs: Callable[[str], str]) -> None:
    swaks, inbox = needs("swaks"), Inbox()

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        host, port = opened.addresses[0]
        command = [swaks, "--server", host, "--port", str(port), "--from", "a@b.example", *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    async with door(inbox) as opened:
        refused = await asyncio.to_thread(run, "--to", "v@elsewhere.example,w%x.example@lists.example", "--pipeline")
        taken = await asyncio.to_thread(run, "--to", f"NEWS+Unsubscribe-{TOKEN.upper()}@lists.example", "--pipeline")
    assert refused.returncode != 0
    assert taken.returncode == 0, taken.stdout
    assert [envelope.rcpt_to.split_detail()[1] for envelope in inbox.envelopes] == [f"unsubscribe-{TOKEN}"]
