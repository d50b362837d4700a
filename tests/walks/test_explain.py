"""`mailer explain`: what the service would do with a letter, and why, and nothing of it done."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from mailer.inward import explain as explaining
from mailer.inward.explain import Explainer, Explanation, Kind, Proof
from mailer.inward.reader import Reader
from mailer.inward.saved import as_sent, envelope_of
from mailer.model.address import Address
from mailer.model.failure import Failure
from mailer.store import roster
from tests.house import LIST, SERVICE, House, Person, open_house, reply_to

LETTERS = Path(__file__).parents[1] / "unit" / "letters"
TOKEN = "abcdefghij234567klmnopqr"
LETTER = "From: Ada <ada@reader.example>\nTo: news@lists.example.org\nSubject: {}\n\n{}\n"
BOUNCE = """\
From: MAILER-DAEMON@mx.example
To: news+bounce-{}@lists.example.org
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b

I could not deliver your letter.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; ada@reader.example
Action: failed
Status: {}
Diagnostic-Code: smtp; {}

--b--
"""
COMPLAINT = """\
From: abuse@provider.example
To: news@lists.example.org
Subject: complaint
Content-Type: multipart/report; report-type=feedback-report; boundary=b

--b

This is an abuse report.
--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: x/1
Version: 1
Original-Mail-From: <news+bounce-{}@lists.example.org>

--b--
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reader() -> AsyncIterator[Reader]:
    async with Reader() as started:
        yield started


in_one_loop = pytest.mark.asyncio(loop_scope="module")  # with the reader


async def tell(reader: Reader, text: str, **envelope: str) -> Explanation:
    """What is said of a letter by whoever knows nothing of the register."""
    raw = as_sent(text.encode())
    given = {name: Address.parse(value) if value else "" for name, value in envelope.items()}
    found = envelope_of(raw, explaining.EXAMPLE, **given)  # type: ignore[arg-type]
    return await Explainer(reader, explaining.EXAMPLE, datetime.now(UTC)).explain(raw, found)


@in_one_loop
@pytest.mark.parametrize(
    ("text", "kind", "command", "reply"),
    [
        (LETTER.format("subscribe", ""), Kind.COMMAND, "subscribe", "key-needed"),
        (LETTER.format("", "取消訂閱"), Kind.COMMAND, "unsubscribe", "nothing-held"),
        (LETTER.format("Re: x", "pause\nlanguage zh-Hant"), Kind.COMMAND, "set-language + pause", "nothing-held"),
        (LETTER.format("pause", "resume"), Kind.COMMAND, "unclear", "several-unclear"),
        (LETTER.format("A question", "When do you meet?"), Kind.CONTACT, None, None),
        (LETTER.format("Automatic reply: subscribe", ""), Kind.AUTOMATIC, None, None),
        (LETTER.format("subscribe", "").replace("From:", "Precedence: bulk\nFrom:"), Kind.AUTOMATIC, None, None),
        (LETTER.format("subscribe", "").replace("From:", "Return-Path: <>\nFrom:"), Kind.AUTOMATIC, None, None),
        (LETTER.format("subscribe", "").replace("From:", "From: eve@x.example\nFrom:"), Kind.UNREADABLE, None, None),
        ("Subject: subscribe\n\nsubscribe\n", Kind.UNREADABLE, None, None),
        ("", Kind.UNREADABLE, None, None),
        ("\x00\x01\x02", Kind.UNREADABLE, None, None),
    ],
)
async def test_each_letter_is_of_one_kind(
    reader: Reader, text: str, kind: Kind, command: str | None, reply: str | None
) -> None:
    told = await tell(reader, text)
    assert (told.kind, told.command, told.reply) == (kind, command, reply)
    assert not told.acts
    assert told.proof is Proof.NONE
    assert told.reason


@in_one_loop
async def test_the_recipient_speaks_and_may_be_told_apart_from_the_header(reader: Reader) -> None:
    letter = LETTER.format("hello", "")
    told = await tell(reader, letter, rcpt_to=f"news+confirm-{TOKEN}@lists.example.org")
    assert (told.command, told.proof, told.acts, told.reply) == ("confirm", Proof.NONE, False, "token-unknown")
    told = await tell(reader, letter.replace("To: news@", "Delivered-To: News+Help@"))
    assert (told.command, told.reply) == ("help", "help")
    assert (await tell(reader, letter, rcpt_to="postmaster@lists.example.org")).kind is Kind.CONTACT
    assert (await tell(reader, letter, mail_from="")).kind is Kind.AUTOMATIC


@in_one_loop
@pytest.mark.parametrize(
    ("status", "said", "failure"),
    [
        ("5.1.1", "550 5.1.1 no such user", Failure.GONE),
        ("5.2.2", "552 5.2.2 mailbox full", Failure.FULL),
        ("4.4.1", "421 4.4.1 timed out", Failure.TEMPORARY),
    ],
)
async def test_a_bounce_has_a_class_whoever_it_is_about(
    reader: Reader, status: str, said: str, failure: Failure
) -> None:
    told = await tell(reader, BOUNCE.format(TOKEN, status, said))
    assert (told.kind, told.failure, told.acts) == (Kind.BOUNCE, failure, False)
    assert "no token of ours" in told.reason


@in_one_loop
async def test_a_complaint_is_one(reader: Reader) -> None:
    told = await tell(reader, COMPLAINT.format(TOKEN))
    assert (told.kind, told.acts, told.failure) == (Kind.COMPLAINT, False, None)


