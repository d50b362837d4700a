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
from mailer.model.certificate import OF_OPENPGP, OF_X509, Certificate, Refusal, Refused
from mailer.model.command import Command, Verb
from mailer.model.language import Language
from mailer.model.request import Request
from mailer.model.subscriber import Format, State
from mailer.store import bounces

TEMPLATES = Path(__file__).parents[2] / "templates"
ON_FILE, OTHER = "aa" * 20, "bb" * 20
ADA = Address("ada", "reader.example")

# What a letter may bring: other (a usable certificate that is not the one on file), renewed (the one on file, changed),
# later (the one on file, signed anew by itself and else as it was), known (the very one on file), revoked (the one on
# file, revoked by its holder), refused (any that is not usable).
# What is on file: a usable certificate, one that has become unusable, or none.
TABLE = """
who                            | asks for       | proven | on file       | brings              | act          | replies

unknown invited                | subscribe      | *      | *             | other renewed later known | ask    | confirm-subscribe>new-key
active paused suspended        | subscribe      | *      | *             | later               | set-key      | key-changed>new-key
active suspended               | subscribe      | *      | usable        | nothing refused     | nothing      | already-subscribed
active suspended               | subscribe      | *      | usable        | known renewed       | nothing      | already-subscribed
paused                         | subscribe      | no     | usable        | nothing refused     | ask          | confirm-resume
paused                         | subscribe      | no     | usable        | known renewed       | ask          | confirm-resume
paused                         | subscribe      | yes    | usable        | nothing refused     | resume       | resumed
paused                         | subscribe      | yes    | usable        | known renewed       | resume       | resumed
active paused suspended        | subscribe      | no     | *             | other               | ask          | confirm-key>new-key
active paused suspended        | subscribe      | no     | unusable      | renewed             | ask          | confirm-key>new-key
active paused suspended        | subscribe      | yes    | usable        | other               | set-key      | key-changed>new-key key-changed-old>old-key
active paused suspended        | subscribe      | yes    | unusable      | other               | set-key      | key-changed>new-key key-replaced>sender-in-clear
active paused suspended        | subscribe      | yes    | none          | other               | set-key      | key-changed>new-key
active paused suspended        | subscribe      | yes    | unusable      | renewed             | set-key      | key-changed>new-key
active paused suspended        | subscribe      | no     | *             | revoked             | ask          | confirm-key-revoked>sender-in-clear
active paused suspended        | subscribe      | yes    | *             | revoked             | drop-key     | key-revoked>sender-in-clear

active paused suspended        | set-key        | no     | *             | other renewed       | ask          | confirm-key>new-key
active paused suspended        | set-key        | no     | *             | known               | nothing      | key-changed>new-key
active paused suspended        | set-key        | yes    | usable        | other               | set-key      | key-changed>new-key key-changed-old>old-key
active paused suspended        | set-key        | yes    | usable        | renewed known       | set-key      | key-changed>new-key
active paused suspended        | set-key        | *      | *             | later               | set-key      | key-changed>new-key
active paused suspended        | set-key        | yes    | unusable      | other               | set-key      | key-changed>new-key key-replaced>sender-in-clear
active paused suspended        | set-key        | yes    | none          | other               | set-key      | key-changed>new-key
active paused suspended        | set-key        | yes    | unusable      | renewed             | set-key      | key-changed>new-key
active paused suspended        | set-key        | no     | *             | revoked             | ask          | confirm-key-revoked>sender-in-clear
active paused suspended        | set-key        | yes    | *             | revoked             | drop-key     | key-revoked>sender-in-clear

active                         | resume         | *      | usable        | *                   | nothing      | resumed
paused suspended               | resume         | no     | usable        | *                   | ask          | confirm-resume
paused suspended               | resume         | yes    | usable        | *                   | resume       | resumed
active paused suspended        | resume         | no     | unusable none | other renewed       | ask          | confirm-key>new-key
active paused suspended        | resume         | *      | unusable      | later               | set-key      | key-changed>new-key
active paused suspended        | resume         | yes    | unusable      | other               | set-key      | key-changed>new-key key-replaced>sender-in-clear
active paused suspended        | resume         | yes    | none          | other               | set-key      | key-changed>new-key
active paused suspended        | resume         | yes    | unusable      | renewed             | set-key      | key-changed>new-key
active paused suspended        | resume         | no     | unusable none | revoked             | ask          | confirm-key-revoked>sender-in-clear
active paused suspended        | resume         | yes    | unusable none | revoked             | drop-key     | key-revoked>sender-in-clear

paused                         | pause          | *      | usable        | *                   | nothing      | paused
active suspended               | pause          | no     | usable        | *                   | ask          | confirm-pause
active suspended               | pause          | yes    | *             | *                   | pause        | paused

active paused suspended        | set-language   | no     | usable        | *                   | ask          | confirm-language
active paused suspended        | set-language   | yes    | *             | *                   | set-language | language-changed
active paused suspended        | set-format     | no     | usable        | *                   | ask          | confirm-format>new-format
active paused suspended        | set-format     | yes    | usable        | *                   | set-format   | format-changed>new-format
active paused suspended        | change-address | no     | usable        | *                   | ask          | confirm-address-old
active paused suspended        | change-address | yes    | usable        | *                   | ask          | confirm-address>new-address

invited active paused suspended | unsubscribe   | no     | *             | *                   | ask          | confirm-unsubscribe
invited active paused suspended | unsubscribe   | yes    | *             | *                   | leave        | goodbye
invited active paused suspended | forget        | no     | usable        | *                   | ask          | confirm-forget
invited active paused suspended | forget        | no     | unusable none | *                   | ask          | confirm-unsubscribe
invited active paused suspended | forget        | yes    | *             | *                   | forget       | forgotten
unknown                        | forget         | *      | *             | *                   | forget-mark  | nothing-held

unknown invited active paused suspended | join-by-card | * | *           | *                   | ask          | confirm-card

active paused suspended        | status         | *      | usable        | *                   | nothing      | status
active paused suspended        | confirm        | *      | usable        | *                   | nothing      | already-subscribed
unknown invited active paused suspended | help    | *    | *             | *                   | nothing      | help
unknown invited active paused suspended | get-key | *    | *             | *                   | nothing      | list-key
unknown invited active paused suspended | contact | *    | *             | *                   | nothing      | forwarded>contact
unknown invited active paused suspended | unclear | *    | *             | *                   | nothing      | several-unclear
unknown invited active paused suspended | bounce  | *    | *             | *                   | nothing      |
"""  # noqa: E501

