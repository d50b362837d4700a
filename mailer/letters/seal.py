"""How a letter of ours leaves: Sealed or Open. There is no third way, and none to make either but the functions here.

Reading order: seal and leave_open answer one person; sign_edition and seal_copy send a digest (signed once, encrypted
for each subscriber alone). Both put everything the reader sees inside the encryption (RFC 9788, hcp_baseline).
"""

from __future__ import annotations

import re
from dataclasses import InitVar, dataclass
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from mailer.crypto import openpgp
from mailer.crypto.fields import pack, text, unpack
from mailer.crypto.openpgp import ListKey
from mailer.errors import BadAddress, LetterUnusable, MustBeSealed, SealBroken
from mailer.letters import fields, mime
from mailer.letters.fields import Field, write_field, write_fields
from mailer.letters.write import Attachment, Draft
from mailer.model.address import Address
from mailer.model.digest import Edition
from mailer.model.language import Language

OUTER_SUBJECT = "[...]"  # ASCII in every language: a translated one would tell the reader's
REPLY_STEP = 4096  # octets to whose multiples replies are padded, so that size does not tell which reply it is
CHANCE_SHARE = 1 / 8  # of an edition's length: the most that chance adds to a copy before it is padded

_MADE_HERE = object()
_EDITION = b"mailer/1/edition"  # first part of a stored form: what it is, and in which version
_SEALED = b"mailer/1/letter/sealed"
_OPEN = b"mailer/1/letter/open"
_MIME_VERSION = write_field("MIME-Version", "1.0")


@dataclass(frozen=True)
class Identity:
    """Who a list's letters are from. The key's user ID is the address; display_name is "" or neutral."""

    list_id: str
    address: Address
    display_name: str
    key: ListKey

    def __post_init__(self) -> None:
        fields.from_mailbox(self.address, self.display_name)

    def __repr__(self) -> str:
        return "Identity(…)"

    @cached_property
    def mailbox(self) -> str:
        """The From, wire text."""
        return fields.from_mailbox(self.address, self.display_name)

    @cached_property
    def copy_fields(self) -> tuple[Field, ...]:
        """The outer fields of every copy of every digest, but for the Date."""
        return (
            ("From", self.mailbox),
            ("To", fields.from_mailbox(self.address)),
            ("Subject", OUTER_SUBJECT),
        )

    @cached_property
    def copy_head(self) -> bytes:
        """The same, complete."""
        return write_fields(self.copy_fields)

    @cached_property
    def autocrypt(self) -> bytes:
        """The Autocrypt field, complete."""
        return write_field("Autocrypt", fields.from_certificate(self.address, self.key.public))

    @cached_property
    def key_attachment(self) -> Attachment:
        """The list's certificate as a file that mail programs offer to import (RFC 3156 §7)."""
        return Attachment("list-key.asc", "application/pgp-keys", openpgp.armor_certificate(self.key.public).encode())

    @cached_property
    def list_id_field(self) -> bytes:
        """The List-Id field, complete."""
        return write_field("List-Id", fields.from_list_address(self.address))


