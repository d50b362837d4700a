"""A digest's way out, first half: compose, sign once, plan a delivery for each subscriber.

It is signed when it begins, and not when it is scheduled: programs complain where Date and signature differ. Every
worker looks for what is to begin; whoever is first signs and plans in one transaction, and the others do nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mailer.crypto.keyring import Keyring
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.errors import DigestUnusable, FormUnavailable, ListUnknown, Locked, MailerError, StoreError
from mailer.letters import seal
from mailer.letters.seal import Identity, SignedEdition
from mailer.model.digest import DigestState, DigestStatus, Edition, Form
from mailer.model.language import Language
from mailer.model.mailing_list import Directory, MailingList
from mailer.model.provider import Providers
from mailer.model.seed import Seed
from mailer.model.subscriber import Method
from mailer.outward import at_rest
from mailer.store import digests, queue, roster
from mailer.store.database import Database, Transaction
from mailer.store.digests import Plan, Version

SEND_BEFORE = timedelta(hours=48)
UNKNOWN = "There is no such digest; `mailer digest list` shows those that there are."

log = logging.getLogger("mailer.outward")


@dataclass(frozen=True, slots=True)
class _Readers:
    """Whom a digest goes to besides the subscribers, and the names of the providers that they all are at."""

    providers: Providers
    seeds: Sequence[Seed]


# --- Drafts ---------------------------------------------------------------------------------------------------------


async def save(
    database: Database,
    secrets: ServiceSecrets,
    digest_id: str,
    list_id: str,
    editions: Sequence[Edition],
    now: datetime,
    corrects: str | None = None,
) -> None:
    """Store composed editions as a new draft. Raises DigestUnusable where one language comes twice, StoreError.

    corrects: the id of the digest that it puts right.
    """
    sealed = {edition.language: at_rest.seal_edition(secrets, digest_id, edition) for edition in editions}
    if len(sealed) != len(editions):
        raise DigestUnusable("Two files are in the same language; give one file for each.")
    async with database.write() as tx:
        await digests.add(tx, digest_id, list_id, sealed, now, corrects)


async def load(database: Database, secrets: ServiceSecrets, digest_id: str) -> dict[Language, Edition]:
    """Return a digest's editions as composed. Raises DigestUnusable if there is no such digest, SealBroken."""
    async with database.read() as tx:
        stored = await digests.load_editions(tx, digest_id)
    if not stored:
        raise DigestUnusable(UNKNOWN)
    return {language: at_rest.open_edition(secrets, digest_id, language, blob) for language, blob in stored.items()}


async def status(database: Database, digest_id: str) -> DigestStatus:
    """Return how far a digest has come. Raises DigestUnusable if there is no such digest."""
    async with database.read() as tx:
        found = await digests.status(tx, digest_id)
    if found is None:
        raise DigestUnusable(UNKNOWN)
    return found


# --- Scheduled, and begun -------------------------------------------------------------------------------------------


async def check(database: Database, keyring: Keyring, mailing_list: MailingList, digest_id: str) -> list[Edition]:
    """Return the editions of a digest that can begin. Raises DigestUnusable, ListUnknown, Locked, SealBroken."""
    editions = await load(database, keyring.secrets, digest_id)
    if mailing_list.is_retired:
        raise DigestUnusable("The list is retired; nothing is sent to it any more.")
    if mailing_list.default_language not in editions:
        raise DigestUnusable(f"It has no edition in {mailing_list.default_language}, the list's default language.")
    for name in _senders(mailing_list):
        identity(keyring, mailing_list, name)
    return list(editions.values())


async def schedule(database: Database, keyring: Keyring, mailing_list: MailingList, digest_id: str, plan: Plan) -> None:
    """Have a draft begin at its time. A digest that it corrects is paused if it is on its way.

    Raises DigestUnusable if it was sent already or cannot begin.
    """
    await check(database, keyring, mailing_list, digest_id)
    async with database.write() as tx:
        await _schedule(tx, mailing_list, digest_id, plan)


