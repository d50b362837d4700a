"""Programs that answer each other: two instances, an instance and itself, an autoresponder that hides what it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mailer.model.address import Address
from mailer.store import roster
from tests import house as houses
from tests.conversations import post
from tests.house import House, Person, open_house, reply_to
from tests.walks.far_server import Received

HERE, THERE = "news@lists.example", "bulletin@other.example"
COMMANDS = ("subscribe", "help", "get key", "status", "unsubscribe", "a question", "訂閱", "confirm")


@asynccontextmanager
async def two_houses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[House, House]]:
    async with open_house(folder / "here") as here:
        monkeypatch.setattr(houses, "LIST", THERE)
        async with open_house(folder / "there") as there:
            yield here, there


async def pass_on(letters: list[Received], to: House) -> list[Received]:
    """Bring letters that left one house to the other, as the mail would."""
    came = []
    for one in letters:
        sender = one.mail.partition("<")[2].partition(">")[0]
        came += await to.write(one.content, to=post.recipient(one), sender=sender)
    return came


@pytest.mark.parametrize("with_key", [False, True])
async def test_two_instances_that_are_pointed_at_each_other_stop(
    with_key: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_houses(tmp_path, monkeypatch) as (here, there):
        for command in COMMANDS:
            forged = Person.with_key(THERE).letter(command, to=HERE, with_key=with_key)
            first = [one for one in await here.write(forged) if post.recipient(one) == THERE]
            assert await pass_on(first, there) == []
        assert [one for one in here.far.letters if post.recipient(one) == THERE]  # something did go over
        assert there.far.letters == []


async def test_a_list_that_is_another_ones_contact_answers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_houses(tmp_path, monkeypatch) as (here, there):
        passed_on = await here.write(Person("ada@reader.example").letter("A question", to=HERE))
        assert len(passed_on) == 1
        [one] = passed_on
        assert await there.write(one.content, to=THERE, sender=HERE) == []


@pytest.mark.parametrize("own", [HERE, HERE.upper(), "news+confirm-aaaaaaaaaaaaaaaaaaaaaaaa@lists.example"])
async def test_a_letter_in_the_lists_own_name_is_neither_obeyed_nor_answered(own: str, tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        for command in COMMANDS:
            forged = Person.with_key(own).letter(command, to=HERE, with_key=True)
            assert await house.write(forged, sender="mallory@evil.example") == []
        person = await roster.identify(house.secrets, "news", Address.parse(own))
        async with house.database.read() as tx:
            assert await roster.find(tx, person) is None


async def test_the_same_letter_in_another_name_is_answered(tmp_path: Path) -> None:
    """The control for the test above."""
    async with open_house(tmp_path / "instance") as house:
        assert await house.write(Person.with_key("ada@reader.example").letter("subscribe", to=HERE, with_key=True))


async def test_letters_of_ours_that_come_back_do_nothing(tmp_path: Path) -> None:
    """A forwarder, a full mailbox, a mailing list: whatever way our letter finds back."""
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key("ada@reader.example")
        [question] = await house.write(ada.letter("subscribe", with_key=True))
        for to in (HERE, reply_to(question), "news+help@lists.example", "news+bounce@lists.example"):
            for sender in (HERE, "ada@reader.example", None):
                assert await house.write(question.content, to=to, sender=sender) == []
        assert await house.write(ada.letter("yes", to=reply_to(question)))  # it was not confirmed before


@pytest.mark.parametrize("is_subscriber", [False, True])
@pytest.mark.parametrize("says", ["I am away until Monday.", "help", "status", "subscribe", "unsubscribe"])
async def test_an_autoresponder_that_looks_like_a_person_tires(is_subscriber: bool, says: str, tmp_path: Path) -> None:
    """It answers every letter, at Reply-To or From, with words that may be a command: the worst that there is."""
    async with open_house(tmp_path / "instance") as house:
        robot = Person.with_key("robot@reader.example")
        if is_subscriber:
            await house.join(robot)
        waiting = await house.write(robot.letter(says, says, with_key=not is_subscriber))
        answered = 0
        while waiting:
            one = waiting.pop()
            if post.recipient(one) != robot.address:
                continue
            answered += 1
            head = post.outside(one)
            to = str(head["Reply-To"] or head["From"])
            waiting += await house.write(robot.letter(says, says, to=to), to=to)
            assert answered <= 25


async def test_reports_to_the_postmaster_are_read_by_people_and_never_answered(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        report = Person("postmaster@other.example").letter("Delivery failed", "x", to="postmaster@lists.example")
        report["Auto-Submitted"] = "auto-replied"
        letters = await house.write(report, sender=None)
        assert [post.recipient(one) for one in letters] == [house.contact.address]
        sealed = post.encrypt(b"Content-Type: text/plain\r\n\r\nx\r\n", Person.with_key("a@b.example").certificate)
        head = b"From: mailer-daemon@other.example\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
        letters = await house.write(head + sealed, to="postmaster@lists.example", sender=None)
        assert [post.recipient(one) for one in letters] == [house.contact.address]