@dataclass(frozen=True, slots=True)
class _Outgoing:
    recipient: Address
    envelope_sender: Address
    content: bytes
    made_by: InitVar[object]

    def __post_init__(self, made_by: object) -> None:
        if made_by is not _MADE_HERE:
            raise TypeError(f"{type(self).__name__} is made by the functions of mailer.letters.seal only.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class Sealed(_Outgoing):
    """An encrypted letter. recipient and envelope_sender: for SMTP. content: the whole message, CRLF, 7-bit."""

    __slots__ = ()


class Open(_Outgoing):
    """A letter in clear, of a template that may travel so. Fields as in Sealed."""

    __slots__ = ()


@dataclass(frozen=True)
class SignedEdition:
    """An edition, signed once by one identity. entity: multipart/signed, CRLF, 7-bit. signed_at: UTC."""

    entity: bytes
    language: Language
    signed_at: datetime
    address: Address

    def __repr__(self) -> str:
        return f"SignedEdition({self.language})"

    @cached_property
    def date_field(self) -> bytes:
        """The Date field of every copy, complete."""
        return write_field("Date", fields.from_moment(self.signed_at))

    def to_bytes(self) -> bytes:
        """Return the stored form (the store seals it)."""
        return pack(_EDITION, self.language, self.signed_at.isoformat(), str(self.address), self.entity)

    @classmethod
    def from_bytes(cls, blob: bytes) -> SignedEdition:
        """Return what to_bytes was given. Raises SealBroken."""
        form, language, signed_at, address, entity = unpack(blob, 5)
        if form != _EDITION:
            raise SealBroken
        try:
            moment = datetime.fromisoformat(text(signed_at))
            return cls(entity, Language(text(language)), moment, Address.parse(text(address)))
        except (ValueError, BadAddress):
            raise SealBroken from None


def seal(
    draft: Draft,
    *,
    recipient: Address,
    certificate: bytes,
    identity: Identity,
    now: datetime,
    message_id: str,
    reply_to: Address | None = None,
    in_reply_to: str | None = None,
    unsubscribe: Address | None = None,
    envelope_sender: Address | None = None,
    is_reply: bool = True,
) -> Sealed:
    """Return a letter to one person, signed and encrypted in one go (RFC 3156 §6.2).

    in_reply_to is a stranger's Message-ID: repeated if it has the strict form, left out if not. envelope_sender: the
    list's address if None. is_reply: False for a letter that answers none. Raises CertificateUnusable, LetterUnusable.
    """
    shown = _answer_fields(draft, recipient, identity, now, message_id, (reply_to, in_reply_to), is_reply)
    if unsubscribe is not None:
        shown += (("List-Unsubscribe", fields.from_mailto(unsubscribe)),)
    outer = tuple((name, OUTER_SUBJECT if name == "Subject" else value) for name, value in shown)
    payload = mime.protected(mime.mixed(mime.text_part(draft.text), draft.attachments), shown, outer)
    padded = mime.with_preamble(payload, -(-(len(payload) + 2) // REPLY_STEP) * REPLY_STEP)
    armored = openpgp.encrypt(padded, certificate, now, signer=identity.key)
    content = mime.encrypted(write_fields(outer) + identity.autocrypt + _MIME_VERSION, armored)
    return Sealed(recipient, envelope_sender or identity.address, content, _MADE_HERE)


def leave_open(
    draft: Draft,
    *,
    recipient: Address,
    identity: Identity,
    now: datetime,
    message_id: str,
    reply_to: Address | None = None,
    in_reply_to: str | None = None,
    envelope_sender: Address | None = None,
    is_reply: bool = True,
) -> Open:
    """Return a letter in clear, arguments as in seal. Raises MustBeSealed unless the draft may be open."""
    if not draft.may_be_open:
        raise MustBeSealed
    shown = _answer_fields(draft, recipient, identity, now, message_id, (reply_to, in_reply_to), is_reply)
    entity = mime.text_part(draft.text)
    if draft.attachments:
        entity = mime.mixed(entity, draft.attachments)
    content = write_fields(shown) + identity.autocrypt + _MIME_VERSION + entity
    mime.check_payload(content)
    return Open(recipient, envelope_sender or identity.address, content, _MADE_HERE)


def sign_edition(edition: Edition, identity: Identity, now: datetime) -> SignedEdition:
    """Return the edition as multipart/signed (RFC 3156 §5), its header fields inside. Raises LetterUnusable.

    HP-Outer records the outer fields that are the same in every copy. There is no Message-ID inside: one for all
    would let replies, whose References stand outside, be tied to the digest.
    """
    date = ("Date", fields.from_moment(now))
    shown = (
        ("From", identity.mailbox),
        ("To", fields.from_mailbox(identity.address)),
        ("Subject", fields.from_text(edition.subject)),
        date,
    )
    payload = mime.protected(edition.payload, shown, (*identity.copy_fields, date))
    entity = mime.signed(payload, identity.key.sign_detached(payload), identity.key.micalg)
    return SignedEdition(entity, edition.language, now, identity.address)


def seal_copy(
    signed: SignedEdition,
    *,
    recipient: Address,
    certificate: bytes,
    identity: Identity,
    message_id: str,
    envelope_sender: Address,
    unsubscribe: Address,
    now: datetime,
    padding_chance: float,
) -> Sealed:
    """Return one subscriber's copy: encrypted to them alone (RFC 3156 §4), padded, dated when it was signed.

    padding_chance is in [0, 1). unsubscribe carries the token. Raises CertificateUnusable, LetterUnusable.
    """
    if identity.address != signed.address:
        raise LetterUnusable("The edition was signed for another address.")
    length = mime.padme(len(signed.entity) + 2 + int(len(signed.entity) * CHANCE_SHARE * padding_chance))
    armored = openpgp.encrypt(mime.with_preamble(signed.entity, length), certificate, now)
    own = (
        ("Message-ID", fields.from_message_id(message_id)),
        ("List-Unsubscribe", fields.from_mailto(unsubscribe)),
    )
    head = (identity.copy_head, signed.date_field, write_fields(own), identity.list_id_field, identity.autocrypt)
    content = mime.encrypted(b"".join((*head, _MIME_VERSION)), armored)
    return Sealed(recipient, envelope_sender, content, _MADE_HERE)


def to_bytes(letter: Sealed | Open) -> bytes:
    """Return the stored form of a letter that waits in the outbox (the store seals it)."""
    form = _SEALED if isinstance(letter, Sealed) else _OPEN
    return pack(form, str(letter.recipient), str(letter.envelope_sender), letter.content)


def from_bytes(blob: bytes) -> Sealed | Open:
    """Return what to_bytes was given. Raises SealBroken."""
    form, recipient, envelope_sender, content = unpack(blob, 4)
    if form not in (_SEALED, _OPEN):
        raise SealBroken
    try:
        to, sender = Address.parse(text(recipient)), Address.parse(text(envelope_sender))
    except BadAddress:
        raise SealBroken from None
    return (Sealed if form == _SEALED else Open)(to, sender, content, _MADE_HERE)


def _answer_fields(
    draft: Draft,
    recipient: Address,
    identity: Identity,
    now: datetime,
    message_id: str,
    answers: tuple[Address | None, str | None],
    is_reply: bool,
) -> tuple[Field, ...]:
    reply_to, in_reply_to = answers
    thread: tuple[Field, ...] = ()
    if in_reply_to is not None and fields.is_message_id(in_reply_to):
        thread = (("In-Reply-To", in_reply_to), ("References", in_reply_to))
    if reply_to is not None:
        thread = (("Reply-To", fields.from_mailbox(reply_to)), *thread)
    return (
        ("From", identity.mailbox),
        ("To", fields.from_recipient(recipient)),
        ("Subject", fields.from_text(draft.subject)),
        ("Date", fields.from_moment(now)),
        ("Message-ID", fields.from_message_id(message_id)),
        *thread,
        ("Auto-Submitted", "auto-replied" if is_reply else "auto-generated"),  # RFC 3834 §5
    )


_LINE = rb"[!-~]+(?: [!-~]+)*"
_FIELD = re.compile(rb"[A-Za-z-]+: %s(?:\r\n %s)*\r\n" % (_LINE, _LINE))
_Letter = TypeVar("_Letter", bound=Sealed | Open)


def with_field(letter: _Letter, field: bytes) -> _Letter:
    """Return the letter with one more header field, complete, before the others: a signature of the whole.

    Raises LetterUnusable for anything that is not one field.
    """
    if not _FIELD.fullmatch(field):
        raise LetterUnusable("Header field.")
    return type(letter)(letter.recipient, letter.envelope_sender, field + letter.content, _MADE_HERE)
