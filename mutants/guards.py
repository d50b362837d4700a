"""Reads guards.toml: which guard there is, how it is taken out, and which tests must then fail."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LISTED = Path(__file__).with_name("guards.toml")
PAGE = ROOT / "docs" / "threats.md"
_TEST = re.compile(r"`(tests/[\w/.-]+(?:\.py::\w+|\.txt))`")


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard. name: what it is for. file: where it stands. out, put: its text, and what stands there without it.

    tests: ids as pytest has them, of which each one must fail without the guard.
    """

    name: str
    file: str
    out: str
    put: str
    tests: tuple[str, ...]

    def taken_out(self, text: str) -> str:
        """Return the file's text without the guard. Raises ValueError unless it stands there exactly once."""
        if text.count(self.out) != 1:
            raise ValueError(f"{self.file}: what “{self.name}” takes out stands there {text.count(self.out)} times")
        return text.replace(self.out, self.put)


@dataclass(frozen=True)
class Row:
    """A row of a table of docs/threats.md."""

    text: str

    @cached_property
    def tests(self) -> frozenset[str]:
        """The tests that it names; a conversation as pytest knows it."""
        return frozenset(map(_as_test, _TEST.findall(self.text)))


def load(path: Path = LISTED) -> tuple[Guard, ...]:
    """Return every guard in the file's order."""
    listed = tomllib.loads(path.read_text(encoding="utf-8"))["guard"]
    return tuple(Guard(**{**one, "tests": tuple(one["tests"])}) for one in listed)


def rows(text: str | None = None) -> tuple[Row, ...]:
    """Return the rows of threats that name a test."""
    page = PAGE.read_text(encoding="utf-8") if text is None else text
    found = (Row(line) for line in page.splitlines() if line.startswith("| "))
    return tuple(row for row in found if row.tests)


def unguarded(found: tuple[Row, ...], guards: tuple[Guard, ...]) -> list[str]:
    """Return the beginning of each row of which no guard is listed: nobody knows if its tests can fail.

    A test with parameters counts as one test; conversations are many, although one function plays them all.
    """
    listed = {test for guard in guards for test in guard.tests}
    known = listed | {test.partition("[")[0] for test in listed}
    return [row.text[:80] for row in found if not row.tests & known]


def _as_test(named: str) -> str:
    if not named.endswith(".txt"):
        return named
    name = named.removeprefix("tests/conversations/").removesuffix(".txt")
    return f"tests/conversations/test_conversations.py::test_conversation[{name}]"
