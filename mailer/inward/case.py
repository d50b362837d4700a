"""The first half of a letter's walk: unsealed, parsed in the confined reader, understood, its writer looked up.

What comes out is a Heard, from which `case_of` makes the Case that is decided. Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mailer.crypto import openpgp
from mailer.crypto.keyring import Keyring
from mailer.errors import SealBroken
from mailer.inward import bounces, guard
from mailer.inward.bounces import Returned
from mailer.inward.decide import Case
from mailer.inward.look_up import LookUp, Standing
from mailer.inward.reader import Reader
from mailer.inward.understand import Asked, understand
from mailer.model.certificate import Certificate, Refused
from mailer.model.command import Command, Verb
from mailer.model.letter import Automatic, Envelope, Letter, Unopened
from mailer.model.mailing_list import Directory, MailingList, is_postmaster
from mailer.model.subscriber import State
from mailer.store import inbox, roster
from mailer.store.database import Database

SIGNED_WITHIN = timedelta(days=2)  # an older signature may be a replay; the writer is asked to confirm instead
CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A letter out of the inbox, unsealed but not read."""

    mailing_list: MailingList
    envelope: Envelope
    raw: bytes

    @property
    def detail(self) -> str:
        """What stands behind the `+` of the recipient."""
        return self.envelope.rcpt_to.split_detail()[1]

    def __repr__(self) -> str:
        return "Arrival(…)"


@dataclass(frozen=True, slots=True)
class Heard:
    """A letter read and understood, and where its writer stands. new: whom a change of address leads to."""

    arrival: Arrival
    letter: Letter
    command: Command
    standing: Standing
    is_signed: bool
    is_unopened: bool = False
    new: roster.Person | None = None
    new_state: State = State.UNKNOWN

    @property
    def key(self) -> Certificate | Refused | None:
        """The certificate in question: of the request that is confirmed, else the best one in the letter."""
        request = self.standing.request
        if request is not None and request.certificate is not None:
            return request.certificate
        return next(iter(self.letter.offered), None)

    def __repr__(self) -> str:
        return f"Heard({self.command})"


