"""The letter of one delivery, made when it is sent: a subscriber's copy of a digest, or a notice."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from mailer.crypto import certificates, openpgp, tokens
from mailer.crypto.keyring import Keyring
from mailer.errors import CertificateUnusable, FormUnavailable
from mailer.letters import seal
from mailer.letters.seal import Identity, Open, Sealed, SignedEdition
from mailer.letters.write import Wording
from mailer.model.address import Address
from mailer.model.certificate import Certificate, grouped
from mailer.model.command import Verb
from mailer.model.digest import WITHOUT_PICTURES, Form
from mailer.model.language import Language
from mailer.model.mailing_list import Directory, MailingList
from mailer.model.means import Means, OpenPgp, Passphrase, means_of, means_of_key
from mailer.model.request import Request
from mailer.model.seed import Seed
from mailer.model.subscriber import State
from mailer.outward import key_letters, publish
from mailer.outward.key_letters import How
from mailer.store import bounces, pending, queue, roster
from mailer.store.database import Database
from mailer.store.digests import Version
from mailer.store.ledger import Entry
from mailer.store.queue import Claimed

INVITATION = "confirm-subscribe"  # the notice that asks somebody who was imported
KEY_NEEDED = "key-needed"  # the notice to somebody who was imported without a key; the list's own comes along


_WITH_PICTURES = {light: form for form, light in WITHOUT_PICTURES.items()}
TRY_AGAIN = timedelta(minutes=1)  # to make a form that could not be made: its readers are set aside meanwhile
_NEVER = (datetime.min.replace(tzinfo=UTC), FormUnavailable)
ISSUES_KEPT = 4  # digests whose signed editions are held in memory


@dataclass(frozen=True, slots=True)
class _Reader:
    """Whom a copy is for. unsubscribe, bounce: what stands behind these words in our addresses, or ""."""

    id: bytes
    address: Address
    means: Means
    language: Language
    unsubscribe: str
    bounce: str

    def __repr__(self) -> str:
        return "_Reader(…)"


@dataclass(frozen=True, slots=True)
class _Issue:
    """A digest as made when it began, and what was found missing and made since. failed: what could not be."""

    editions: dict[Version, SignedEdition]
    failed: dict[Version, tuple[datetime, type[FormUnavailable]]] = field(default_factory=dict)

    def nearest(self, wanted: Version, default: Language) -> Version:
        """Return what comes nearest: in that language or the default one, from that sender, and sealed in that way.

        What never had pictures is there once, and not again without them. What is returned may have to be made yet.
        """
        languages = {one.language for one in self.editions}
        spoken = (one for one in (wanted.language, default, *languages) if one in languages)
        own = Version(next(spoken))
        from_sender = replace(own, identity=wanted.identity)
        found = from_sender if from_sender in self.editions else own
        has_pictures = replace(found, form=Form.LIGHT) in self.editions
        return replace(found, form=wanted.form if has_pictures else _WITH_PICTURES.get(wanted.form, wanted.form))


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
    _making: asyncio.Lock = field(default_factory=asyncio.Lock)
    _identities: dict[tuple[str, str, Address, frozenset[bytes]], Identity] = field(default_factory=dict)

    async def make(
        self, claimed: Claimed, entry: Entry | None, sender: str = "", max_octets: int = 0
    ) -> Sealed | Open | None:
        """Return the letter of a delivery, or None if it is to get none any more.

        entry: the subscriber, or None where there is none with this id. sender: the identity that it leaves from.
        max_octets: of the largest letter that its provider takes, 0 for any. Raises CertificateUnusable, SealBroken,
        TemplateError, LetterUnusable, FormUnavailable, Locked, StoreError.
        """
        mailing_list = self.directory.by_id(claimed.list_id)
        if mailing_list is None:
            return None
        if claimed.notice is not None:
            return await self._answerless(claimed.notice, mailing_list, sender, entry) if entry else None
        reader = self._reader(mailing_list, claimed.subscriber_id, entry)
        if reader is None:
            return None
        form = seal.form_for(reader.means)
        letter = await self._copy(mailing_list, reader, Version(reader.language, sender, form), claimed.job)
        light = WITHOUT_PICTURES.get(form)
        if light is not None and 0 < max_octets < len(letter.content):
            letter = await self._copy(mailing_list, reader, Version(reader.language, sender, light), claimed.job)
        return letter

    def _reader(self, mailing_list: MailingList, recipient_id: bytes, entry: Entry | None) -> _Reader | None:
        """Return whom a copy of a digest is for: a subscriber, or an organiser's own mailbox."""
        seed = self.seeds.get(recipient_id)
        if seed is not None:
            return _Reader(seed.id, seed.address, OpenPgp(seed.certificate), seed.language, "", "")
        if entry is None or entry.subscriber.state is not State.ACTIVE:
            return None
        token_key, subscriber = self.keyring.secrets.token_key, entry.subscriber
        means = means_of(subscriber.method, entry.drawer)
        if means is None:
            raise CertificateUnusable
        who = (mailing_list.id, subscriber.id)
        unsubscribe = tokens.derive_token(token_key, tokens.Purpose.UNSUBSCRIBE, *who)
        bounce = tokens.derive_token(token_key, tokens.Purpose.BOUNCE, *who)
        place = (entry.record.address, means, subscriber.language)
        return _Reader(subscriber.id, *place, f"-{unsubscribe}", f"-{bounce}")

    async def _copy(self, mailing_list: MailingList, reader: _Reader, wanted: Version, job: str) -> Sealed:
        version, edition = await self._edition(mailing_list, wanted, job)
        own = edition.address  # an edition leaves from the address that signed it, even if the list was renamed since
        make = partial(
            seal.seal_copy,
            edition,
            recipient=reader.address,
            means=reader.means,
            identity=self._identity(mailing_list, version.identity, own, edition.issuers),
            message_id=copy_message_id(self.keyring, own, job, reader.id),
            envelope_sender=own.with_detail(f"bounce{reader.bounce}"),
            unsubscribe=own.with_detail(f"unsubscribe{reader.unsubscribe}"),
            now=self.clock(),
            padding_chance=self.chance(),
        )
        # an encrypted PDF takes a hundred times as long as any other, and other letters are on their way
        return await asyncio.to_thread(make) if isinstance(reader.means, Passphrase) else make()

    def _identity(
        self, mailing_list: MailingList, sender: str, own: Address, issuers: frozenset[bytes] = frozenset()
    ) -> Identity:
        """Return whom a letter is from, made once: what all letters share is written once.

        issuers: who signed what it carries. A digest that the former key signed goes on with that key in its header;
        Delta Chat believes no other.
        """
        key = (mailing_list.id, sender, own, issuers)
        if key not in self._identities:
            shown = mailing_list.sending_as(sender)
            former = self.keyring.former_key(shown.id, shown.identity, self.clock())
            list_key = self.keyring.list_key(shown.id, shown.identity)
            if former is not None and former.secret and openpgp.key_ids(former.certificate) & issuers:
                list_key = openpgp.ListKey.from_secret(former.secret)
            smime = self.keyring.smime_key(shown.id, shown.identity)
            self._identities[key] = Identity(shown.id, own, shown.display_name, list_key, shown.is_shy, smime)
        return self._identities[key]

    async def _edition(self, mailing_list: MailingList, wanted: Version, job: str) -> tuple[Version, SignedEdition]:
        issue = await self._issue(job)
        version = issue.nearest(wanted, mailing_list.default_language)
        if version not in issue.editions:
            async with self._making:  # one at a time: it may take seconds, and what one has made the next finds
                await self._make_late(issue, mailing_list, version, job)
        return version, issue.editions[version]

    async def _make_late(self, issue: _Issue, mailing_list: MailingList, version: Version, job: str) -> None:
        """Find or make an edition in a form that nobody needed when the digest began. Raises FormUnavailable."""
        if version in issue.editions:
            return
        tried_at, kind = issue.failed.get(version, _NEVER)
        if self.clock() - tried_at < TRY_AGAIN:
            raise kind("(It was tried a moment ago.)")
        issue.editions.update(await publish.load_signed(self.database, self.keyring.secrets, job))
        if version in issue.editions:
            return  # another process has made it
        like = issue.editions[replace(version, form=Form.FULL)]
        identity = self._identity(mailing_list, version.identity, like.address)
        try:
            made = await publish.make_late(self.database, self.keyring.secrets, identity, job, version, self.clock())
        except FormUnavailable as error:
            issue.failed[version] = self.clock(), type(error)
            raise
        issue.editions[version] = made

    async def _issue(self, digest_id: str) -> _Issue:
        if digest_id not in self._issues:
            editions = await publish.load_signed(self.database, self.keyring.secrets, digest_id)
            if digest_id not in self._issues:  # another delivery may have loaded it meanwhile
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
        facts, how = self._facts(identity), self._how(identity, entry, kind)
        if kind == queue.KEY_EXPIRES:
            return key_letters.warn(shown, entry, facts, how)
        if queue.is_announcement(kind):
            return key_letters.tell_of_list_key(self.keyring, mailing_list, entry, kind, facts, how)
        return self._notice(kind, shown, identity, entry)

    async def _invitation(self, mailing_list: MailingList, identity: Identity, entry: Entry) -> Sealed | Open | None:
        """Return the question whether somebody who was imported wants to be on the list; the answer is kept waiting."""
        if entry.subscriber.state is not State.INVITED:
            return None
        secrets, address, now = self.keyring.secrets, entry.record.address, self.clock()
        language, blob = entry.subscriber.language, entry.drawer.certificate or entry.drawer.x509
        verdicts = certificates.examine(blob, now) if blob else ()
        key = next((one for one in verdicts if isinstance(one, Certificate)), None)
        token = tokens.new_token(os.urandom)
        person = await roster.identify(secrets, mailing_list.id, address)
        mark, sealed = pending.seal_request(secrets, person, Request(Verb.SUBSCRIBE, address, language, key), token)
        async with self.database.write() as tx:
            await pending.ask(tx, mark, sealed, now + timedelta(days=self.pending_days))
        reply_to = mailing_list.address.with_detail(f"confirm-{token}")
        means = means_of_key(key) if key else None
        facts = self._facts(identity, means) | {"confirm": str(reply_to), "days": str(self.pending_days)}
        draft = Wording(mailing_list.wording).write(INVITATION, language, facts)
        how = self._how(identity, entry, INVITATION, reply_to)
        return seal.seal(draft, means=means, **how) if means else seal.leave_open(draft, **how)

    def _notice(self, kind: str, mailing_list: MailingList, identity: Identity, entry: Entry) -> Open:
        """Return a letter that answers no letter. It says nothing about the list but its address (DESIGN §2.1)."""
        attachments = [identity.key_attachment] if kind == KEY_NEEDED else []
        wording, language = Wording(mailing_list.wording), entry.subscriber.language
        draft = wording.write(kind, language, self._facts(identity), attachments)
        return seal.leave_open(draft, **self._how(identity, entry, kind))

    def _facts(self, identity: Identity, means: Means | None = None) -> dict[str, str]:
        own = identity.address
        fingerprint = grouped(identity.fingerprint_for(means))
        return {"list": str(own), "help_address": str(own.with_detail("help")), "fingerprint": fingerprint}

    def _comes_back_to(self, identity: Identity, entry: Entry, kind: str) -> str:
        """Return what stands behind `+` in the envelope sender: the probe alone must be known when it comes back."""
        if kind != bounces.PROBE:
            return "bounce"
        who = (identity.list_id, entry.subscriber.id)
        return f"probe-{tokens.derive_token(self.keyring.secrets.token_key, tokens.Purpose.BOUNCE, *who)}"

    def _how(self, identity: Identity, entry: Entry, kind: str, reply_to: Address | None = None) -> How:
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
