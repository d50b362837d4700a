"""A new list key is announced to its readers: once, planned by whoever comes first and knows both keys.

The key file says which keys there are, the database only which of them were announced. So the two cannot disagree: a
rotation that was killed in between is announced by the next command, or by the next worker that starts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from mailer.crypto import openpgp
from mailer.crypto.keyring import Keyring
from mailer.crypto.openpgp import ListKey
from mailer.crypto.service_secrets import FormerKey
from mailer.model.mailing_list import Directory, MailingList
from mailer.store import queue
from mailer.store.database import Database

FINGERPRINT_DIGITS = 16  # so many of the list key's stand in the kind of notice; they are in every letter anyway

log = logging.getLogger("mailer.outward")


@dataclass(frozen=True, slots=True)
class Succession:
    """A list key, and the one before while it is known. shown: the list as it shows itself under that identity."""

    shown: MailingList
    key: ListKey
    former: FormerKey | None

    @property
    def kind(self) -> str:
        """The kind of notice that announces the key."""
        return kind_of(self.key.fingerprint)


def successions(keyring: Keyring, mailing_list: MailingList, now: datetime) -> Iterator[Succession]:
    """Give the list's own key and those of its identities, of those that have one. Raises Locked."""
    for name in ("", *(one.name for one in mailing_list.identities)):
        shown = mailing_list.sending_as(name)
        if keyring.has_list_key(shown.id, shown.identity):
            key = keyring.list_key(shown.id, shown.identity)
            yield Succession(shown, key, keyring.former_key(shown.id, shown.identity, now))


def find(keyring: Keyring, mailing_list: MailingList, kind: str, now: datetime) -> Succession | None:
    """Return what a notice of this kind announces; None where we do not know of it (yet)."""
    return next((one for one in successions(keyring, mailing_list, now) if one.kind == kind), None)


async def plan(database: Database, keyring: Keyring, directory: Directory, now: datetime) -> dict[str, int]:
    """Plan every announcement that is missing; return how many letters, by kind. Raises Locked, StoreError."""
    planned: dict[str, int] = {}
    for mailing_list in directory.lists:
        for one in () if mailing_list.is_retired else successions(keyring, mailing_list, now):
            if one.former is not None:
                number = await _plan(database, one, one.former, now)
                planned |= {} if number is None else {one.kind: number}
    return planned


async def _plan(database: Database, one: Succession, former: FormerKey, now: datetime) -> int | None:
    async with database.read() as tx:
        if await queue.is_announced(tx, one.kind):
            return None
    superseded = kind_of(openpgp.fingerprint(former.certificate))
    async with database.write() as tx:
        number = await queue.announce(tx, one.kind, one.shown.id, now, superseded)
    if number is not None:
        log.info("a new list key is announced: %d letters", number)
    return number


def kind_of(fingerprint: str) -> str:
    """Return the kind of notice that announces the key with this fingerprint."""
    return f"{queue.ANNOUNCEMENT}{fingerprint[:FINGERPRINT_DIGITS]}"
