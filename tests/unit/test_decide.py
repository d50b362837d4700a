"""What is decided, over every case there is: rows of a table that a person can check, and refusal for all others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from mailer.inward import decide as deciding
from mailer.inward import states
from mailer.inward.decide import CONFIRMABLE, Case, Decision, Reply, To, decide
from mailer.inward.states import IN_REGISTER, ON_LIST, TRANSITIONS, Act
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Refusal, Refused
from mailer.model.command import Command, Verb
from mailer.model.language import Language
from mailer.model.request import Request
from mailer.model.subscriber import State
from mailer.store import bounces

TEMPLATES = Path(__file__).parents[2] / "templates"
ON_FILE, OTHER = "aa" * 20, "bb" * 20
ADA = Address("ada", "reader.example")

# What a letter may bring: other (a usable certificate that is not the one on file), renewed (the one on file, changed),
# known (the very one on file), revoked (the one on file, revoked by its holder), refused (any that is not usable).
# What is on file: a usable certificate, one that has become unusable, or none.
TABLE = """
who                            | asks for       | proven | on file       | brings              | act          | replies

unknown invited                | subscribe      | *      | *             | other renewed known | ask          | confirm-subscribe>new-key
active suspended               | subscribe      | *      | usable        | nothing refused     | nothing      | already-subscribed
active suspended               | subscribe      | *      | usable        | known renewed       | nothing      | already-subscribed
paused                         | subscribe      | no     | usable        | nothing refused     | ask          | confirm-resume
paused                         | subscribe      | no     | usable        | known renewed       | ask          | confirm-resume
paused                         | subscribe      | yes    | usable        | nothing refused     | resume       | resumed
paused                         | subscribe      | yes    | usable        | known renewed       | resume       | resumed
active paused suspended        | subscribe      | no     | *             | other               | ask          | confirm-key>new-key
active paused suspended        | subscribe      | no     | unusable      | renewed             | ask          | confirm-key>new-key
active paused suspended        | subscribe      | yes    | usable        | other               | set-key      | key-changed>new-key key-changed-old>old-key
active paused suspended        | subscribe      | yes    | unusable none | other renewed       | set-key      | key-changed>new-key
active paused suspended        | subscribe      | no     | *             | revoked             | ask          | confirm-key-revoked>sender-in-clear
active paused suspended        | subscribe      | yes    | *             | revoked             | drop-key     | key-revoked>sender-in-clear

active paused suspended        | set-key        | no     | *             | other renewed       | ask          | confirm-key>new-key
active paused suspended        | set-key        | no     | *             | known               | nothing      | key-changed>new-key
active paused suspended        | set-key        | yes    | usable        | other               | set-key      | key-changed>new-key key-changed-old>old-key
active paused suspended        | set-key        | yes    | usable        | renewed known       | set-key      | key-changed>new-key
active paused suspended        | set-key        | yes    | unusable none | other renewed       | set-key      | key-changed>new-key
active paused suspended        | set-key        | no     | *             | revoked             | ask          | confirm-key-revoked>sender-in-clear
active paused suspended        | set-key        | yes    | *             | revoked             | drop-key     | key-revoked>sender-in-clear

active                         | resume         | *      | usable        | *                   | nothing      | resumed
paused suspended               | resume         | no     | usable        | *                   | ask          | confirm-resume
paused suspended               | resume         | yes    | usable        | *                   | resume       | resumed
active paused suspended        | resume         | no     | unusable none | other renewed       | ask          | confirm-key>new-key
active paused suspended        | resume         | yes    | unusable none | other renewed       | set-key      | key-changed>new-key
active paused suspended        | resume         | no     | unusable none | revoked             | ask          | confirm-key-revoked>sender-in-clear
active paused suspended        | resume         | yes    | unusable none | revoked             | drop-key     | key-revoked>sender-in-clear

paused                         | pause          | *      | usable        | *                   | nothing      | paused
active suspended               | pause          | no     | usable        | *                   | ask          | confirm-pause
active suspended               | pause          | yes    | *             | *                   | pause        | paused

active paused suspended        | set-language   | no     | usable        | *                   | ask          | confirm-language
active paused suspended        | set-language   | yes    | *             | *                   | set-language | language-changed
active paused suspended        | change-address | no     | usable        | *                   | ask          | confirm-address-old
active paused suspended        | change-address | yes    | usable        | *                   | ask          | confirm-address>new-address

