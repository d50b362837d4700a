"""Tokens: used twice, by others, for something else, on another list, late, or spoilt."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from sqlalchemy import select

from mailer import config
from mailer import instance as instances
from mailer.crypto import tokens
from mailer.crypto.aead import derive_key, label
from mailer.instance import Instance
from mailer.model.address import Address
from mailer.model.subscriber import State
from mailer.store import roster
from mailer.store.tables import requests
from tests.conversations import post
from tests.house import (
    LIST,
    SERVICE,
    Clock,
    House,
    Person,
    furnish,
    make_instance,
    open_house,
    point_relay_at,
    reply_to,
)
from tests.walks.far_server import FarServer

ADA, MALLORY = "ada@reader.example", "mallory@evil.example"


async def state_of(house: House, address: str, list_id: str = "news") -> State | None:
    person = await roster.identify(house.secrets, list_id, Address.parse(address))
    async with house.database.read() as tx:
        one = await roster.find(tx, person)
    return one.subscriber.state if one else None


async def lasting(house: House, purpose: tokens.Lasting, address: str = ADA) -> str:
    person = await roster.identify(house.secrets, "news", Address.parse(address))
    async with house.database.read() as tx:
        one = await roster.find(tx, person)
    assert one is not None
    return tokens.derive_token(house.secrets.token_key, purpose, "news", one.subscriber.id)


async def ask(house: House, person: Person, verb: str = "subscribe") -> str:
    """Return the token of the question that a command brings."""
    letters = await house.write(person.letter(verb, with_key=verb == "subscribe"))
    assert len(letters) == 1
    return reply_to(letters[0]).partition("+confirm-")[2].partition("@")[0]


def at(kind: str, token: str) -> str:
    return f"news+{kind}-{token}@lists.example"


async def test_a_token_joins_once_and_not_again_after_leaving(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key(ADA)
        token = await ask(house, ada)
        await house.write(ada.letter(to=at("confirm", token)))
        assert await state_of(house, ADA) is State.ACTIVE
        goodbye = await lasting(house, tokens.Purpose.UNSUBSCRIBE)
        await house.write(ada.letter(to=at("unsubscribe", goodbye)))
        assert await state_of(house, ADA) is None
        for _ in range(2):
            await house.write(ada.letter(to=at("confirm", token)))
            assert await state_of(house, ADA) is None
        await house.write(ada.letter(f"confirm {token}"))
        assert await state_of(house, ADA) is None


async def test_a_token_pauses_once_and_not_again_after_going_on(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key(ADA)
        await house.join(ada)
        token = await ask(house, ada, "pause")
        await house.write(ada.letter(to=at("confirm", token)))
        assert await state_of(house, ADA) is State.PAUSED
        await house.write(ada.letter(to=at("confirm", await ask(house, ada, "resume"))))
        assert await state_of(house, ADA) is State.ACTIVE
        await house.write(ada.letter(to=at("confirm", token)))
        assert await state_of(house, ADA) is State.ACTIVE


async def test_two_answers_that_come_together_join_once(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key(ADA)
        token = await ask(house, ada)
        for _ in range(3):
            await house.send(ada.letter(to=at("confirm", token)), to=at("confirm", token))
        letters = await house.work()
        subjects = [post.subject_for(one, ada) for one in letters]
        assert sorted(subjects) == ["Welcome", "You are on the list", "You are on the list"]
        async with house.database.read() as tx:
            assert await roster.count(tx, "news") == {("active", "en"): 1}


async def test_a_token_in_the_hands_of_another_acts_for_its_owner_alone(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, mallory = Person.with_key(ADA), Person.with_key(MALLORY)
        token = await ask(house, ada)
        letters = await house.write(mallory.letter("Re: [...]", "me", to=at("confirm", token), with_key=True))
        assert [post.recipient(one) for one in letters] == [ADA]
        assert await state_of(house, MALLORY) is None and await state_of(house, ADA) is State.ACTIVE
        goodbye = await lasting(house, tokens.Purpose.UNSUBSCRIBE)
        assert await house.write(mallory.letter(to=at("unsubscribe", goodbye))) == []
        assert await state_of(house, ADA) is None


async def test_a_token_is_good_for_its_purpose_alone(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, bob = Person.with_key(ADA), Person.with_key("bob@reader.example")
        joining = await ask(house, bob)
        await house.join(ada)
        leaving = await lasting(house, tokens.Purpose.UNSUBSCRIBE)
        bounce = await lasting(house, tokens.Purpose.BOUNCE)
        stranger = Person("stranger@evil.example")
        for kind, token in (
            *(("confirm", leaving), ("confirm", bounce), ("unsubscribe", bounce), ("unsubscribe", joining)),
            *(("bounce", leaving), ("bounce", bounce), ("bounce", joining)),
        ):
            await house.write(stranger.letter(to=at(kind, token)))
            assert await state_of(house, ADA) is State.ACTIVE
            assert await state_of(house, bob.address) is None
        await house.write(stranger.letter(to=at("confirm", joining)))
        assert await state_of(house, bob.address) is State.ACTIVE


SPOILT: dict[str, Callable[[str], str]] = {
    "truncated": lambda token: token[:-1],
    "without its beginning": lambda token: token[1:],
    "longer": lambda token: token + "a",
    "doubled": lambda token: token + token,
    "one letter changed": lambda token: token[:-1] + ("b" if token[-1] == "a" else "a"),
    "backwards": lambda token: token[::-1],
    "padded": lambda token: token + "=",
    "with a hyphen": lambda token: f"{token[:12]}-{token[12:]}",
    "behind a hyphen": lambda token: f"-{token}",
    "with digits that base32 lacks": lambda token: token[:-1] + "1",
    "with a joiner": lambda token: token + "\u200d",
    "empty": lambda _token: "",
}
ONLY_PUNCTUATION = ("padded", "behind a hyphen", "with a joiner")  # of which people put all kinds into a subject


@pytest.mark.parametrize("purpose", ["confirm", "unsubscribe"])
async def test_a_spoilt_token_is_none_and_the_true_one_still_works(purpose: str, tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, mallory = Person.with_key(ADA), Person(MALLORY)
        if purpose == "unsubscribe":
            await house.join(ada)
        before = await state_of(house, ADA)
        is_leaving = purpose == "unsubscribe"
        token = await lasting(house, tokens.Purpose.UNSUBSCRIBE) if is_leaving else await ask(house, ada)
        for name, spoil in SPOILT.items():
            to = at(purpose, spoil(token))
            if to.isascii() and len(to) < 64:  # the door refuses others
                await house.write(mallory.letter("", "x", to=to), to=to)
            if name not in ONLY_PUNCTUATION:
                await house.write(mallory.letter(f"{purpose} {spoil(token)}"))
            assert await state_of(house, ADA) is before, name
        await house.write(mallory.letter(to=at(purpose, token)))
        assert await state_of(house, ADA) is not before


@pytest.mark.parametrize("spell", [str.upper, str.title, lambda token: token[:9] + token[9:].upper()])
async def test_mail_programs_may_change_the_case_of_a_token(spell: Callable[[str], str], tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, bob = Person.with_key(ADA), Person.with_key("bob@reader.example")
        await house.write(ada.letter(to=at("Confirm", spell(await ask(house, ada)))))
        assert await state_of(house, ADA) is State.ACTIVE
        await house.write(bob.letter(f"CONFIRM {spell(await ask(house, bob))}"))
        assert await state_of(house, bob.address) is State.ACTIVE
        leaving = await lasting(house, tokens.Purpose.UNSUBSCRIBE)
        await house.write(ada.letter(to=at("Unsubscribe", spell(leaving))))
        assert await state_of(house, ADA) is None


@pytest.mark.parametrize(("days", "hours", "works"), [(6, 23, True), (7, 1, False), (400, 0, False)])
async def test_a_token_to_confirm_with_lasts_seven_days(days: int, hours: int, works: bool, tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key(ADA)
        token = await ask(house, ada)
        house.clock.pass_(days=days, hours=hours)
        await house.write(ada.letter(to=at("confirm", token)))
        assert (await state_of(house, ADA) is State.ACTIVE) is works


async def test_a_newer_question_of_the_same_kind_makes_the_older_one_lapse(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key(ADA)
        older = await ask(house, ada)
        house.clock.pass_(days=1)
        newer = await ask(house, ada)
        await house.write(ada.letter(to=at("confirm", older)))
        assert await state_of(house, ADA) is None
        await house.write(ada.letter(to=at("confirm", newer)))
        assert await state_of(house, ADA) is State.ACTIVE


@pytest.mark.parametrize("writer", [ADA, MALLORY])
async def test_leaving_makes_every_question_lapse(writer: str, tmp_path: Path) -> None:
    """Or else an old answer to "do you want a pause?" would silence whoever joins at that address later."""
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key(ADA)
        await house.join(ada)
        pausing = await ask(house, ada, "pause")
        await house.write(Person(writer).letter(to=at("unsubscribe", await lasting(house, tokens.Purpose.UNSUBSCRIBE))))
        house.clock.pass_(days=1)
        await house.join(ada)
        await house.write(ada.letter(to=at("confirm", pausing)))
        assert await state_of(house, ADA) is State.ACTIVE


async def test_no_token_lies_in_the_database_or_in_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    folder = tmp_path / "instance"
    async with open_house(folder) as house:
        ada = Person.with_key(ADA)
        await house.join(ada)
        asked = [await ask(house, ada, verb) for verb in ("pause", "unsubscribe", "forget me")]
        asked += [await lasting(house, one) for one in (tokens.Purpose.UNSUBSCRIBE, tokens.Purpose.BOUNCE)]
        written = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file()).lower()
        assert b"subscribers" in written  # it is the database that was read
        assert not [token for token in asked if token.encode() in written or token in caplog.text.lower()]


async def test_a_token_of_one_list_is_worth_nothing_on_another(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        far, contact = await stack.enter_async_context(FarServer()), Person.with_key("team@elsewhere.example")
        instance = with_second_list(point_relay_at(make_instance(tmp_path / "instance", contact), far.port))
        house = await furnish(stack, instance, far, contact, Clock())
        ada = Person.with_key(ADA)
        token = await ask(house, ada)
        await house.write(ada.letter(to=f"events+confirm-{token}@lists.example"))
        assert await state_of(house, ADA) is None and await state_of(house, ADA, "events") is None
        await house.write(ada.letter(to=at("confirm", token)))
        leaving = await lasting(house, tokens.Purpose.UNSUBSCRIBE)
        await house.write(ada.letter(to=f"events+unsubscribe-{leaving}@lists.example"))
        assert await state_of(house, ADA) is State.ACTIVE


def with_second_list(instance: Instance) -> Instance:
    opened, _ = instance.open_service(SERVICE)
    instances.add_list(instance, opened, "events", Address.parse("events@lists.example"))
    config.add_list(instance.config_path, "events", Address.parse("events@lists.example"))
    return Instance.open(instance.folder)


async def test_a_letter_to_the_list_that_only_quotes_a_token_confirms_nothing(tmp_path: Path) -> None:
    """Ada forwards the question to a friend, or asks the list what it is; the token stands in the quoted text."""
    async with open_house(tmp_path / "instance") as house:
        ada, friend = Person.with_key(ADA), Person("friend@reader.example")
        [question] = await house.write(ada.letter("subscribe", with_key=True))
        quoted = "\n".join(f"> {line}" for line in ada.read(question).splitlines())
        assert "+confirm-" in quoted
        await house.write(friend.letter("Fwd: Please reply to this letter", f"What is this?\n\n{quoted}", to=LIST))
        await house.write(ada.letter("Re: [...]", f"What is this?\n\n{quoted}", to=LIST))
        assert await state_of(house, ADA) is None


def decrypt_without_checking(key: bytes, blob: bytes) -> bytes:
    """What AES-GCM hides from who has the key but not the data that the tag binds: nothing (NIST SP 800-38D §7.2)."""
    nonce, ciphertext = blob[1:13], blob[13:-16]
    decryptor = Cipher(AES(key), CTR(nonce + (2).to_bytes(4, "big"))).decryptor()
    return decryptor.update(ciphertext)


async def test_what_waits_cannot_be_read_with_the_service_secrets_alone(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key("ada@reader.example")
        [question] = await house.write(ada.letter("subscribe", with_key=True))
        token = reply_to(question).partition("+confirm-")[2].partition("@")[0]
        async with house.database.read() as tx:
            [row] = (await tx.execute(select(requests))).all()
        rest_key = house.secrets.rest_key
        for kind in ("request", "outbox", "edition", "requests"):
            key = derive_key(rest_key, label("rest-key", kind))
            assert b"ada@reader.example" not in decrypt_without_checking(key, row.sealed)
        key = derive_key(rest_key, label("token-key", token))
        assert b"ada@reader.example" in decrypt_without_checking(key, row.sealed)
