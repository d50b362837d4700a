"""Who a list's letters are from, and what of their header may stand outside the encryption (RFC 9788 §3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from mailer.crypto import openpgp
from mailer.crypto.openpgp import ListKey
from mailer.crypto.smime import SmimeKey
from mailer.letters import fields
from mailer.letters.fields import Field, write_field, write_fields
from mailer.letters.write import Attachment
from mailer.model.address import Address
from mailer.model.means import Means, Smime

OUTER_SUBJECT = "[...]"  # ASCII in every language: a translated one would tell the reader's


@dataclass(frozen=True)
class Identity:
    """Who a list's letters are from. The key's user ID is the address; display_name is "" or neutral.

    is_shy: the display name stands inside the encryption alone (RFC 9788 §3.2.2, hcp_shy); else outside too
    (§3.2.1, hcp_baseline). Date is in UTC and To without a name in any case. smime: the X.509 key; None where there is
    none, and then nobody is sent S/MIME.
    """

    list_id: str
    address: Address
    display_name: str
    key: ListKey
    is_shy: bool = False
    smime: SmimeKey | None = None

    def __post_init__(self) -> None:
        fields.from_mailbox(self.address, self.display_name)

    def __repr__(self) -> str:
        return "Identity(…)"

    @cached_property
    def mailbox(self) -> str:
        """The From that the reader sees, wire text."""
        return fields.from_mailbox(self.address, self.display_name)

    @cached_property
    def outer_mailbox(self) -> str:
        """The From outside the encryption, wire text."""
        return fields.from_mailbox(self.address) if self.is_shy else self.mailbox

    @cached_property
    def copy_fields(self) -> tuple[Field, ...]:
        """The outer fields of every copy of every digest, but for the Date."""
        return (
            ("From", self.outer_mailbox),
            ("To", fields.from_mailbox(self.address)),
            ("Subject", OUTER_SUBJECT),
        )

    @cached_property
    def copy_head(self) -> bytes:
        """The same, complete."""
        return write_fields(self.copy_fields)

    @cached_property
    def autocrypt(self) -> bytes:
        """The Autocrypt field, complete."""
        return write_field("Autocrypt", fields.from_certificate(self.address, self.key.public))

    @cached_property
    def key_attachment(self) -> Attachment:
        """The list's certificate as a file that mail programs offer to import (RFC 3156 §7)."""
        return Attachment("list-key.asc", "application/pgp-keys", openpgp.armor_certificate(self.key.public).encode())

    @cached_property
    def certificate_attachment(self) -> Attachment | None:
        """The X.509 certificate, DER, as a file that mail programs offer to import; None where there is none."""
        return Attachment("list-certificate.cer", "application/pkix-cert", self.smime.der) if self.smime else None

    def attachments_for(self, means: Means | None) -> tuple[Attachment, ...]:
        """Return the list's own certificates that are of use to a reader; whose means are not known gets all."""
        certificate = self.certificate_attachment
        if isinstance(means, Smime) and certificate is not None:
            return (certificate,)
        return (self.key_attachment, certificate) if means is None and certificate else (self.key_attachment,)

    def fingerprint_for(self, means: Means | None) -> str:
        """Return the fingerprint of the key that signs this reader's letters, lower-case hexadecimal."""
        return self.smime.fingerprint if isinstance(means, Smime) and self.smime else self.key.fingerprint

    @cached_property
    def list_id_field(self) -> bytes:
        """The List-Id field, complete."""
        return write_field("List-Id", fields.from_list_address(self.address))

    def shown_in_copy(self, subject: str, signed_at: datetime) -> tuple[Field, ...]:
        """Return the fields that a digest's reader sees. No Message-ID: one for all would tie replies to the digest."""
        return (
            ("From", self.mailbox),
            ("To", fields.from_mailbox(self.address)),
            ("Subject", fields.from_text(subject)),
            ("Date", fields.from_moment(signed_at)),
        )

    def outside(self, shown: tuple[Field, ...]) -> tuple[Field, ...]:
        """Return what of a letter's fields stands outside the encryption."""
        hidden = {"Subject": OUTER_SUBJECT, "From": self.outer_mailbox}
        return tuple((name, hidden.get(name, value)) for name, value in shown)
