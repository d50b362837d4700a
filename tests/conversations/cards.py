"""Invitation cards in conversations: who has one, and what becomes of it."""

from __future__ import annotations

import os
from datetime import timedelta

from mailer.model.language import Language
from mailer.registrar import inviting
from mailer.store import invitations
from tests.conversations.script import Step, says
from tests.conversations.stage import Stage
from tests.house import Person


@says(r"(\w+) (?:is given|has) a card(?:, in (\S+))?")
async def is_given(stage: Stage, _step: Step, name: str, language: str | None) -> None:
    """The words on it open letters from now on. It works for 30 days."""
    house, now = stage.house, stage.house.clock()
    [one] = inviting.draw(os.urandom, inviting.Terms(1, Language(language or "en"), 30))
    async with house.database.write() as tx:
        await invitations.add(tx, house.secrets, "news", [one], now.date(), now + timedelta(days=30))
    person = stage.people.setdefault(name, Person(f"{name.lower()}@reader.example"))
    person.words, stage.codes[name] = one.words, one.code
    stage.batches[name] = one.batch


@says(r"(\w+) finds (\w+)'s card")
async def finds(stage: Stage, _step: Step, name: str, whose: str) -> None:
    stage.people[name].words, stage.codes[name] = stage.people[whose].words, stage.codes[whose]


@says(r"(\w+)'s card is withdrawn")
async def is_withdrawn(stage: Stage, _step: Step, name: str) -> None:
    async with stage.house.database.write() as tx:
        assert await invitations.withdraw(tx, "news", stage.batches[name]) == 1


@says(r"(No|One) card is left")
async def are_left(stage: Stage, _step: Step, how_many: str) -> None:
    async with stage.house.database.read() as tx:
        left = await invitations.list_batches(tx, "news")
    assert sum(len(batch.numbers) for batch in left) == (1 if how_many == "One" else 0)