@dataclass(frozen=True)
class Listener:
    """Reads letters. Raises Unreadable, SealBroken (set the letter aside), Locked, StoreError (try again later)."""

    database: Database
    keyring: Keyring
    reader: Reader
    directory: Directory
    clock: Callable[[], datetime]

    async def hear(self, waiting: inbox.Waiting) -> Heard | Returned | None:
        """Return what a letter says and who says it, or whom it reports about.

        None for one that neither acts nor is answered (RFC 3834).
        """
        arrival = self._unseal(waiting)
        letter, is_unopened = await self._parse(arrival)
        returned = await self._returned(arrival, letter)
        if returned is not None:
            return returned
        if _is_automatic(arrival, letter, self.directory):
            return None
        heard = await self._understand(arrival, letter, is_unopened)
        return await self._follow_token(await self._with_new_address(heard))

    def _unseal(self, waiting: inbox.Waiting) -> Arrival:
        envelope, raw = self.keyring.secrets.transit_private.open(waiting.sealed, waiting.id)
        mailing_list = self.directory.find(envelope.rcpt_to)
        if mailing_list is None:
            raise SealBroken("(Its list was taken out of config.toml.)")
        return Arrival(mailing_list, envelope, raw)

    async def _parse(self, arrival: Arrival, certificate: bytes | None = None) -> tuple[Letter, bool]:
        keys = self.keyring.secrets.keys_of(arrival.mailing_list.id)
        try:
            return await self.reader.read(arrival.raw, keys, certificate), False
        except Unopened as unopened:
            return unopened.letter, True

    async def _returned(self, arrival: Arrival, letter: Letter) -> Returned | None:
        if letter.report is None:
            return None
        token_key, mailing_list = self.keyring.secrets.token_key, arrival.mailing_list
        async with self.database.read() as tx:
            return await bounces.find(tx, token_key, mailing_list, arrival.detail, letter.report)

    async def _understand(self, arrival: Arrival, letter: Letter, is_unopened: bool) -> Heard:
        """Find out who writes and what they ask. A signed letter is read again with the key on file."""
        standing = await self._standing(arrival, letter)
        found = standing.found
        if letter.is_signed and found is not None and found.drawer.certificate:
            letter, is_unopened = await self._parse(arrival, found.drawer.certificate)
        asked = understand(letter, arrival.detail, arrival.mailing_list.address)
        if is_postmaster(arrival.envelope.rcpt_to):
            asked = replace(asked, command=Command(Verb.CONTACT), is_signed=False)
            is_unopened = False  # passed on unread, because nothing that comes here may be answered
        return Heard(arrival, letter, asked.command, standing, _is_proof(asked, letter, self.clock()), is_unopened)

    async def _standing(self, arrival: Arrival, letter: Letter) -> Standing:
        secrets, mailing_list = self.keyring.secrets, arrival.mailing_list
        person = await roster.identify(secrets, mailing_list.id, letter.sender)
        async with self.database.read() as tx:
            return await LookUp(tx, secrets, mailing_list, self.clock()).standing(person)

    async def _follow_token(self, heard: Heard) -> Heard:
        token, secrets, mailing_list = heard.command.token, self.keyring.secrets, heard.arrival.mailing_list
        if token is None:
            return heard
        async with self.database.read() as tx:
            look = LookUp(tx, secrets, mailing_list, self.clock())
            if heard.command.verb is Verb.UNSUBSCRIBE:
                return replace(heard, standing=await look.by_unsubscribe_token(heard.standing, token))
            stored = await look.request(token) if heard.command.verb is Verb.CONFIRM else None
        if stored is None:
            return heard
        request, mark = stored
        person = await roster.identify(secrets, mailing_list.id, request.address)
        async with self.database.read() as tx:
            standing = await LookUp(tx, secrets, mailing_list, self.clock()).standing(person)
        return await self._with_new_address(replace(heard, standing=replace(standing, request=request, mark=mark)))

    async def _with_new_address(self, heard: Heard) -> Heard:
        request = heard.standing.request
        address = request.new_address if request else heard.command.new_address
        if address is None or heard.new is not None:
            return heard
        secrets, mailing_list = self.keyring.secrets, heard.arrival.mailing_list
        new = await roster.identify(secrets, mailing_list.id, address)
        async with self.database.read() as tx:
            standing = await LookUp(tx, secrets, mailing_list, self.clock()).standing(new)
        return replace(heard, new=new, new_state=standing.state)


def _is_automatic(arrival: Arrival, letter: Letter, directory: Directory) -> bool:
    """Return whether a letter neither acts nor is answered (RFC 3834 §2). The postmaster gets reports all the same."""
    own = [address for one in directory.lists for address in one.own_addresses]
    why = guard.why_automatic_envelope(arrival.envelope.mail_from, letter.sender, own) or letter.automatic
    if is_postmaster(arrival.envelope.rcpt_to):
        return why is Automatic.OURS
    return why is not None


def _is_proof(asked: Asked, letter: Letter, now: datetime) -> bool:
    """Return whether the command itself stands under a signature of the key on file, which is not known to be old.

    That it comes for the first time is checked where it is carried out (inward/receive).
    """
    if not asked.is_signed or letter.signed_by is None or letter.signed_digest is None:
        return False
    if letter.signed_at is None:
        return True
    return now - SIGNED_WITHIN <= letter.signed_at <= now + CLOCK_SKEW


def case_of(heard: Heard, now: datetime) -> Case:
    """Return what is decided about: the heard letter without its words."""
    standing = heard.standing
    drawer = standing.found.drawer if standing.found else None
    certificate = drawer.certificate if drawer else b""
    return Case(
        command=heard.command,
        state=standing.state,
        is_proven=heard.is_signed or standing.has_token,
        key=heard.key,
        fingerprint=drawer.fingerprint if drawer else "",
        is_key_usable=bool(certificate) and openpgp.is_usable(certificate, now) is None,
        is_key_signed=heard.is_signed and heard.letter.offer_is_signed,
        is_key_known=isinstance(heard.key, Certificate) and heard.key.blob == certificate,
        request=standing.request,
        new_state=heard.new_state,
        is_unopened=heard.is_unopened,
        is_retired=heard.arrival.mailing_list.is_retired,
    )
