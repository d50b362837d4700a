"""Who comes onto a list and goes off it by an admin's hand: checked and written in one transaction, or not at all."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from mailer.crypto.service_secrets import ServiceSecrets
from mailer.crypto.vault import RosterPublic
from mailer.errors import NotEnrolled
from mailer.model.address import Address
from mailer.model.mailing_list import MailingList
from mailer.model.means import means_of, with_format, with_key
from mailer.model.provider import Providers
from mailer.model.subscriber import Drawer, Format, Method, State
from mailer.outward.copies import INVITATION
from mailer.registrar.abreast import each
from mailer.registrar.faults import Fault, Problem
from mailer.registrar.sheet import Row
from mailer.registrar.vetting import Applicant, Vetting
from mailer.store import bulk, pending, roster
from mailer.store.database import Database
from mailer.store.roster import Newcomer, Person

KEY_NEEDED = "key-needed"  # the notice to somebody who is on the list without a key


@dataclass(frozen=True)
class Register:
    """A list's register, and what writing in it needs. public: half of the roster key; nothing here opens a record."""

    database: Database
    secrets: ServiceSecrets
    mailing_list: MailingList
    public: RosterPublic
    providers: Providers
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    random: Callable[[int], bytes] = os.urandom


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms people come. has_consent: they agreed already, and that is recorded; else they are asked first.

    may_return: whoever left may be asked to come back. skip_bad: lines with a problem are left out, not everything.
    """

    has_consent: bool = False
    may_return: bool = False
    skip_bad: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """An applicant, sealed. line: in the file, from 1."""

    line: int
    entrant: bulk.Entrant


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What became of applicants: how many are in which state now, and what stood against the others."""

    counts: dict[State, int]
    problems: tuple[Problem, ...] = ()


Watch = Callable[[str, int], Callable[[], None]]  # begins a stage of so many steps; returns what to call after each


async def add(register: Register, applicant: Applicant, terms: Terms) -> State:
    """Take one person in and return where they stand now. Raises NotEnrolled with the reason, StoreError."""
    enrolled = await enrol(register, await prepare(register, [applicant], terms), terms)
    if enrolled.problems:
        raise NotEnrolled(f"{enrolled.problems[0].sentence}.")
    return next(iter(enrolled.counts))


async def import_rows(
    register: Register, vetting: Vetting, rows: Sequence[Row], terms: Terms, width: int, watch: Watch
) -> Enrolled:
    """Take in whom the lines of a file name; with any problem nobody, unless bad lines may be skipped.

    Every line is looked at, hashed and sealed before the one transaction. width: how many at a time. Raises
    NotEnrolled for a retired list, StoreError; then nobody was taken in either.
    """
    applicants, problems = await vetting.vet(rows, width, watch("Reading", len(rows)))
    prepared = await prepare(register, applicants, terms, width, watch("Sealing", len(applicants)))
    enrolled = await enrol(register, prepared, terms, may_write=terms.skip_bad or not problems)
    found = sorted((*problems, *enrolled.problems), key=lambda problem: problem.line)
    return Enrolled(enrolled.counts, tuple(found))


