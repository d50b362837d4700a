"""A digest, its editions, and the deliveries that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mailer.model.language import Language


@dataclass(frozen=True, slots=True)
class Edition:
    """A digest in one language, composed but not signed.

    subject: one line. text: the plain text, LF. payload: the MIME entity that a reader's program shows
    (`multipart/alternative` or `multipart/mixed` around it) *without* its protected header fields; CRLF line ends,
    7-bit, ready to be signed once the header fields stand before it.
    """

    language: Language
    subject: str
    text: str
    payload: bytes

    def __repr__(self) -> str:
        return f"Edition({self.language})"


class DigestState(StrEnum):
    """DRAFT may be changed; SENDING has deliveries; SENT has none left to do."""

    DRAFT = "draft"
    SENDING = "sending"
    SENT = "sent"


class DeliveryState(StrEnum):
    """DUE waits for its time or a worker; LEASED is in a worker's hands; the others are final.

    SKIPPED: the subscriber paused, left or was suspended in between. ASIDE: the subscriber's row does not open.
    """

    DUE = "due"
    LEASED = "leased"
    SENT = "sent"
    FAILED = "failed"
    UNUSABLE_KEY = "unusable-key"
    SKIPPED = "skipped"
    ASIDE = "aside"


@dataclass(frozen=True, slots=True)
class DigestStatus:
    """Counts of one digest, for the organiser."""

    id: str
    list_id: str
    state: DigestState
    created: datetime
    languages: tuple[Language, ...]
    planned: int
    counts: dict[DeliveryState, int]
