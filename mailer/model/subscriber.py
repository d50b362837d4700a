"""A subscriber, in the three layers in which the register holds one: plain columns, drawer, record (DESIGN §5)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from mailer.model.address import Address
from mailer.model.language import Language


class State(StrEnum):
    """Where somebody stands with a list. UNKNOWN and BANNED have no row among the subscribers.

    INVITED was imported and has not confirmed: not on the list. SUSPENDED has no usable key, or a mailbox that is gone.
    """

    UNKNOWN = "unknown"
    INVITED = "invited"
    ACTIVE = "active"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    BANNED = "banned"


class Method(StrEnum):
    """What a subscriber's letters are sealed with: a plain column, because it steers in which forms digests are made.

    PDF: a passphrase that was handed over, or sent to their key when they asked for this form.
    """

    OPENPGP = "openpgp"
    SMIME = "smime"
    PDF = "pdf"


class Format(StrEnum):
    """The form in which a reader wants letters, asked for by mail with `format …`.

    PGP_MIME stands for ordinary encrypted mail: whoever has an X.509 certificate and no OpenPGP key gets S/MIME then.
    INLINE: the armored message is the body. ATTACHMENT: it is a file. PDF: an encrypted PDF.
    """

    PGP_MIME = "pgp-mime"
    INLINE = "inline"
    ATTACHMENT = "attachment"
    PDF = "pdf"


@dataclass(frozen=True, slots=True)
class Subscriber:
    """The plain columns: no more than what steers work. The ids are random and tell nothing."""

    id: bytes
    list_id: str
    state: State
    method: Method
    language: Language
    joined: date
    provider: str


@dataclass(frozen=True, slots=True)
class Drawer:
    """What a letter to this subscriber needs. certificate: binary OpenPGP, minimal. x509: DER. Empty: there is none.

    fingerprint: of the one of both that letters are sealed to, or would be. passphrase: five words. Which of the three
    is used says Subscriber.method; format is what the reader asked for and survives a change of key.
    """

    certificate: bytes = b""
    fingerprint: str = ""
    x509: bytes = b""
    passphrase: str = ""
    format: Format = Format.PGP_MIME

    def __repr__(self) -> str:
        return "Drawer(…)"


@dataclass(frozen=True, slots=True)
class Record:
    """Who it is: the address as given, and the key to the drawer."""

    address: Address
    drawer_key: bytes

    def __repr__(self) -> str:
        return "Record(…)"