invited active paused suspended | unsubscribe   | no     | *             | *                   | ask          | confirm-unsubscribe
invited active paused suspended | unsubscribe   | yes    | *             | *                   | leave        | goodbye
invited active paused suspended | forget        | no     | usable        | *                   | ask          | confirm-forget
invited active paused suspended | forget        | no     | unusable none | *                   | ask          | confirm-unsubscribe
invited active paused suspended | forget        | yes    | *             | *                   | forget       | forgotten
unknown                        | forget         | *      | *             | *                   | forget-mark  | nothing-held

active paused suspended        | status         | *      | usable        | *                   | nothing      | status
active paused suspended        | confirm        | *      | usable        | *                   | nothing      | already-subscribed
unknown invited active paused suspended | help    | *    | *             | *                   | nothing      | help
unknown invited active paused suspended | get-key | *    | *             | *                   | nothing      | list-key
unknown invited active paused suspended | contact | *    | *             | *                   | nothing      | forwarded>contact
unknown invited active paused suspended | bounce  | *    | *             | *                   | nothing      |
"""  # noqa: E501

CONFIRMED = """
who                     | confirms       | on file  | brings              | new address             | act     | replies

unknown invited         | subscribe      | *        | other renewed known | *                       | join    | welcome>new-key
active paused suspended | subscribe      | usable   | *                   | *                       | nothing | already-subscribed
active paused suspended | change-address | *        | *                   | unknown invited         | move    | address-changed>new-address address-changed-old>old-address
active paused suspended | change-address | *        | *                   | active paused suspended | nothing | already-subscribed>new-address
active paused suspended | change-address | *        | *                   | banned                  | nothing |
"""  # noqa: E501

# What is in neither table changes nothing, and is answered with one of these or not at all.
REFUSALS = {"nothing-held", "token-unknown", "key-needed", "key-no-longer-usable", *(f"key-{one}" for one in Refusal)}


@dataclass(frozen=True)
class Expected:
    act: Act
    replies: tuple[tuple[str, To], ...]


def read_table(text: str) -> list[tuple[list[set[str]], Expected]]:
    _, *lines = [line for line in text.splitlines() if line.strip()]
    return [_read_row([cell.strip() for cell in line.split("|")]) for line in lines]


def _read_row(cells: list[str]) -> tuple[list[set[str]], Expected]:
    *conditions, act, replies = cells
    told = [reply.partition(">") for reply in replies.split()]
    expected = Expected(Act(act), tuple((name, To(to) if to else To.SENDER) for name, _, to in told))
    return [set(condition.split()) for condition in conditions], expected


TABLES = {"table": read_table(TABLE), "confirmed": read_table(CONFIRMED)}


@cache
def look_up(table: str, *facts: str) -> Expected | None:
    found = [
        row
        for conditions, row in TABLES[table]
        if all(condition == {"*"} or fact in condition for condition, fact in zip(conditions, facts, strict=True))
    ]
    assert len(found) <= 1, f"two rows for {facts}"
    return found[0] if found else None


# --- Every case there is --------------------------------------------------------------------------------------------


def certificate(fingerprint: str, blob: bytes = b"key") -> Certificate:
    return Certificate(blob, fingerprint, None, ("ed25519", "cv25519"), 4)


KEYS: dict[str, list[Certificate | Refused | None]] = {
    "nothing": [None],
    "other": [certificate(OTHER)],
    "renewed": [certificate(ON_FILE, b"renewed")],
    "known": [certificate(ON_FILE)],
    "revoked": [Refused(Refusal.REVOKED, ON_FILE)],
    "refused": [*(Refused(one, OTHER) for one in Refusal), Refused(Refusal.EXPIRED, ON_FILE)],
}


@dataclass(frozen=True)
class Named:
    """A case with the words that the tables use for it."""

    case: Case
    on_file: str
    brings: str

    def __str__(self) -> str:
        case = self.case
        request = f"{case.request.verb}, second step: {case.request.is_second_step}" if case.request else "–"
        key = case.key.reason if isinstance(case.key, Refused) else self.brings
        return (
            f"{case.state} asks {case.command.verb} proven={case.is_proven} on file={self.on_file} "
            f"brings {key} signed={case.is_key_signed} "
            f"confirms={request} new={case.new_state} retired={case.is_retired}"
        )


def on_file_of(state: State) -> tuple[str, ...]:
    return ("usable", "unusable", "none") if state in IN_REGISTER else ("none",)


def brought(on_file: str) -> tuple[str, ...]:
    """Without a key on file no other can be the same; what is on file and usable may come as it is."""
    if on_file == "none":
        return ("nothing", "other", "refused")
    return ("nothing", "other", "renewed", "revoked", "refused", *(["known"] if on_file == "usable" else []))


def requests() -> Iterator[tuple[Request, State]]:
    for verb in sorted(CONFIRMABLE):
        yield Request(verb, ADA, Language.EN, certificate(OTHER) if verb is Verb.SET_KEY else None), State.UNKNOWN
    yield Request(Verb.SET_KEY, ADA, Language.EN), State.UNKNOWN  # that the key on file was revoked
    for new_state in State:
        yield Request(Verb.CHANGE_ADDRESS, ADA, Language.EN, new_address=ADA, is_second_step=True), new_state


@cache
def every_case() -> tuple[Named, ...]:
    return tuple(itertools.chain(_unconfirmed(), _confirmed()))


def _unconfirmed() -> Iterator[Named]:
    proofs = ((False, False), (True, False), (True, True))
    for state, verb, proof, is_retired in itertools.product(State, Verb, proofs, (False, True)):
        for named in _with_keys(state):
            case = replace(
                named.case,
                command=Command(verb, language=Language.EN),
                is_proven=proof[0],
                is_key_signed=proof[1],
                is_retired=is_retired,
            )
            yield replace(named, case=case)


def _confirmed() -> Iterator[Named]:
    for state, is_proven, is_retired in itertools.product(State, (False, True), (False, True)):
        for named, (request, new_state) in itertools.product(_with_keys(state), requests()):
            key, brings = (request.certificate, "other") if request.certificate else (named.case.key, named.brings)
            case = replace(
                named.case,
                is_proven=is_proven,
                is_retired=is_retired,
                request=request,
                new_state=new_state,
                key=key,
                is_key_known=named.case.is_key_known and not request.certificate,
            )
            yield Named(case, named.on_file, brings)


def _with_keys(state: State) -> Iterator[Named]:
    for on_file in on_file_of(state):
        for brings in brought(on_file):
            for key in KEYS[brings]:
                case = Case(
                    Command(Verb.CONFIRM, token="a" * 24, language=Language.EN),
                    state,
                    key=key,
                    fingerprint="" if on_file == "none" else ON_FILE,
                    is_key_usable=on_file == "usable",
                    is_key_known=brings == "known",
                )
                yield Named(case, on_file, brings)


def expect(named: Named) -> Expected | None:
    """What the tables say of a case. A confirmation is as good as a proof of what was asked for."""
    case, request = named.case, named.case.request
    who, is_proven, brings, asked = case.state, case.is_proven, named.brings, case.command.verb
    if request is not None and (request.verb is Verb.SUBSCRIBE or request.is_second_step):
        row = look_up("confirmed", who, request.verb, named.on_file, brings, case.new_state)
        return None if case.is_retired and row and row.act is Act.JOIN else row
    if request is not None:
        is_proven, asked, brings = True, request.verb, brings if request.certificate else "nothing"
        brings = "revoked" if asked is Verb.SET_KEY and not request.certificate else brings
    row = look_up("table", who, asked, "yes" if is_proven else "no", named.on_file, brings)
    if row and row.act in (Act.SET_KEY, Act.DROP_KEY) and not request and not case.is_key_signed:
        row = look_up("table", who, asked, "no", named.on_file, brings)  # the key itself was not signed
    joins = asked is Verb.SUBSCRIBE and case.state not in ON_LIST
    return None if case.is_retired and joins else row


def shown(decision: Decision) -> Expected:
    return Expected(decision.act, tuple((reply.template, reply.to) for reply in decision.replies))


def test_there_are_thousands_of_cases() -> None:
    assert len(set(every_case())) > 10_000


def test_listed_cases_are_decided_as_the_tables_say() -> None:
    wrong = [
        f"{named}: {shown(decide(named.case))}"
        for named in every_case()
        if (row := expect(named)) is not None and shown(decide(named.case)) != row
    ]
    assert wrong == []


def test_what_is_not_listed_changes_nothing_and_is_refused_with_one_letter_at_most() -> None:
    wrong = []
    for named in every_case():
        if expect(named) is None:
            decision = decide(named.case)
            allowed = REFUSALS | ({"list-retired"} if named.case.is_retired else set())
            is_refusal = decision.act is Act.NOTHING and {reply.template for reply in decision.replies} <= allowed
            if not is_refusal or len(decision.replies) > 1:
                wrong.append(f"{named}: {shown(decision)}")
    assert wrong == []


@pytest.mark.parametrize("table", TABLES)
def test_no_row_of_the_tables_is_idle(table: str) -> None:
    met = {id(expect(named)) for named in every_case()}
    assert [row for row in TABLES[table] if id(row[1]) not in met] == []


# --- What holds in every case ---------------------------------------------------------------------------------------


def violations(rule: object) -> list[str]:
    assert callable(rule)
    return [str(named) for named in every_case() if not rule(named.case, decide(named.case))]


def test_nothing_changes_without_proof_token_or_confirmation() -> None:
    """But for one act: a mark is nobody's entry in the register."""

    def rule(case: Case, decision: Decision) -> bool:
        if decision.act is Act.FORGET_MARK:
            return case.state is State.UNKNOWN
        return decision.act in (Act.NOTHING, Act.ASK) or case.is_proven or case.request is not None

    assert violations(rule) == []


