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
from mailer.inward import absence, bounces, guard
from mailer.inward.bounces import Returned
from mailer.inward.decide import Case
from mailer.inward.look_up import LookUp, Standing
from mailer.inward.quoting import read_own
from mailer.inward.reader import Reader
from mailer.inward.understand import Asked, understand
from mailer.model.certificate import Certificate, Refusal, Refused
from mailer.model.command import Command, Verb
from mailer.model.letter import Automatic, Envelope, Letter, Unopened
from mailer.model.mailing_list import Directory, MailingList, is_postmaster
from mailer.model.means import format_of
from mailer.model.subscriber import Drawer, Format, State
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
        return await self.hear_arrival(self._unseal(waiting))

    async def hear_arrival(self, arrival: Arrival) -> Heard | Returned | None:
        """Return the same of a letter that never lay in the inbox."""
        letter, is_unopened = await self._parse(arrival)
        returned = await self._returned(arrival, letter)
        if returned is not None:
            return returned
        if why_automatic(arrival, letter, self.directory) is not None:
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
        keys = self.keyring.keys_of(arrival.mailing_list.id, self.clock())
        try:
            letter, is_unopened = await self.reader.read(arrival.raw, keys, certificate), False
        except Unopened as unopened:
            letter, is_unopened = unopened.letter, True
        return self._as_offered_here(arrival, letter), is_unopened

    def _as_offered_here(self, arrival: Arrival, letter: Letter) -> Letter:
        """Return the letter with X.509 certificates refused where the list has no such key: nothing would be signed."""
        if self.keyring.smime_key(arrival.mailing_list.id, arrival.mailing_list.identity) is not None:
            return letter
        offered = [_not_offered(one) if isinstance(one, Certificate) and one.is_x509 else one for one in letter.offered]
        return replace(letter, offered=tuple(sorted(offered, key=lambda one: isinstance(one, Refused))))

    async def _returned(self, arrival: Arrival, letter: Letter) -> Returned | None:
        if letter.report is None:
            return None
        token_key, mailing_list = self.keyring.secrets.token_key, arrival.mailing_list
        async with self.database.read() as tx:
            return await bounces.find(tx, token_key, mailing_list, arrival.detail, letter.report)

    async def _understand(self, arrival: Arrival, letter: Letter, is_unopened: bool) -> Heard:
        """Find out who writes and what they ask. What is signed, or brings the key on file, is read again with that."""
        standing = await self._standing(arrival, letter)
        found = standing.found
        if found is not None and found.drawer.certificate and (letter.is_signed or _brings(letter, found.drawer)):
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
            if heard.command.verb is Verb.JOIN_BY_CARD:
                return replace(heard, standing=replace(heard.standing, card=await look.card(token)))
            stored = await look.request(token) if heard.command.verb is Verb.CONFIRM else None
        if stored is None:
            return heard
        request, mark = stored
        person = await roster.identify(secrets, mailing_list.id, request.address)
        async with self.database.read() as tx:
            look = LookUp(tx, secrets, mailing_list, self.clock())
            standing = replace(await look.standing(person), request=request, mark=mark)
            standing = await look.with_card(standing)
        return await self._with_new_address(replace(heard, standing=standing))

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


def _not_offered(one: Certificate) -> Refused:
    return Refused(Refusal.NOT_OFFERED, one.fingerprint, one.algorithms, is_x509=True)


def why_automatic(arrival: Arrival, letter: Letter, directory: Directory) -> Automatic | None:
    """Return why a letter neither acts nor is answered (RFC 3834 §2), or None. The postmaster gets reports, too."""
    own = [address for one in directory.lists for address in one.own_addresses]
    mail_from = arrival.envelope.mail_from
    why = guard.why_automatic_envelope(mail_from, letter.sender, own, letter.message_id) or letter.automatic
    if why is None and absence.by_text(read_own(letter.text).lines) and _would_confirm(arrival, letter):
        why = Automatic.AUTORESPONDER
    if is_postmaster(arrival.envelope.rcpt_to) and why is not Automatic.OURS:
        return None
    return why


def _would_confirm(arrival: Arrival, letter: Letter) -> bool:
    """Whether a letter confirms something by coming at all: then an out-of-office reply must not."""
    return understand(letter, arrival.detail, arrival.mailing_list.address).command.verb is Verb.CONFIRM


def _brings(letter: Letter, drawer: Drawer) -> bool:
    """Whether a letter brings the key on file in another form, perhaps a later one."""
    same = (one for one in letter.offered if one.fingerprint == drawer.fingerprint)
    return any(not isinstance(one, Certificate) or one.blob != drawer.certificate for one in same)


def _news(key: Certificate | Refused | None, drawer: Drawer | None, now: datetime) -> openpgp.News:
    """Return what a certificate says more than the one on file, if it is of the same fingerprint."""
    if drawer is None or not isinstance(key, Certificate) or key.is_x509 or key.fingerprint != drawer.fingerprint:
        return openpgp.News.OTHER
    return openpgp.compare(drawer.certificate, key.blob, now)


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
    on_file = (drawer.certificate, drawer.x509) if drawer else ()
    news = _news(heard.key, drawer, now)
    return Case(
        command=heard.command,
        state=standing.state,
        is_proven=heard.is_signed or standing.has_token,
        key=heard.key,
        fingerprint=drawer.fingerprint if drawer else "",
        has_means=standing.means(now) is not None,
        format=format_of(standing.found.subscriber.method, standing.found.drawer)
        if standing.found
        else Format.PGP_MIME,
        formats=standing.formats(now),
        is_key_signed=heard.is_signed and heard.letter.offer_is_signed,
        is_key_known=isinstance(heard.key, Certificate) and (heard.key.blob in on_file or news is openpgp.News.NONE),
        is_key_later=news is openpgp.News.LATER,
        request=standing.request,
        has_card=standing.card is not None,
        new_state=heard.new_state,
        is_unopened=heard.is_unopened,
        is_retired=heard.arrival.mailing_list.is_retired,
    )
