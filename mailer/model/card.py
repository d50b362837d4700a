"""An invitation card, handed over in person: its code admits one person, its words open their letters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from mailer.model.language import Language


@dataclass(frozen=True, slots=True)
class Card:
    """A card whose code was shown. mark: what the database knows the code by. words: the reading passphrase."""

    mark: bytes
    words: str
    language: Language

    def __repr__(self) -> str:
        return "Card(…)"


@dataclass(frozen=True, slots=True)
class Batch:
    """Cards that were printed together and not used yet. numbers: of those that are left."""

    name: str
    language: Language
    made: date
    expires: datetime
    numbers: tuple[int, ...]