async def send(
    database: Database,
    keyring: Keyring,
    mailing_list: MailingList,
    digest_id: str,
    now: datetime,
    *,
    providers: Providers,
    seeds: Sequence[Seed] = (),
    plan: Plan | None = None,
) -> int:
    """Sign each edition and plan the deliveries, in one transaction; return how many there are.

    seeds: organisers' own mailboxes, those of other lists among them. plan: begins now; without one nothing is spread,
    and what has not left in 48 hours is held. A digest that this one corrects is paused. Raises DigestUnusable if it
    was sent already or cannot begin.
    """
    editions = await check(database, keyring, mailing_list, digest_id)
    forms = await _needed_forms(database, mailing_list)
    signed = await asyncio.to_thread(sign, keyring, mailing_list, digest_id, editions, now, forms)
    async with database.write() as tx:
        await _schedule(tx, mailing_list, digest_id, plan or Plan(now, 0, now + SEND_BEFORE))
        planned = await _begin(tx, mailing_list, digest_id, signed, _Readers(providers, seeds), now)
    if planned is None:
        raise DigestUnusable("It was sent already.")
    return planned


async def begin_due(
    database: Database,
    keyring: Keyring,
    directory: Directory,
    providers: Providers,
    seeds: Sequence[Seed],
    now: datetime,
    told: set[str] | None = None,
) -> int:
    """Sign and plan every scheduled digest whose time has come; return how many this process began.

    One that cannot begin is logged by its id, and the others go on. told: what was logged before, to say it once; ids
    are added. Raises Locked, StoreError.
    """
    async with database.read() as tx:
        due = await digests.due(tx, now)
    if not due:
        return 0
    async with database.write() as tx:
        await digests.hold_late(tx, now)
        due = await digests.due(tx, now)
    told, begun, readers = set() if told is None else told, 0, _Readers(providers, seeds)
    for digest_id, list_id in due:
        try:
            named = directory.by_id(list_id)
            begun += await _sign_and_begin(database, keyring, named, digest_id, readers, now)
        except (Locked, StoreError):
            raise
        except Exception as error:  # noqa: BLE001 - one digest must not stop the others
            if digest_id not in told:
                what = error if isinstance(error, MailerError) else type(error).__name__
                log.error("the digest %s cannot begin: %s", digest_id, what)
                told.add(digest_id)
    return begun


def sign(
    keyring: Keyring,
    mailing_list: MailingList,
    digest_id: str,
    editions: Sequence[Edition],
    now: datetime,
    forms: Collection[Form] = (),
) -> dict[Version, bytes]:
    """Return each edition as signed by each of the list's identities, in each form that it has, sealed at rest.

    Whether a relay stands for an identity now, or a provider takes no large letters, is not asked: that may change
    while the digest is on its way. forms: of those made only where somebody reads them. One that cannot be made stops
    nobody else's letters. Raises ListUnknown, Locked, LetterUnusable.
    """
    signed = {}
    for name in _senders(mailing_list):
        own = identity(keyring, mailing_list, name)
        for edition in editions:
            for form in _forms(edition, name, forms):
                version = Version(edition.language, name, form)
                try:
                    made = seal.sign_edition(edition, own, now, form)
                except FormUnavailable as error:
                    log.error("the digest %s has no form %s: %s", digest_id, form, error)
                else:
                    signed[version] = at_rest.seal_signed(keyring.secrets, digest_id, version, made)
    return signed


async def make_late(
    database: Database,
    secrets: ServiceSecrets,
    own: Identity,
    digest_id: str,
    version: Version,
    now: datetime,
) -> SignedEdition:
    """Return an edition in a form that nobody needed when its digest began, dated now; it is kept for the others.

    Raises FormUnavailable, LetterUnusable, SealBroken, StoreError.
    """
    edition = (await load(database, secrets, digest_id))[version.language]
    made = await asyncio.to_thread(seal.sign_edition, edition, own, now, version.form)
    sealed = at_rest.seal_signed(secrets, digest_id, version, made)
    async with database.write() as tx:
        await digests.keep_signed(tx, digest_id, version, sealed)
    return made


