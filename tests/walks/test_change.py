"""The last two guards before a letter leaves and the register changes, each on its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mailer.errors import StoreConflict
from mailer.inward import answer, change
from mailer.inward.answer import Occasion
from mailer.inward.decide import Reply
from mailer.inward.look_up import LookUp, Standing
from mailer.inward.states import Act
from mailer.letters.seal import Identity, Open
from mailer.letters.write import Wording
from mailer.model.address import Address
from mailer.model.command import Verb
from mailer.model.language import Language
from mailer.model.request import Request
from mailer.model.subscriber import State
from mailer.registrar import enrolment, vetting
from mailer.store import roster
from tests.conversations.stage import expiring, register_of
from tests.house import House, Person, open_house

ADA = "ada@reader.example"


async def stand(house: House, address: str = ADA) -> Standing:
    person = await roster.identify(house.secrets, "news", Address.parse(address))
    async with house.database.read() as tx:
        look = LookUp(tx, house.secrets, house.instance.directory().lists[0], house.clock())
        return await look.standing(person)


async def carry_out(house: House, act: Act, standing: Standing, new: roster.Person | None = None) -> bool:
    wanted = change.Change(
        act=act,
        standing=standing,
        request=Request(Verb.SET_LANGUAGE, Address.parse(ADA), Language.ZH_HANT),
        key=None,
        new=new,
        secrets=house.secrets,
        public=house.instance.roster_public(),
        providers=house.instance.providers,
        random=bytes,
        today=house.clock().date(),
    )
    async with house.database.write() as tx:
        return await change.carry_out(tx, wanted)


@pytest.mark.parametrize(
    ("state", "act"),
    [
        (State.BANNED, Act.SET_LANGUAGE),
        (State.BANNED, Act.LEAVE),
        (State.INVITED, Act.PAUSE),
        (State.INVITED, Act.SET_LANGUAGE),
        (State.UNKNOWN, Act.LEAVE),
        (State.ACTIVE, Act.RESUME),
        (State.ACTIVE, Act.JOIN),
    ],
)
async def test_an_act_that_the_table_of_states_does_not_have_is_not_carried_out(
    state: State, act: Act, tmp_path: Path
) -> None:
    async with open_house(tmp_path / "instance") as house:
        await house.join(Person.with_key(ADA))
        before = await stand(house)
        assert not await carry_out(house, act, replace(before, state=state))
        assert await stand(house) == before


@pytest.mark.parametrize(
    ("act", "state"),
    [
        (Act.NOTHING, State.ACTIVE),
        (Act.SET_LANGUAGE, State.ACTIVE),
        (Act.PAUSE, State.PAUSED),
        (Act.DROP_KEY, State.SUSPENDED),
        (Act.LEAVE, State.UNKNOWN),
        (Act.FORGET, State.UNKNOWN),
    ],
)
async def test_an_act_leads_where_the_table_of_states_says(act: Act, state: State, tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await house.join(Person.with_key(ADA))
        assert await carry_out(house, act, await stand(house))
        assert (await stand(house)).state is state


async def test_what_was_decided_about_somebody_who_stands_elsewhere_by_now_is_not_carried_out(tmp_path: Path) -> None:
    """Another door may have read another letter of theirs at the same time."""
    async with open_house(tmp_path / "instance") as house:
        await house.join(Person.with_key(ADA))
        before = await stand(house)
        assert await carry_out(house, Act.PAUSE, before)
        with pytest.raises(StoreConflict):
            await carry_out(house, Act.SET_LANGUAGE, before)
        assert await carry_out(house, Act.LEAVE, await stand(house))
        with pytest.raises(StoreConflict):
            await carry_out(house, Act.DROP_KEY, before)


async def test_moving_to_an_address_that_had_left_erases_its_mark(tmp_path: Path) -> None:
    """Or else "forget me" would leave a trace behind."""
    async with open_house(tmp_path / "instance") as house:
        bob = "bob@reader.example"
        await house.join(Person.with_key(ADA))
        await house.join(Person.with_key(bob))
        await carry_out(house, Act.LEAVE, await stand(house, bob))
        left = (await stand(house, bob)).person
        assert await carry_out(house, Act.MOVE, await stand(house), left)
        assert await carry_out(house, Act.FORGET, await stand(house, bob))
        async with house.database.read() as tx:
            assert await roster.suppressed(tx, left) is None
            assert await roster.count(tx, "news") == {}


async def test_who_left_and_was_invited_again_can_still_be_forgotten_wholly(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await house.join(Person.with_key(ADA))
        await carry_out(house, Act.LEAVE, await stand(house))
        applicant = vetting.Applicant(1, Address.parse(ADA), Language.EN)
        await enrolment.add(register_of(house), applicant, enrolment.Terms(may_return=True))
        invited = await stand(house)
        assert invited.state is State.INVITED
        async with house.database.read() as tx:
            assert await roster.suppressed(tx, invited.person) == roster.LEFT
        assert await carry_out(house, Act.FORGET, invited)
        async with house.database.read() as tx:
            assert await roster.suppressed(tx, invited.person) is None


async def test_leaving_leaves_a_mark_and_being_forgotten_none(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        for act, mark in ((Act.LEAVE, roster.LEFT), (Act.FORGET, None)):
            house.clock.pass_(days=1)
            await house.join(Person.with_key(ADA))
            standing = await stand(house)
            await carry_out(house, act, standing)
            async with house.database.read() as tx:
                assert await roster.suppressed(tx, standing.person) == mark


@pytest.mark.parametrize(("days", "is_question"), [(1, True), (40, False)])
async def test_who_cannot_read_a_question_does_not_answer_it_by_a_reply_to_the_notice(
    days: int, is_question: bool, tmp_path: Path
) -> None:
    """The notice says "send a new key"; a reply to it with that key must not confirm what it did not say."""
    async with open_house(tmp_path / "instance") as house:
        ada = expiring(Person.with_key(ADA), house.clock.moment.replace(microsecond=0) + timedelta(days=30))
        await house.join(ada)
        house.clock.pass_(days=days)
        [letter] = answer.write_and_seal(await occasion(house, "a" * 24), [Reply("confirm-forget")])
        assert (b"+confirm-" in letter.content) is is_question
        assert isinstance(letter, Open) is not is_question


async def occasion(house: House, token: str) -> Occasion:
    mailing_list = house.instance.directory().lists[0]
    key = house.keyring.list_key("news")
    return Occasion(
        mailing_list=mailing_list,
        identity=Identity("news", mailing_list.address, "", key),
        wording=Wording(),
        secrets=house.secrets,
        language=Language.EN,
        writer=Address.parse(ADA),
        standing=await stand(house),
        key=None,
        request=Request(Verb.FORGET, Address.parse(ADA), Language.EN),
        token=token,
        pending_days=7,
        raw=b"",
        now=house.clock(),
    )
