"""A digest, its editions, and the deliveries that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mailer.model.failure import Failure
from mailer.model.language import Language


@dataclass(frozen=True, slots=True)
class Edition:
    """A digest in one language, composed but not signed.

    subject: one line. text: the plain text, LF. payload: the MIME entity that a reader's program shows
    (`multipart/alternative` or `multipart/mixed` around it) *without* its protected header fields; CRLF line ends,
    7-bit, ready to be signed once the header fields stand before it. light: the same without pictures, for providers
    that take no large letters; None where it has no picture.
    """

    language: Language
    subject: str
    text: str
    payload: bytes
    light: bytes | None = None

    def __repr__(self) -> str:
        return f"Edition({self.language})"


class DigestState(StrEnum):
    """DRAFT was never sent. SCHEDULED waits for its time, SENDING has deliveries, SENT has none left to do.

    PAUSED: an organiser stopped it for now. HELD: it is too late (send_before) and waits for an organiser. CANCELLED:
    what had not left by then never will.
    """

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    SENDING = "sending"
    PAUSED = "paused"
    HELD = "held"
    CANCELLED = "cancelled"
    SENT = "sent"


class Form(StrEnum):
    """Of an edition as it is made when its digest begins.

    FULL: multipart/signed by the list's OpenPGP key. LIGHT: the same without pictures, for providers that take no large
    letters. TEXT: the plain text, signed in each copy (formats inline and attachment). SMIME: signed by the list's
    X.509 key. PDF: typeset, and not encrypted yet. SMIME_LIGHT, PDF_LIGHT: the same without pictures.
    """

    FULL = "full"
    LIGHT = "light"
    TEXT = "text"
    SMIME = "smime"
    PDF = "pdf"
    SMIME_LIGHT = "smime-light"
    PDF_LIGHT = "pdf-light"


WITHOUT_PICTURES = {Form.FULL: Form.LIGHT, Form.SMIME: Form.SMIME_LIGHT, Form.PDF: Form.PDF_LIGHT}


class DeliveryState(StrEnum):
    """DUE waits for its time or a worker; LEASED is in a worker's hands; the others are final.

    SKIPPED: the subscriber paused, left or was suspended in between. ASIDE: the subscriber's row does not open, or its
    letter cannot be made: an admin has to look.
    """

    DUE = "due"
    LEASED = "leased"
    SENT = "sent"
    FAILED = "failed"
    UNUSABLE_KEY = "unusable-key"
    SKIPPED = "skipped"
    ASIDE = "aside"


@dataclass(frozen=True, slots=True)
class Tally:
    """So many deliveries ended in one way. relay: its name, or "" where none was asked."""

    state: DeliveryState
    relay: str
    failure: Failure | None
    number: int


@dataclass(frozen=True, slots=True)
class DigestStatus:
    """One digest, for the organiser. counts: by state; tallies: those that ended, by relay and failure too.

    begins, send_before: None for a draft. over_s: the time that it is spread over, in seconds.
    """

    id: str
    list_id: str
    state: DigestState
    created: datetime
    languages: tuple[Language, ...]
    planned: int
    counts: dict[DeliveryState, int]
    tallies: tuple[Tally, ...] = ()
    corrects: str | None = None
    begins: datetime | None = None
    over_s: int = 0
    send_before: datetime | None = None
    started: datetime | None = None
