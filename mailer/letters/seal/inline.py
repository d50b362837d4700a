"""The armored message as the body of the letter, for webmail: people copy it into another program.

Nothing stands around it. The charset is that of the text inside, as programs expect that decrypt in place; it is the
same in every language.
"""

from __future__ import annotations

from mailer.letters import mime
from mailer.letters.fields import write_fields
from mailer.letters.seal import plain_text
from mailer.letters.seal.unsealed import MIME_VERSION, Copy, Reply


def seal_reply(reply: Reply, certificate: bytes) -> bytes:
    """Return a letter, signed and encrypted. Raises CertificateUnusable, LetterUnusable."""
    head = write_fields(reply.outer) + reply.identity.autocrypt
    return _message(head, plain_text.seal_reply(reply, certificate))


def seal_copy(copy: Copy, certificate: bytes) -> bytes:
    """Return one copy of an edition, signed and encrypted. Raises CertificateUnusable."""
    return _message(copy.head + copy.identity.autocrypt, plain_text.seal_copy(copy, certificate))


def _message(head: bytes, armored: bytes) -> bytes:
    return head + MIME_VERSION + mime.armored_text(armored)
