"""How a conversation is written: sentences, and below each, indented, what belongs to it. See README.md."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

Act = Callable[..., Awaitable[None]]
_sentences: list[tuple[re.Pattern[str], Act]] = []


@dataclass(frozen=True)
class Step:
    """A sentence, and what is indented below it: `Name: value` first, then text."""

    line: int
    sentence: str
    fields: dict[str, str]
    text: list[str]


def read(script: str) -> Iterator[Step]:
    """Return the steps of a conversation; what it is about stands above the first empty line, `#` begins a remark."""
    lines = list(enumerate(script.splitlines(), 1))
    lines = lines[script.splitlines().index("") :]
    for at, (number, line) in enumerate(lines):
        if line.strip() and not line.startswith(("#", " ")):
            yield _read_step(number, line, [text for _, text in lines[at + 1 :]])


def _read_step(number: int, line: str, following: list[str]) -> Step:
    below = []
    for text in following:
        if not text.startswith("    "):
            break
        below.append(text[4:])
    names = [re.match(r"([A-Z][\w-]*): (.*)", text) for text in below]
    count = next((index for index, name in enumerate(names) if name is None), len(names))
    fields = {name[1]: name[2] for name in names[:count] if name}
    return Step(number, line.strip().removesuffix("."), fields, below[count:])


def says(pattern: str) -> Callable[[Act], Act]:
    """Teach a sentence: a pattern over all of it, whose groups the function gets."""

    def teach(act: Act) -> Act:
        _sentences.append((re.compile(pattern), act))
        return act

    return teach


async def play(stage: Any, step: Step) -> None:
    """Do what a sentence says; AssertionError where it is not so, or means nothing."""
    for pattern, act in _sentences:
        if match := pattern.fullmatch(step.sentence):
            await act(stage, step, *match.groups())
            return
    raise AssertionError("nobody knows what this sentence means")
