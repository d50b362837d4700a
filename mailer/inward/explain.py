"""What the service would do with a letter, and why, without doing any of it: the walk in, with nothing at its end.

Without the register everybody is a stranger, no token is known and no key opens a letter; what a letter *is* does not
depend on that. Counted limits, letters seen before, and what the DNS says of the sender are not looked at: each letter
is taken for the first today, and for true.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from mailer.errors import Unreadable
from mailer.inward import decide, several
from mailer.inward.bounces import Returned
from mailer.inward.case import Arrival, Heard, Listener, case_of, why_automatic
from mailer.inward.decide import Case, Decision, To
from mailer.inward.reader import Reader
from mailer.inward.states import Act
from mailer.inward.understand import understand
from mailer.model.address import Address
from mailer.model.command import Command, Verb
from mailer.model.failure import Failure
from mailer.model.letter import Envelope, Letter, Unopened
from mailer.model.mailing_list import Directory, MailingList, is_postmaster
from mailer.model.report import Kind as ReportKind
from mailer.model.report import Report
from mailer.model.subscriber import State

_CHANGES = frozenset(Act) - {Act.NOTHING, Act.ASK, Act.FORGET_MARK}  # the last two touch nobody's subscription


class Kind(StrEnum):
    """What a letter is to the service. CONTACT: no command, for a person. UNREADABLE: set aside, or not opened."""

    COMMAND = "command"
    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    AUTOMATIC = "automatic"
    CONTACT = "contact"
    UNREADABLE = "unreadable"


class Proof(StrEnum):
    """What shows that the letter may do what it asks."""

    NONE = "none"
    TOKEN = "token"
    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would be done. command: of a COMMAND. acts: whether somebody's subscription would change.

    reply: the template of the letter that would go back to its writer. failure: a bounce's class; TEMPORARY where the
    letter is only late and no other is named.
    """

    kind: Kind
    reason: str
    command: str | None = None
    proof: Proof = Proof.NONE
    acts: bool = False
    reply: str | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Explainer:
    """Explains letters. listener: with the service secrets and the register, None for a stranger's view."""

    reader: Reader
    directory: Directory
    now: datetime
    listener: Listener | None = None

    async def explain(self, raw: bytes, envelope: Envelope) -> Explanation:
        """Return what the service would do with a letter that came under this envelope. Raises StoreError.

        raw: as SMTP brings it (inward/saved). For a recipient whom the door refuses it says what the letter is.
        """
        mailing_list = self.directory.find(envelope.rcpt_to)
        if mailing_list is None:
            there = replace(envelope, rcpt_to=self.directory.lists[0].address)
            told = await self.explain(raw, there)
            return Explanation(told.kind, "the door refuses it: no list has this address", told.command)
        arrival = Arrival(mailing_list, envelope, raw)
        try:
            letter, is_unopened = await self._read(arrival)
            return await self._explain(arrival, letter, is_unopened)
        except Unreadable as error:
            return Explanation(Kind.UNREADABLE, _UNREADABLE.get(error.reason, error.reason))

    async def _read(self, arrival: Arrival) -> tuple[Letter, bool]:
        keys = self.listener.keyring.keys_of(arrival.mailing_list.id, self.listener.clock()) if self.listener else []
        try:
            return await self.reader.read(arrival.raw, keys), False
        except Unopened as unopened:
            return unopened.letter, True

    async def _explain(self, arrival: Arrival, letter: Letter, is_unopened: bool) -> Explanation:
        if letter.report is not None:
            is_ours = bool(self.listener) and isinstance(await self._hear(arrival), Returned)
            return _of_report(letter.report, is_ours=is_ours)
        why = why_automatic(arrival, letter, self.directory)
        if why is not None:
            return Explanation(Kind.AUTOMATIC, f"a program wrote it ({why}): it never acts and is never answered")
        heard = await self._hear(arrival)
        if isinstance(heard, Heard):
            return _of_command(case_of(heard, self.now), _proof(heard))
        return _of_command(_strangers_case(arrival, letter, is_unopened), Proof.NONE)

    async def _hear(self, arrival: Arrival) -> Heard | Returned | None:
        return await self.listener.hear_arrival(arrival) if self.listener else None


