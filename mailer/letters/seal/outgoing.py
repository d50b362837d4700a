"""The two kinds of letter that leave, and how they wait in the outbox."""

from __future__ import annotations

import re
from dataclasses import InitVar, dataclass
from typing import TypeVar

from mailer.crypto.fields import pack, text, unpack
from mailer.errors import BadAddress, LetterUnusable, SealBroken
from mailer.model.address import Address

MADE_HERE = object()  # for the functions of this package
_SEALED = b"mailer/1/letter/sealed"  # first part of a stored form: what it is, and in which version
_OPEN = b"mailer/1/letter/open"


@dataclass(frozen=True, slots=True)
class _Outgoing:
    recipient: Address
    envelope_sender: Address
    content: bytes
    made_by: InitVar[object]

    def __post_init__(self, made_by: object) -> None:
        if made_by is not MADE_HERE:
            raise TypeError(f"{type(self).__name__} is made by the functions of mailer.letters.seal only.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class Sealed(_Outgoing):
    """An encrypted letter. recipient and envelope_sender: for SMTP. content: the whole message, CRLF, 7-bit."""

    __slots__ = ()


class Open(_Outgoing):
    """A letter in clear, of a template that may travel so. Fields as in Sealed."""

    __slots__ = ()


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
    return (Sealed if form == _SEALED else Open)(to, sender, content, MADE_HERE)


_LINE = rb"[!-~]+(?: [!-~]+)*"
_FIELD = re.compile(rb"[A-Za-z-]+: %s(?:\r\n %s)*\r\n" % (_LINE, _LINE))
_Letter = TypeVar("_Letter", bound=Sealed | Open)


def with_field(letter: _Letter, field: bytes) -> _Letter:
    """Return the letter with one more header field, complete, before the others: a signature of the whole.

    Raises LetterUnusable for anything that is not one field.
    """
    if not _FIELD.fullmatch(field):
        raise LetterUnusable("Header field.")
    return type(letter)(letter.recipient, letter.envelope_sender, field + letter.content, MADE_HERE)