CONFIRMED = """
who                     | confirms       | on file  | brings              | new address             | act     | replies

unknown invited         | subscribe      | *        | other renewed later known | *                       | join    | welcome>new-key
active paused suspended | subscribe      | usable   | *                   | *                       | nothing | already-subscribed
unknown invited         | join-by-card   | *        | *                   | *                       | join    | welcome-card>card
active paused suspended | join-by-card   | *        | *                   | *                       | take-card | welcome-card>card
active paused suspended | change-address | *        | *                   | unknown invited         | move    | address-changed>new-address address-changed-old>old-address
active paused suspended | change-address | *        | *                   | active paused suspended | nothing | already-subscribed>new-address
active paused suspended | change-address | *        | *                   | banned                  | nothing |
"""  # noqa: E501

# What is in neither table changes nothing, and is answered with one of these or not at all.
REFUSALS = {
    "nothing-held",
    "token-unknown",
    "key-needed",
    "key-no-longer-usable",
    *(f"key-{one}" for one in Refusal),
    *(f"smime-{one}" for one in Refusal),
}


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
    "later": [certificate(ON_FILE, b"later")],
    "known": [certificate(ON_FILE)],
    "revoked": [Refused(Refusal.REVOKED, ON_FILE)],
    # a secret key adds a letter to whatever is decided: it has a test of its own
    "refused": [
        *(Refused(one, OTHER) for one in sorted(OF_OPENPGP - {Refusal.SECRET})),
        *(Refused(one, OTHER, is_x509=True) for one in sorted(OF_X509 - {Refusal.SECRET})),
        Refused(Refusal.EXPIRED, ON_FILE),
    ],
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
    return ("nothing", "other", "renewed", "later", "revoked", "refused", *(["known"] if on_file == "usable" else []))


def requests() -> Iterator[tuple[Request, State]]:
    for verb in sorted(CONFIRMABLE):
        key, wanted = certificate(OTHER) if verb is Verb.SET_KEY else None, Format.INLINE
        yield Request(verb, ADA, Language.EN, key, format=wanted if verb is Verb.SET_FORMAT else None), State.UNKNOWN
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
                command=Command(verb, language=Language.EN, format=Format.INLINE if verb is Verb.SET_FORMAT else None),
                is_proven=proof[0],
                is_key_signed=proof[1],
                is_retired=is_retired,
                has_card=verb is Verb.JOIN_BY_CARD,
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
                has_card=request.verb is Verb.JOIN_BY_CARD,
                new_state=new_state,
                key=key,
                is_key_known=named.case.is_key_known and not request.certificate,
                is_key_later=named.case.is_key_later and not request.certificate,
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
                    has_means=on_file == "usable",
                    formats=frozenset(Format) if on_file == "usable" else frozenset(),
                    is_key_known=brings == "known",
                    is_key_later=brings == "later",
                )
                yield Named(case, on_file, brings)


