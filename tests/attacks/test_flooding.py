"""Somebody forges a sender, many times: hardly anything reaches the one whose name it is, whatever is restarted."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mailer.instance import Instance
from mailer.model.address import Address
from mailer.model.language import Language
from mailer.registrar import enrolment, vetting
from mailer.store import inbox, roster
from tests.conversations import post
from tests.conversations.stage import register_of
from tests.house import LIST, Clock, House, Person, furnish, make_instance, open_house, point_relay_at, reply_to
from tests.walks.far_server import FarServer

VICTIM = "victim@reader.example"
COMMANDS = (
    *("subscribe", "help", "get key", "status", "pause", "resume", "unsubscribe", "forget me", "my key"),
    *("language en", "address new@reader.example", "confirm", "訂閱", "幫助", "订阅", "帮助", "what is this?"),
)


@asynccontextmanager
async def running(folder: Path, far: FarServer, clock: Clock) -> AsyncIterator[House]:
    """The same instance, started once more: only what lies on the disk is still known."""
    async with AsyncExitStack() as stack:
        instance = point_relay_at(Instance.open(folder), far.port)
        yield await furnish(stack, instance, far, Person.with_key("team@elsewhere.example"), clock)


def to_victim(far: FarServer) -> int:
    return len([one for one in far.letters if post.recipient(one) == VICTIM])


async def test_a_forged_sender_gets_one_confirmation_a_day_over_restarts(tmp_path: Path) -> None:
    folder, clock = tmp_path / "instance", Clock()
    clock.moment = clock.moment.replace(hour=1)
    make_instance(folder, None)
    async with FarServer() as far:
        for day in (1, 2, 3):
            for _start in range(3):
                async with running(folder, far, clock) as house:
                    for spelling in (VICTIM, VICTIM.upper(), "Victim@Reader.Example"):
                        forged = Person.with_key(spelling)
                        await house.write(forged.letter("subscribe", with_key=True))
                    await house.write(
                        Person.with_key(VICTIM).letter("", to="news+subscribe@lists.example", with_key=True)
                    )
                    clock.pass_(hours=2)
            assert len(far.letters) == day
            clock.pass_(hours=18)


async def test_it_is_the_limit_that_holds_and_not_chance(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        house.worker.receiver.policy = replace(house.worker.receiver.policy, confirmations_per_day=3)
        for _ in range(5):
            await house.write(Person.with_key(VICTIM).letter("subscribe", with_key=True))
        assert to_victim(house.far) == 3


async def test_letters_that_wait_together_are_counted_too(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        for _ in range(10):
            await house.send(Person.with_key(VICTIM).letter("subscribe", with_key=True))
        assert len(await house.work()) == 1


async def test_one_letter_to_many_recipients_is_counted_as_many(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        letter = Person.with_key(VICTIM).letter("subscribe", with_key=True)
        for detail in ("", "+subscribe", "+help", "+Subscribe", "+訂閱"):
            if detail.isascii():
                await house.send(letter, to=f"news{detail}@lists.example")
        subjects = [post.subject_for(one, house.contact) for one in await house.work()]
        assert len(subjects) <= 2  # the question, and the help


async def test_a_stranger_gets_each_kind_of_letter_once_a_day_at_most(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        forged = Person(VICTIM)
        for _ in range(3):
            for command in COMMANDS:
                await house.write(forged.letter(command))
        subjects = Counter(
            str(post.outside(one)["Subject"]) for one in house.far.letters if post.recipient(one) == VICTIM
        )
        assert subjects
        # A language is not a kind: whoever writes in three gets it in the first one.
        assert set(subjects.values()) == {1}
        assert sum(subjects.values()) <= 6


async def test_a_subscriber_gets_twenty_replies_a_day_and_one_question_of_each_kind(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key(VICTIM)
        await house.join(ada)
        before = len(house.far.letters)
        for _ in range(5):
            for command in COMMANDS:
                await house.write(ada.letter(command))
        received = [one for one in house.far.letters[before:] if post.recipient(one) == VICTIM]
        questions = [post.subject_for(one, ada) for one in received if "+confirm-" in reply_to(one)]
        assert len(questions) == len(set(questions)) >= 5
        assert len(received) - len(questions) == 20
        house.clock.pass_(days=1)
        assert len(await house.write(ada.letter("status"))) == 1


async def test_letters_that_nobody_can_open_are_answered_once_a_day(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        sealed = post.encrypt(b"Content-Type: text/plain\r\n\r\nx\r\n", Person.with_key("a@b.example").certificate)
        for number in range(6):
            head = f"From: {VICTIM}\r\nTo: {LIST}\r\nSubject: {number}\r\nMIME-Version: 1.0\r\n".encode()
            await house.write(head + sealed)
        assert to_victim(house.far) == 1


async def test_a_signed_letter_that_is_sent_again_and_again_is_answered_once(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key(VICTIM)
        await house.join(ada)
        before = len(house.far.letters)
        captured = post.write(ada, LIST, {"Subject": "x", "Signed": "by Ada"}, "status", {"Ada": ada})
        for _ in range(5):
            await house.write(captured)
        assert len(house.far.letters) - before == 1


async def test_many_subscribers_together_ask_an_address_once_a_day(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        for name in ("ada", "bob", "carol"):
            person = Person.with_key(f"{name}@reader.example")
            await house.join(person)
            fields = {"Signed": "by them"}
            await house.write(post.write(person, LIST, fields, f"address {VICTIM}", {"them": person}))
        assert to_victim(house.far) == 1


async def test_wrong_tokens_are_answered_once_a_day(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        for number in range(10):
            token = f"{'abcdefghij'[number]}" * 24
            await house.write(Person(VICTIM).letter(to=f"news+confirm-{token}@lists.example"))
        assert to_victim(house.far) == 1


async def test_an_invited_person_cannot_be_written_to_without_end(tmp_path: Path) -> None:
    """A confirmation that lacks a key keeps its token; whoever has it could else call up letters for ever."""
    async with open_house(tmp_path / "instance") as house:
        to = await invite(house)
        for _ in range(8):
            await house.write(Person(VICTIM).letter("Re: [...]", "yes", to=to))
        assert to_victim(house.far) == 2  # the invitation, and "please attach your key"


async def invite(house: House) -> str:
    applicant = vetting.Applicant(1, Address.parse(VICTIM), Language.EN)
    await enrolment.add(register_of(house), applicant, enrolment.Terms())
    [invitation] = await house.deliver()
    return reply_to(invitation)


async def test_nothing_that_a_forger_writes_comes_to_the_victim(tmp_path: Path) -> None:
    """A name echoed in a confirmation is how spam was sent through others' lists."""
    async with open_house(tmp_path / "instance") as house:
        for command in COMMANDS:
            forged = Person(f"BUY-PILLS <{VICTIM}>").letter(
                command, "BUY-PILLS http://pills.example", BUY_PILLS="BUY-PILLS"
            )
            forged["Reply-To"] = "BUY-PILLS@pills.example"
            await house.write(forged, sender="BUY-PILLS@pills.example")
            named = Person.with_key(f"BUY-PILLS-{VICTIM}").letter("subscribe", with_key=True)
            named.replace_header("From", VICTIM)
            await house.write(named)
        letters = [one for one in house.far.letters if post.recipient(one) != house.contact.address]
        assert letters and {post.recipient(one) for one in letters} == {VICTIM}
        assert not [one for one in letters if b"pills" in one.content.lower()]


@pytest.mark.parametrize("days", [0, 1])
async def test_what_was_counted_is_not_kept_longer_than_needed(days: int, tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await house.write(Person(VICTIM).letter("help"))
        house.clock.pass_(days=days)
        assert len(await house.write(Person(VICTIM).letter("help"))) == days
        async with house.database.read() as tx:
            assert await inbox.count(tx) == {}
            assert await roster.count(tx, "news") == {}