async def prepare(
    register: Register,
    applicants: Sequence[Applicant],
    terms: Terms,
    width: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> list[Prepared]:
    """Return applicants with their rows sealed, `width` threads at a time: about 10 ms of Argon2id each.

    Raises NotEnrolled for a retired list.
    """
    if register.mailing_list.is_retired:
        raise NotEnrolled("the list is retired, and nobody joins it any more.")

    async def prepare_one(one: Applicant) -> Prepared:
        person = await roster.identify(register.secrets, register.mailing_list.id, one.address)
        return Prepared(one.line, _seal(register, one, person, _state(one, terms)))

    return await each(applicants, prepare_one, width, advance)


async def enrol(register: Register, prepared: Sequence[Prepared], terms: Terms, *, may_write: bool = True) -> Enrolled:
    """Check and take in people, in one transaction: where there is a problem and none may be skipped, nobody.

    may_write: without it they are only checked. Raises StoreError; then nobody was taken in.
    """
    async with register.database.write() as tx:
        held = await bulk.known(tx, [one.entrant.person for one in prepared])
        has_smime = register.mailing_list.id in register.secrets.smime_keys
        faults = {one.line: fault for one in prepared if (fault := _fault(held, one.entrant, terms, has_smime))}
        taken = [one.entrant for one in prepared if one.line not in faults]
        if not may_write or (faults and not terms.skip_bad):
            taken = []
        await bulk.enter(tx, taken, register.clock())
    counts = Counter(one.new.state for one in taken)
    return Enrolled(dict(counts), tuple(Problem(line, fault) for line, fault in faults.items()))


async def remove(register: Register, address: Address, *, ban: bool = False) -> bool:
    """Erase whoever has an address, or with `ban` keep it off the list; return False if there was nothing to do.

    Who was on the list leaves the mark of somebody who left, so that no import brings them back.
    """
    person = await roster.identify(register.secrets, register.mailing_list.id, address)
    today = register.clock().date()
    async with register.database.write() as tx:
        found = None if ban else await roster.find(tx, person)
        if ban:
            await roster.ban(tx, person, today)
        elif found is None:
            return False
        else:
            await roster.erase(tx, found.subscriber.id, today, found.subscriber.state is not State.INVITED)
        await pending.drop_all_of(tx, person.index.look_up)
    return True


async def lift_ban(register: Register, address: Address) -> None:
    """Let an address that was banned, or left, join again."""
    person = await roster.identify(register.secrets, register.mailing_list.id, address)
    async with register.database.write() as tx:
        await roster.forget_mark(tx, person)


def _state(one: Applicant, terms: Terms) -> State:
    if not terms.has_consent or one.state is State.INVITED:
        return State.INVITED
    if means_of(*_on_file(one)) is None:
        return State.SUSPENDED
    return State.PAUSED if one.state is State.PAUSED else State.ACTIVE


def _on_file(one: Applicant) -> tuple[Method, Drawer]:
    """Return what their letters are sealed with, and how: by the key, unless they want PDFs or have nothing else."""
    method, drawer = Method.OPENPGP, Drawer(passphrase=one.passphrase)
    if one.certificate is not None:
        method, drawer = with_key(method, drawer, one.certificate)
    wanted = one.format or (Format.PDF if one.passphrase and one.certificate is None else Format.PGP_MIME)
    return with_format(drawer, wanted, one.passphrase) or (method, replace(drawer, format=wanted))


def _fault(held: bulk.Known, entrant: bulk.Entrant, terms: Terms, has_smime: bool) -> Fault | None:
    """Return why somebody cannot be taken in, by what the register holds. has_smime: the list has an X.509 key."""
    if entrant.new.method is Method.SMIME and not has_smime:
        return Fault.KEY_NOT_OFFERED
    look_up, is_invitation = entrant.person.index.look_up, entrant.new.state is State.INVITED
    state, mark = held.states.get(look_up), held.marks.get(look_up)
    if state not in (None, State.INVITED):
        return Fault.SUBSCRIBED
    if mark == roster.BANNED:
        return Fault.BANNED
    if mark == roster.LEFT and not (terms.may_return and is_invitation):
        return Fault.LEFT
    return Fault.INVITED if state is State.INVITED and is_invitation else None


def _seal(register: Register, one: Applicant, person: Person, state: State) -> bulk.Entrant:
    today = register.clock().date()
    method, drawer = _on_file(one)
    new = Newcomer(
        register.random(roster.ID_BYTES),
        register.random(roster.DRAWER_KEY_BYTES),
        drawer,
        one.language,
        register.providers.name_of(one.address),
        one.joined if one.joined and state is not State.INVITED else today,  # an invitation runs out from today
        state,
        method,
    )
    notice = {State.INVITED: INVITATION, State.SUSPENDED: KEY_NEEDED}.get(state)
    return bulk.seal(register.secrets, register.public, person, new, notice)
