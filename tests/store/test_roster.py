"""The register: whoever writes is found, nobody is listed, and a row that was tampered with opens for nobody."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text, update

from mailer.crypto import tokens, vault
from mailer.errors import SealBroken, StoreConflict
from mailer.model.address import Address
from mailer.model.digest import DeliveryState
from mailer.model.language import Language
from mailer.model.subscriber import Drawer, Format, Method, State
from mailer.store import queue, roster
from mailer.store.tables import deliveries, subscribers
from tests.store.conftest import NOW, TODAY, Register, somebody

SEALED_COLUMNS = ["drawer", "wrapped_drawer_key"]


async def columns(register: Register, subscriber_id: bytes) -> dict[str, object]:
    async with register.database.read() as tx:
        row = (await tx.execute(select(subscribers).where(subscribers.c.id == subscriber_id))).one()
    return dict(row._mapping)


async def suppressed(register: Register, person: roster.Person) -> str | None:
    async with register.database.read() as tx:
        return await roster.suppressed(tx, person)


# --- Who is not found -----------------------------------------------------------------------------------------------


async def test_a_stranger_is_not_found(register: Register) -> None:
    await register.enter()
    assert await register.find(somebody("stranger@reader.example")) is None


async def test_nobody_is_found_on_another_list(register: Register) -> None:
    person, _ = await register.enter()
    assert await register.find(replace(person, list_id="other")) is None


async def test_an_address_is_entered_once(register: Register) -> None:
    person, _ = await register.enter()
    with pytest.raises(StoreConflict):
        await register.enter(person)


@pytest.mark.parametrize("column", SEALED_COLUMNS)
async def test_a_row_with_a_changed_octet_does_not_open(register: Register, column: str) -> None:
    person, new = await register.enter()
    sealed = bytearray((await columns(register, new.subscriber_id))[column])  # type: ignore[call-overload]
    sealed[-1] ^= 1
    await register.do(lambda tx: tx.execute(update(subscribers).values({column: bytes(sealed)})))
    with pytest.raises(SealBroken):
        await register.find(person)


@pytest.mark.parametrize("column", SEALED_COLUMNS)
async def test_what_was_moved_from_another_row_does_not_open(register: Register, column: str) -> None:
    """Someone who can write to the database could else read another's digests with a key of his own."""
    person, new = await register.enter()
    _, other = await register.enter()
    theirs = (await columns(register, other.subscriber_id))[column]
    own = update(subscribers).where(subscribers.c.id == new.subscriber_id)
    await register.do(lambda tx: tx.execute(own.values({column: theirs})))
    with pytest.raises(SealBroken):
        await register.find(person)


async def test_a_row_moved_to_another_list_does_not_open(register: Register) -> None:
    person, _ = await register.enter()
    await register.do(lambda tx: tx.execute(update(subscribers).values(list_id="other")))
    with pytest.raises(SealBroken):
        await register.find(replace(person, list_id="other"))


async def test_another_index_key_opens_no_drawer(register: Register) -> None:
    person, _ = await register.enter()
    stolen = vault.Index(person.index.look_up, os.urandom(32))
    with pytest.raises(SealBroken):
        await register.find(replace(person, index=stolen))


@pytest.mark.parametrize("column", ["state", "method", "language"])
async def test_a_plain_column_that_holds_nonsense_is_a_broken_row(register: Register, column: str) -> None:
    person, _ = await register.enter()
    await register.do(lambda tx: tx.execute(text(f"UPDATE subscribers SET {column} = 'nonsense'")))
    with pytest.raises(SealBroken):
        await register.find(person)


# --- Who is found ---------------------------------------------------------------------------------------------------


async def test_a_subscriber_is_found_with_the_drawer_open(register: Register) -> None:
    person, new = await register.enter(language=Language.ZH_HANT)
    found = await register.find(person)
    assert found is not None
    assert found.subscriber.id == new.subscriber_id
    assert (found.subscriber.state, found.subscriber.language) == (State.ACTIVE, Language.ZH_HANT)
    assert (found.drawer, found.drawer_key) == (new.drawer, new.drawer_key)


