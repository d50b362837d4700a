"""A letter as text alone, for the forms that people open by hand: its subject, what it says, and keys that go with it.

The padding is lines of spaces at the end: whoever reads sees a little room below.
"""

from __future__ import annotations

from mailer.crypto import openpgp
from mailer.errors import LetterUnusable
from mailer.letters.seal.unsealed import Copy, Reply
from mailer.letters.write import Attachment
from mailer.model.digest import Edition

_BLANK_LINE = b" " * 74 + b"\r\n"


def from_edition(edition: Edition) -> bytes:
    """Return an edition as text: UTF-8, CRLF."""
    return _lines(edition.subject, "", edition.text)


def seal_reply(reply: Reply, certificate: bytes) -> bytes:
    """Return a letter as armored text, signed and encrypted. Raises CertificateUnusable, LetterUnusable."""
    keys = [_as_text(one) for one in reply.draft.attachments]
    text = _lines(reply.draft.subject, "", reply.draft.text, *keys)
    return _seal(text, reply.padded(len(text)), reply, certificate)


def seal_copy(copy: Copy, certificate: bytes) -> bytes:
    """Return an edition as armored text, signed for this copy and encrypted. Raises CertificateUnusable."""
    text = copy.signed.entity
    return _seal(text, copy.padded(len(text)), copy, certificate)


def _seal(text: bytes, length: int, letter: Reply | Copy, certificate: bytes) -> bytes:
    return openpgp.encrypt(_padded(text, length), certificate, letter.now, signer=letter.identity.key)


def _padded(text: bytes, length: int) -> bytes:
    whole_lines, rest = divmod(length - len(text), len(_BLANK_LINE))
    return text + _BLANK_LINE * whole_lines + b" " * rest


def _as_text(attachment: Attachment) -> str:
    if attachment.content_type != "application/pgp-keys":
        raise LetterUnusable("A file that goes with a letter, in a form that has text alone.")
    return "\n" + attachment.content.decode("ascii")


def _lines(*pieces: str) -> bytes:
    text = "\n".join(piece.removesuffix("\n") for piece in pieces) + "\n"
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode()
