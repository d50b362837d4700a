"""A PDF that opens with the reader's five words: typeset once for each edition, encrypted for each reader.

It is not signed: nothing that a telephone shows would say so (docs/threats.md). The passphrase, which the list and the
reader alone know, is what shows where it comes from.
"""

from __future__ import annotations

from mailer.crypto import pdf
from mailer.letters import mime, typeset
from mailer.letters.fields import write_fields
from mailer.letters.seal.unsealed import MIME_VERSION, Copy, Reply
from mailer.letters.write import cover_text
from mailer.model.digest import Edition

FILENAME = "message.pdf"  # the same for all: it tells nothing of list, language or person


def typeset_edition(edition: Edition) -> bytes:
    """Return an edition as a PDF, not encrypted yet; takes seconds. Raises FormUnavailable."""
    return typeset.typeset_edition(edition)


def seal_reply(reply: Reply, words: str) -> bytes:
    """Return a letter with an encrypted PDF of what it says; takes a second. Raises FormUnavailable, LetterUnusable.

    Keys that go with it are left out: whoever reads PDFs has nothing to open them with.
    """
    draft = reply.draft
    page = typeset.typeset_letter(draft.subject, draft.text, draft.language)
    return _message(write_fields(reply.outer), pdf.encrypt(page, words, reply.padded))


def seal_copy(copy: Copy, words: str) -> bytes:
    """Return a letter with what was typeset once, encrypted under the reader's words. Raises FormUnavailable."""
    return _message(copy.head, pdf.encrypt(copy.signed.entity, words, copy.padded))


def _message(head: bytes, encrypted: bytes) -> bytes:
    file = mime.sealed_file(FILENAME, "application/pdf", encrypted)
    return head + MIME_VERSION + mime.covered(cover_text(), file)