async def load_signed(database: Database, secrets: ServiceSecrets, digest_id: str) -> dict[Version, SignedEdition]:
    """Return a digest's editions as signed; empty until it begins. Raises SealBroken."""
    async with database.read() as tx:
        stored = await digests.load_signed(tx, digest_id)
    return {version: at_rest.open_signed(secrets, digest_id, version, blob) for version, blob in stored.items()}


def identity(keyring: Keyring, mailing_list: MailingList, sender: str = "") -> Identity:
    """Return who a list's letters are from; sender: the name of one of its identities. Raises Locked, ListUnknown."""
    shown = mailing_list.sending_as(sender)
    key, smime = keyring.list_key(shown.id, shown.identity), keyring.smime_key(shown.id, shown.identity)
    return Identity(mailing_list.id, shown.address, shown.display_name, key, shown.is_shy, smime)


async def _schedule(tx: Transaction, mailing_list: MailingList, digest_id: str, plan: Plan) -> None:
    found = await digests.status(tx, digest_id)
    if found is None or found.list_id != mailing_list.id:
        raise DigestUnusable("It belongs to another list.")
    if not await digests.schedule(tx, digest_id, plan):
        raise DigestUnusable("It was sent already.")
    if found.corrects is not None:
        await digests.pause(tx, found.corrects)


async def _sign_and_begin(
    database: Database,
    keyring: Keyring,
    mailing_list: MailingList | None,
    digest_id: str,
    readers: _Readers,
    now: datetime,
) -> bool:
    if mailing_list is None:
        raise ListUnknown
    editions = await check(database, keyring, mailing_list, digest_id)
    forms = await _needed_forms(database, mailing_list)
    signed = await asyncio.to_thread(sign, keyring, mailing_list, digest_id, editions, now, forms)
    async with database.write() as tx:
        planned = await _begin(tx, mailing_list, digest_id, signed, readers, now)
    if planned is not None:
        log.info("the digest %s begins: %d deliveries", digest_id, planned)
    return planned is not None


async def _begin(
    tx: Transaction,
    mailing_list: MailingList,
    digest_id: str,
    signed: Mapping[Version, bytes],
    readers: _Readers,
    now: datetime,
) -> int | None:
    """Return how many deliveries were planned, or None if another process was quicker."""
    if not await digests.start(tx, digest_id, signed, now):
        return None
    found = await digests.status(tx, digest_id)
    if found is None or found.state is not DigestState.SENDING:
        return None
    providers = readers.providers
    planned = await queue.plan(tx, digest_id, mailing_list.id, now, found.over_s, providers.names)
    own = [one for one in readers.seeds if not one.lists or mailing_list.id in one.lists]
    for number, seed in enumerate(own):
        due = now + timedelta(seconds=found.over_s * number // len(own))
        await queue.add(tx, digest_id, seed.id, mailing_list.id, providers.name_of(seed.address), due)
    await digests.set_planned(tx, digest_id, planned + len(own))
    return planned + len(own)


def _senders(mailing_list: MailingList) -> tuple[str, ...]:
    return ("", *(one.name for one in mailing_list.identities))


def _forms(edition: Edition, sender: str, needed: Collection[Form]) -> Iterator[Form]:
    yield Form.FULL
    if edition.light is not None:
        yield Form.LIGHT
    yield Form.TEXT
    if Form.SMIME in needed:
        yield Form.SMIME
        if edition.light is not None:
            yield Form.SMIME_LIGHT
    if Form.PDF in needed and not sender:  # typesetting takes seconds: for other senders it is done when it is needed
        yield Form.PDF


async def _needed_forms(database: Database, mailing_list: MailingList) -> frozenset[Form]:
    async with database.read() as tx:
        methods = await roster.methods(tx, mailing_list.id)
    return frozenset(form for method, form in _FORM_OF.items() if method in methods)


_FORM_OF = {Method.SMIME: Form.SMIME, Method.PDF: Form.PDF}
