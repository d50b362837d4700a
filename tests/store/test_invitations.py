"""A card opens for its code alone, once, in time, on its own list, and until it is withdrawn."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from mailer.crypto.service_secrets import ServiceSecrets
from mailer.errors import SealBroken
from mailer.model.language import Language
from mailer.registrar import inviting
from mailer.store import invitations
from mailer.store.invitations import Invitation
from mailer.store.tables import invitations as table
from tests.store.conftest import NOW, TODAY, Register

EXPIRES = NOW + timedelta(days=30)


async def make(register: Register, count: int = 3) -> list[Invitation]:
    drawn = inviting.draw(os.urandom, inviting.Terms(count, Language.ZH_HANT, 30))
    await register.do(lambda tx: invitations.add(tx, register.secrets, "news", drawn, TODAY, EXPIRES))
    return drawn


async def test_a_code_opens_its_own_card(register: Register) -> None:
    for one in await make(register):
        async with register.database.read() as tx:
            card = await invitations.find(tx, register.secrets, "news", one.code, NOW)
        assert card is not None
        assert (card.words, card.language) == (one.words, Language.ZH_HANT)


async def test_no_other_code_opens_any_nor_does_it_on_another_list_or_too_late(register: Register) -> None:
    one, *_ = await make(register)
    async with register.database.read() as tx:
        assert await invitations.find(tx, register.secrets, "news", "k7m4q2xw9t30ab1d", NOW) is None
        assert await invitations.find(tx, register.secrets, "other", one.code, NOW) is None
        assert await invitations.find(tx, register.secrets, "news", one.code, EXPIRES) is None
        assert await invitations.find(tx, ServiceSecrets.generate(), "news", one.code, NOW) is None


async def test_a_card_works_once(register: Register) -> None:
    one, *_ = await make(register)
    async with register.database.read() as tx:
        card = await invitations.find(tx, register.secrets, "news", one.code, NOW)
        assert card is not None and await invitations.is_alive(tx, card.mark, NOW)
        assert not await invitations.is_alive(tx, card.mark, EXPIRES)
    async with register.database.write() as tx:
        assert await invitations.use(tx, card.mark)
        assert not await invitations.use(tx, card.mark)
        assert not await invitations.is_alive(tx, card.mark, NOW)
        assert await invitations.find(tx, register.secrets, "news", one.code, NOW) is None


async def test_cards_are_withdrawn_by_number_or_all_at_once(register: Register) -> None:
    drawn = await make(register)
    others = await make(register)
    async with register.database.write() as tx:
        assert await invitations.withdraw(tx, "other", drawn[0].batch) == 0
        assert await invitations.withdraw(tx, "news", drawn[0].batch, [2, 9]) == 1
        left = {batch.name: batch.numbers for batch in await invitations.list_batches(tx, "news")}
        assert left == {drawn[0].batch: (1, 3), others[0].batch: (1, 2, 3)}
        assert await invitations.withdraw(tx, "news", drawn[0].batch) == 2
        assert [batch.name for batch in await invitations.list_batches(tx, "news")] == [others[0].batch]


async def test_cards_whose_time_is_over_are_erased(register: Register) -> None:
    await make(register)
    async with register.database.write() as tx:
        await invitations.purge(tx, EXPIRES - timedelta(seconds=1))
        assert len(await invitations.list_batches(tx, "news")) == 1
        await invitations.purge(tx, EXPIRES)
        assert await invitations.list_batches(tx, "news") == []


async def test_all_cards_are_erased_at_once(register: Register) -> None:
    one, *_ = await make(register)
    async with register.database.write() as tx:
        assert await invitations.erase_all(tx) == 3
        assert await invitations.find(tx, register.secrets, "news", one.code, NOW) is None


async def test_neither_code_nor_words_stand_in_the_row(register: Register) -> None:
    drawn = await make(register)
    async with register.database.read() as tx:
        rows = (await tx.execute(select(table))).all()
    everything = b"".join(repr(tuple(row)).encode() for row in rows)
    for one in drawn:
        assert one.code.encode() not in everything
        assert not [word for word in one.words.split() if len(word) > 3 and word.encode() in everything]
    assert len({len(row.sealed) for row in rows}) == 1, "the length of a passphrase would help to guess it"


async def test_a_row_that_was_tampered_with_opens_for_nobody(register: Register) -> None:
    one, other, *_ = await make(register)
    async with register.database.write() as tx:
        rows = {row.number: row for row in (await tx.execute(select(table))).all()}
        which = table.c.number == one.number
        await tx.execute(update(table).where(which).values(sealed=rows[other.number].sealed))
        with pytest.raises(SealBroken):
            await invitations.find(tx, register.secrets, "news", one.code, NOW)
