"""The message as an encrypted file, for programs that show neither PGP/MIME nor armored text.

Inside is plain text in UTF-8: what OpenPGP programs on telephones show by themselves, without handing the decrypted
letter to a browser. They name the file as the outer one, less its `.asc`.
"""

from __future__ import annotations

from mailer.letters import mime
from mailer.letters.fields import write_fields
from mailer.letters.seal import plain_text
from mailer.letters.seal.unsealed import MIME_VERSION, Copy, Reply
from mailer.letters.write import cover_text

FILENAME = "message.txt.asc"  # the same for all: it tells nothing of list, language or person


def seal_reply(reply: Reply, certificate: bytes) -> bytes:
    """Return a letter, signed and encrypted. Raises CertificateUnusable, LetterUnusable."""
    head = write_fields(reply.outer) + reply.identity.autocrypt
    return _message(head, plain_text.seal_reply(reply, certificate))


def seal_copy(copy: Copy, certificate: bytes) -> bytes:
    """Return one copy of an edition, signed and encrypted. Raises CertificateUnusable."""
    return _message(copy.head + copy.identity.autocrypt, plain_text.seal_copy(copy, certificate))


def _message(head: bytes, armored: bytes) -> bytes:
    return head + MIME_VERSION + mime.covered(cover_text(), mime.armored_file(FILENAME, armored))
