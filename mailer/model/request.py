"""What somebody asked for, kept until they confirm it."""

from __future__ import annotations

from dataclasses import dataclass

from mailer.model.address import Address
from mailer.model.card import Card
from mailer.model.certificate import Certificate
from mailer.model.command import Verb
from mailer.model.language import Language
from mailer.model.subscriber import Format


@dataclass(frozen=True, slots=True)
class Request:
    """One request. address: whom the confirmation is mailed to. certificate: of SUBSCRIBE and SET_KEY, where known.

    SET_KEY without one says that the key on file was revoked. card: of JOIN_BY_CARD. also: what is confirmed together
    with it.
    """

    verb: Verb
    address: Address
    language: Language
    certificate: Certificate | None = None
    new_address: Address | None = None
    is_second_step: bool = False
    format: Format | None = None
    card: Card | None = None
    also: tuple[Verb, ...] = ()

    def __repr__(self) -> str:
        return f"Request({self.verb})"
