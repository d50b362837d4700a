"""The letter of one delivery, made when it is sent: a subscriber's copy of a digest, or a notice."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
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
from mailer.model.digest import Form
from mailer.model.language import Language
from mailer.model.mailing_list import Directory, MailingList
from mailer.model.request import Request
from mailer.model.seed import Seed
from mailer.model.subscriber import State
from mailer.outward import publish
from mailer.store import bounces, pending, roster
from mailer.store.database import Database
from mailer.store.digests import Version
from mailer.store.ledger import Entry
from mailer.store.queue import Claimed

INVITATION = "confirm-subscribe"  # the notice that asks somebody who was imported
KEY_NEEDED = "key-needed"  # the notice to somebody who was imported without a key; the list's own comes along


ISSUES_KEPT = 4  # digests whose signed editions are held in memory


@dataclass(frozen=True, slots=True)
class _Reader:
    """Whom a copy is for. unsubscribe, bounce: what stands behind these words in our addresses, or ""."""

    id: bytes
    address: Address
    certificate: bytes
    language: Language
    unsubscribe: str
    bounce: str

    def __repr__(self) -> str:
        return "_Reader(…)"


@dataclass(frozen=True, slots=True)
class _Issue:
    """A digest as signed, in every version."""

    editions: Mapping[Version, SignedEdition]

    def find(self, wanted: Version, default: Language) -> tuple[Version, SignedEdition]:
        """Return the edition nearest to what is wanted: in that language or the default one, from that sender."""
        for language in (wanted.language, default):
            of_sender = Version(language, wanted.identity)
            for version in (replace(wanted, language=language), of_sender, Version(language)):
                if version in self.editions:
                    return version, self.editions[version]
        return next(iter(self.editions.items()))


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
    """Makes letters for subscribers whose record is open. chance: in [0, 1), for the padding. seeds: by id."""

    database: Database
    keyring: Keyring
    directory: Directory
    clock: Callable[[], datetime]
    chance: Callable[[], float]
    pending_days: int = 7
    seeds: Mapping[bytes, Seed] = field(default_factory=dict)
    _issues: dict[str, _Issue] = field(default_factory=dict)
    _identities: dict[tuple[str, str, Address], Identity] = field(default_factory=dict)

    async def make(
        self, claimed: Claimed, entry: Entry | None, sender: str = "", max_octets: int = 0
    ) -> Sealed | Open | None:
        """Return the letter of a delivery, or None if it is to get none any more.

        entry: the subscriber, or None where there is none with this id. sender: the identity that it leaves from.
        max_octets: of the largest letter that its provider takes, 0 for any. Raises CertificateUnusable, SealBroken,
        TemplateError, LetterUnusable, Locked, StoreError.
        """
        mailing_list = self.directory.by_id(claimed.list_id)
        if mailing_list is None:
            return None
        if claimed.notice is not None:
            return await self._answerless(claimed.notice, mailing_list, sender, entry) if entry else None
        reader = self._reader(mailing_list, claimed.subscriber_id, entry)
        if reader is None:
            return None
        issue = await self._issue(claimed.job)
        letter = self._copy(issue, mailing_list, reader, Version(reader.language, sender), claimed.job)
        if 0 < max_octets < len(letter.content):
            light = Version(reader.language, sender, Form.LIGHT)
            letter = self._copy(issue, mailing_list, reader, light, claimed.job)
        return letter

    def _reader(self, mailing_list: MailingList, recipient_id: bytes, entry: Entry | None) -> _Reader | None:
        """Return whom a copy of a digest is for: a subscriber, or an organiser's own mailbox."""
        seed = self.seeds.get(recipient_id)
        if seed is not None:
            return _Reader(seed.id, seed.address, seed.certificate, seed.language, "", "")
        if entry is None or entry.subscriber.state is not State.ACTIVE:
            return None
        token_key, subscriber = self.keyring.secrets.token_key, entry.subscriber
        who = (mailing_list.id, subscriber.id)
        unsubscribe = tokens.derive_token(token_key, tokens.Purpose.UNSUBSCRIBE, *who)
        bounce = tokens.derive_token(token_key, tokens.Purpose.BOUNCE, *who)
        place = (entry.record.address, entry.drawer.certificate, subscriber.language)
        return _Reader(subscriber.id, *place, f"-{unsubscribe}", f"-{bounce}")

    def _copy(self, issue: _Issue, mailing_list: MailingList, reader: _Reader, wanted: Version, job: str) -> Sealed:
        version, edition = issue.find(wanted, mailing_list.default_language)
        own = edition.address  # an edition leaves from the address that signed it, even if the list was renamed since
        return seal.seal_copy(
            edition,
            recipient=reader.address,
            certificate=reader.certificate,
            identity=self._identity(mailing_list, version.identity, own),
            message_id=copy_message_id(self.keyring, own, job, reader.id),
            envelope_sender=own.with_detail(f"bounce{reader.bounce}"),
            unsubscribe=own.with_detail(f"unsubscribe{reader.unsubscribe}"),
            now=self.clock(),
            padding_chance=self.chance(),
        )

    def _identity(self, mailing_list: MailingList, sender: str, own: Address) -> Identity:
        """Return whom a letter is from, made once: what all letters share is written once."""
        key = (mailing_list.id, sender, own)
        if key not in self._identities:
            shown = mailing_list.sending_as(sender)
            list_key = self.keyring.list_key(shown.id, shown.identity)
            self._identities[key] = Identity(shown.id, own, shown.display_name, list_key)
        return self._identities[key]

    async def _issue(self, digest_id: str) -> _Issue:
        if digest_id not in self._issues:
            editions = await publish.load_signed(self.database, self.keyring.secrets, digest_id)
            while len(self._issues) >= ISSUES_KEPT:
                del self._issues[next(iter(self._issues))]
            self._issues[digest_id] = _Issue(editions)
        return self._issues[digest_id]

    async def _answerless(
        self, kind: str, mailing_list: MailingList, sender: str, entry: Entry
    ) -> Sealed | Open | None:
        shown = mailing_list.sending_as(sender)
        identity = self._identity(mailing_list, sender, shown.address)
        if kind == INVITATION:
            return await self._invitation(shown, identity, entry)
        return self._notice(kind, shown, identity, entry)

    async def _invitation(self, mailing_list: MailingList, identity: Identity, entry: Entry) -> Sealed | Open | None:
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
        facts = self._facts(identity) | {"confirm": str(reply_to), "days": str(self.pending_days)}
        draft = Wording(mailing_list.wording).write(INVITATION, language, facts)
        how = self._how(identity, entry, INVITATION, reply_to)
        return seal.seal(draft, certificate=key.blob, **how) if key else seal.leave_open(draft, **how)

    def _notice(self, kind: str, mailing_list: MailingList, identity: Identity, entry: Entry) -> Open:
        """Return a letter that answers no letter. It says nothing about the list but its address (DESIGN §2.1)."""
        attachments = [identity.key_attachment] if kind == KEY_NEEDED else []
        wording, language = Wording(mailing_list.wording), entry.subscriber.language
        draft = wording.write(kind, language, self._facts(identity), attachments)
        return seal.leave_open(draft, **self._how(identity, entry, kind))

    def _facts(self, identity: Identity) -> dict[str, str]:
        own = identity.address
        fingerprint = grouped(identity.key.fingerprint)
        return {"list": str(own), "help_address": str(own.with_detail("help")), "fingerprint": fingerprint}

    def _comes_back_to(self, identity: Identity, entry: Entry, kind: str) -> str:
        """Return what stands behind `+` in the envelope sender: the probe alone must be known when it comes back."""
        if kind != bounces.PROBE:
            return "bounce"
        who = (identity.list_id, entry.subscriber.id)
        return f"probe-{tokens.derive_token(self.keyring.secrets.token_key, tokens.Purpose.BOUNCE, *who)}"

    def _how(self, identity: Identity, entry: Entry, kind: str, reply_to: Address | None = None) -> _How:
        own = identity.address
        random_part = os.urandom(16)
        return {
            "recipient": entry.record.address,
            "identity": identity,
            "now": self.clock(),
            "message_id": tokens.message_id(self.keyring.secrets.token_key, own.domain, kind, random_part),
            "reply_to": reply_to,
            "envelope_sender": own.with_detail(self._comes_back_to(identity, entry, kind)),
            "is_reply": False,
        }


def copy_message_id(keyring: Keyring, own: Address, digest_id: str, recipient_id: bytes) -> str:
    """Return the Message-ID of one copy: always the same, so that a copy sent twice is recognised."""
    return tokens.message_id(keyring.secrets.token_key, own.domain, "digest", digest_id, recipient_id)