def test_the_banned_get_neither_an_act_nor_a_letter() -> None:
    def rule(case: Case, decision: Decision) -> bool:
        return case.state is not State.BANNED or (decision.act is Act.NOTHING and not decision.replies)

    assert violations(rule) == []


def test_a_question_is_one_letter_and_that_letter_carries_the_token() -> None:
    def rule(_case: Case, decision: Decision) -> bool:
        questions = [reply for reply in decision.replies if reply.template.startswith("confirm-")]
        if decision.act is not Act.ASK:
            return not questions and decision.request is None
        return len(decision.replies) == len(questions) == 1 and decision.request in CONFIRMABLE

    assert violations(rule) == []
    for path in TEMPLATES.glob("*/*/confirm-*.txt"):
        assert "{{ confirm }}" in path.read_text(encoding="utf-8"), path


def test_only_joining_and_moving_ask_at_another_address_or_key() -> None:
    def rule(case: Case, decision: Decision) -> bool:
        is_to_new_address = any(reply.to is To.NEW_ADDRESS for reply in decision.replies)
        is_moving = Verb.CHANGE_ADDRESS in {case.command.verb, case.request.verb if case.request else None}
        is_to_new_key = any(reply.to is To.NEW_KEY for reply in decision.replies)
        return (not is_to_new_address or is_moving) and (not is_to_new_key or isinstance(case.key, Certificate))

    assert violations(rule) == []


