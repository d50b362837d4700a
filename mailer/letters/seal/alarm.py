"""A letter that a locked service can write: encrypted, and signed by nobody, for its keys are locked away."""

from __future__ import annotations

from datetime import datetime

from mailer.crypto import openpgp
from mailer.letters import fields, mime
from mailer.letters.fields import write_fields
from mailer.letters.seal.identity import OUTER_SUBJECT
from mailer.letters.seal.outgoing import MADE_HERE, Sealed
from mailer.letters.seal.unsealed import MIME_VERSION, REPLY_STEP
from mailer.letters.write import Draft
from mailer.model.address import Address


def seal_unsigned(
    draft: Draft, *, recipient: Address, certificate: bytes, sender: Address, now: datetime, message_id: str
) -> Sealed:
    """Return a letter of a list's to one of its admins, encrypted to an OpenPGP certificate and not signed.

    Raises CertificateUnusable, LetterUnusable.
    """
    shown = (
        ("From", fields.from_mailbox(sender)),
        ("To", fields.from_recipient(recipient)),
        ("Subject", fields.from_text(draft.subject)),
        ("Date", fields.from_moment(now)),
        ("Message-ID", fields.from_message_id(message_id)),
        ("Auto-Submitted", "auto-generated"),  # RFC 3834 §5
    )
    outer = tuple((name, OUTER_SUBJECT if name == "Subject" else value) for name, value in shown)
    payload = mime.protected(mime.mixed(mime.text_part(draft.text)), shown, outer)
    padded = mime.with_preamble(payload, -(-(len(payload) + 2) // REPLY_STEP) * REPLY_STEP)
    armored = openpgp.encrypt(padded, certificate, now)
    return Sealed(
        recipient, sender.with_detail("bounce"), mime.encrypted(write_fields(outer) + MIME_VERSION, armored), MADE_HERE
    )
