"""An admin: who is told, encrypted, when the service needs a person."""

from __future__ import annotations

from dataclasses import dataclass

from mailer.model.address import Address
from mailer.model.language import Language


@dataclass(frozen=True, slots=True)
class Admin:
    """certificate: OpenPGP, binary; usable or not, which is seen when a letter is sealed."""

    address: Address
    certificate: bytes
    language: Language

    def __repr__(self) -> str:
        return "Admin(…)"