def test_nobody_is_asked_or_answered_in_a_sealed_letter_without_a_key_to_seal_it_to() -> None:
    sealed = {path.stem for path in (TEMPLATES / "sealed" / "en").glob("*.txt")}

    def rule(case: Case, decision: Decision) -> bool:
        theirs = {reply.template for reply in decision.replies if reply.to not in (To.NEW_KEY, To.CONTACT)}
        has_moved = case.request is not None and case.request.is_second_step
        return case.is_key_usable or decision.act not in (Act.NOTHING, Act.ASK) or has_moved or not theirs & sealed

    assert violations(rule) == []


def test_no_act_is_decided_that_the_table_of_states_does_not_have_and_none_there_is_idle() -> None:
    met = {(named.case.state, decide(named.case).act) for named in every_case()} - {
        (state, Act.NOTHING) for state in State
    }
    assert met == {(state, act) for state, acts in TRANSITIONS.items() for act in acts}


def test_a_rule_that_goes_beyond_the_table_of_states_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(deciding._RULES, Verb.PAUSE, lambda _case: Decision(Act.PAUSE, (Reply("paused"),)))
    assert decide(Case(Command(Verb.PAUSE), State.ACTIVE)).act is Act.PAUSE
    for state in (State.UNKNOWN, State.INVITED, State.PAUSED):
        assert shown(decide(Case(Command(Verb.PAUSE), state))) == Expected(Act.NOTHING, ())


