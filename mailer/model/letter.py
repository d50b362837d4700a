"""A letter as the confined reader hands it back: frozen, decoded, and safe to look at in the serving process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mailer.errors import Unreadable
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Refused
from mailer.model.report import Report


class Automatic(StrEnum):
    """Why a letter counts as written by a program (RFC 3834 §2): it never acts and is never answered."""

    NULL_SENDER = "null-sender"
    AUTO_SUBMITTED = "auto-submitted"
    PRECEDENCE = "precedence"
    LIST = "list"
    AUTORESPONDER = "autoresponder"
    DAEMON = "daemon"
    REPORT = "report"
    OURS = "ours"
    LOOP = "loop"


class Unreadability(StrEnum):
    """Why there is no Letter: what `errors.Unreadable.reason` may say."""

    MALFORMED = "malformed"
    TOO_LARGE = "too-large"
    TOO_COMPLEX = "too-complex"
    NO_SENDER = "no-sender"
    SEVERAL_SENDERS = "several-senders"
    CANNOT_DECRYPT = "cannot-decrypt"
    READER_DIED = "reader-died"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who handed a letter to the door by SMTP: its IP address, canonical, and the name that it gave (EHLO), or ""."""

    ip: str
    helo: str = ""

    def __repr__(self) -> str:
        return "Peer(…)"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What SMTP said around a letter. mail_from is None for the null reverse-path `<>` (RFC 5321 §4.5.5).

    peer: None where a mail server in front handed the letter on by LMTP over a Unix socket.
    """

    mail_from: Address | None
    rcpt_to: Address
    peer: Peer | None = None

    def __repr__(self) -> str:
        return "Envelope(…)"


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter, read. Every string is free of line breaks (but `text`), NUL and lone surrogates.

    sender: the single mailbox of From. text: what the person wrote, LF line ends, quoted lines still in it.
    was_encrypted: to a key of ours, and it opened. is_signed: it carries an OpenPGP signature (verified or not), or may
    do so: any encrypted letter may. signed_by: fingerprint of the certificate given to the reader that validly signed
    the whole of `text`; None otherwise. signed_at: when, UTC; None where that is not known. signed_digest: 32 octets,
    the same whenever this signed letter comes again. subject_is_signed: the subject stood inside that signature too
    (RFC 9788). offered: certificates found as attachment, in the text or in Autocrypt, best first. offer_is_signed:
    they stood inside that signature too. automatic: None for a letter that a person wrote. report: what
    it reports of a letter of ours, where it does.
    """

    sender: Address
    subject: str
    text: str
    message_id: str | None = None
    was_encrypted: bool = False
    is_signed: bool = False
    signed_by: str | None = None
    signed_at: datetime | None = None
    signed_digest: bytes | None = None
    subject_is_signed: bool = False
    offered: tuple[Certificate | Refused, ...] = ()
    offer_is_signed: bool = False
    automatic: Automatic | None = None
    report: Report | None = None

    def __repr__(self) -> str:
        return "Letter(…)"


class Unopened(Unreadable):
    """A letter is encrypted, but no key of this list opens it. It is answered with the list's key."""

    def __init__(self, letter: Letter) -> None:
        super().__init__(Unreadability.CANNOT_DECRYPT)
        self.letter = letter  # what stands outside: sender, offered, automatic; no text
