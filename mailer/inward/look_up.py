"""Whom a letter concerns: the sender, or whoever a token in it was mailed to. Reads the register, changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from mailer.crypto import tokens
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.letters import seal, typeset
from mailer.model.card import Card
from mailer.model.mailing_list import MailingList
from mailer.model.means import Means, means_of, means_of_key, with_format
from mailer.model.request import Request
from mailer.model.subscriber import Format, State, Subscriber
from mailer.store import invitations, pending, roster
from mailer.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Standing:
    """Where somebody stands with a list.

    found: with the drawer open, where their address is known from the letter or from the request that it confirms.
    subscriber: also where only an unsubscribe token named them. has_token: an unsubscribe token of theirs was shown.
    mark: of the confirmation token, to be used up. card: whose code was shown, now or when they asked; not used yet.
    """

    person: roster.Person
    state: State
    found: roster.Found | None = None
    subscriber: Subscriber | None = None
    has_token: bool = False
    request: Request | None = None
    mark: bytes | None = None
    card: Card | None = None

    def means(self, now: datetime) -> Means | None:
        """Return what a letter to them can be sealed with now; None where there is nothing, or nothing usable."""
        means = means_of(self.found.subscriber.method, self.found.drawer) if self.found else None
        return means if means is not None and seal.is_usable(means, now) else None

    def formats(self, now: datetime) -> frozenset[Format]:
        """Return the forms that they can choose: a key of theirs that is usable now is needed for all but the PDF.

        That one is there only where PDFs can be made.
        """
        if self.found is None:
            return frozenset()
        made_here = (one for one in Format if one is not Format.PDF or typeset.is_possible())
        would_be = {one: with_format(self.found.drawer, one, "some words") for one in made_here}
        means = {one: means_of(*held) for one, held in would_be.items() if held is not None}
        return frozenset(one for one, means in means.items() if means is not None and seal.is_usable(means, now))

    def __repr__(self) -> str:
        return f"Standing({self.state})"


class LookUp:
    """Looks up one person at a time; there is no listing. Every method may raise SealBroken and StoreError."""

    def __init__(self, tx: Transaction, secrets: ServiceSecrets, mailing_list: MailingList, now: datetime) -> None:
        self._tx, self._secrets, self._list, self._now = tx, secrets, mailing_list, now

    async def standing(self, person: roster.Person) -> Standing:
        """Return where a person stands."""
        found = await roster.find(self._tx, person)
        if found is not None:
            return Standing(person, found.subscriber.state, found, found.subscriber)
        banned = await roster.suppressed(self._tx, person) == roster.BANNED
        return Standing(person, State.BANNED if banned else State.UNKNOWN)

    async def by_unsubscribe_token(self, sender: Standing, token: str) -> Standing:
        """Return the standing of the subscriber whose token this is; the sender's where it is nobody's."""
        purpose = tokens.Purpose.UNSUBSCRIBE
        owner = await roster.find_by_token(self._tx, self._secrets.token_key, purpose, self._list.id, token)
        if owner is None:
            return sender
        is_sender = sender.subscriber is not None and sender.subscriber.id == owner.id
        return Standing(sender.person, owner.state, sender.found if is_sender else None, owner, has_token=True)

    async def card(self, code: str) -> Card | None:
        """Return the card that a code stands on; None for all that is none, or none any more."""
        return await invitations.find(self._tx, self._secrets, self._list.id, code, self._now)

    async def with_card(self, standing: Standing) -> Standing:
        """Return the same with the card of the request, if that can still be used."""
        card = standing.request.card if standing.request else None
        is_alive = card is not None and await invitations.is_alive(self._tx, card.mark, self._now)
        return replace(standing, card=card) if is_alive else standing

    async def request(self, token: str) -> tuple[Request, bytes] | None:
        """Return the request that a confirmation token stands for, with the token's mark; None if it has run out."""
        mark = tokens.mark(self._secrets.token_key, tokens.Purpose.CONFIRM, self._list.id, token)
        stored = await pending.find(self._tx, self._list.id, mark, self._now)
        if stored is None:
            return None
        request = pending.open_request(self._secrets, stored, token)
        certificate = request.certificate
        if certificate is not None and not seal.is_usable(means_of_key(certificate), self._now):
            return None  # it expired while it waited
        return request, mark
