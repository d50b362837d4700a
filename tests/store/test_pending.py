"""What waits for a confirmation opens once, in time, for whoever has the token; counters hold across restarts."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from mailer.crypto import tokens
from mailer.errors import SealBroken
from mailer.model.address import Address
from mailer.model.certificate import Certificate
from mailer.model.command import Verb
from mailer.model.language import Language
from mailer.model.request import Request
from mailer.store import pending
from mailer.store.roster import Person
from mailer.store.tables import counters, requests
from tests.store.conftest import NOW, Register, somebody

EXPIRES = NOW + timedelta(days=7)
ADA = Address.parse("ada@reader.example")
CERTIFICATE = Certificate(b"blob", "f00d", NOW, ("ed25519", "cv25519"), 4)
REQUESTS = [
    Request(Verb.SUBSCRIBE, ADA, Language.ZH_HANT, CERTIFICATE),
    Request(Verb.SET_KEY, ADA, Language.EN, replace(CERTIFICATE, expires=None)),
    Request(Verb.CHANGE_ADDRESS, ADA, Language.EN, None, Address.parse("new@reader.example"), is_second_step=True),
    Request(Verb.UNSUBSCRIBE, ADA, Language.ZH_HANS),
]


async def ask(register: Register, person: Person, request: Request) -> tuple[str, bytes]:
    token = tokens.new_token(os.urandom)
    mark, sealed = pending.seal_request(register.secrets, person, request, token)
    await register.do(lambda tx: pending.ask(tx, mark, sealed, EXPIRES))
    return token, mark


async def find(register: Register, mark: bytes, list_id: str = "news", **after: float) -> pending.Pending | None:
    async with register.database.read() as tx:
        return await pending.find(tx, list_id, mark, NOW + timedelta(**after))


# --- Requests -------------------------------------------------------------------------------------------------------


async def test_an_unknown_token_stands_for_nothing(register: Register) -> None:
    await ask(register, somebody(str(ADA)), REQUESTS[0])
    assert await find(register, b"0" * 16) is None


async def test_a_token_of_another_list_stands_for_nothing(register: Register) -> None:
    _, mark = await ask(register, somebody(str(ADA)), REQUESTS[0])
    assert await find(register, mark, "other") is None


async def test_a_token_runs_out(register: Register) -> None:
    _, mark = await ask(register, somebody(str(ADA)), REQUESTS[0])
    assert await find(register, mark, days=6.999) is not None
    assert await find(register, mark, days=7) is None


async def test_a_token_works_once(register: Register) -> None:
    _, mark = await ask(register, somebody(str(ADA)), REQUESTS[0])
    assert await register.do(lambda tx: pending.settle(tx, mark)) is True
    assert await register.do(lambda tx: pending.settle(tx, mark)) is False
    assert await find(register, mark) is None


@pytest.mark.parametrize("wrong", ["token", "list", "verb"])
async def test_a_request_opens_for_its_token_list_and_verb_alone(register: Register, wrong: str) -> None:
    token, mark = await ask(register, somebody(str(ADA)), REQUESTS[0])
    stored = await find(register, mark)
    assert stored is not None
    if wrong == "token":
        token = "a" * 24
    elif wrong == "list":
        stored = replace(stored, list_id="other")
    else:
        stored = replace(stored, verb=Verb.FORGET)
    with pytest.raises(SealBroken):
        pending.open_request(register.secrets, stored, token)


async def test_a_request_with_a_changed_octet_does_not_open(register: Register) -> None:
    token, mark = await ask(register, somebody(str(ADA)), REQUESTS[0])
    stored = await find(register, mark)
    assert stored is not None
    with pytest.raises(SealBroken):
        pending.open_request(register.secrets, replace(stored, sealed=stored.sealed[:-1] + b"?"), token)


async def test_a_verb_that_somebody_changed_in_the_table_opens_nothing(register: Register) -> None:
    token, mark = await ask(register, somebody(str(ADA)), REQUESTS[3])
    await register.do(lambda tx: tx.execute(update(requests).values(verb=Verb.FORGET)))
    stored = await find(register, mark)
    assert stored is not None
    with pytest.raises(SealBroken):
        pending.open_request(register.secrets, stored, token)


@pytest.mark.parametrize("request_", REQUESTS, ids=[request.verb for request in REQUESTS])
async def test_a_request_comes_back_as_it_was(register: Register, request_: Request) -> None:
    token, mark = await ask(register, somebody(str(ADA)), request_)
    stored = await find(register, mark)
    assert stored is not None
    assert pending.open_request(register.secrets, stored, token) == request_


async def test_a_second_request_of_the_same_kind_replaces_the_first(register: Register) -> None:
    person = somebody(str(ADA))
    _, first = await ask(register, person, REQUESTS[0])
    _, other_kind = await ask(register, person, REQUESTS[1])
    _, second = await ask(register, person, REQUESTS[0])
    assert await find(register, first) is None
    assert await find(register, second) and await find(register, other_kind)


async def test_leaving_drops_all_requests_of_one_person(register: Register) -> None:
    person, other = somebody(str(ADA)), somebody("bob@reader.example")
    marks = [(await ask(register, person, request))[1] for request in REQUESTS]
    _, theirs = await ask(register, other, REQUESTS[0])
    await register.do(lambda tx: pending.drop_all_of(tx, person.index.look_up))
    assert [await find(register, mark) for mark in marks] == [None] * len(marks)
    assert await find(register, theirs)


async def test_neither_address_nor_token_is_in_the_database(register: Register) -> None:
    token, _ = await ask(register, somebody(str(ADA)), REQUESTS[2])
    content = await register.content()
    assert b"change-address" in content  # the row is there
    assert b"reader.example" not in content and token.encode() not in content


# --- Counters -------------------------------------------------------------------------------------------------------


async def take(register: Register, who: bytes, what: str = "reply", day: str = "2026-03-01", limit: int = 2) -> object:
    return await register.do(lambda tx: pending.take(tx, who, what, day, limit, EXPIRES))


async def test_what_is_used_up_is_refused_until_the_next_day(register: Register) -> None:
    who = os.urandom(32)
    assert [await take(register, who) for _ in range(4)] == [True, True, False, False]
    assert await take(register, who, day="2026-03-02") is True


async def test_one_persons_counter_is_nobody_elses_and_for_one_purpose(register: Register) -> None:
    who = os.urandom(32)
    assert await take(register, who, limit=1) is True
    assert await take(register, os.urandom(32), limit=1) is True
    assert await take(register, who, what="confirm", limit=1) is True
    assert await take(register, who, limit=1) is False


async def test_a_limit_of_none_refuses_at_once(register: Register) -> None:
    assert await take(register, os.urandom(32), limit=0) is False


async def test_neither_look_up_nor_purpose_is_in_the_counters(register: Register) -> None:
    who = os.urandom(32)
    await take(register, who)
    async with register.database.read() as tx:
        [row] = (await tx.execute(select(counters))).all()
    assert who not in row.key and row.key not in who and len(row.key) == 32


async def test_what_has_run_out_is_erased_and_the_rest_kept(register: Register) -> None:
    _, mark = await ask(register, somebody(str(ADA)), REQUESTS[0])
    await take(register, os.urandom(32))
    await register.do(lambda tx: pending.purge(tx, EXPIRES - timedelta(seconds=1)))
    assert await find(register, mark)
    await register.do(lambda tx: pending.purge(tx, EXPIRES))
    async with register.database.read() as tx:
        assert (await tx.execute(select(requests))).all() == (await tx.execute(select(counters))).all() == []


async def test_what_is_counted_together_is_counted_as_a_whole_or_not_at_all(register: Register) -> None:
    ada, bob, everybody = os.urandom(32), os.urandom(32), os.urandom(32)

    async def both(who: bytes) -> str | None:
        uses = (pending.Use("address", who, "reply", 2), pending.Use("overall", everybody, "", 3))
        spent: pending.Use | None = await register.do(lambda tx: pending.take_all(tx, uses, "2026-03-01", EXPIRES))
        return spent.limit if spent else None

    assert [await both(ada) for _ in range(4)] == [None, None, "address", "address"]
    assert [await both(bob) for _ in range(3)] == [None, "overall", "overall"]
    assert await take(register, bob) is True and await take(register, bob) is False  # what was given back is there
