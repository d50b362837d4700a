"""Somebody wants to learn who is on the list: at the door, by letters in others' names, by what comes back."""

from __future__ import annotations

import asyncio
import random
import smtplib
import socket
from collections.abc import Callable, Sequence
from math import comb
from pathlib import Path
from time import perf_counter

import pytest
from sqlalchemy import event

from mailer.crypto import tokens
from mailer.model.address import Address
from mailer.model.letter import Envelope
from mailer.store import inbox, roster
from tests.conversations import post
from tests.house import LIST, House, Person, open_house

ADA, BOB, EVE, LEFT = "ada@reader.example", "bob@reader.example", "eve@reader.example", "left@reader.example"
Times = tuple[list[float], list[float]]
DETAILS = ("", "+subscribe", "+unsubscribe", "+help", "+key", "+confirm-aaaaaaaaaaaaaaaaaaaaaaaa", "+anything")


async def people(house: House) -> dict[str, Person]:
    """A subscriber, one who has a pause, one who was banned, one who left, and a stranger."""
    everybody = {address: Person.with_key(address) for address in (ADA, BOB, LEFT)}
    for person in everybody.values():
        await house.join(person)
    bob, left = everybody[BOB], everybody[LEFT]
    await house.write(post.write(bob, LIST, {"Signed": "by him"}, "pause", {"him": bob}))
    await house.write(post.write(left, LIST, {"Signed": "by her"}, "unsubscribe", {"her": left}))
    eve = await roster.identify(house.secrets, "news", Address.parse(EVE))
    async with house.database.write() as tx:
        await roster.ban(tx, eve, house.clock().date())
    return everybody


def converse(house: House, sender: str, recipient: str) -> str:
    """Speak SMTP by hand and return everything that the door said."""
    said = ""
    with socket.create_connection(house.door.addresses[0], timeout=10) as connection:
        lines = (
            *("EHLO client.example", f"VRFY {sender}", f"EXPN {recipient}", f"MAIL FROM:<{sender}>"),
            *(f"RCPT TO:<{recipient}>", "DATA", f"From: {sender}\r\nSubject: status\r\n\r\nx\r\n.", "QUIT"),
        )
        stream = connection.makefile("rwb")
        said += _read(stream.readline)
        for line in lines:
            stream.write(line.encode() + b"\r\n")
            stream.flush()
            said += _read(stream.readline)
    return said


def _read(readline: Callable[[], bytes]) -> str:
    reply = line = readline().decode()
    while line[3:4] == "-":
        line = readline().decode()
        reply += line
    return reply


