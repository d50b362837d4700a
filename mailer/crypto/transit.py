"""Sealing of letters at the door: anyone can put one in, only the service secrets take it out (DESIGN §5, "Inbox")."""

from __future__ import annotations

from typing import ClassVar

from mailer.crypto.aead import label
from mailer.crypto.fields import pack, text, unpack
from mailer.crypto.hybrid import HybridPrivate, HybridPublic
from mailer.errors import BadAddress, SealBroken
from mailer.model.address import Address
from mailer.model.letter import Envelope, Peer


class TransitPublic(HybridPublic):
    """What the door has: keys/transit.pub."""

    kind: ClassVar[str] = "transit"

    def seal(self, envelope: Envelope, content: bytes, inbox_id: bytes) -> bytes:
        """Return the letter, sealed for the row `inbox_id` of the inbox."""
        mail_from = "" if envelope.mail_from is None else str(envelope.mail_from)
        peer = (envelope.peer.ip, envelope.peer.helo) if envelope.peer else ("", "")
        packed = pack(mail_from, str(envelope.rcpt_to), *peer, content)
        return self.encrypt(packed, label("transit/letter", inbox_id))


class TransitKey(HybridPrivate):
    """The private half, among the service secrets."""

    kind: ClassVar[str] = "transit"

    @property
    def public(self) -> TransitPublic:
        """The half that the door gets."""
        return TransitPublic(self.public_raw)

    def open(self, blob: bytes, inbox_id: bytes) -> tuple[Envelope, bytes]:
        """Return envelope and content of what was sealed for this row. Raises SealBroken."""
        mail_from, rcpt_to, ip, helo, content = unpack(self.decrypt(blob, label("transit/letter", inbox_id)), 5)
        try:
            sender = Address.parse(text(mail_from)) if mail_from else None
            peer = Peer(text(ip), text(helo)) if ip else None
            return Envelope(sender, Address.parse(text(rcpt_to)), peer), content
        except BadAddress:  # who writes to the database can seal too
            raise SealBroken from None
