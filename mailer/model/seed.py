"""Seed mailboxes: the organisers' own, in which a copy of each digest must arrive."""

from __future__ import annotations

from dataclasses import dataclass

from mailer.model.address import Address
from mailer.model.language import Language


@dataclass(frozen=True, slots=True)
class Seed:
    """One such mailbox. id: as long as a subscriber's, made from list-independent particulars. lists: () for all."""

    id: bytes
    address: Address
    certificate: bytes
    language: Language
    lists: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "Seed(…)"