def _strangers_case(arrival: Arrival, letter: Letter, is_unopened: bool) -> Case:
    """Return the case of somebody of whom nothing is known."""
    asked = understand(letter, arrival.detail, arrival.mailing_list.address)
    is_to_postmaster = is_postmaster(arrival.envelope.rcpt_to)
    return Case(
        command=Command(Verb.CONTACT) if is_to_postmaster else asked.command,
        state=State.UNKNOWN,
        key=next(iter(letter.offered), None),
        is_unopened=is_unopened and not is_to_postmaster,
        is_retired=arrival.mailing_list.is_retired,
    )


def _proof(heard: Heard) -> Proof:
    if heard.standing.has_token or heard.standing.request is not None:
        return Proof.TOKEN
    return Proof.SIGNATURE if heard.is_signed else Proof.NONE


def _of_report(report: Report, *, is_ours: bool) -> Explanation:
    is_bounce = report.kind is ReportKind.BOUNCE
    what = "counts against one subscriber's address" if is_bounce else "ends one subscription"
    if is_bounce and report.is_delayed:
        reason = "says that a letter is late; nothing has failed yet"
    elif is_ours:
        reason = f"shows a token of ours: it {what}"
    else:
        reason = "shows no token of ours, so it is dropped"
    return Explanation(
        kind=Kind.BOUNCE if is_bounce else Kind.COMPLAINT,
        reason=reason,
        proof=Proof.TOKEN if is_ours else Proof.NONE,
        acts=is_ours and not (is_bounce and report.is_delayed),
        failure=_class_of(report) if is_bounce else None,
    )


def _class_of(report: Report) -> Failure:
    return Failure.TEMPORARY if report.is_delayed and not report.failures else report.failure


def _of_command(case: Case, proof: Proof) -> Explanation:
    decision = decide.decide(case)
    if case.is_unopened and case.command.token is None:
        return Explanation(Kind.UNREADABLE, decision.reason, reply=_reply(decision))
    if case.command.verb is Verb.BOUNCE:
        return Explanation(Kind.AUTOMATIC, "came to the address for bounces but is none: it is dropped")
    if case.command.verb is Verb.CONTACT:
        return Explanation(Kind.CONTACT, f"{decision.reason}: it goes to the list's contact, encrypted")
    return Explanation(
        kind=Kind.COMMAND,
        reason=_reason(decision),
        command=" + ".join(part.verb for part in several.parts(case.command)),
        proof=proof,
        acts=decision.act in _CHANGES,
        reply=_reply(decision),
    )


def _reason(decision: Decision) -> str:
    return f"{decision.reason}; {_ACTS[decision.act]}" if decision.act in _ACTS else decision.reason


def _reply(decision: Decision) -> str | None:
    return next((reply.template for reply in decision.replies if reply.to is not To.CONTACT), None)


_ACTS = {Act.ASK: "nothing changes until it is confirmed"} | {act: f"act: {act}" for act in _CHANGES}
_UNREADABLE = {
    "malformed": "it is no letter",
    "too-large": "it, its header or one of its fields is larger than any honest letter's",
    "too-complex": "it has more parts, levels or parameters than any honest letter",
    "no-sender": "its From names nobody",
    "several-senders": "it has several From fields, or several mailboxes in one",
    "cannot-decrypt": "no key of the list opens it",
    "reader-died": "reading it took more time or memory than a letter is allowed",
}


EXAMPLE = Directory((MailingList("example", Address("news", "lists.example.org")),))


def with_example(directory: Directory | None, rcpt_to: Address | None) -> Directory:
    """Return the directory; where there is none, or it is empty, one with a list that is made up."""
    if directory is not None and directory.lists:
        return directory
    return Directory((MailingList("example", rcpt_to.split_detail()[0]),)) if rcpt_to else EXAMPLE
