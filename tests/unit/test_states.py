"""The page of states is what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailer.inward import states
from mailer.inward.states import Act
from mailer.model.subscriber import State
from tests.unit import print_states

PAGE = Path(__file__).parents[2] / "docs" / "states.md"


def test_the_page_of_states_is_as_printed_from_the_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == print_states.page(), "python -m tests.unit.print_states > docs/states.md"


def test_the_page_changes_with_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    before = print_states.page()
    monkeypatch.setitem(states.TRANSITIONS[State.BANNED], Act.JOIN, State.ACTIVE)  # type: ignore[index]
    assert print_states.page() != before
    assert "banned --> active: join" in print_states.page()
