"""Several commands in one letter: all are done, or none, and one answer comes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from mailer.inward import several
from mailer.inward.decide import Case, decide
from mailer.inward.states import ON_LIST, Act, after_all
from mailer.inward.understand import understand
from mailer.model.address import Address
from mailer.model.command import Command, Verb
from mailer.model.language import Language
from mailer.model.letter import Letter
from mailer.model.request import Request
from mailer.model.subscriber import State

OWN = Address("news", "list.example")
ADA = Address("ada", "reader.example")
TOKEN = "abcdefghij234567klmnopqr"
HANT = Language.ZH_HANT
BOTH = Command(Verb.SET_LANGUAGE, language=HANT, also=(Command(Verb.PAUSE),))


def asked(text: str, subject: str = "", **letter: object) -> str:
    """What a letter comes to, as `verb+verb`."""
    command = understand(Letter(ADA, subject, text, **letter), "", OWN).command  # type: ignore[arg-type]
    return "+".join(part.verb for part in several.parts(command))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("language zh-Hant\npause\n", "set-language+pause"),
        ("pause\nlanguage zh-Hant\n", "set-language+pause"),
        ("Hello,\n\nplease pause\n\nlanguage English\n\nThanks,\nAda\n", "set-language+pause"),
        ("暫停\n語言 繁體中文\n", "set-language+pause"),
        ("恢复\n\n语言 简体中文\n\n谢谢\n", "set-language+resume"),
        ("pause\npause\n暫停\n", "pause"),
        ("pause\nhelp\nstatus\n", "pause"),
        ("help\nstatus\n", "help"),
        ("unsubscribe\nforget me\n", "forget"),
        ("subscribe\nmy key\n", "subscribe"),
        ("subscribe\nlanguage zh-Hant\nget key\n", "subscribe"),
        ("pause\nresume\n", "unclear"),
        ("pause\nunsubscribe\n", "unclear"),
        ("subscribe\nunsubscribe\n", "unclear"),
        ("language en\nlanguage zh-Hant\n", "unclear"),
        ("my key\nlanguage zh-Hant\n", "unclear"),
        ("address new@example.org\npause\n", "unclear"),
        ("pause\nxyzzy\nlanguage zh-Hant\n", "unclear"),
        ("pause\nlanguage zh-Hant\nxyzzy\n", "unclear"),
        ("\n".join(["pause"] * 11) + "\n", "unclear"),
        ("pause\nAda\n", "pause"),
        ("pause\n\nAda\nlanguage zh-Hant\n", "pause"),
        ("pause\n\nWhy do you never write?\n\nunsubscribe\n", "pause"),
        ("pause\n-- \nunsubscribe\n", "pause"),
        ("pause\n\nOn 1 May 2026, news wrote:\n> unsubscribe\n> language en\n", "pause"),
        ("pause\n> language en\nlanguage zh-Hant\n", "set-language+pause"),
        ("I have a question.\npause\nlanguage zh-Hant\n", "contact"),
    ],
)
def test_several_commands_come_to_one(text: str, expected: str) -> None:
    assert asked(text) == expected


@pytest.mark.parametrize(
    ("subject", "text", "expected"),
    [
        ("pause", "language zh-Hant\n", "set-language+pause"),
        ("pause", "I am away until May.\nlanguage zh-Hant\n", "pause"),
        ("pause", "unsubscribe\n", "unclear"),
        ("unsubscribe", "confirmed\n", "unsubscribe"),
        (f"Re: confirm {TOKEN}", "confirm\n", "confirm"),
        (f"confirm {TOKEN}", "subscribe\n", "confirm"),
        (f"confirm {TOKEN}", "unsubscribe\n", "unclear"),
        (f"unsubscribe {TOKEN}", "unsubscribe\n", "unsubscribe"),
        ("Re: pause", "language zh-Hant\n", "set-language"),
        ("Re: Your news", "language zh-Hant\npause\n", "set-language+pause"),
    ],
)
def test_the_subject_may_hold_the_first_of_them(subject: str, text: str, expected: str) -> None:
    assert asked(text, subject) == expected


def test_a_token_is_kept_and_a_language_beside_subscribe_is_the_one_to_write_in() -> None:
    letter = Letter(ADA, f"confirm {TOKEN}", "subscribe\n")
    assert understand(letter, "", OWN).command.token == TOKEN
    assert understand(Letter(ADA, "", "subscribe\n繁體中文\n"), "", OWN).command.language is HANT


def test_all_of_them_must_be_signed() -> None:
    def is_signed(subject: str, *, subject_is_signed: bool) -> bool:
        text = "language zh-Hant\n"
        letter = Letter(ADA, subject, text, is_signed=True, signed_by="ab" * 20, subject_is_signed=subject_is_signed)
        return understand(letter, "", OWN).is_signed

    assert is_signed("pause", subject_is_signed=True)
    assert not is_signed("pause", subject_is_signed=False)
    assert is_signed("Re: anything", subject_is_signed=False)


def test_in_whatever_order_they_stand_they_come_to_the_same() -> None:
    wishes = [Command(verb, language=HANT if verb is Verb.SET_LANGUAGE else None) for verb in Verb]
    for one, other in itertools.combinations(wishes, 2):
        assert {part.verb for part in several.parts(several.join([one, other]))} == {
            part.verb for part in several.parts(several.join([other, one]))
        } or {one.verb, other.verb} <= {Verb.HELP, Verb.STATUS}


# --- What is done ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(ON_LIST))
@pytest.mark.parametrize("second", [Verb.PAUSE, Verb.RESUME])
def test_with_proof_all_are_done_and_one_letter_says_so(state: State, second: Verb) -> None:
    command = replace(BOTH, also=(Command(second),))
    decision = decide(Case(command, state, is_proven=True, has_means=True))
    wanted = State.PAUSED if second is Verb.PAUSE else State.ACTIVE
    assert after_all(state, (decision.act, *decision.further)) is wanted
    assert decision.act is Act.SET_LANGUAGE
    assert [reply.template for reply in decision.replies] == ["settings-changed"]


@pytest.mark.parametrize("state", sorted(ON_LIST))
def test_without_proof_one_question_is_asked_for_all_and_its_answer_does_all(state: State) -> None:
    question = decide(Case(BOTH, state, has_means=True))
    assert (question.act, question.further) == (Act.ASK, ())
    assert [reply.template for reply in question.replies] == ["confirm-several"]
    request = Request(Verb.SET_LANGUAGE, ADA, HANT, also=(Verb.PAUSE,))
    done = decide(Case(Command(Verb.CONFIRM, token=TOKEN), state, request=request, has_means=True))
    assert after_all(state, (done.act, *done.further)) is State.PAUSED


def test_strangers_and_the_banned_change_nothing() -> None:
    stranger = decide(Case(BOTH, State.UNKNOWN, is_proven=True))
    assert (stranger.act, stranger.replies[0].template) == (Act.NOTHING, "nothing-held")
    assert decide(Case(BOTH, State.BANNED, is_proven=True)).replies == ()
    assert after_all(State.UNKNOWN, (Act.FORGET_MARK, Act.PAUSE)) is None, "one that is refused refuses all"


def test_without_a_key_that_can_be_used_nothing_is_asked() -> None:
    (reply,) = decide(Case(BOTH, State.ACTIVE)).replies
    assert reply.template in ("key-needed", "key-no-longer-usable")


@pytest.mark.parametrize(
    "line",
    [
        "-----Ursprüngliche Nachricht-----",
        "-------- Oprindelig besked --------",
        "Den 4. maj 2026 kl. 19:03 skrev news <news@list.example>:",
        "Il giorno 4 maggio 2026 news <news@list.example> ha scritto:",
        "4 мая 2026 г. 19:03 пользователь news <news@list.example> написал:",
    ],
)
def test_what_stands_below_the_line_of_a_reply_in_any_language_is_not_among_them(line: str) -> None:
    assert asked(f"pause\n{line}\nunsubscribe\nlanguage en\n") == "pause"
    assert asked(f"pause\n\n{line}\n\nunsubscribe\n") == "pause"
