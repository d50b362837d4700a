"""What somebody asks of a list by mail."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mailer.model.address import Address
from mailer.model.language import Language
from mailer.model.subscriber import Format


class Verb(StrEnum):
    """Every command there is. CONTACT is what a letter means that is no command: it goes to the list's contact.

    UNCLEAR is what several commands in one letter come to that contradict each other: none is done.
    """

    HELP = "help"
    SUBSCRIBE = "subscribe"
    JOIN_BY_CARD = "join-by-card"
    CONFIRM = "confirm"
    UNSUBSCRIBE = "unsubscribe"
    SET_KEY = "set-key"
    GET_KEY = "get-key"
    SET_LANGUAGE = "set-language"
    SET_FORMAT = "set-format"
    PAUSE = "pause"
    RESUME = "resume"
    CHANGE_ADDRESS = "change-address"
    STATUS = "status"
    FORGET = "forget"
    BOUNCE = "bounce"
    CONTACT = "contact"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Command:
    """One command. token: lower-case base32. language: of the verb (reply in it) or, for SET_LANGUAGE, the one wanted.

    language is None where the letter does not say. new_address belongs to CHANGE_ADDRESS, format to SET_FORMAT.
    token of JOIN_BY_CARD: the code of the card, "" where it has a mistake.
    also: what the same letter asks besides (inward/several): all is done, or nothing.
    """

    verb: Verb
    token: str | None = None
    language: Language | None = None
    new_address: Address | None = None
    format: Format | None = None
    also: tuple[Command, ...] = ()

    def __repr__(self) -> str:  # a token or an address in a log line is a leak
        return f"Command({self.verb})"
