"""Several commands in one letter: all of them are done, or none. Pure.

What belongs together becomes one command: a key or a language that comes with "subscribe", a question beside a wish.
Settings that go together are done together. All else is UNCLEAR: nothing is done, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mailer.model.command import Command, Verb

# In the order in which they are done: the language comes first, so that the answer is in it.
TOGETHER = (Verb.SET_LANGUAGE, Verb.PAUSE, Verb.RESUME)

_ASIDE = frozenset({Verb.HELP, Verb.STATUS})  # every answer to the others says as much
_GOING = frozenset({Verb.UNSUBSCRIBE, Verb.FORGET})
_WITH_SUBSCRIBE = frozenset({Verb.SUBSCRIBE, Verb.SET_KEY, Verb.GET_KEY, Verb.SET_LANGUAGE})
_ANSWER = frozenset({Verb.CONFIRM, Verb.SUBSCRIBE})  # to our question, in the words that were asked about
_OPPOSITE = {Verb.PAUSE, Verb.RESUME}


def join(commands: Sequence[Command]) -> Command:
    """Return what all these commands of one letter come to: one, one with others beside it (`also`), or UNCLEAR."""
    different = _each_once(commands)
    verbs = [one.verb for one in different]
    if len(different) == 1:
        return different[0]
    if set(verbs) == _GOING:
        return next(one for one in different if one.verb is Verb.FORGET)  # which leaves, and more
    if set(verbs) == _ANSWER:
        return next(one for one in different if one.verb is Verb.CONFIRM)
    if Verb.SUBSCRIBE in verbs and set(verbs) <= _WITH_SUBSCRIBE and _is_one_of_each(verbs):
        return _subscribe(different)
    if set(verbs) <= set(TOGETHER) and not set(verbs) >= _OPPOSITE and _is_one_of_each(verbs):
        first, *others = sorted(different, key=lambda one: TOGETHER.index(one.verb))
        return replace(first, also=tuple(others))
    return Command(Verb.UNCLEAR, language=different[0].language)


def parts(command: Command) -> tuple[Command, ...]:
    """Return each command that a joined one is made of."""
    return (replace(command, also=()), *command.also)


def _each_once(commands: Iterable[Command]) -> list[Command]:
    """Return each wish once: in which language it was said makes no difference, unless that is what is wished."""
    found: dict[Command, Command] = {}
    for one in commands:
        bare = one if one.verb is Verb.SET_LANGUAGE else replace(one, language=None)
        found.setdefault(bare, one)
    with_token = {one.verb for one in found.values() if one.token}
    wishes = [one for one in found.values() if one.verb not in _ASIDE and (one.token or one.verb not in with_token)]
    if len(wishes) > 1:  # "confirmed", and nothing that it could confirm
        wishes = [one for one in wishes if one.token or one.verb is not Verb.CONFIRM]
    return wishes or list(found.values())[:1]


def _is_one_of_each(verbs: Sequence[Verb]) -> bool:
    return len(set(verbs)) == len(verbs)


def _subscribe(commands: Sequence[Command]) -> Command:
    wanted = next((one.language for one in commands if one.verb is Verb.SET_LANGUAGE), None)
    subscribe = next(one for one in commands if one.verb is Verb.SUBSCRIBE)
    return replace(subscribe, language=wanted or subscribe.language)
