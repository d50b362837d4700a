"""What is answered to EHLO, MAIL and RCPT: decided in inward/admission, said by aiosmtpd."""

from __future__ import annotations

from typing import Protocol

from aiosmtpd.smtp import Envelope as SmtpEnvelope
from aiosmtpd.smtp import Session

from mailer import metrics
from mailer.inward import admission
from mailer.inward.door.settings import DoorSettings
from mailer.model.address import Address
from mailer.model.letter import Envelope, Peer


class Offering(Protocol):
    """A connection, as EHLO needs to know it."""

    hostname: str

    @property
    def can_start_tls(self) -> bool:
        """Whether STARTTLS is offered now."""
        ...


class Transaction(SmtpEnvelope):
    """One mail transaction; aiosmtpd looks at mail_from and rcpt_tos, we at these.

    recipients: each mailbox once, however often it was named. named: the mailbox of each RCPT that was accepted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sender: Address | None = None
        self.recipients: dict[str, Address] = {}
        self.named: list[str] = []

    def add(self, recipient: Address) -> None:
        """Take a recipient. One letter in a mailbox is enough: fifty would cost us fifty times its size."""
        self.recipients.setdefault(recipient.normalised, recipient)
        self.named.append(recipient.normalised)

    def envelopes(self, peer: Peer | None) -> list[Envelope]:
        """Return an envelope for each mailbox."""
        return [Envelope(self.sender, recipient, peer) for recipient in self.recipients.values()]


class Rules:
    """The hooks that aiosmtpd calls, and their names are its own."""

    def __init__(self, settings: DoorSettings, knows: admission.Knows) -> None:
        self._settings = settings
        self._knows = knows

    async def handle_EHLO(  # noqa: N802
        self, smtp: Offering, session: Session, _envelope: Transaction, hostname: str, _offered: list[str]
    ) -> list[str]:
        """Answer with what we offer: no CHUNKING, no BINARYMIME, no AUTH, no DSN."""
        session.host_name = hostname
        size = f"SIZE {self._settings.max_letter_bytes}"
        offered = [smtp.hostname, size, "8BITMIME", "SMTPUTF8", "PIPELINING", "ENHANCEDSTATUSCODES"]
        if smtp.can_start_tls:
            offered.append("STARTTLS")
        return [*(f"250-{line}" for line in offered[:-1]), f"250 {offered[-1]}"]

    async def handle_MAIL(  # noqa: N802
        self, _smtp: Offering, _session: Session, transaction: Transaction, mailbox: str, _options: list[str]
    ) -> str:
        """Answer whether the sender is an address, and keep it."""
        sender = admission.read_sender(mailbox, has_smtputf8=transaction.smtp_utf8)
        if isinstance(sender, str):
            return sender
        transaction.sender, transaction.mail_from = sender, mailbox
        return admission.SENDER_OK

    async def handle_RCPT(  # noqa: N802
        self, _smtp: Offering, _session: Session, transaction: Transaction, mailbox: str, _options: list[str]
    ) -> str:
        """Answer whether there is such a mailbox here, and keep it."""
        if len(transaction.named) >= self._settings.max_recipients:
            metrics.count_refused(admission.TOO_MANY_RECIPIENTS)
            return admission.TOO_MANY_RECIPIENTS
        hostname, has_smtputf8 = self._settings.hostname, transaction.smtp_utf8
        recipient = admission.read_recipient(mailbox, self._knows, hostname, has_smtputf8=has_smtputf8)
        if isinstance(recipient, str):
            metrics.count_refused(recipient)
            return recipient
        transaction.add(recipient)
        transaction.rcpt_tos.append(mailbox)
        return admission.RECIPIENT_OK
