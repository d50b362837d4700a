"""The list of guards is true: each text stands where it says, each test exists, each row of the threats has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mutants import guards
from mutants.__main__ import kept
from mutants.guards import Guard, Row
from tests.conftest import ROOT

LISTED = guards.load()


@pytest.mark.parametrize("guard", LISTED, ids=lambda guard: guard.name)
def test_what_is_taken_out_stands_there_once_and_its_tests_exist(guard: Guard) -> None:
    text = (ROOT / guard.file).read_text(encoding="utf-8")
    assert guard.taken_out(text) != text
    if guard.file.endswith(".py"):
        compile(guard.taken_out(text), guard.file, "exec")
    assert guard.tests
    for test in guard.tests:
        file, _, name = test.partition("::")
        function = re.escape(name.partition("[")[0])
        assert re.search(rf"^(?:async )?def {function}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_row_of_the_threats_has_a_guard_that_is_taken_out() -> None:
    assert guards.unguarded(guards.rows(), LISTED) == []


def test_no_two_guards_have_one_name() -> None:
    assert len({guard.name for guard in LISTED}) == len(LISTED)


def test_a_row_without_a_guard_is_found() -> None:
    row = Row("| threat | what protects | `tests/unit/test_mutants.py::test_nowhere` | – |")
    assert guards.unguarded((row,), LISTED) == [row.text]
    guard = Guard("g", "f", "a", "b", ("tests/unit/test_mutants.py::test_nowhere[x]",))
    assert guards.unguarded((row,), (guard,)) == []
    conversations = Row("| threat | what protects | `tests/conversations/join/a.txt` | – |")
    other = Guard("g", "f", "a", "b", ("tests/conversations/test_conversations.py::test_conversation[join/b]",))
    assert guards.unguarded((conversations,), (other,)) == [conversations.text]


def test_only_a_test_that_failed_shows_that_a_guard_is_missed() -> None:
    said = """PASSED tests/a/test_a.py::test_one[x]
FAILED tests/a/test_a.py::test_one[y y] - assert 1 == 2
PASSED tests/a/test_a.py::test_two
ERROR tests/a/test_a.py::test_three - fixture
SKIPPED [1] tests/a/test_a.py:9: gpg is missing
"""
    tests = [f"tests/a/test_a.py::test_{name}" for name in ("one", "one[x]", "two", "three", "four")]
    assert list(kept(said, tests)) == [
        "passes without it: tests/a/test_a.py::test_one[x]",
        "passes without it: tests/a/test_a.py::test_two",
        "cannot be run without it: tests/a/test_a.py::test_three",
        "cannot be run without it: tests/a/test_a.py::test_four",
    ]


def test_a_text_that_stands_there_twice_or_not_at_all_is_an_error(tmp_path: Path) -> None:
    for text in ("a a", "b"):
        with pytest.raises(ValueError, match="times"):
            Guard("g", "f", "a", "c", ()).taken_out(text)
