"""Programs that answer each other: two instances, an instance and itself, an autoresponder that hides what it is."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest

from mailer.crypto.tokens import message_id
from mailer.instance import Instance
from mailer.model.address import Address
from mailer.model.letter import Envelope
from mailer.store import roster
from tests import house as houses
from tests.conversations import post
from tests.house import House, Person, open_house, reply_to
from tests.walks.far_server import FarServer, Received

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


# --- Two services that send to each other's door ----------------------------------------------------------------------


@asynccontextmanager
async def pair(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[House, House, list[str]]]:
    """Two instances, each the other's relay: what leaves one comes in at the other's door. And who got each letter."""
    ports, came = free_ports(2), list[str]()
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(FarServer())  # nobody sends there
        made = []
        for name, address, own, other in (("here", HERE, 0, 1), ("there", THERE, 1, 0)):
            monkeypatch.setattr(houses, "LIST", address)
            contact = Person.with_key(THERE if address == HERE else HERE)  # the other list: the worst contact there is
            instance = houses.make_instance(folder / name, contact)
            path = instance.config_path
            path.write_text(path.read_text().replace("127.0.0.1:0", f"127.0.0.1:{ports[own]}"))
            instance = houses.point_relay_at(instance, ports[other])
            house = await houses.furnish(stack, instance, far, contact, houses.Clock())
            note_letters(house, name, came)
            made.append(house)
        yield made[0], made[1], came
        assert far.letters == []


def note_letters(house: House, name: str, came: list[str]) -> None:
    accept = house.door._accept

    async def note(envelopes: list[Envelope], content: bytes) -> None:
        came.append(name)
        await accept(envelopes, content)

    house.door._accept = note


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.mark.parametrize("command", ["subscribe", "status", "A letter that is no command"])
async def test_two_services_with_each_other_for_a_relay_stop_after_one_letter_each(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path, monkeypatch) as (here, there, came):
        await here.send(Person.with_key(THERE).letter(command, to=HERE, with_key=True), to=HERE, sender=THERE)
        await there.send(Person.with_key(HERE).letter(command, to=THERE, with_key=True), to=THERE, sender=HERE)
        for _ in range(20):
            before = len(came)
            await here.work()
            await there.work()
            if len(came) == before:
                break
        assert came.count("here") == came.count("there") == 2  # the forged one, and the other's one answer


# --- Letters of ours, under every name that we have -------------------------------------------------------------------


async def test_a_letter_in_any_name_of_ours_is_neither_obeyed_nor_answered(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        path = house.instance.config_path
        names = (
            'formerly = ["old@lists.example"]\n[[lists.identities]]\nname = "abroad"\naddress = "news@abroad.example"\n'
        )
        path.write_text(path.read_text() + names)
        listener = house.worker.receiver.listener
        directory = Instance.open(house.instance.folder).directory()
        house.worker.receiver.listener = replace(listener, directory=directory)
        for own in ("old@lists.example", "OLD+x@lists.example", "news@abroad.example", "news+bounce-x@abroad.example"):
            for command in COMMANDS:
                assert await house.write(Person.with_key(own).letter(command, to=HERE, with_key=True)) == []
                forged = Person("ada@reader.example").letter(command, to=HERE)
                assert await house.write(forged, sender=own) == []
        ours = message_id(b"k" * 32, "abroad.example", b"x")
        redirected = Person("ada@reader.example").letter("help", to=HERE)
        redirected.replace_header("Message-ID", ours)
        assert await house.write(redirected) == []


# --- Out of office ----------------------------------------------------------------------------------------------------

AWAY = (
    ("Re: [...]", "I am out of the office until Monday."),
    ("Re: [...]", "Hello,\n\nthank you for your email. I am on annual leave until 5 May."),
    ("Out of Office: [...]", "I am away."),
    ("Automatic reply: [...]", "ok"),
    ("[...]", "This is an automatic reply."),
    ("自动回复：[...]", "好的"),
    ("回复: [...]", "您好，您的邮件我已收到，我会尽快给您回复。"),
    ("回覆: [...]", "您好：\n我目前不在辦公室，請聯絡同事。"),
    ("回复: [...]", "这是来自QQ邮箱的假期自动回复邮件。\n\n您好，我最近正在休假中，无法亲自回复您的邮件。"),
    ("AUTO: Ada is out of the office (returning 12/01/2026)", "ok"),
)
MARKS = (
    *(("Auto-Submitted", "auto-replied"), ("Precedence", "bulk"), ("X-Autoreply", "yes"), ("X-Autorespond", "x")),
    *(
        ("X-Auto-Response-Suppress", "All"),
        ("X-Auto-Response-Suppress", "DR, OOF, AutoReply"),
        ("X-Loop", "x@y.example"),
    ),
    *(("X-AutoReply-From", "ada@reader.example"), ("X-Mail-Autoreply", "yes"), ("X-FC-MachineGenerated", "true")),
    *(("X-Failed-Recipients", "x@y.example"), ("List-Id", "<x.example>"), ("Return-Path", "<>")),
)


async def test_an_out_of_office_reply_confirms_nothing(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key("ada@reader.example")
        [question] = await house.write(ada.letter("subscribe", with_key=True))
        to, text = reply_to(question), ada.read(question)
        token = to.partition("+confirm-")[2].partition("@")[0]
        quoted = "".join(f"> {line}\n" for line in text.splitlines())
        for subject, words in AWAY:
            for more in ("", f"\n\nAda wrote:\n{quoted}", f"\n\n> confirm {token}\n"):
                for target in (to, HERE):
                    assert await said(house, ada.letter(subject, words + more, to=target)) == []
        for name, value in MARKS:
            for subject in ("Re: [...]", f"confirm {token}"):
                assert await said(house, ada.letter(subject, "yes", to=to, **{name.replace("-", "_"): value})) == []
        assert await said(house, ada.letter("Re: [...]", "yes", to=to), sender=None) == []
        [welcome] = await house.write(ada.letter("Re: [...]", f"yes\n\n{quoted}", to=to))  # the token still works
        assert post.subject_for(welcome, ada) == "Welcome"


async def said(house: House, letter: EmailMessage, sender: str | None = "") -> list[Received]:
    """Return what comes of a letter, but for what is passed on to the contact."""
    letters = await house.write(letter, sender=sender)
    return [one for one in letters if post.recipient(one) != house.contact.address]
