"""config.toml → Config, or a ConfigError that names every mistake with its line."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mailer.config.section import Section
from mailer.config.settings import Config
from mailer.errors import ConfigError

Place = tuple[str | int, ...]  # ("lists", 0, "address")

SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
LONGEST_ECHO = 24


@dataclass(frozen=True, order=True)
class _Problem:
    line: int
    sentence: str


def load(path: Path) -> Config:
    """Read the settings of an instance. Raises ConfigError, which names each mistake and its line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path.name}, line {line}: this is not UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}.") from error
    return read(text, path)


def read(text: str, path: Path) -> Config:
    """Return the settings that `text`, the content of `path`, holds. Raises ConfigError like `load`."""
    text = text.replace("\r\n", "\n")
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_explain_syntax(error, text, path)) from error
    sections: dict[str, Any] = {name: {} for name in SECTIONS}
    try:
        return Config.model_validate(sections | tree, context={"folder": path.absolute().parent})
    except ValidationError as error:
        lines = _locate(text)
        problems = sorted({_explain(detail, lines) for detail in error.errors(include_url=False)})
        # `from None`: pydantic's own text repeats what was found, addresses too
        raise ConfigError("\n".join(["", *(_report(problem, path) for problem in problems)])) from None


def _report(problem: _Problem, path: Path) -> str:
    where = f"{path.name}, line {problem.line}" if problem.line else path.name
    return f"{where}: {problem.sentence}"


def _explain_syntax(error: tomllib.TOMLDecodeError, text: str, path: Path) -> str:
    what, _, where = str(error).rpartition(" (at ")
    found = re.match(r"line (\d+), (column \d+)", where)
    line, column = found.groups() if found else (text.rstrip("\n").count("\n") + 1, "at the end of the file")
    return f"{path.name}, line {line}: this is not TOML: {what[:1].lower()}{what[1:]} ({column})."


# --- What is wrong --------------------------------------------------------------------------------------------------


def _explain(detail: ErrorDetails, lines: dict[Place, int]) -> _Problem:
    context = detail.get("ctx", {})
    place: Place = (*detail["loc"], *context.get("at", ()))
    line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), 0)
    names = [name for name in place if isinstance(name, str)]
    if detail["type"] == "contradiction":
        return _Problem(line, f"{_name(names)}: {context['sentence']}")
    if detail["type"] == "extra_forbidden":
        return _Problem(line, f"{_name(names)}: {_unknown(names)}")
    expected = _expected(names)
    if detail["type"] == "missing":
        return _Problem(line, f"{_name(names)}: is missing; expected {expected}")
    found = _echo(detail)
    return _Problem(line, f"{_name(names)}: expected {expected}{found}")


def _name(names: list[str]) -> str:
    section, keys = _split(names)
    if not section:
        return ".".join(keys)
    header = ".".join(section)
    return " ".join(filter(None, [f"[{header}]" if header in SECTIONS else f"[[{header}]]", ".".join(keys)]))


def _expected(names: list[str]) -> str:
    section, keys = _split(names)
    if keys:
        return str(_model(section).model_fields[keys[0]].description)
    return str(_model(section[:-1]).model_fields[section[-1]].description or "a section")


def _unknown(names: list[str]) -> str:
    section, keys = _split(names)
    if not section:
        near = difflib.get_close_matches(keys[0], Config.model_fields, 1)
        return "there is no such section" + (f"; did you mean {_name(near)}?" if near else _home_of(keys[0]))
    near = difflib.get_close_matches(keys[0], _model(section).model_fields, 1)
    return "there is no such key" + (f"; did you mean {near[0]}?" if near else _home_of(keys[0]))


def _home_of(key: str) -> str:
    homes = [_name([section]) for section in [*SECTIONS, "lists"] if key in _model([section]).model_fields]
    return f"; {key} belongs in {' or '.join(homes)}" if homes else ""


def _split(names: list[str]) -> tuple[list[str], list[str]]:
    """Return the names of the section that a place is in, and those that lead on from there."""
    depth = 0
    while depth < len(names) and _section(_model(names[:depth]), names[depth]):
        depth += 1
    return names[:depth], names[depth:]


def _model(section: list[str]) -> type[Section]:
    """The settings class of a section: of the whole file for no name, of each of several for [[lists]] and the like."""
    model: type[Section] = Config
    for name in section:
        model = _section(model, name) or model
    return model


def _section(model: type[Section], name: str) -> type[Section] | None:
    field = model.model_fields.get(name)
    annotation = get_args(field.annotation)[0] if field and get_args(field.annotation) else field and field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _echo(detail: ErrorDetails) -> str:
    # Free text is not repeated: it may be an address or a password that slipped into the wrong place.
    found = detail["input"]
    if isinstance(found, bool | int | float):
        return f", found {json.dumps(found)}"
    if isinstance(found, str) and detail["type"] != "value_error" and len(found) <= LONGEST_ECHO and "@" not in found:
        return f", found {json.dumps(found, ensure_ascii=False)}"
    return ""


# --- Where it stands ------------------------------------------------------------------------------------------------


def _locate(text: str) -> dict[Place, int]:
    """Return the line, from 1, on which each table and each key of a valid TOML text first stands."""
    lines: dict[Place, int] = {}
    table: Place = ()
    counts: Counter[Place] = Counter()
    for number, statement in _statements(text):
        tree = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = _header(tree, counts)
            lines.setdefault(table, number)
        else:
            for place in _places(tree, table):
                lines.setdefault(place, number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    # A statement is the fewest lines that are TOML by themselves: so no quote or bracket is counted here.
    number, pending = 1, ""
    for current, line in enumerate(text.split("\n"), 1):
        number = number if pending else current
        pending += line + "\n"
        try:
            tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue
        yield number, pending
        pending = ""


def _header(tree: Any, counts: Counter[Place]) -> Place:
    place: Place = ()
    while tree:
        [(key, tree)] = tree.items()
        place = (*place, key)
        if isinstance(tree, dict) and counts[place]:  # [[lists.identities]] is of the list that came last
            place = (*place, counts[place] - 1)
        if isinstance(tree, list):
            place, tree = (*place, counts[place]), tree[0]
            counts[place[:-1]] += 1
    return place


def _places(tree: Any, above: Place) -> Iterator[Place]:
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield (*above, key)
        yield from _places(value, (*above, key))