def test_doing_nothing_is_possible_in_every_state_and_leads_nowhere() -> None:
    assert [states.after(state, Act.NOTHING) for state in State] == list(State)
    assert states.after(State.BANNED, Act.ASK) is None


def test_every_reply_has_a_template_in_all_three_languages_and_every_template_has_its_reply() -> None:
    used = {reply.template for named in every_case() for reply in decide(named.case).replies}
    used |= {decide(Case(Command(Verb.HELP), State.UNKNOWN)).replies[0].template}
    used |= {bounces.PROBE}  # it answers no letter
    used |= {decide(Case(Command(Verb.HELP), State.UNKNOWN, is_unopened=True)).replies[0].template}
    for language in Language:
        assert used == {path.stem for path in TEMPLATES.glob(f"*/{language}/*.txt")}


def test_a_retired_list_takes_nobody_in_and_is_else_as_before() -> None:
    def rule(case: Case, decision: Decision) -> bool:
        if not case.is_retired:
            return True
        before = decide(replace(case, is_retired=False))
        is_joining = before.act is Act.JOIN or before.request is Verb.SUBSCRIBE
        is_refused = [reply.template for reply in decision.replies] == ["list-retired"]
        return decision.act is Act.NOTHING if is_joining else decision == before or is_refused

    assert violations(rule) == []


def test_what_is_known_of_the_new_address_changes_nothing_until_its_holder_has_agreed() -> None:
    for named in every_case():
        if not (named.case.request and named.case.request.is_second_step):
            assert len({decide(replace(named.case, new_state=state)) for state in State}) == 1, named


def test_a_letter_to_another_key_is_answered_with_ours_unless_it_carries_a_token() -> None:
    for named in every_case():
        unopened = decide(replace(named.case, is_unopened=True))
        if named.case.state is State.BANNED:
            assert shown(unopened) == Expected(Act.NOTHING, ())
        elif named.case.command.token:
            assert unopened == decide(named.case)
        else:
            assert shown(unopened) == Expected(Act.NOTHING, (("cannot-decrypt", To.SENDER),))


def test_a_key_that_the_proof_does_not_cover_is_set_by_none() -> None:
    """Who passes on a signed letter can put another key beside it, or in its Autocrypt header."""
    for named in every_case():
        if decide(named.case).act in (Act.SET_KEY, Act.DROP_KEY):
            assert named.case.is_key_signed or named.case.request, named


def test_a_confirmation_does_only_what_was_asked_whatever_key_comes_with_it() -> None:
    """A confirmed "resume" with a key attached must not set that key."""
    for named in every_case():
        request = named.case.request
        if request and request.verb is not Verb.SUBSCRIBE and not request.certificate:
            assert decide(named.case) == decide(replace(named.case, key=None, is_key_known=False)), named


def test_who_was_invited_without_a_key_may_answer_once_more_and_bring_one() -> None:
    request = Request(Verb.SUBSCRIBE, ADA, Language.EN)
    case = Case(Command(Verb.CONFIRM, token="a" * 24), State.INVITED, request=request)
    assert decide(case).is_waiting and decide(case).replies[0].template == "key-needed"
    assert decide(replace(case, key=Refused(Refusal.WEAK))).is_waiting
    assert decide(replace(case, key=certificate(OTHER))) == Decision(
        Act.JOIN, (Reply("welcome", To.NEW_KEY, with_list_key=True),), reason="confirmed"
    )


def test_the_list_key_comes_with_the_letters_that_speak_of_it() -> None:
    with_key = {"list-key", "welcome", "cannot-decrypt", "key-needed"}
    for named in every_case():
        for reply in decide(named.case).replies:
            assert reply.with_list_key == (reply.template in with_key), named


def test_a_request_that_nobody_can_have_made_confirms_nothing() -> None:
    for verb in set(Verb) - CONFIRMABLE:
        case = Case(Command(Verb.CONFIRM), State.ACTIVE, request=Request(verb, ADA, Language.EN))
        assert decide(case).act is Act.NOTHING