async def test_the_door_says_the_same_whoever_writes_to_whatever_address(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await people(house)
        said = {
            detail: {
                await asyncio.to_thread(converse, house, sender, f"news{detail}@lists.example")
                for sender in (ADA, BOB, EVE, LEFT, "stranger@reader.example")
            }
            for detail in DETAILS
        }
        assert [len(replies) for replies in said.values()] == [1] * len(DETAILS)
        assert len(set(map(frozenset, said.values()))) == 1  # nor does it matter what stands behind the plus
        assert "250 2.0.0 stored" in next(iter(said[""]))
        async with house.database.read() as tx:
            assert await inbox.count(tx) == {"waiting": 5 * len(DETAILS)}


async def test_a_true_token_is_taken_like_a_false_one(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await people(house)
        ada = await roster.identify(house.secrets, "news", Address.parse(ADA))
        async with house.database.read() as tx:
            found = await roster.find(tx, ada)
        assert found is not None
        purpose: tokens.Lasting = tokens.Purpose.UNSUBSCRIBE
        true = tokens.derive_token(house.secrets.token_key, purpose, "news", found.subscriber.id)
        said = [
            await asyncio.to_thread(converse, house, EVE, f"news+unsubscribe-{token}@lists.example")
            for token in (true, true[::-1])
        ]
        assert said[0] == said[1]
        assert "250 2.0.0 stored" in said[0]


async def test_the_door_asks_the_database_nothing(tmp_path: Path) -> None:
    """So neither the time it takes nor anything else can depend on who is in the register."""
    async with open_house(tmp_path / "instance") as house:
        everybody = await people(house)
        statements: list[str] = []
        engine = house.database._engine.sync_engine

        def note(*arguments: object) -> None:
            statements.append(str(arguments[2]))

        event.listen(engine, "before_cursor_execute", note)
        for address in (ADA, EVE, "stranger@reader.example"):
            await house.send(everybody.get(address, Person(address)).letter("status"))
        event.remove(engine, "before_cursor_execute", note)
        assert len([one for one in statements if one.startswith("INSERT INTO inbox ")]) == 3
        assert not [one for one in statements if "subscribers" in one or "suppressions" in one or "SELECT" in one]


async def test_what_comes_back_goes_to_the_address_in_from_and_to_nobody_else(tmp_path: Path) -> None:
    commands = ("status", "subscribe", "unsubscribe", "help", "pause", "my key", "forget me", f"address {EVE}")
    async with open_house(tmp_path / "instance") as house:
        await people(house)
        before = len(house.far.letters)
        for address in (ADA, BOB, "stranger@reader.example"):
            for command in commands:
                forged = Person(address).letter(command)
                for name in ("Reply-To", "Sender", "Errors-To", "Disposition-Notification-To", "Resent-From", "Cc"):
                    forged[name] = "spy@evil.example"
                await house.write(forged, sender="spy@evil.example")
        reached = {post.recipient(one) for one in house.far.letters[before:]}
        assert reached == {ADA, BOB, "stranger@reader.example"}


async def test_who_asks_to_move_to_an_address_learns_nothing_about_it(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await people(house)
        house.clock.pass_(days=1)
        seen = {}
        for number, target in enumerate((BOB, EVE, LEFT, "stranger@reader.example")):
            spy = Person.with_key(f"spy{number}@evil.example")
            await house.join(spy)
            letters = await house.write(post.write(spy, LIST, {"Signed": "by me"}, f"address {target}", {"me": spy}))
            seen[target] = [(post.recipient(one) == target, post.subject_for(one, spy)) for one in letters]
        assert set(map(tuple, seen.values())) == {((True, "Is this your new address? Please reply"),)}


@pytest.mark.parametrize("command", ["help", "get key", "subscribe", "unsubscribe", "status", "訂閱"])
async def test_who_was_banned_or_has_left_is_told_no_more_than_a_stranger(command: str, tmp_path: Path) -> None:
    """Somebody with a mark in the register must not find out that there is one: for LEFT it is as for a stranger."""
    async with open_house(tmp_path / "instance") as house:
        await people(house)
        house.clock.pass_(days=1)
        came = {
            address: [
                (post.subject_for(one, Person(address)), post.is_sealed(one))
                for one in await house.write(Person(address).letter(command))
            ]
            for address in (LEFT, "stranger@reader.example", EVE)
        }
        assert came[LEFT] == came["stranger@reader.example"] != []
        assert came[EVE] == []


async def test_an_unsubscribe_token_does_not_tell_whose_it_is(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await people(house)
        ada = await roster.identify(house.secrets, "news", Address.parse(ADA))
        async with house.database.read() as tx:
            found = await roster.find(tx, ada)
        assert found is not None
        purpose: tokens.Lasting = tokens.Purpose.UNSUBSCRIBE
        token = tokens.derive_token(house.secrets.token_key, purpose, "news", found.subscriber.id)
        spy = Person.with_key("spy@evil.example")
        assert await house.write(spy.letter(to=f"news+unsubscribe-{token}@lists.example", with_key=True)) == []


# --- Time -------------------------------------------------------------------------------------------------------------

PROBES = 120  # for each of two groups; about four seconds


def probe(connection: smtplib.SMTP, sender: str, recipient: str) -> float:
    """Return how long a whole transaction takes, from MAIL to the reply to the letter."""
    letter = f"From: {sender}\r\nTo: {recipient}\r\nSubject: status\r\n\r\nx\r\n"
    began = perf_counter()
    connection.sendmail(sender, [recipient], letter)
    return perf_counter() - began


def interleaved(address: tuple[str, int], one: Sequence[tuple[str, str]], other: Sequence[tuple[str, str]]) -> Times:
    """Probe in pairs, which of the two first by lot, so that whatever else the machine does falls on both alike."""
    drawn = random.Random(20)
    times: Times = ([], [])
    with smtplib.SMTP(*address, local_hostname="client.example") as connection:
        for number in range(PROBES):
            pair = [(0, one[number % len(one)]), (1, other[number % len(other)])]
            drawn.shuffle(pair)
            for group, (sender, recipient) in pair:
                times[group].append(probe(connection, sender, recipient))
    return times


def chance(times: Times) -> float:
    """Return how likely times as different as these are where there is no difference: a sign test over the pairs.

    Each pair was measured side by side, so a slow minute of the machine changes nothing; a few slow probes neither.
    """
    signs = [one > other for one, other in zip(*times, strict=True) if one != other]
    least, total = min(sum(signs), len(signs) - sum(signs)), len(signs)
    return min(1.0, 2 * sum(comb(total, number) for number in range(least + 1)) / 2**total)


LEAST_CHANCE = 1e-4  # such a difference comes up by chance in one run of ten thousand


async def test_no_statistics_over_many_probes_tell_a_subscriber_from_a_stranger(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        everybody = await people(house)
        ada = await roster.identify(house.secrets, "news", Address.parse(ADA))
        async with house.database.read() as tx:
            found = await roster.find(tx, ada)
        assert found is not None and everybody
        purpose: tokens.Lasting = tokens.Purpose.UNSUBSCRIBE
        true = tokens.derive_token(house.secrets.token_key, purpose, "news", found.subscriber.id)
        commands = ("", "+unsubscribe", "+status", "+key")
        known = [(ADA, f"news{detail}@lists.example") for detail in commands]
        unknown = [("abc@reader.example", recipient) for _, recipient in known]
        tokens_true = [("abc@reader.example", f"news+unsubscribe-{true}@lists.example")]
        tokens_false = [("abc@reader.example", f"news+unsubscribe-{true[::-1]}@lists.example")]
        address = house.door.addresses[0]
        for one, other in ((known, unknown), (tokens_true, tokens_false)):
            chances = []
            for _attempt in range(3):  # a difference that is there shows each time
                chances.append(chance(await asyncio.to_thread(interleaved, address, one, other)))
                if chances[-1] > LEAST_CHANCE:
                    break
            assert chances[-1] > LEAST_CHANCE, chances


async def test_the_same_statistics_find_a_delay_that_is_planted(tmp_path: Path) -> None:
    """The control: a look into the register, three thousandths of a second long, before a letter is stored."""
    async with open_house(tmp_path / "instance") as house:
        await people(house)
        accept = house.door._accept

        async def look_first(envelopes: list[Envelope], content: bytes) -> None:
            if str(envelopes[0].mail_from) == ADA:
                await asyncio.to_thread(lambda: _work(0.003))
            await accept(envelopes, content)

        house.door._accept = look_first
        one, other = [(ADA, LIST)], [("abc@reader.example", LIST)]
        chances = [chance(await asyncio.to_thread(interleaved, house.door.addresses[0], one, other))]
        if chances[-1] >= LEAST_CHANCE:  # on a busy machine
            chances.append(chance(await asyncio.to_thread(interleaved, house.door.addresses[0], one, other)))
        assert min(chances) < LEAST_CHANCE


def _work(seconds: float) -> None:
    end = perf_counter() + seconds
    while perf_counter() < end:
        pass


async def test_each_command_brings_one_letter_to_the_named_address_whoever_that_is(tmp_path: Path) -> None:
    """Who counts the letters that leave us, or the mail that a mailbox gets, learns nothing from their number."""
    commands = (
        "subscribe",
        "unsubscribe",
        "status",
        "pause",
        "resume",
        "forget me",
        "my key",
        "help",
        "address x@y.example",
    )
    async with open_house(tmp_path / "instance") as house:
        await people(house)
        for command in commands:
            house.clock.pass_(days=1)
            for address in (ADA, BOB, LEFT, "stranger@reader.example"):
                letters = await house.write(Person(address).letter(command), sender="spy@evil.example")
                assert [post.recipient(one) for one in letters] == [address], command
