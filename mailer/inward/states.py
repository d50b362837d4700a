"""Where somebody stands with a list, and where each act leads: one table. What is not in it is refused.

`decide` proposes nothing else, `change` carries out nothing else, and docs/states.md is printed from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from mailer.model.subscriber import State


class Act(StrEnum):
    """What is done to the register."""

    NOTHING = "nothing"
    ASK = "ask"  # keep the request until it is confirmed
    JOIN = "join"
    LEAVE = "leave"
    FORGET = "forget"
    FORGET_MARK = "forget-mark"
    SET_KEY = "set-key"
    DROP_KEY = "drop-key"
    SET_LANGUAGE = "set-language"
    SET_FORMAT = "set-format"
    TAKE_CARD = "take-card"  # somebody on the list reads PDFs from now on, with the words of a card
    PAUSE = "pause"
    RESUME = "resume"
    MOVE = "move"


ON_LIST = frozenset({State.ACTIVE, State.PAUSED, State.SUSPENDED})
IN_REGISTER = ON_LIST | {State.INVITED}  # there is a row

_GOING = {Act.LEAVE: State.UNKNOWN, Act.FORGET: State.UNKNOWN}

TRANSITIONS: Mapping[State, Mapping[Act, State]] = {
    State.UNKNOWN: {
        Act.ASK: State.UNKNOWN,
        Act.JOIN: State.ACTIVE,
        Act.FORGET_MARK: State.UNKNOWN,
    },
    State.INVITED: {
        Act.ASK: State.INVITED,
        Act.JOIN: State.ACTIVE,
        **_GOING,
    },
    State.ACTIVE: {
        Act.ASK: State.ACTIVE,
        Act.SET_KEY: State.ACTIVE,
        Act.DROP_KEY: State.SUSPENDED,
        Act.SET_LANGUAGE: State.ACTIVE,
        Act.SET_FORMAT: State.ACTIVE,
        Act.TAKE_CARD: State.ACTIVE,
        Act.PAUSE: State.PAUSED,
        Act.MOVE: State.ACTIVE,
        **_GOING,
    },
    State.PAUSED: {
        Act.ASK: State.PAUSED,
        Act.SET_KEY: State.PAUSED,
        Act.DROP_KEY: State.PAUSED,  # whoever paused and then renews the key has not asked for digests
        Act.SET_LANGUAGE: State.PAUSED,
        Act.SET_FORMAT: State.PAUSED,
        Act.TAKE_CARD: State.PAUSED,
        Act.RESUME: State.ACTIVE,
        Act.MOVE: State.PAUSED,
        **_GOING,
    },
    State.SUSPENDED: {
        Act.ASK: State.SUSPENDED,
        Act.SET_KEY: State.ACTIVE,
        Act.DROP_KEY: State.SUSPENDED,
        Act.SET_LANGUAGE: State.SUSPENDED,
        Act.SET_FORMAT: State.SUSPENDED,
        Act.TAKE_CARD: State.ACTIVE,
        Act.PAUSE: State.PAUSED,
        Act.RESUME: State.ACTIVE,
        Act.MOVE: State.SUSPENDED,
        **_GOING,
    },
    State.BANNED: {},
}


def after(state: State, act: Act) -> State | None:
    """Return where an act leads from a state; None where it is refused. Doing nothing is never refused."""
    return state if act is Act.NOTHING else TRANSITIONS[state].get(act)


def after_all(state: State, acts: Iterable[Act]) -> State | None:
    """Return where acts lead, one after another; None where one of them is refused."""
    reached: State | None = state
    for act in acts:
        reached = after(reached, act) if reached is not None else None
    return reached
