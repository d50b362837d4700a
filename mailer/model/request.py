"""What somebody asked for, kept until they confirm it."""

from __future__ import annotations

from dataclasses import dataclass

from mailer.model.address import Address
from mailer.model.certificate import Certificate
from mailer.model.command import Verb
from mailer.model.language import Language


@dataclass(frozen=True, slots=True)
class Request:
    """One request. address: whom the confirmation is mailed to. certificate: of SUBSCRIBE and SET_KEY, where known.

    SET_KEY without one says that the key on file was revoked.
    """

    verb: Verb
    address: Address
    language: Language
    certificate: Certificate | None = None
    new_address: Address | None = None
    is_second_step: bool = False

    def __repr__(self) -> str:
        return f"Request({self.verb})"
