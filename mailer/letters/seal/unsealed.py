"""What the ways of sealing are given: a letter to one person, or an edition and the outer header of one copy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from mailer.crypto import openpgp
from mailer.crypto.fields import pack, text, unpack
from mailer.errors import BadAddress, SealBroken
from mailer.letters import fields, mime
from mailer.letters.fields import Field, write_field
from mailer.letters.seal.identity import Identity
from mailer.letters.write import Draft
from mailer.model.address import Address
from mailer.model.digest import Form
from mailer.model.language import Language

REPLY_STEP = 4096  # octets to whose multiples replies are padded, so that size does not tell which reply it is
CHANCE_SHARE = 1 / 8  # of an edition's length: the most that chance adds to a copy before it is padded
MIME_VERSION = write_field("MIME-Version", "1.0")

_EDITION = b"mailer/2/edition"  # first part of a stored form: what it is, and in which version


@dataclass(frozen=True)
class SignedEdition:
    """An edition in one form, made once by one identity when its digest began. entity: what its form says.

    signed_at: UTC; the Date of every copy but those of text, which are signed when they are sent.
    """

    entity: bytes
    language: Language
    signed_at: datetime
    address: Address
    form: Form = Form.FULL

    def __repr__(self) -> str:
        return f"SignedEdition({self.language}, {self.form})"

    @cached_property
    def date_field(self) -> bytes:
        """The Date field of what was signed once, complete."""
        return write_field("Date", fields.from_moment(self.signed_at))

    def date_field_of_copy(self, now: datetime) -> bytes:
        """Return the Date field of a copy: programs complain where it and the signature's time differ."""
        return write_field("Date", fields.from_moment(now)) if self.form is Form.TEXT else self.date_field

    @cached_property
    def issuers(self) -> frozenset[bytes]:
        """The IDs of the OpenPGP keys that signed it; none where it is signed in another way, or copy by copy."""
        _, begin, signature = self.entity.rpartition(b"-----BEGIN PGP SIGNATURE-----")
        is_signed = self.form in (Form.FULL, Form.LIGHT) and begin
        return openpgp.issuers(begin + signature) if is_signed else frozenset()

    def to_bytes(self) -> bytes:
        """Return the stored form (the store seals it)."""
        return pack(_EDITION, self.form, self.language, self.signed_at.isoformat(), str(self.address), self.entity)

    @classmethod
    def from_bytes(cls, blob: bytes) -> SignedEdition:
        """Return what to_bytes was given. Raises SealBroken."""
        kind, form, language, signed_at, address, entity = unpack(blob, 6)
        if kind != _EDITION:
            raise SealBroken
        try:
            moment = datetime.fromisoformat(text(signed_at))
            return cls(entity, Language(text(language)), moment, Address.parse(text(address)), Form(text(form)))
        except (ValueError, BadAddress):
            raise SealBroken from None


@dataclass(frozen=True, slots=True)
class Reply:
    """A letter to one person. shown: the fields that they see; outer: those outside the encryption."""

    draft: Draft
    identity: Identity
    now: datetime
    shown: tuple[Field, ...]
    outer: tuple[Field, ...]

    def __repr__(self) -> str:
        return "Reply(…)"

    def padded(self, length: int) -> int:
        """Return to how many octets a reply of so many is padded: there is room for at least two more."""
        return -(-(length + 2) // REPLY_STEP) * REPLY_STEP


@dataclass(frozen=True, slots=True)
class Copy:
    """One subscriber's copy. head: its outer fields, complete, but for those that speak of the way it is sealed.

    padding_chance: in [0, 1).
    """

    signed: SignedEdition
    identity: Identity
    head: bytes
    now: datetime
    padding_chance: float

    def __repr__(self) -> str:
        return f"Copy({self.signed.form})"

    def padded(self, length: int) -> int:
        """Return to how many octets a copy of so many is padded, by chance and bucket: at least two more."""
        return mime.padme(length + 2 + int(length * CHANCE_SHARE * self.padding_chance))
