"""A digest's way out, first half: compose, sign once, plan a delivery for each subscriber."""

from __future__ import annotations

import base64
import json
import os
import random
from collections.abc import Sequence
from datetime import UTC, datetime

from mailer.crypto import tokens, vault
from mailer.crypto.keyring import Keyring
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.errors import DigestUnusable
from mailer.letters import seal
from mailer.letters.seal import Identity, Sealed, SignedEdition
from mailer.model.address import Address
from mailer.model.digest import DigestState, Edition
from mailer.model.language import Language
from mailer.model.mailing_list import MailingList
from mailer.store import digests, queue
from mailer.store.database import Database


async def save(
    database: Database,
    secrets: ServiceSecrets,
    digest_id: str,
    list_id: str,
    editions: Sequence[Edition],
    now: datetime,
) -> None:
    """Store composed editions as a new draft. Raises DigestUnusable where one language comes twice, StoreError."""
    sealed = {edition.language: _seal_edition(secrets, digest_id, edition) for edition in editions}
    if len(sealed) != len(editions):
        raise DigestUnusable("Two files are in the same language; give one file for each.")
    async with database.write() as tx:
        await digests.add(tx, digest_id, list_id, sealed, now)


async def load(database: Database, secrets: ServiceSecrets, digest_id: str) -> dict[Language, Edition]:
    """Return a digest's editions as composed. Raises DigestUnusable if there is no such digest, SealBroken."""
    async with database.read() as tx:
        stored = await digests.load_editions(tx, digest_id)
    if not stored:
        raise DigestUnusable("There is no such digest; `mailer digest list` shows those that there are.")
    return {language: _open_edition(secrets, digest_id, one) for language, one in stored.items()}


async def send(database: Database, keyring: Keyring, mailing_list: MailingList, digest_id: str, now: datetime) -> int:
    """Sign each edition once and plan the deliveries, in one transaction; return how many subscribers get one.

    Raises DigestUnusable if the digest was sent already or has no edition in the list's default language.
    """
    editions = await load(database, keyring.secrets, digest_id)
    if mailing_list.is_retired:
        raise DigestUnusable("The list is retired; nothing is sent to it any more.")
    if mailing_list.default_language not in editions:
        raise DigestUnusable(f"It has no edition in {mailing_list.default_language}, the list's default language.")
    own = identity(keyring, mailing_list)
    signed = {
        language: _seal_signed(keyring.secrets, digest_id, seal.sign_edition(edition, own, now))
        for language, edition in editions.items()
    }
    async with database.write() as tx:
        status = await digests.status(tx, digest_id)
        if status is None or status.list_id != mailing_list.id or status.state is not DigestState.DRAFT:
            raise DigestUnusable("It was sent already, or belongs to another list.")
        planned = await queue.plan(tx, digest_id, mailing_list.id, now)
        await digests.start(tx, digest_id, signed, planned, now)
    return planned


async def load_signed(database: Database, secrets: ServiceSecrets, digest_id: str) -> dict[Language, SignedEdition]:
    """Return a digest's editions as signed; empty for a draft. Raises SealBroken."""
    async with database.read() as tx:
        stored = await digests.load_editions(tx, digest_id)
    return {
        language: SignedEdition.from_bytes(
            vault.open_at_rest(secrets.rest_key, one.signed, "signed edition", digest_id, language)
        )
        for language, one in stored.items()
        if one.signed is not None
    }


def identity(keyring: Keyring, mailing_list: MailingList) -> Identity:
    """Return who a list's letters are from. Raises Locked, ListUnknown."""
    key = keyring.list_key(mailing_list.id)
    return Identity(mailing_list.id, mailing_list.address, mailing_list.display_name, key)


def preview(edition: Edition, own: Identity, now: datetime) -> bytes:
    """Return what a reader has once the edition is decrypted: a whole message, signed, for any mail program."""
    return seal.sign_edition(edition, own, now).entity


def test_copy(
    keyring: Keyring, mailing_list: MailingList, edition: Edition, reader: Address, certificate: bytes
) -> Sealed:
    """Return one edition for one reader who need not be a subscriber. Raises CertificateUnusable."""
    now, own = datetime.now(UTC), identity(keyring, mailing_list)
    return seal.seal_copy(
        seal.sign_edition(edition, own, now),
        recipient=reader,
        certificate=certificate,
        identity=own,
        message_id=tokens.message_id(keyring.secrets.token_key, own.address.domain, "test", os.urandom(16)),
        envelope_sender=own.address.with_detail("bounce"),
        unsubscribe=own.address.with_detail("unsubscribe"),
        now=now,
        padding_chance=random.SystemRandom().random(),
    )


def _seal_signed(secrets: ServiceSecrets, digest_id: str, signed: SignedEdition) -> bytes:
    return vault.seal_at_rest(secrets.rest_key, signed.to_bytes(), "signed edition", digest_id, signed.language)


def _seal_edition(secrets: ServiceSecrets, digest_id: str, edition: Edition) -> bytes:
    fields = {
        "subject": edition.subject,
        "text": edition.text,
        "payload": base64.b64encode(edition.payload).decode(),
    }
    return vault.seal_at_rest(secrets.rest_key, json.dumps(fields).encode(), "edition", digest_id, edition.language)


def _open_edition(secrets: ServiceSecrets, digest_id: str, one: digests.StoredEdition) -> Edition:
    fields = json.loads(vault.open_at_rest(secrets.rest_key, one.sealed, "edition", digest_id, one.language))
    return Edition(one.language, fields["subject"], fields["text"], base64.b64decode(fields["payload"]))
