"""The targets of `make fuzz` hold for what they begin with, so that a finding is one. Nothing is fuzzed here."""

from __future__ import annotations

from itertools import islice

import pytest

from fuzz import seeds, targets
from fuzz.targets import TARGETS


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_target_takes_what_it_begins_with(name: str) -> None:
    begun = list(islice(seeds.of(name), 12))
    assert begun
    for seed in [*begun, b"", b"\x00\xff" * 20]:
        TARGETS[name](seed)


def test_every_target_is_on_the_page() -> None:
    page = (targets.ROOT / "fuzz" / "README.md").read_text("utf-8")
    assert all(f"| `{name}` |" in page for name in TARGETS)


def test_a_rule_that_does_not_hold_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "_check_letter", lambda found: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        targets.letter(b"From: ada@reader.example\r\n\r\nsubscribe\r\n")