def expect(named: Named) -> Expected | None:
    """What the tables say of a case. A confirmation is as good as a proof of what was asked for."""
    case, request = named.case, named.case.request
    who, is_proven, brings, asked = case.state, case.is_proven, named.brings, case.command.verb
    if request is not None and (request.verb in (Verb.SUBSCRIBE, Verb.JOIN_BY_CARD) or request.is_second_step):
        row = look_up("confirmed", who, request.verb, named.on_file, brings, case.new_state)
        return None if case.is_retired and row and row.act is Act.JOIN else row
    if request is not None:
        is_proven, asked, brings = True, request.verb, brings if request.certificate else "nothing"
        brings = "revoked" if asked is Verb.SET_KEY and not request.certificate else brings
    row = look_up("table", who, asked, "yes" if is_proven else "no", named.on_file, brings)
    if row and row.act in (Act.SET_KEY, Act.DROP_KEY) and not request and not case.is_key_signed:
        row = look_up("table", who, asked, "no", named.on_file, brings)  # the key itself was not signed
    joins = asked in (Verb.SUBSCRIBE, Verb.JOIN_BY_CARD) and case.state not in ON_LIST
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
    """But for two acts: a mark is nobody's entry in the register, and a key that was signed anew is its own proof."""

    def rule(case: Case, decision: Decision) -> bool:
        if decision.act is Act.FORGET_MARK:
            return case.state is State.UNKNOWN
        if decision.act is Act.SET_KEY and case.is_key_later:
            return True
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
        return case.has_means or decision.act not in (Act.NOTHING, Act.ASK) or has_moved or not theirs & sealed

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


# Who has what: with a key all forms can be chosen, with an X.509 certificate or a card's words alone only these.
ALL, SMIME_ONLY, CARD_ONLY = frozenset(Format), frozenset({Format.PGP_MIME, Format.PDF}), frozenset({Format.PDF})
FORMS = [
    (ALL, Format.PGP_MIME, Format.INLINE, "confirm-format", "format-changed", To.NEW_FORMAT),
    (ALL, Format.INLINE, Format.ATTACHMENT, "confirm-format", "format-changed", To.NEW_FORMAT),
    (ALL, Format.PGP_MIME, Format.PDF, "confirm-format", "format-pdf", To.OLD_KEY),
    (ALL, Format.PDF, Format.PGP_MIME, "confirm-format", "format-changed", To.NEW_FORMAT),
    (ALL, Format.INLINE, Format.INLINE, "format-changed", None, To.NEW_FORMAT),
    (SMIME_ONLY, Format.PGP_MIME, Format.PDF, "confirm-format", "format-pdf", To.OLD_KEY),
    (SMIME_ONLY, Format.PGP_MIME, Format.INLINE, "format-needs-key", None, To.SENDER),
    (CARD_ONLY, Format.PDF, Format.PGP_MIME, "format-needs-key", None, To.SENDER),
    (CARD_ONLY, Format.PDF, Format.ATTACHMENT, "format-needs-key", None, To.SENDER),
    (CARD_ONLY, Format.PDF, Format.PDF, "format-changed", None, To.NEW_FORMAT),
    (ALL - CARD_ONLY, Format.PGP_MIME, Format.PDF, "format-not-offered", None, To.SENDER),
    (ALL - CARD_ONLY, Format.INLINE, Format.PGP_MIME, "confirm-format", "format-changed", To.NEW_FORMAT),
]


@pytest.mark.parametrize(("choices", "current", "wanted", "first", "then", "to"), FORMS)
def test_another_form_is_asked_and_told_in_that_form_where_it_can_be_read(
    choices: frozenset[Format], current: Format, wanted: Format, first: str, then: str | None, to: To
) -> None:
    case = Case(Command(Verb.SET_FORMAT, format=wanted), State.ACTIVE, has_means=True, format=current, formats=choices)
    asked, proven = decide(case), decide(replace(case, is_proven=True))
    assert asked.replies == (Reply(first, to),)
    assert asked.act is (Act.ASK if then else Act.NOTHING)
    assert proven.replies == (Reply(then or first, to),)
    assert proven.act is (Act.SET_FORMAT if then else Act.NOTHING)
    request = Request(Verb.SET_FORMAT, ADA, Language.EN, format=wanted)
    assert decide(replace(case, command=Command(Verb.CONFIRM), request=request)).act is proven.act


def test_who_has_nothing_that_a_letter_could_be_sealed_with_chooses_no_form() -> None:
    for wanted in Format:
        case = Case(Command(Verb.SET_FORMAT, format=wanted), State.SUSPENDED, is_proven=True, fingerprint=ON_FILE)
        assert shown(decide(case)) == Expected(Act.NOTHING, (("key-no-longer-usable", To.SENDER),))