async def test_identify_leads_one_person_to_one_place_however_the_address_is_written(register: Register) -> None:
    first = await roster.identify(register.secrets, "news", Address.parse("Ada@Reader.Example"))
    second = await roster.identify(register.secrets, "news", Address.parse("ada@reader.example"))
    elsewhere = await roster.identify(register.secrets, "other", Address.parse("ada@reader.example"))
    assert (first.index, first.suppression) == (second.index, second.suppression)
    assert first.index.look_up != elsewhere.index.look_up
    assert first.suppression not in (elsewhere.suppression, first.index.look_up)


async def test_nothing_of_a_person_shows_in_a_traceback(register: Register) -> None:
    person, new = await register.enter(somebody("ada@reader.example"))
    found = await register.find(person)
    for shown in (repr(person), repr(new), repr(found), str(found)):
        assert "ada" not in shown and "certificate" not in shown and new.drawer_key.hex()[:8] not in shown


# --- Tokens ---------------------------------------------------------------------------------------------------------


def token_of(register: Register, purpose: tokens.Lasting, subscriber_id: bytes, list_id: str = "news") -> str:
    return tokens.derive_token(register.secrets.token_key, purpose, list_id, subscriber_id)


async def by_token(register: Register, purpose: tokens.Purpose, token: str, list_id: str = "news") -> object:
    async with register.database.read() as tx:
        return await roster.find_by_token(tx, register.secrets.token_key, purpose, list_id, token)


@pytest.mark.parametrize("purpose", [tokens.Purpose.UNSUBSCRIBE, tokens.Purpose.BOUNCE])
async def test_a_token_names_its_owner_on_its_list_for_its_purpose_alone(
    register: Register, purpose: tokens.Lasting
) -> None:
    _, new = await register.enter()
    await register.enter()
    token = token_of(register, purpose, new.subscriber_id)
    found = await by_token(register, purpose, token)
    assert getattr(found, "id", None) == new.subscriber_id
    other = tokens.Purpose.BOUNCE if purpose is tokens.Purpose.UNSUBSCRIBE else tokens.Purpose.UNSUBSCRIBE
    assert await by_token(register, other, token) is None
    assert await by_token(register, purpose, token, "other") is None
    assert await by_token(register, purpose, "a" * 24) is None


async def test_a_token_names_nobody_in_a_row_that_was_moved_to_another_list(register: Register) -> None:
    _, new = await register.enter()
    token = token_of(register, tokens.Purpose.UNSUBSCRIBE, new.subscriber_id)
    await register.do(lambda tx: tx.execute(update(subscribers).values(list_id="other")))
    assert await by_token(register, tokens.Purpose.UNSUBSCRIBE, token) is None


async def test_tokens_are_stored_nowhere(register: Register) -> None:
    _, new = await register.enter()
    token = token_of(register, tokens.Purpose.UNSUBSCRIBE, new.subscriber_id)
    assert token.encode() not in await register.content()


# --- Changes --------------------------------------------------------------------------------------------------------


async def found_of(register: Register, person: roster.Person) -> roster.Found:
    found = await register.find(person)
    assert found is not None
    return found


async def test_who_moves_is_found_at_the_new_address_alone_and_keeps_id_and_tokens(register: Register) -> None:
    person, new = await register.enter()
    to = somebody("elsewhere@other.example")
    found, before = await found_of(register, person), await columns(register, new.subscriber_id)
    await register.do(lambda tx: roster.move(tx, register.roster_key.public, found, to, "other-2"))
    assert await register.find(person) is None
    moved, after = await found_of(register, to), await columns(register, new.subscriber_id)
    assert (moved.subscriber.id, moved.drawer, moved.subscriber.provider) == (new.subscriber_id, new.drawer, "other-2")
    same = {name for name in before if before[name] == after[name]}
    assert {"unsubscribe_mark", "bounce_mark", "joined", "drawer"} <= same
    assert not {"look_up", "suppression", "record", "wrapped_drawer_key", "provider"} & same
    record = register.roster_key.open_record(after["record"], "news", new.subscriber_id)  # type: ignore[arg-type]
    assert record.address == to.address


