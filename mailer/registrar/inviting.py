"""Invitation cards: drawn, typeset, and kept so that nothing but a card itself tells what stands on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from mailer.crypto import codes, words
from mailer.letters import typeset
from mailer.letters.typeset.page import Card
from mailer.letters.write import Wording
from mailer.model.certificate import grouped
from mailer.model.language import Language
from mailer.registrar.enrolment import Register
from mailer.store import invitations
from mailer.store.invitations import Invitation

MOST = 1000  # cards at once: some hundred sheets, and a minute of typesetting
_BATCH_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class Terms:
    """How many cards, in which language, and how long their codes work."""

    count: int
    language: Language
    days: int


async def invite(register: Register, terms: Terms, fingerprint: str, keep: Callable[[str, bytes], None]) -> str:
    """Make cards and return the name of their batch. keep: what is done with batch and PDF; if it fails, no card is.

    fingerprint: of the list's key. Raises FormUnavailable, TemplateError, StoreError.
    """
    now = register.clock()
    drawn, expires = draw(register.random, terms), now + timedelta(days=terms.days)
    pdf = typeset.typeset_cards(
        [_card(register, one, fingerprint, expires.date().isoformat()) for one in drawn], terms.language
    )
    async with register.database.write() as tx:
        await invitations.add(tx, register.secrets, register.mailing_list.id, drawn, now.date(), expires)
        keep(drawn[0].batch, pdf)
    return drawn[0].batch


def draw(random: Callable[[int], bytes], terms: Terms) -> list[Invitation]:
    """Return new cards of one batch."""
    batch = codes.new_code(random)[:_BATCH_CHARACTERS]
    return [
        Invitation(batch, number, codes.new_code(random), words.new_passphrase(random), terms.language)
        for number in range(1, terms.count + 1)
    ]


def _card(register: Register, one: Invitation, fingerprint: str, until: str) -> Card:
    code = codes.grouped(one.code)
    facts = {
        "list": str(register.mailing_list.address),
        "code": code,
        "passphrase": one.words,
        "valid_until": until,
        "fingerprint": grouped(fingerprint),
        "card": f"{one.batch}-{one.number}",
    }
    draft = Wording(register.mailing_list.wording).write("card", one.language, facts)
    return Card(draft.subject, draft.text, frozenset((code, one.words)))