# Somebody who reads PDFs and has no key: whoever has their mailbox can put a key, or the words of a card, in the place.
BY_WORDS = Case(
    Command(Verb.CONFIRM), State.ACTIVE, has_means=True, format=Format.PDF, formats=CARD_ONLY, has_card=True
)
IN_THEIR_PLACE = [
    (Verb.SET_KEY, BY_WORDS, (("key-changed", To.NEW_KEY), ("key-changed-old", To.OLD_KEY))),
    (Verb.SET_KEY, replace(BY_WORDS, has_means=False), (("key-changed", To.NEW_KEY),)),
    (Verb.JOIN_BY_CARD, BY_WORDS, (("welcome-card", To.CARD), ("words-changed-old", To.OLD_KEY))),
    (Verb.JOIN_BY_CARD, replace(BY_WORDS, has_means=False), (("welcome-card", To.CARD),)),
    (Verb.JOIN_BY_CARD, replace(BY_WORDS, format=Format.INLINE, fingerprint=ON_FILE), (("welcome-card", To.CARD),)),
]


@pytest.mark.parametrize(("verb", "case", "told"), IN_THEIR_PLACE)
def test_who_reads_by_words_hears_under_these_that_something_came_in_their_place(
    verb: Verb, case: Case, told: tuple[tuple[str, To], ...]
) -> None:
    key = certificate(OTHER) if verb is Verb.SET_KEY else None
    request = Request(verb, ADA, Language.EN, key)
    assert shown(decide(replace(case, request=request, key=key))).replies == told


@pytest.mark.parametrize("state", [state for state in State if state is not State.BANNED])
@pytest.mark.parametrize("is_confirmed", [False, True])
def test_every_card_that_is_none_or_none_any_more_gets_one_and_the_same_answer(
    state: State, is_confirmed: bool
) -> None:
    case = Case(Command(Verb.JOIN_BY_CARD, token=""), state)
    if is_confirmed:
        case = replace(case, command=Command(Verb.CONFIRM), request=Request(Verb.JOIN_BY_CARD, ADA, Language.EN))
    assert shown(decide(case)) == Expected(Act.NOTHING, (("card-unknown", To.SENDER),))


def test_who_lost_the_words_of_a_card_is_asked_about_another_in_the_clear_and_who_has_a_key_under_it() -> None:
    case = Case(Command(Verb.JOIN_BY_CARD), State.ACTIVE, has_means=True, has_card=True)
    assert [
        decide(replace(case, format=one)).replies[0].to for one in (Format.PDF, Format.INLINE, Format.PGP_MIME)
    ] == [*(To.SENDER_IN_CLEAR, To.SENDER, To.SENDER)]


def test_every_reply_has_a_template_in_all_three_languages_and_every_template_has_its_reply() -> None:
    used = {reply.template for named in every_case() for reply in decide(named.case).replies}
    used |= {decide(Case(Command(Verb.HELP), State.UNKNOWN)).replies[0].template}
    used |= {name for *_, first, then, _ in FORMS for name in (first, then) if name}
    used |= {"confirm-several", "settings-changed"}  # tests/unit/test_several.py
    used |= {name for *_, told in IN_THEIR_PLACE for name, _ in told}
    used |= {"card", "card-unknown"}  # the former is printed
    used |= {"alert"}  # to admins
    used |= {Refused(Refusal.SECRET, is_x509=is_x509).template for is_x509 in (False, True)}
    used |= {
        bounces.PROBE,
        "key-expires",
        "certificate-expires",
        "list-key-changed",
        "list-key-replaced",
    }  # answer none
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
            assert named.case.is_key_signed or named.case.request or named.case.is_key_later, named


def test_a_confirmation_does_only_what_was_asked_whatever_key_comes_with_it() -> None:
    """A confirmed "resume" with a key attached must not set that key."""
    for named in every_case():
        request = named.case.request
        if request and request.verb is not Verb.SUBSCRIBE and not request.certificate:
            assert decide(named.case) == decide(
                replace(named.case, key=None, is_key_known=False, is_key_later=False)
            ), named


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


@pytest.mark.parametrize("verb", sorted(set(Verb) - {Verb.CONFIRM}))
@pytest.mark.parametrize("state", [State.UNKNOWN, State.ACTIVE, State.PAUSED])
def test_whoever_sends_a_secret_key_is_warned_once_and_their_letter_handed_on_to_nobody(
    verb: Verb, state: State
) -> None:
    secret = Refused(Refusal.SECRET)
    decision = decide(Case(Command(verb), state, key=secret, has_means=state in ON_LIST))
    assert [reply.template for reply in decision.replies].count("key-secret") == 1
    assert To.CONTACT not in {reply.to for reply in decision.replies}
    assert not decide(Case(Command(verb), State.BANNED, key=secret)).replies
