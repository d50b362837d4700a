"""Every line of the log is explained on the page for admins, and none is given anything that names a person."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

METHODS = {"debug", "info", "warning", "error", "critical"}
NAMING = {"address", "recipient", "sender", "subject", "token", "fingerprint", "passphrase", "letter", "raw", "text"}
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
EXPLAINED = PAGE[PAGE.index("## 9. What the log says") : PAGE.index("## 10. ")]


@dataclass(frozen=True)
class Line:
    where: str
    words: str
    names: frozenset[str]


def lines_of(source: str, where: str = "") -> Iterator[Line]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        is_log = isinstance(owner, ast.Name) and owner.id in ("log", "_log")
        is_log |= isinstance(owner, ast.Call) and ast.unparse(owner.func) == "logging.getLogger"
        if not is_log or node.func.attr not in METHODS:
            continue
        assert isinstance(node.args[0], ast.Constant), f"{where}:{node.lineno}: words come first, then the rest"
        found = [one for each in node.args[1:] for one in ast.walk(each)]
        names = {one.id for one in found if isinstance(one, ast.Name)}
        names |= {one.attr for one in found if isinstance(one, ast.Attribute)}
        yield Line(f"{where}:{node.lineno}", str(node.args[0].value), frozenset(names))


def all_lines() -> list[Line]:
    paths = [path for path in (ROOT / "mailer").rglob("*.py") if "demo" not in path.parts]
    return [one for path in paths for one in lines_of(path.read_text("utf-8"), path.name)]


def beginning(words: str) -> str:
    """Return what a line begins with, up to what differs from one time to the next."""
    return re.split(r"%|[:;(.]", words)[0].strip()


def unexplained(lines: list[Line]) -> list[str]:
    return [f"{one.where}: {one.words}" for one in lines if beginning(one.words) not in EXPLAINED]


def naming(lines: list[Line]) -> list[str]:
    return [one.where for one in lines if one.names & NAMING]


def test_every_line_is_explained_on_the_page() -> None:
    lines = all_lines()
    assert len(lines) > 25
    assert unexplained(lines) == []


def test_no_line_is_given_what_names_a_person() -> None:
    assert naming(all_lines()) == []


@pytest.mark.parametrize("planted", ['log.info("somebody sneezed: %s", code)', '_log.error("a sneeze")'])
def test_a_line_that_is_not_explained_is_found(planted: str) -> None:
    assert len(unexplained(list(lines_of(planted)))) == 1


@pytest.mark.parametrize("planted", ['log.info("listening on %s", letter.recipient)', 'log.warning("x %s", subject)'])
def test_a_line_that_names_a_person_is_found(planted: str) -> None:
    assert len(naming(list(lines_of(planted)))) == 1


def test_the_lines_are_searched_for_where_they_are() -> None:
    assert {one.where.split(":")[0] for one in all_lines()} >= {"worker.py", "app.py", "replies.py", "serve.py"}
    assert Path(ROOT / "mailer" / "inward" / "worker.py").is_file()
