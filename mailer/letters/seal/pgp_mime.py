"""PGP/MIME, which most programs show best: signed once for all, encrypted for each alone (RFC 3156; DESIGN §6)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mailer.crypto import openpgp
from mailer.crypto.openpgp import ListKey
from mailer.letters import mime
from mailer.letters.fields import write_fields
from mailer.letters.seal.identity import Identity
from mailer.letters.seal.unsealed import MIME_VERSION, Copy, Reply


def seal_reply(reply: Reply, certificate: bytes) -> bytes:
    """Return a letter, signed and encrypted in one go (RFC 3156 §6.2). Raises CertificateUnusable, LetterUnusable."""
    payload = _payload(reply)
    padded = mime.with_preamble(payload, reply.padded(len(payload)))
    return _message(reply, openpgp.encrypt(padded, certificate, reply.now, signer=reply.identity.key))


def seal_signed_by(reply: Reply, certificate: bytes, signers: Sequence[ListKey]) -> bytes:
    """Return a letter that several keys sign: signed as a digest is, then encrypted (RFC 3156 §5, §6.1)."""
    payload = _payload(reply)
    entity = mime.signed(payload, openpgp.sign_by_all(signers, payload), reply.identity.key.micalg)
    padded = mime.with_preamble(entity, reply.padded(len(entity)))
    return _message(reply, openpgp.encrypt(padded, certificate, reply.now))


def _payload(reply: Reply) -> bytes:
    entity = mime.mixed(mime.text_part(reply.draft.text), reply.draft.attachments)
    return mime.protected(entity, reply.shown, reply.outer)


def _message(reply: Reply, armored: bytes) -> bytes:
    return mime.encrypted(write_fields(reply.outer) + reply.identity.autocrypt + MIME_VERSION, armored)


def protect(payload: bytes, subject: str, identity: Identity, now: datetime) -> bytes:
    """Return an edition's payload with its header fields inside (RFC 9788). Raises LetterUnusable.

    HP-Outer records the outer fields that are the same in every copy.
    """
    shown = identity.shown_in_copy(subject, now)
    return mime.protected(payload, shown, identity.outside(shown))


def sign(payload: bytes, subject: str, identity: Identity, now: datetime) -> bytes:
    """Return an edition's payload as multipart/signed (RFC 3156 §5). Raises LetterUnusable."""
    protected = protect(payload, subject, identity, now)
    return mime.signed(protected, identity.key.sign_detached(protected), identity.key.micalg)


def seal_copy(copy: Copy, certificate: bytes) -> bytes:
    """Return what was signed once, encrypted to one certificate (RFC 3156 §4). Raises CertificateUnusable."""
    entity = copy.signed.entity
    armored = openpgp.encrypt(mime.with_preamble(entity, copy.padded(len(entity))), certificate, copy.now)
    return mime.encrypted(copy.head + copy.identity.autocrypt + MIME_VERSION, armored)
