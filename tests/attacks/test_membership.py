"""Somebody wants to learn who is on the list: at the door, by letters in others' names, by what comes back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event

from mailer.crypto import tokens
from mailer.model.address import Address
from mailer.store import inbox, roster
from tests.conversations import post
from tests.house import LIST, House, Person, open_house

ADA, BOB, EVE, LEFT = "ada@reader.example", "bob@reader.example", "eve@reader.example", "left@reader.example"
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