async def test_who_moves_to_an_address_that_was_invited_takes_its_place(register: Register) -> None:
    person, _ = await register.enter()
    invited, new = await register.enter(state=State.INVITED)
    await register.do(lambda tx: queue.add_notice(tx, "confirm-subscribe", new.subscriber_id, "news", NOW))
    found = await found_of(register, person)
    await register.do(lambda tx: roster.move(tx, register.roster_key.public, found, invited, "other-2"))
    assert (await found_of(register, invited)).subscriber.id == found.subscriber.id
    async with register.database.read() as tx:
        assert (await tx.execute(select(deliveries))).all() == []


async def test_nobody_moves_onto_a_subscriber(register: Register) -> None:
    person, _ = await register.enter()
    other, _ = await register.enter()
    found = await found_of(register, person)
    with pytest.raises(StoreConflict):
        await register.do(lambda tx: roster.move(tx, register.roster_key.public, found, other, "other-2"))
    assert (await found_of(register, other)).subscriber.id != found.subscriber.id


async def test_a_drawer_a_state_and_a_language_are_written(register: Register) -> None:
    person, new = await register.enter()
    bystander, _ = await register.enter()
    found = await found_of(register, person)
    await register.do(lambda tx: roster.put_in_drawer(tx, found, Drawer(b"another", "beef")))
    await register.do(lambda tx: roster.set_state(tx, new.subscriber_id, State.PAUSED))
    await register.do(lambda tx: roster.set_language(tx, new.subscriber_id, Language.ZH_HANS))
    changed = await found_of(register, person)
    assert changed.drawer == Drawer(b"another", "beef")
    assert (changed.subscriber.state, changed.subscriber.language) == (State.PAUSED, Language.ZH_HANS)
    untouched = await found_of(register, bystander)
    assert (untouched.drawer.fingerprint, untouched.subscriber.state) == ("f00d", State.ACTIVE)


async def test_two_changes_of_one_drawer_do_not_undo_each_other(register: Register) -> None:
    """Both were decided on what was read before either: an old key must not come back with another format."""
    person, _ = await register.enter()
    found = await found_of(register, person)

    def new_key(_method: Method, drawer: Drawer) -> tuple[Method, Drawer]:
        return Method.SMIME, replace(drawer, certificate=b"", x509=b"another")

    def new_format(method: Method, drawer: Drawer) -> tuple[Method, Drawer]:
        return method, replace(drawer, format=Format.INLINE)

    for alter in (new_key, new_format):
        await register.do(lambda tx, alter=alter: roster.alter_drawer(tx, found, alter))  # type: ignore[misc]
    changed = await found_of(register, person)
    assert changed.drawer == Drawer(b"", "f00d", b"another", "", Format.INLINE)
    assert changed.subscriber.method is Method.SMIME


async def test_the_drawer_of_somebody_who_left_is_altered_no_more(register: Register) -> None:
    person, new = await register.enter()
    found = await found_of(register, person)
    await register.do(lambda tx: roster.erase(tx, new.subscriber_id, TODAY, leave_mark=False))
    await register.do(lambda tx: roster.alter_drawer(tx, found, lambda method, drawer: (method, drawer)))
    assert await register.find(person) is None


async def test_what_a_lists_letters_are_sealed_with_is_known_without_opening_a_drawer(register: Register) -> None:
    person, _ = await register.enter()
    assert await register.do(lambda tx: roster.methods(tx, "news")) == {Method.OPENPGP}
    found = await found_of(register, person)
    await register.do(lambda tx: roster.alter_drawer(tx, found, lambda _, drawer: (Method.PDF, drawer)))
    assert await register.do(lambda tx: roster.methods(tx, "news")) == {Method.PDF}
    assert await register.do(lambda tx: roster.methods(tx, "other")) == frozenset()


# --- Leaving --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("leave_mark", "mark"), [(True, roster.LEFT), (False, None)])
async def test_leaving_erases_the_row_and_what_waits(register: Register, leave_mark: bool, mark: str | None) -> None:
    person, new = await register.enter()
    _, stays = await register.enter()
    for one in (new, stays):
        await register.do(lambda tx, one=one: queue.add_notice(tx, "help", one.subscriber_id, "news", NOW))  # type: ignore[misc]
    await register.do(lambda tx: roster.erase(tx, new.subscriber_id, TODAY, leave_mark))
    assert await register.find(person) is None
    assert await suppressed(register, person) == mark
    async with register.database.read() as tx:
        assert list((await tx.execute(select(deliveries.c.subscriber_id))).scalars()) == [stays.subscriber_id]
        assert list((await tx.execute(select(subscribers.c.id))).scalars()) == [stays.subscriber_id]


