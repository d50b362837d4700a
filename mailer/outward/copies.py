"""The letter of one delivery, made when it is sent: a subscriber's copy of a digest, or a notice."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypedDict

from mailer.crypto import openpgp, tokens
from mailer.crypto.keyring import Keyring
from mailer.letters import seal
from mailer.letters.seal import Identity, Open, Sealed, SignedEdition
from mailer.letters.write import Wording
from mailer.model.address import Address
from mailer.model.certificate import Certificate, grouped
from mailer.model.command import Verb
from mailer.model.language import Language
from mailer.model.mailing_list import Directory, MailingList
from mailer.model.request import Request
from mailer.model.subscriber import State
from mailer.outward import publish
from mailer.store import pending, roster
from mailer.store.database import Database
from mailer.store.ledger import Entry
from mailer.store.queue import Claimed

INVITATION = "confirm-subscribe"  # the notice that asks somebody who was imported
KEY_NEEDED = "key-needed"  # the notice to somebody who was imported without a key; the list's own comes along


class _How(TypedDict):
    recipient: Address
    identity: Identity
    now: datetime
    message_id: str
    reply_to: Address | None
    envelope_sender: Address
    is_reply: bool


@dataclass
class Copies:
    """Makes letters for subscribers whose record is open. chance: in [0, 1), for the padding."""

    database: Database
    keyring: Keyring
    directory: Directory
    clock: Callable[[], datetime]
    chance: Callable[[], float]
    pending_days: int = 7
    _editions: dict[str, dict[Language, SignedEdition]] = field(default_factory=dict)

    async def make(self, claimed: Claimed, entry: Entry) -> Sealed | Open | None:
        """Return the letter of a delivery, or None if the subscriber is to get none any more.

        Raises CertificateUnusable, SealBroken, TemplateError, Locked, StoreError.
        """
        mailing_list = self.directory.by_id(claimed.list_id)
        if mailing_list is None:
            return None
        if claimed.notice == INVITATION:
            return await self._invitation(mailing_list, entry)
        if claimed.notice is not None:
            return self._notice(claimed.notice, mailing_list, entry)
        if entry.subscriber.state is not State.ACTIVE:
            return None
        return self._copy(await self._edition(claimed.job, mailing_list, entry), mailing_list, entry, claimed.job)

    def _copy(self, edition: SignedEdition, mailing_list: MailingList, entry: Entry, job: str) -> Sealed:
        # an edition leaves from the address that signed it, even where the list was renamed on the way
        mailing_list = replace(mailing_list, address=edition.address)
        secrets, subscriber, own = self.keyring.secrets, entry.subscriber, mailing_list.address
        who = (mailing_list.id, subscriber.id)
        unsubscribe = tokens.derive_token(secrets.token_key, tokens.Purpose.UNSUBSCRIBE, *who)
        bounce = tokens.derive_token(secrets.token_key, tokens.Purpose.BOUNCE, *who)
        return seal.seal_copy(
            edition,
            recipient=entry.record.address,
            certificate=entry.drawer.certificate,
            identity=publish.identity(self.keyring, mailing_list),
            message_id=tokens.message_id(secrets.token_key, own.domain, "digest", job, subscriber.id),
            envelope_sender=own.with_detail(f"bounce-{bounce}"),
            unsubscribe=own.with_detail(f"unsubscribe-{unsubscribe}"),
            now=self.clock(),
            padding_chance=self.chance(),
        )

    async def _invitation(self, mailing_list: MailingList, entry: Entry) -> Sealed | Open | None:
        """Return the question whether somebody who was imported wants to be on the list; the answer is kept waiting."""
        if entry.subscriber.state is not State.INVITED:
            return None
        secrets, address, now = self.keyring.secrets, entry.record.address, self.clock()
        language, blob = entry.subscriber.language, entry.drawer.certificate
        key = next((one for one in openpgp.examine(blob, now) if isinstance(one, Certificate)), None) if blob else None
        token = tokens.new_token(os.urandom)
        person = await roster.identify(secrets, mailing_list.id, address)
        mark, sealed = pending.seal_request(secrets, person, Request(Verb.SUBSCRIBE, address, language, key), token)
        async with self.database.write() as tx:
            await pending.ask(tx, mark, sealed, now + timedelta(days=self.pending_days))
        reply_to = mailing_list.address.with_detail(f"confirm-{token}")
        facts = self._facts(mailing_list) | {"confirm": str(reply_to), "days": str(self.pending_days)}
        draft = Wording(mailing_list.wording).write(INVITATION, language, facts)
        how = self._how(mailing_list, entry, INVITATION, reply_to)
        return seal.seal(draft, certificate=key.blob, **how) if key else seal.leave_open(draft, **how)

    def _notice(self, kind: str, mailing_list: MailingList, entry: Entry) -> Open:
        """Return a letter that answers no letter. It says nothing about the list but its address (DESIGN §2.1)."""
        attachments = [publish.identity(self.keyring, mailing_list).key_attachment] if kind == KEY_NEEDED else []
        wording, language = Wording(mailing_list.wording), entry.subscriber.language
        draft = wording.write(kind, language, self._facts(mailing_list), attachments)
        return seal.leave_open(draft, **self._how(mailing_list, entry, kind))

    def _facts(self, mailing_list: MailingList) -> dict[str, str]:
        own = mailing_list.address
        fingerprint = publish.identity(self.keyring, mailing_list).key.fingerprint
        return {"list": str(own), "help_address": str(own.with_detail("help")), "fingerprint": grouped(fingerprint)}

    def _how(self, mailing_list: MailingList, entry: Entry, kind: str, reply_to: Address | None = None) -> _How:
        own = mailing_list.address
        random_part = os.urandom(16)
        return {
            "recipient": entry.record.address,
            "identity": publish.identity(self.keyring, mailing_list),
            "now": self.clock(),
            "message_id": tokens.message_id(self.keyring.secrets.token_key, own.domain, kind, random_part),
            "reply_to": reply_to,
            "envelope_sender": own.with_detail("bounce"),
            "is_reply": False,
        }

    async def _edition(self, digest_id: str, mailing_list: MailingList, entry: Entry) -> SignedEdition:
        if digest_id not in self._editions:
            signed = await publish.load_signed(self.database, self.keyring.secrets, digest_id)
            self._editions = {digest_id: signed}
        editions = self._editions[digest_id]
        fallback = editions.get(mailing_list.default_language) or next(iter(editions.values()))
        return editions.get(entry.subscriber.language) or fallback
