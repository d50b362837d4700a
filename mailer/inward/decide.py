"""What happens to a command: one pure function from a case to a decision, carried out elsewhere (inward/receive).

The rules in short. Whatever changes the register needs proof: the signature of the key on file, a token that we mailed,
or a confirmation. Replies go to the address that a letter names and nowhere else, and hold nothing that it said.
Where each act leads stands in inward/states; docs/states.md is printed from both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from mailer.inward.states import IN_REGISTER, ON_LIST, Act, after_all
from mailer.model.certificate import Certificate, Refusal, Refused
from mailer.model.command import Command, Verb
from mailer.model.request import Request
from mailer.model.subscriber import Format, State

# --- What a case is -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """All that a decision depends on.

    state: of the sender, or for a valid token of whoever it belongs to. is_proven: by the signature of the key on
    file, by an unsubscribe token or by a confirmation. key: the best certificate in the letter. fingerprint: of the
    key on file, "" if none. has_means: whether a letter to them can be sealed: to the key on file, or under their
    passphrase. is_key_known: the letter brings just that key, and nothing new about it. is_key_later: that key, signed
    anew by itself, with the same subkeys. is_key_signed: the proof covers the key in the letter, too. request: what the
    token confirms. has_card: a card was shown, now or when they asked, that was not used yet. new_state: where the new
    address stands, for a change of address. is_unopened: the letter is encrypted to a key that is not ours. is_retired:
    the list is; nobody joins it any more.
    """

    command: Command
    state: State
    is_proven: bool = False
    key: Certificate | Refused | None = None
    fingerprint: str = ""
    has_means: bool = False
    is_key_known: bool = False
    is_key_later: bool = False
    is_key_signed: bool = False
    request: Request | None = None
    has_card: bool = False
    new_state: State = State.UNKNOWN
    is_unopened: bool = False
    is_retired: bool = False
    format: Format = Format.PGP_MIME
    formats: frozenset[Format] = frozenset()


# --- What a decision is ---------------------------------------------------------------------------------------------


class To(StrEnum):
    """Whom a reply is for, and whose key it is sealed to."""

    SENDER = "sender"  # the key on file, else the key in the letter where that is usable, else open
    SENDER_IN_CLEAR = "sender-in-clear"  # whatever key is on file: it may have been revoked
    OLD_KEY = "old-key"  # same address, the key that was on file before
    NEW_KEY = "new-key"  # same address, the key that is asked for
    OLD_ADDRESS = "old-address"
    NEW_ADDRESS = "new-address"  # the key on file
    CARD = "card"  # same address, under the words of the card
    NEW_FORMAT = "new-format"  # same address, in the form that is asked for
    CONTACT = "contact"  # the list's own contact


@dataclass(frozen=True, slots=True)
class Reply:
    """A letter to write: which template, to whom, and whether the list's key comes along."""

    template: str
    to: To = To.SENDER
    with_list_key: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do. request: for ASK, what is kept. reason: for tests and for whoever asks why.

    is_second_step: the new address is asked now. is_waiting: the confirmation was not enough, and can be given again.
    further: acts that are done after the first one, in the same transaction.
    """

    act: Act
    replies: tuple[Reply, ...] = ()
    request: Verb | None = None
    reason: str = ""
    is_second_step: bool = False
    is_waiting: bool = False
    further: tuple[Act, ...] = ()


def decide(case: Case) -> Decision:
    """Return what to do about a case. Pure and total: what no rule allows is refused with a reply or in silence."""
    if case.state is State.BANNED:
        return Decision(Act.NOTHING, reason="banned")
    if case.is_unopened and case.command.token is None:
        return _answer("cannot-decrypt", with_list_key=True, reason="not encrypted to the list's key")
    decision = _several(case) if case.command.also else _RULES[case.command.verb](case)
    if after_all(case.state, (decision.act, *decision.further)) is None:
        return Decision(Act.NOTHING, reason="not in the table of states")
    return _with_warning(case, decision)


def _with_warning(case: Case, decision: Decision) -> Decision:
    """Whoever sent a secret key hears of it, whatever else they asked; and the letter is handed on to nobody."""
    if not isinstance(case.key, Refused) or case.key.reason is not Refusal.SECRET:
        return decision
    warning = Reply(case.key.template)
    others = (reply for reply in decision.replies if reply.to is not To.CONTACT and reply != warning)
    return replace(decision, replies=(*others, warning))


# --- The rules, by verb ---------------------------------------------------------------------------------------------


def _answer(template: str, *, with_list_key: bool = False, reason: str = "asked") -> Decision:
    return Decision(Act.NOTHING, (Reply(template, with_list_key=with_list_key),), reason=reason)


def _help(case: Case) -> Decision:
    return _answer("help" if case.command.language else "help-all")


def _get_key(_case: Case) -> Decision:
    return _answer("list-key", with_list_key=True)


def _subscribe(case: Case) -> Decision:
    if case.state in ON_LIST:
        is_other = isinstance(case.key, Certificate) and case.key.fingerprint != case.fingerprint
        if is_other or case.is_key_later or _is_revoked(case) or not case.has_means:
            return _set_key(case)
        return _resume(case) if case.state is State.PAUSED else _answer("already-subscribed")
    if case.is_retired:
        return _answer("list-retired", reason="the list is retired")
    return _with_usable_key(case, Verb.SUBSCRIBE, "confirm-subscribe")


def _join_by_card(case: Case) -> Decision:
    """A card shows that somebody was given it, and not who writes: the address is asked, as for any other joining.

    All codes that do not work get one answer, whyever they do not. Whoever has a key is asked under it; words that
    somebody lost cannot ask, so they are asked in the clear.
    """
    if (refused := _without_card(case)) is not None:
        return refused
    to = To.SENDER_IN_CLEAR if case.format is Format.PDF else To.SENDER
    return Decision(Act.ASK, (Reply("confirm-card", to),), Verb.JOIN_BY_CARD, "asked to confirm")


def _take_card(case: Case) -> Decision:
    if (refused := _without_card(case)) is not None:
        return refused
    welcome = Reply("welcome-card", To.CARD)
    if case.state not in ON_LIST:
        return Decision(Act.JOIN, (welcome,), reason="confirmed")
    was_asked_in_clear = case.format is Format.PDF and case.has_means
    told = (Reply("words-changed-old", To.OLD_KEY),) if was_asked_in_clear else ()
    return Decision(Act.TAKE_CARD, (welcome, *told), reason="confirmed")


def _without_card(case: Case) -> Decision | None:
    if case.is_retired and case.state not in ON_LIST:
        return _answer("list-retired", reason="the list is retired")
    return None if case.has_card else _answer("card-unknown", reason="no such card, or none any more")


def _with_usable_key(case: Case, verb: Verb, template: str) -> Decision:
    if case.key is None:
        return _answer("key-needed", with_list_key=True, reason="no key")
    if isinstance(case.key, Refused):
        return _answer(case.key.template, reason=f"key {case.key.reason}")
    return Decision(Act.ASK, (Reply(template, To.NEW_KEY),), verb, "asked to confirm")


def _set_key(case: Case) -> Decision:
    """A key that goes on longer is proof of itself. Otherwise none is: an older copy may bring back a subkey long lost,
    and others can revoke in its name.
    """
    if case.state not in ON_LIST:
        return _nothing_held(case)
    if _is_revoked(case):
        return _drop_key(case)
    if not isinstance(case.key, Certificate):
        return _with_usable_key(case, Verb.SET_KEY, "confirm-key")
    if case.is_proven and case.is_key_signed:
        return Decision(Act.SET_KEY, _told_about_key(case), reason="proven")
    if case.is_key_known:
        return Decision(Act.NOTHING, (Reply("key-changed", To.NEW_KEY),), reason="the key on file")
    if case.is_key_later:
        return Decision(Act.SET_KEY, (Reply("key-changed", To.NEW_KEY),), reason="the key on file, signed anew")
    return Decision(Act.ASK, (Reply("confirm-key", To.NEW_KEY),), Verb.SET_KEY, "asked to confirm")


def _drop_key(case: Case) -> Decision:
    if case.is_proven and case.is_key_signed:
        return Decision(Act.DROP_KEY, (Reply("key-revoked", To.SENDER_IN_CLEAR),), reason="proven")
    question = (Reply("confirm-key-revoked", To.SENDER_IN_CLEAR),)
    return Decision(Act.ASK, question, Verb.SET_KEY, "asked to confirm")


def _is_revoked(case: Case) -> bool:
    return isinstance(case.key, Refused) and case.key.reason is Refusal.REVOKED and _is_on_file(case)


def _is_on_file(case: Case) -> bool:
    return bool(case.fingerprint) and case.key is not None and case.key.fingerprint == case.fingerprint


def _told_about_key(case: Case) -> tuple[Reply, ...]:
    """Whoever reads by words hears of it under these: with their mailbox alone somebody can set a key."""
    changed = Reply("key-changed", To.NEW_KEY)
    if _is_on_file(case) or not (case.fingerprint or case.has_means):
        return (changed,)
    told = Reply("key-changed-old", To.OLD_KEY) if case.has_means else Reply("key-replaced", To.SENDER_IN_CLEAR)
    return (changed, told)


def _unsubscribe(case: Case) -> Decision:
    if case.state not in IN_REGISTER:
        return _nothing_held(case)
    if case.is_proven:
        return Decision(Act.LEAVE, (Reply("goodbye"),), reason="proven")
    return _ask(Verb.UNSUBSCRIBE, "confirm-unsubscribe")


def _forget(case: Case) -> Decision:
    if case.state not in IN_REGISTER:  # no proof needed: without the mark, an import may ask them once more
        return Decision(Act.FORGET_MARK, (Reply("nothing-held"),), reason="not on the list")
    if case.is_proven:
        return Decision(Act.FORGET, (Reply("forgotten"),), reason="proven")
    return _ask(Verb.FORGET, "confirm-forget" if case.has_means else "confirm-unsubscribe")


def _set_language(case: Case) -> Decision:
    if case.state not in ON_LIST:
        return _nothing_held(case)
    if case.is_proven:
        return Decision(Act.SET_LANGUAGE, (Reply("language-changed"),), reason="proven")
    return _ask_sealed(case, Verb.SET_LANGUAGE, "confirm-language")


def _set_format(case: Case) -> Decision:
    """Asked and told in the new form: who cannot read it does not confirm it. A PDF needs its words first."""
    wanted = case.request.format if case.request else case.command.format
    if case.state not in ON_LIST:
        return _nothing_held(case)
    if wanted is None or not case.has_means:
        return _key_missing(case) if wanted else _help(case)
    if wanted not in case.formats:
        if wanted is Format.PDF:
            return _answer("format-not-offered", reason="no PDF can be made here")
        return _answer("format-needs-key", reason="the form needs a key")
    changed = Reply("format-changed", To.NEW_FORMAT)
    if wanted is case.format:
        return Decision(Act.NOTHING, (changed,), reason="in this form already")
    is_pdf = wanted is Format.PDF
    if case.is_proven:
        return Decision(Act.SET_FORMAT, (Reply("format-pdf", To.OLD_KEY) if is_pdf else changed,), reason="proven")
    question = Reply("confirm-format", To.OLD_KEY if is_pdf else To.NEW_FORMAT)
    return Decision(Act.ASK, (question,), Verb.SET_FORMAT, "asked to confirm")


def _pause(case: Case) -> Decision:
    if case.state not in ON_LIST:
        return _nothing_held(case)
    if case.state is State.PAUSED:
        return _answer_sealed(case, "paused", "paused already")
    if case.is_proven:
        return Decision(Act.PAUSE, (Reply("paused"),), reason="proven")
    return _ask_sealed(case, Verb.PAUSE, "confirm-pause")


def _resume(case: Case) -> Decision:
    if case.state not in ON_LIST:
        return _nothing_held(case)
    if not case.has_means:
        return _set_key(case)
    if case.state is State.ACTIVE:
        return _answer("resumed", reason="active already")
    if case.is_proven:
        return Decision(Act.RESUME, (Reply("resumed"),), reason="proven")
    return _ask_sealed(case, Verb.RESUME, "confirm-resume")


def _change_address(case: Case) -> Decision:
    if case.state not in ON_LIST:
        return _nothing_held(case)
    if not case.is_proven:  # first the holder of the old address agrees, then the new one shows that mail arrives
        return _ask_sealed(case, Verb.CHANGE_ADDRESS, "confirm-address-old")
    if not case.has_means:
        return _key_missing(case)
    second = (Reply("confirm-address", To.NEW_ADDRESS),)
    return Decision(Act.ASK, second, Verb.CHANGE_ADDRESS, "asked the new address", is_second_step=True)


def _status(case: Case) -> Decision:
    if case.state not in ON_LIST:
        return _nothing_held(case)
    return _answer_sealed(case, "status", "asked")


def _nothing_held(_case: Case) -> Decision:
    return _answer("nothing-held", reason="not on the list")


def _key_missing(case: Case) -> Decision:
    template = "key-no-longer-usable" if case.fingerprint else "key-needed"
    return _answer(template, with_list_key=not case.fingerprint, reason="no usable key on file")


def _answer_sealed(case: Case, template: str, reason: str) -> Decision:
    return _answer(template, reason=reason) if case.has_means else _key_missing(case)


def _ask(verb: Verb, template: str) -> Decision:
    return Decision(Act.ASK, (Reply(template),), verb, "asked to confirm")


def _ask_sealed(case: Case, verb: Verb, template: str) -> Decision:
    return _ask(verb, template) if case.has_means else _key_missing(case)


def _to_contact(_case: Case) -> Decision:
    return Decision(Act.NOTHING, (Reply("forwarded", To.CONTACT),), reason="no command")


def _bounce(_case: Case) -> Decision:
    return Decision(Act.NOTHING, reason="bounce")


# --- Several at once (inward/several) -------------------------------------------------------------------------------


def _several(case: Case) -> Decision:
    """All or nothing: one question for all of them, one transaction, one answer."""
    first, also = case.command.verb, tuple(one.verb for one in case.command.also)
    if case.request is not None:
        first, also = case.request.verb, case.request.also
    if case.state not in ON_LIST:
        return _nothing_held(case)
    if not case.is_proven:
        return _ask_sealed(case, first, "confirm-several")
    acts = [_SETTINGS[verb] for verb in (first, *also) if not _is_so_already(case, verb)]
    told = (Reply("settings-changed"),)
    if not acts:
        return Decision(Act.NOTHING, told, reason="so already")
    return Decision(acts[0], told, reason="proven", further=tuple(acts[1:]))


_SETTINGS = {Verb.SET_LANGUAGE: Act.SET_LANGUAGE, Verb.PAUSE: Act.PAUSE, Verb.RESUME: Act.RESUME}


def _is_so_already(case: Case, verb: Verb) -> bool:
    return (verb, case.state) in ((Verb.PAUSE, State.PAUSED), (Verb.RESUME, State.ACTIVE))


def _unclear(_case: Case) -> Decision:
    return _answer("several-unclear", reason="several commands, or one among other words: none is done")


# --- What a confirmation does ---------------------------------------------------------------------------------------


def _confirm(case: Case) -> Decision:
    """A confirmation is proof of what was asked for, and of nothing else that the letter may say."""
    request = case.request
    if request is None or request.verb not in CONFIRMABLE:
        is_known = case.state in ON_LIST and case.has_means  # a second answer to the same letter: nothing is wrong
        return _answer("already-subscribed" if is_known else "token-unknown", reason="unknown or used token")
    if request.verb is Verb.SUBSCRIBE:
        return _join(case, request)
    if request.verb is Verb.JOIN_BY_CARD:
        return _take_card(case)
    if request.is_second_step:
        return _move(case)
    key = case.key if request.certificate else None
    is_later = case.is_key_later and key is not None
    proven = replace(case, is_proven=True, is_key_signed=True, key=key, is_key_later=is_later)
    if request.verb is Verb.SET_KEY and request.certificate is None:  # what is confirmed is that it was revoked
        return _drop_key(proven) if case.state in ON_LIST else _nothing_held(case)
    return _several(proven) if request.also else _RULES[request.verb](proven)


def _join(case: Case, request: Request) -> Decision:
    if case.state in ON_LIST:
        return _answer_sealed(case, "already-subscribed", "on the list already")
    if case.is_retired:
        return _answer("list-retired", reason="the list is retired")
    if not isinstance(case.key, Certificate):  # invited without a key: the confirmation has to bring one
        return replace(_with_usable_key(case, request.verb, "confirm-subscribe"), is_waiting=True)
    return Decision(Act.JOIN, (Reply("welcome", To.NEW_KEY, with_list_key=True),), reason="confirmed")


def _move(case: Case) -> Decision:
    if case.state not in ON_LIST:
        return _nothing_held(case)
    if case.new_state is State.BANNED:
        return Decision(Act.NOTHING, reason="banned")
    if case.new_state in ON_LIST:
        return Decision(Act.NOTHING, (Reply("already-subscribed", To.NEW_ADDRESS),), reason="on the list already")
    told = (Reply("address-changed", To.NEW_ADDRESS), Reply("address-changed-old", To.OLD_ADDRESS))
    return Decision(Act.MOVE, told, reason="confirmed")


# --- The table ------------------------------------------------------------------------------------------------------

_RULES: dict[Verb, Callable[[Case], Decision]] = {
    Verb.HELP: _help,
    Verb.GET_KEY: _get_key,
    Verb.SUBSCRIBE: _subscribe,
    Verb.JOIN_BY_CARD: _join_by_card,
    Verb.CONFIRM: _confirm,
    Verb.UNSUBSCRIBE: _unsubscribe,
    Verb.FORGET: _forget,
    Verb.SET_KEY: _set_key,
    Verb.SET_LANGUAGE: _set_language,
    Verb.SET_FORMAT: _set_format,
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.CHANGE_ADDRESS: _change_address,
    Verb.STATUS: _status,
    Verb.BOUNCE: _bounce,
    Verb.CONTACT: _to_contact,
    Verb.UNCLEAR: _unclear,
}

CONFIRMABLE = frozenset(
    {
        *(Verb.SUBSCRIBE, Verb.JOIN_BY_CARD, Verb.SET_KEY, Verb.CHANGE_ADDRESS, Verb.UNSUBSCRIBE),
        *(Verb.FORGET, Verb.SET_LANGUAGE, Verb.SET_FORMAT, Verb.PAUSE, Verb.RESUME),
    }
)