async def test_erasing_nobody_changes_nothing(register: Register) -> None:
    person, _ = await register.enter()
    await register.do(lambda tx: roster.erase(tx, b"0" * 12, TODAY, leave_mark=True))
    await found_of(register, person)


async def test_what_is_erased_is_in_no_file(register: Register) -> None:
    _, new = await register.enter()
    row = await columns(register, new.subscriber_id)
    planted = [value[:12] for value in row.values() if isinstance(value, bytes)]  # a long one spreads over pages
    before = await register.content()
    assert all(value in before for value in planted)
    await register.do(lambda tx: roster.erase(tx, new.subscriber_id, TODAY, leave_mark=False))
    after = await register.content()
    assert [value for value in planted if value in after] == []


async def test_a_ban_erases_and_lasts_until_it_is_forgotten(register: Register) -> None:
    person, _ = await register.enter()
    await register.do(lambda tx: roster.ban(tx, person, TODAY))
    assert await register.find(person) is None
    assert await suppressed(register, person) == roster.BANNED
    await register.do(lambda tx: roster.ban(tx, person, TODAY))  # a second time is no error
    await register.do(lambda tx: roster.forget_mark(tx, person))
    assert await suppressed(register, person) is None


async def test_a_mark_is_for_one_list(register: Register) -> None:
    person = somebody("ada@reader.example")
    await register.do(lambda tx: roster.ban(tx, person, TODAY))
    assert await suppressed(register, replace(person, list_id="other")) is None


@pytest.mark.parametrize(("state", "mark"), [(State.ACTIVE, None), (State.INVITED, roster.LEFT)])
async def test_joining_again_takes_the_mark_away_and_an_invitation_does_not(
    register: Register, state: State, mark: str | None
) -> None:
    person, new = await register.enter()
    await register.do(lambda tx: roster.erase(tx, new.subscriber_id, TODAY, leave_mark=True))
    await register.enter(person, state)
    assert await suppressed(register, person) == mark


async def test_who_was_invited_and_does_not_answer_is_erased_once_they_were_asked(register: Register) -> None:
    invited, new = await register.enter(state=State.INVITED)
    active, _ = await register.enter()
    await register.do(lambda tx: queue.add_notice(tx, "confirm-subscribe", new.subscriber_id, "news", NOW))
    tomorrow = TODAY + timedelta(days=1)
    assert await register.do(lambda tx: roster.erase_unanswered(tx, tomorrow)) == 0  # the question has not left yet
    [claimed] = await register.do(lambda tx: queue.claim(tx, "w", "notice/confirm-subscribe", ["other-1"], NOW, 60, 5))
    sent = [queue.Settlement(claimed, DeliveryState.SENT)]
    await register.do(lambda tx: queue.settle(tx, "w", sent, NOW))
    assert await register.do(lambda tx: roster.erase_unanswered(tx, TODAY)) == 0
    assert await register.do(lambda tx: roster.erase_unanswered(tx, tomorrow)) == 1
    assert await register.find(invited) is None
    await found_of(register, active)
    async with register.database.read() as tx:
        assert await queue.counts(tx, "notice/confirm-subscribe") == {}


async def test_subscribers_are_counted_by_state_and_language(register: Register) -> None:
    await register.enter()
    await register.enter(language=Language.ZH_HANS)
    await register.enter(state=State.PAUSED)
    await register.enter(somebody("x@y.example", "other"))
    async with register.database.read() as tx:
        counted = await roster.count(tx, "news")
    assert counted == {("active", "en"): 1, ("active", "zh-Hans"): 1, ("paused", "en"): 1}


async def test_a_notice_for_somebody_who_left_is_not_queued(register: Register) -> None:
    _, new = await register.enter()
    await register.do(lambda tx: roster.erase(tx, new.subscriber_id, TODAY, leave_mark=True))
    await register.do(lambda tx: queue.add_notice(tx, "help", new.subscriber_id, "news", NOW))
    async with register.database.read() as tx:
        assert DeliveryState.DUE not in await queue.counts(tx, "notice/help")
