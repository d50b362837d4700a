"""Prints docs/states.md from the code: `python -m tests.unit.print_states > docs/states.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from mailer.inward.decide import CONFIRMABLE, Case, Decision, Reply, To, decide
from mailer.inward.states import TRANSITIONS, Act
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Refusal, Refused
from mailer.model.command import Command, Verb
from mailer.model.language import Language
from mailer.model.request import Request
from mailer.model.subscriber import Format, State

HEAD = """\
# States

Where somebody stands with a list, and what their letters make of it. This page is printed from the code
(`python -m tests.unit.print_states > docs/states.md`), and a test fails when it is stale.

* **unknown** has no row in the register; somebody who left has only a mark, from which no address can be read.
* **invited** was imported and has not answered yet.
* **active** gets digests. **paused** gets none and can go on. **suspended** has no usable key, or a mailbox that
  is gone, and gets none.
* **banned** is kept off by an admin, and gets neither an act nor a letter.

*Proven* is what the key on file signed (a new key included), what an unsubscribe token came with, and what a letter of
ours asked and was answered. Without proof nothing changes, but for `forget-mark`: the mark only keeps imports away, and
whoever has it erased in somebody's name brings about one letter that asks, at most.

How often somebody is asked is limited per address and day (inward/receive); that is no matter of states.
"""

SAME_KEY, OTHER_KEY = "aa" * 20, "bb" * 20
SOMEBODY = Address("somebody", "reader.example")
NEW_KEY = Certificate(b"other", OTHER_KEY, None, (), 4)
WITHOUT_A_LETTER = (
    "unknown --> invited: an admin's import",
    "unknown --> active: an admin's import of people who agreed",
    "invited --> unknown: no answer in time",
    "active --> suspended: a digest finds no usable key, or the mailbox is gone",
    "active --> unknown: they complain to their provider",
    "unknown --> banned: an admin's ban, whatever the state was",
)
ON_LIST = (State.ACTIVE, State.PAUSED, State.SUSPENDED)


def page() -> str:
    """Return docs/states.md."""
    return "\n".join(
        [
            HEAD,
            "## Where each act leads",
            "",
            *diagram(),
            "",
            "What has no entry is refused (`mailer/inward/states.py`).",
            "",
            *transitions(),
            "",
            "## What each command does",
            "",
            "Active and paused subscribers have a usable key on file here; the key of suspended ones has expired.",
            "Letters bring no key, but those to subscribe and to set a key bring a new one. Each cell is the act, if",
            "there is one, and the letters that go out.",
            "",
            *commands(),
            "",
            "## What a key in the letter does",
            "",
            *keys(),
            "",
            "## What a confirmation does",
            "",
            *confirmations(),
            "",
        ]
    )


def diagram() -> Iterator[str]:
    yield from ("```mermaid", "stateDiagram-v2", "    [*] --> unknown")
    for state, acts in TRANSITIONS.items():
        for to in State:
            labels = [act for act, leads in acts.items() if leads is to and to is not state]
            if labels:
                yield f"    {state} --> {to}: {', '.join(labels)}"
    yield from (f"    {one}" for one in WITHOUT_A_LETTER)
    yield "```"


def transitions() -> Iterator[str]:
    acts = [act for act in Act if act is not Act.NOTHING]
    yield from header("act", [f"{state}" for state in State])
    for act in acts:
        yield row(act, (TRANSITIONS[state].get(act, "") for state in State))


def commands() -> Iterator[str]:
    yield from header("command", ["unknown", "invited", "active", "paused", "suspended"])
    for verb in Verb:
        if verb is Verb.CONFIRM:
            continue
        for is_proven in (False, True):
            cells = [cell(decide(standing(verb, state, is_proven=is_proven))) for state in State if state != "banned"]
            before = [cell(decide(standing(verb, state))) for state in State if state != "banned"]
            if not is_proven or cells != before:
                yield row(f"{verb}, proven" if is_proven else verb, cells)


def keys() -> Iterator[str]:
    brought: dict[str, Certificate | Refused | None] = {
        "no key": None,
        "a new key": NEW_KEY,
        "the key on file, as it is": Certificate(b"same", SAME_KEY, None, (), 4),
        "the key on file, renewed": Certificate(b"renewed", SAME_KEY, None, (), 4),
        "the key on file, revoked": Refused(Refusal.REVOKED, SAME_KEY),
        "a key that has expired": Refused(Refusal.EXPIRED, OTHER_KEY),
    }
    yield "As above; for every reason to refuse a key there is a letter of its own."
    yield ""
    columns = [
        "unknown: subscribe",
        "active: subscribe",
        "active: set-key",
        "active: set-key, proven",
    ]
    yield from header("the letter brings", columns)
    for name, key in brought.items():
        cases = (
            Case(Command(Verb.SUBSCRIBE), State.UNKNOWN, key=key),
            on_list(Verb.SUBSCRIBE, State.ACTIVE, key),
            on_list(Verb.SET_KEY, State.ACTIVE, key),
            on_list(Verb.SET_KEY, State.ACTIVE, key, is_proven=True),
        )
        yield row(name, (cell(decide(case)) for case in cases))


def confirmations() -> Iterator[str]:
    yield "A confirmation proves what was asked for, and nothing else that the letter may say. A token works once."
    yield ""
    yield from header("what was asked", ["unknown", "invited", *ON_LIST])
    for verb in sorted(CONFIRMABLE):
        yield row(verb, (cell(confirm(verb, state)) for state in State if state != "banned"))
    revoked = (cell(confirm(Verb.SET_KEY, state, certificate=None)) for state in State if state != "banned")
    yield row("set-key, that it was revoked", revoked)
    for verb in (Verb.SET_KEY, Verb.JOIN_BY_CARD):
        cells = (
            cell(confirm_by_words(verb, state)) if state in ON_LIST else "" for state in State if state != "banned"
        )
        yield row(f"{verb}, of whoever reads PDFs and has no key", cells)
    second = (cell(confirm(Verb.CHANGE_ADDRESS, state, is_second_step=True)) for state in State if state != "banned")
    yield row("change-address, at the new address", second)
    unknown = (cell(decide(standing(Verb.CONFIRM, state))) for state in State if state != "banned")
    yield row("nothing (the token is used up, old or wrong)", unknown)


def standing(verb: Verb, state: State, *, is_proven: bool = False) -> Case:
    """Return the case of somebody in a state with the key that belongs to it."""
    key = NEW_KEY if verb in (Verb.SUBSCRIBE, Verb.SET_KEY) else None
    if state in ON_LIST:
        return on_list(verb, state, key, is_proven=is_proven)
    has_card = verb is Verb.JOIN_BY_CARD
    return Case(Command(verb, language=Language.EN), state, is_proven=is_proven, key=key, has_card=has_card)


def on_list(
    verb: Verb,
    state: State,
    key: Certificate | Refused | None,
    *,
    is_proven: bool = False,
) -> Case:
    return Case(
        Command(verb, language=Language.EN, format=wanted_form(verb)),
        state,
        is_proven=is_proven,
        is_key_signed=is_proven,
        key=key,
        fingerprint=SAME_KEY,
        has_means=state is not State.SUSPENDED,
        formats=frozenset(Format) if state is not State.SUSPENDED else frozenset(),
        has_card=verb is Verb.JOIN_BY_CARD,
        is_key_known=isinstance(key, Certificate) and key.blob == b"same",
    )


def wanted_form(verb: Verb) -> Format | None:
    return Format.INLINE if verb is Verb.SET_FORMAT else None


def confirm(
    verb: Verb, state: State, *, is_second_step: bool = False, certificate: Certificate | None = NEW_KEY
) -> Decision:
    certificate = certificate if verb in (Verb.SUBSCRIBE, Verb.SET_KEY) else None
    wanted = wanted_form(verb)
    request = Request(verb, SOMEBODY, Language.EN, certificate, is_second_step=is_second_step, format=wanted)
    case = standing(Verb.CONFIRM, state)
    return decide(
        Case(
            case.command,
            state,
            key=certificate,
            fingerprint=case.fingerprint,
            has_means=case.has_means,
            formats=case.formats,
            request=request,
            has_card=verb is Verb.JOIN_BY_CARD,
        )
    )


def confirm_by_words(verb: Verb, state: State) -> Decision:
    """Return what follows where the words of a card are all that is on file."""
    key = NEW_KEY if verb is Verb.SET_KEY else None
    request, pdf = Request(verb, SOMEBODY, Language.EN, key), Format.PDF
    case = Case(
        Command(Verb.CONFIRM), state, key=key, has_means=True, format=pdf, request=request, has_card=key is None
    )
    return decide(case)


def cell(decision: Decision) -> str:
    letters = ", ".join(letter(reply) for reply in decision.replies)
    if decision.act is Act.NOTHING:
        return letters or "silence"
    return f"**{decision.act}**: {letters}"


def letter(reply: Reply) -> str:
    to = "in clear" if reply.to is To.SENDER_IN_CLEAR else reply.to.replace("-", " ")
    return reply.template if reply.to is To.SENDER else f"{reply.template} ({to})"


def header(first: str, columns: Sequence[str]) -> Iterator[str]:
    yield row(first, columns)
    yield row("---", ("---" for _ in columns))


def row(first: str, cells: Iterable[str]) -> str:
    return f"| {' | '.join((first, *cells))} |"


if __name__ == "__main__":
    sys.stdout.write(page())
