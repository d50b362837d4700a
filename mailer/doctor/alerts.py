"""Tells the admins, encrypted, when the service needs a person: by the same checks as `mailer doctor`.

At most one letter of each kind a day. It is signed and waits in the outbox like every other; while the service is
locked it has no key to sign or store with, and goes to the relay at once, unsigned.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets as chance
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from mailer.crypto import tokens, vault
from mailer.crypto.keyring import Keyring
from mailer.doctor.checks import CHECKS, Alert, Check
from mailer.doctor.run import run
from mailer.doctor.scene import Scene
from mailer.errors import CertificateUnusable, LetterUnusable, ListUnknown, Locked, StoreError, TemplateError
from mailer.letters import seal
from mailer.letters.seal import Sealed
from mailer.letters.seal.alarm import seal_unsigned
from mailer.letters.write import Draft, Wording
from mailer.model.admin import Admin
from mailer.model.mailing_list import MailingList
from mailer.model.means import OpenPgp
from mailer.model.retry import Answer
from mailer.outward.routes import Routes
from mailer.store import outbox, pending
from mailer.store.database import Database, Transaction

LOOK_EVERY_S = 600.0
TEMPLATE = "alert"
WEEKLY = frozenset({Alert.KEY, Alert.CERTIFICATE})  # what has weeks of time left
WATCHED = tuple(check for check in CHECKS if check.alert is not None)

_ID_BYTES = 12
_COUNTED = hashlib.sha256(b"mailer/1/alert").digest()  # instead of a person's look-up value: of kinds, not of people

log = logging.getLogger("mailer.doctor")


@dataclass
class Watch:
    """Looks every ten minutes. scene: makes what the checks look at. mailing_list: whom the letters are from.

    lasting: how long a relay may be silent, or the service locked, before anybody is told.
    """

    database: Database
    keyring: Keyring
    routes: Routes
    admins: tuple[Admin, ...]
    mailing_list: MailingList
    scene: Callable[[], Scene]
    clock: Callable[[], datetime]
    lasting: timedelta
    queued: Callable[[], None]
    checks: tuple[Check, ...] = WATCHED
    _since: dict[str, datetime] = field(default_factory=dict)
    _told: set[tuple[Alert, str]] = field(default_factory=set)
    _unsent: list[Sealed] = field(default_factory=list)

    async def run(self) -> None:
        """Look until cancelled."""
        while self.admins:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - whoever cannot be told must not stop what works
                log.error("the admins could not be told (%s); report it", type(error).__name__)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look once, and tell what is new."""
        checks = [replace(check, look=check.news or check.look) for check in self.checks]
        found = await run(self.scene(), checks)
        wrong = {one.check for one in found if one.ok is False}
        self._since = {name: self._since.get(name, self.clock()) for name in wrong}
        for check in checks:
            if check.name in wrong and check.alert is not None and self._lasts(check):
                await self._tell(check.alert)
        await self._send_unsent()

    def _lasts(self, check: Check) -> bool:
        return not check.is_lasting or self.clock() - self._since[check.name] >= self.lasting

    async def _tell(self, alert: Alert) -> None:
        now = self.clock()
        day = f"week {now:%G-%V}" if alert in WEEKLY else f"{now:%Y-%m-%d}"
        if (alert, day) in self._told:
            return
        letters = list(self._letters(alert, now))
        if not letters:
            return
        try:
            is_first, is_queued = await self._count_and_queue(alert, day, letters, now)
        except (StoreError, Locked):  # a full disk must not keep anybody from being told that it is full
            is_first, is_queued = True, False
        self._told.add((alert, day))
        if is_first:
            log.warning("the admins are told: %s; `mailer doctor` says more", alert)
            self._unsent += [] if is_queued else letters
            self.queued()

    async def _count_and_queue(self, alert: Alert, day: str, letters: list[Sealed], now: datetime) -> tuple[bool, bool]:
        """Return whether nobody was told yet, and whether the letters wait in the outbox now."""
        async with self.database.write() as tx:
            if not await pending.take(tx, _COUNTED, f"alert/{alert}", day, 1, now + timedelta(days=8)):
                return False, False
            if self.keyring.is_locked:
                return True, False
            for letter in letters:
                await self._queue(tx, letter, now)
        return True, True

    async def _queue(self, tx: Transaction, letter: Sealed, now: datetime) -> None:
        outbox_id = chance.token_bytes(_ID_BYTES)
        key = self.keyring.secrets.rest_key
        await outbox.add(tx, outbox_id, vault.seal_at_rest(key, seal.to_bytes(letter), "outbox", outbox_id), now)

    def _letters(self, alert: Alert, now: datetime) -> Iterable[Sealed]:
        for number, admin in enumerate(self.admins, 1):
            try:
                yield self._letter(alert, admin, now)
            except (CertificateUnusable, LetterUnusable, TemplateError, ListUnknown) as error:
                log.error("admin %d cannot be told: %s", number, error)

    def _letter(self, alert: Alert, admin: Admin, now: datetime) -> Sealed:
        own = self.mailing_list.address
        wording = Wording(self.mailing_list.wording)
        draft = wording.write(TEMPLATE, admin.language, {"list": str(own), "kind": str(alert)})
        message_id = tokens.message_id(chance.token_bytes(32), own.domain)
        try:
            return self._signed(draft, admin, now, message_id)
        except Locked:
            return seal_unsigned(
                draft,
                recipient=admin.address,
                certificate=admin.certificate,
                sender=own,
                now=now,
                message_id=message_id,
            )

    def _signed(self, draft: Draft, admin: Admin, now: datetime, message_id: str) -> Sealed:
        one = self.mailing_list
        identity = seal.Identity(one.id, one.address, one.display_name, self.keyring.list_key(one.id))
        return seal.seal(
            draft,
            recipient=admin.address,
            means=OpenPgp(admin.certificate),
            identity=identity,
            now=now,
            message_id=message_id,
            envelope_sender=one.address.with_detail("bounce"),
            is_reply=False,
        )

    async def _send_unsent(self) -> None:
        """Give what could not be stored to a relay now; what it does not take is tried again at the next look."""
        waiting, self._unsent = self._unsent, []
        for letter in waiting:
            try:
                outcome, _ = await self.routes.send(letter, "")
            except LetterUnusable as error:
                log.error("the admins could not be told (%s); report it", type(error).__name__)
                continue
            if outcome.answer is Answer.LATER:
                self._unsent.append(letter)