@in_one_loop
async def test_for_somebody_elses_mailbox_it_says_that_the_door_refuses(reader: Reader) -> None:
    told = await tell(reader, LETTER.format("subscribe", ""), rcpt_to="bob@elsewhere.example")
    assert (told.kind, told.command, told.reply, told.acts) == (Kind.COMMAND, "subscribe", None, False)
    assert "refuses" in told.reason


@in_one_loop
async def test_a_letter_to_another_key_is_answered_with_ours(reader: Reader) -> None:
    told = await tell(reader, (LETTERS / "sealed.eml").read_text())
    assert (told.kind, told.reply) == (Kind.UNREADABLE, "cannot-decrypt")


def test_a_saved_letter_gets_the_line_ends_of_smtp() -> None:
    assert as_sent(b"From ada Mon\nA: b\n\nc\r\nd") == b"A: b\r\n\r\nc\r\nd"
    assert as_sent(b"From ada Mon\rA: b\r\rc\rd\r") == b"A: b\r\n\r\nc\r\nd\r\n"
    assert as_sent(b"A: b\r\n\r\n") == b"A: b\r\n\r\n"


# --- With the register ----------------------------------------------------------------------------------------------


async def ask(house: House, raw: bytes, rcpt_to: str = LIST) -> Explanation:
    listener = house.worker.receiver.listener
    explainer = Explainer(listener.reader, listener.directory, house.clock(), listener)
    sent = as_sent(raw)
    return await explainer.explain(sent, envelope_of(sent, listener.directory, None, Address.parse(rcpt_to)))


async def test_with_the_register_it_says_what_happens_then_and_changes_nothing(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key("ada@reader.example")
        [question] = await house.write(ada.letter("subscribe", with_key=True))
        answer = ada.letter("Re: [...]", "ok").as_bytes()
        told = await ask(house, answer, reply_to(question))
        assert (told.command, told.proof, told.acts, told.reply) == ("confirm", Proof.TOKEN, True, "welcome")
        assert await ask(house, answer, reply_to(question)) == told, "nothing was used up"
        await house.write(answer, to=reply_to(question))

        told = await ask(house, ada.letter("status").as_bytes())
        assert (told.command, told.reply, told.acts) == ("status", "status", False)
        told = await ask(house, ada.letter("unsubscribe").as_bytes())
        assert (told.proof, told.acts, told.reply) == (Proof.NONE, False, "confirm-unsubscribe")

        async with house.database.read() as tx:
            person = await roster.identify(house.secrets, "news", Address.parse(ada.address))
            assert await roster.find(tx, person) is not None
        assert await house.work() == []


# --- As a program ---------------------------------------------------------------------------------------------------


def run(*arguments: str, folder: Path) -> tuple[int, list[dict[str, object]]]:
    command = [sys.executable, "-m", "mailer", "explain", *arguments, "--json"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "Traceback" not in ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def test_the_program_explains_files_and_folders_and_goes_on_where_one_is_missing(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.eml").write_text(LETTER.format("subscribe", ""))
    (tmp_path / "letters" / "two.eml").write_text(BOUNCE.format(TOKEN, "5.1.1", "550 no such user"))
    code, told = run("missing.eml", "letters", folder=tmp_path)
    assert code == 1
    assert [one["kind"] for one in told] == ["unreadable", "command", "bounce"]
    assert "error" in told[0]
    assert "error" not in told[1]
    wanted = {"file", "kind", "command", "proof", "acts", "reply", "reason"}
    assert all(set(one) - {"error", "class"} == wanted for one in told)
    assert [one.get("class") for one in told] == [None, None, "gone"]
    recipient = f"other+confirm-{TOKEN}@elsewhere.example"
    code, [told_there] = run("letters/one.eml", "--rcpt-to", recipient, folder=tmp_path)
    assert (code, told_there["command"], told_there["reply"]) == (0, "confirm", "token-unknown")


async def test_the_program_looks_into_the_register_where_it_has_the_passphrase(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    async with open_house(folder) as house:
        ada = Person.with_key("ada@reader.example")
        await house.join(ada)
        (tmp_path / "letter.eml").write_bytes(ada.letter("pause").as_bytes())
    (tmp_path / "passphrase").write_text(SERVICE + "\n")
    code, [stranger] = run("letter.eml", "--instance", str(folder), folder=tmp_path)
    assert (code, stranger["reply"]) == (0, "nothing-held")
    secret = ("--service-passphrase-file", "passphrase")
    code, [known] = run("letter.eml", "--instance", str(folder), *secret, folder=tmp_path)
    assert (code, known["reply"]) == (0, "confirm-pause")


def test_every_letter_of_others_is_explained_and_none_acts(corpora: Path, tmp_path: Path) -> None:
    folders = ("autoreplies-real", "bounces-misc", "client-replies", "mime-torture", "zh-mail", "signature-spoofing")
    code, told = run(*(str(corpora / folder) for folder in folders), folder=tmp_path)
    assert code == 0
    assert len(told) > 200
    assert not any(one["acts"] or one["proof"] != "none" for one in told)
    automatic = [
        one["kind"] for one in told if "autoreplies-real" in str(one["file"]) and "ORIGIN" not in str(one["file"])
    ]
    assert set(automatic) == {"automatic"}
