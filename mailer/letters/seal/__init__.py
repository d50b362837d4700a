"""How a letter of ours leaves: Sealed or Open. There is no third way, and none to make either but the functions here.

Reading order: seal and leave_open answer one person; sign_edition and seal_copy send a digest (made once in each form,
encrypted for each subscriber alone). What a letter is sealed with is its `means`; each way has a file of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from mailer.crypto import openpgp
from mailer.crypto.openpgp import ListKey
from mailer.errors import LetterUnusable, MustBeSealed
from mailer.letters import fields, mime
from mailer.letters.fields import Field, write_fields
from mailer.letters.seal import attachment, inline, pdf, pgp_mime, plain_text, smime
from mailer.letters.seal.identity import OUTER_SUBJECT, Identity
from mailer.letters.seal.outgoing import MADE_HERE as _MADE_HERE
from mailer.letters.seal.outgoing import Open, Sealed, from_bytes, to_bytes, with_field
from mailer.letters.seal.unsealed import CHANCE_SHARE, MIME_VERSION, REPLY_STEP, Copy, Reply, SignedEdition
from mailer.letters.write import Draft
from mailer.model.address import Address
from mailer.model.digest import Edition, Form
from mailer.model.means import Means, OpenPgp, Passphrase, Smime
from mailer.model.subscriber import Format

__all__ = [
    "CHANCE_SHARE",
    "OUTER_SUBJECT",
    "REPLY_STEP",
    "Identity",
    "Open",
    "Sealed",
    "SignedEdition",
    "form_for",
    "from_bytes",
    "is_usable",
    "leave_open",
    "seal",
    "seal_copy",
    "seal_signed_by",
    "sign_edition",
    "to_bytes",
    "with_field",
]


def is_usable(means: Means, now: datetime) -> bool:
    """Return whether a letter can be sealed with these means now: certificates expire, passphrases do not."""
    match means:
        case OpenPgp(certificate=certificate):
            return openpgp.is_usable(certificate, now) is None
        case Smime(certificate=certificate):
            return smime.is_usable(certificate, now)
        case Passphrase(words=words):
            return bool(words)


# --- Letters to one person ------------------------------------------------------------------------------------------


def seal(
    draft: Draft,
    *,
    recipient: Address,
    means: Means,
    identity: Identity,
    now: datetime,
    message_id: str,
    reply_to: Address | None = None,
    in_reply_to: str | None = None,
    unsubscribe: Address | None = None,
    envelope_sender: Address | None = None,
    is_reply: bool = True,
) -> Sealed:
    """Return a letter to one person, sealed with their means, and signed where these allow.

    in_reply_to is a stranger's Message-ID: repeated if it has the strict form, left out if not. envelope_sender: the
    list's address if None. is_reply: False for a letter that answers none. Raises CertificateUnusable, LetterUnusable,
    FormUnavailable.
    """
    shown = _answer_fields(draft, recipient, identity, now, message_id, (reply_to, in_reply_to), is_reply)
    if unsubscribe is not None:
        shown += (("List-Unsubscribe", fields.from_mailto(unsubscribe)),)
    reply = Reply(draft, identity, now, shown, identity.outside(shown))
    return Sealed(recipient, envelope_sender or identity.address, _seal_reply(reply, means), _MADE_HERE)


def seal_signed_by(
    draft: Draft,
    *,
    recipient: Address,
    certificate: bytes,
    signers: Sequence[ListKey],
    identity: Identity,
    now: datetime,
    message_id: str,
    reply_to: Address | None = None,
    envelope_sender: Address | None = None,
    is_reply: bool = True,
) -> Sealed:
    """Return a letter to the holder of an OpenPGP key that several keys sign, arguments as in seal; always PGP/MIME."""
    shown = _answer_fields(draft, recipient, identity, now, message_id, (reply_to, None), is_reply)
    reply = Reply(draft, identity, now, shown, identity.outside(shown))
    content = pgp_mime.seal_signed_by(reply, certificate, signers)
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
    shown = (("From", identity.outer_mailbox), *shown[1:])
    entity = mime.text_part(draft.text)
    if draft.attachments:
        entity = mime.mixed(entity, draft.attachments)
    content = write_fields(shown) + identity.autocrypt + MIME_VERSION + entity
    mime.check_payload(content)
    return Open(recipient, envelope_sender or identity.address, content, _MADE_HERE)


def _seal_reply(reply: Reply, means: Means) -> bytes:
    match means:
        case OpenPgp(certificate=certificate, format=Format.INLINE):
            return inline.seal_reply(reply, certificate)
        case OpenPgp(certificate=certificate, format=Format.ATTACHMENT):
            return attachment.seal_reply(reply, certificate)
        case OpenPgp(certificate=certificate):
            return pgp_mime.seal_reply(reply, certificate)
        case Smime(certificate=certificate):
            return smime.seal_reply(reply, certificate)
        case Passphrase(words=words):
            return pdf.seal_reply(reply, words)


# --- Digests --------------------------------------------------------------------------------------------------------


def form_for(means: Means) -> Form:
    """Return in which form of an edition a copy sealed with these means is made."""
    match means:
        case OpenPgp(format=Format.INLINE | Format.ATTACHMENT):
            return Form.TEXT
        case OpenPgp():
            return Form.FULL
        case Smime():
            return Form.SMIME
        case Passphrase():
            return Form.PDF


def sign_edition(edition: Edition, identity: Identity, now: datetime, form: Form = Form.FULL) -> SignedEdition:
    """Return the edition in one form, as every copy of that form holds it. Raises LetterUnusable, FormUnavailable.

    now: the Date of all copies.
    """
    return SignedEdition(_make(edition, identity, now, form), edition.language, now, identity.address, form)


def seal_copy(
    signed: SignedEdition,
    *,
    recipient: Address,
    means: Means,
    identity: Identity,
    message_id: str,
    envelope_sender: Address,
    unsubscribe: Address,
    now: datetime,
    padding_chance: float,
) -> Sealed:
    """Return one subscriber's copy: sealed for them alone, padded, dated when it was signed: text, for each copy.

    padding_chance is in [0, 1). unsubscribe carries the token. Raises CertificateUnusable, LetterUnusable,
    FormUnavailable.
    """
    if identity.address != signed.address:
        raise LetterUnusable("The edition was signed for another address.")
    own = (
        ("Message-ID", fields.from_message_id(message_id)),
        ("List-Unsubscribe", fields.from_mailto(unsubscribe)),
    )
    date = signed.date_field_of_copy(now)
    head = b"".join((identity.copy_head, date, write_fields(own), identity.list_id_field))
    copy = Copy(signed, identity, head, now, padding_chance)
    return Sealed(recipient, envelope_sender, _seal_copy(copy, means), _MADE_HERE)


def _make(edition: Edition, identity: Identity, now: datetime, form: Form) -> bytes:
    match form:
        case Form.FULL:
            return pgp_mime.sign(edition.payload, edition.subject, identity, now)
        case Form.LIGHT:
            return pgp_mime.sign(edition.light or edition.payload, edition.subject, identity, now)
        case Form.TEXT:
            return plain_text.from_edition(edition)
        case Form.SMIME:
            return smime.sign(edition.payload, edition.subject, identity, now)
        case Form.SMIME_LIGHT:
            return smime.sign(edition.light or edition.payload, edition.subject, identity, now)
        case Form.PDF:
            return pdf.typeset_edition(edition)
        case Form.PDF_LIGHT:
            return pdf.typeset_edition(replace(edition, payload=edition.light or edition.payload))


def _seal_copy(copy: Copy, means: Means) -> bytes:
    match means, copy.signed.form:
        case OpenPgp(certificate=certificate, format=Format.PGP_MIME), Form.FULL | Form.LIGHT:
            return pgp_mime.seal_copy(copy, certificate)
        case OpenPgp(certificate=certificate, format=Format.INLINE), Form.TEXT:
            return inline.seal_copy(copy, certificate)
        case OpenPgp(certificate=certificate, format=Format.ATTACHMENT), Form.TEXT:
            return attachment.seal_copy(copy, certificate)
        case Smime(certificate=certificate), Form.SMIME | Form.SMIME_LIGHT:
            return smime.seal_copy(copy, certificate)
        case Passphrase(words=words), Form.PDF | Form.PDF_LIGHT:
            return pdf.seal_copy(copy, words)
    raise LetterUnusable("The edition was made in another form than its reader's.")


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
