"""S/MIME: signed once by the list's X.509 key, enveloped for each reader alone (RFC 8551).

The signature is detached, in multipart/signed: that shows its text in every program that opens the envelope, and its
preamble takes the padding, inside the envelope and outside the signature. Header fields are protected as for OpenPGP
(RFC 9788), but few programs show them in S/MIME, so the text begins with the subject.
"""

from __future__ import annotations

from datetime import datetime

from mailer.crypto import smime
from mailer.crypto.smime import SmimeKey
from mailer.errors import SmimeKeyMissing
from mailer.letters import mime
from mailer.letters.fields import write_fields
from mailer.letters.seal.identity import Identity
from mailer.letters.seal.unsealed import MIME_VERSION, Copy, Reply


def is_usable(certificate: bytes, now: datetime) -> bool:
    """Return whether a letter can be enveloped for this certificate (DER) now."""
    return smime.is_usable(certificate, now) is None


def sign(payload: bytes, subject: str, identity: Identity, now: datetime) -> bytes:
    """Return an edition's payload, which begins with its subject, as a CMS-signed entity.

    Raises SmimeKeyMissing, LetterUnusable.
    """
    key, shown = _key(identity), identity.shown_in_copy(subject, now)
    return _signed(mime.protected(payload, shown, identity.outside(shown)), key)


def seal_reply(reply: Reply, certificate: bytes) -> bytes:
    """Return a letter, signed and enveloped. Raises SmimeKeyMissing, CertificateUnusable, LetterUnusable."""
    key = _key(reply.identity)
    text = f"{reply.draft.subject}\n\n{reply.draft.text}"
    entity = mime.mixed(mime.text_part(text), reply.draft.attachments)
    signed = _signed(mime.protected(entity, reply.shown, reply.outer), key)
    padded = mime.with_preamble(signed, reply.padded(len(signed)))
    envelope = smime.encrypt(padded, certificate, reply.now)
    return mime.cms_enveloped(write_fields(reply.outer) + MIME_VERSION, envelope)


def seal_copy(copy: Copy, certificate: bytes) -> bytes:
    """Return what was signed once, enveloped for one certificate. Raises CertificateUnusable."""
    entity = copy.signed.entity
    envelope = smime.encrypt(mime.with_preamble(entity, copy.padded(len(entity))), certificate, copy.now)
    return mime.cms_enveloped(copy.head + MIME_VERSION, envelope)


def _signed(payload: bytes, key: SmimeKey) -> bytes:
    return mime.cms_signed(payload, smime.sign_detached(payload, key), smime.MICALG)


def _key(identity: Identity) -> SmimeKey:
    if identity.smime is None:
        raise SmimeKeyMissing
    return identity.smime
