"""What the pages say is so: links, commands, settings, tests and functions that they name exist. And the units, which
are half prose: what would switch a protection off without a word must not stand in them. Each check is shown a fault.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from mailer.cli.main import commands
from mailer.config import reading
from mailer.config.settings import MailingList
from mailer.errors import ConfigError
from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "keys" / "README.md"])
UNITS = sorted((ROOT / "systemd").glob("*.service"))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


def blocks(text: str, *kinds: str) -> list[str]:
    """Return the fenced blocks of these kinds."""
    return [body for kind, body in _FENCE.findall(text) if kind in kinds]


def spans(text: str) -> list[str]:
    """Return what stands between backticks outside of fences, on one line each."""
    return [" ".join(span.split()) for span in _SPAN.findall(_FENCE.sub("", text))]


def page_with(tmp_path: Path, planted: str) -> Path:
    page = tmp_path / "planted.md"
    page.write_text(planted, encoding="utf-8")
    return page


each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


# --- Links ----------------------------------------------------------------------------------------------------------


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(page: Path) -> set[str]:
    return {slug(found) for found in re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)}


def broken_links(page: Path) -> list[str]:
    broken = []
    for target in _LINK.findall(_FENCE.sub("", page.read_text("utf-8"))):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        if not there.is_file() or (anchor and anchor not in headings(there)):
            broken.append(target)
    return broken


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = page_with(tmp_path, "# One\n[a](missing.md) [b](#two) [c](#one) [d](https://example.org/x)\n")
    assert broken_links(page) == ["missing.md", "#two"]


# --- Commands -------------------------------------------------------------------------------------------------------


def commands_named(text: str) -> Iterator[str]:
    """Give each `mailer …` of a page, without the word itself."""
    for span in spans(text):
        if span.startswith("mailer "):
            yield span.removeprefix("mailer ")
    for block in blocks(text, "sh", ""):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.match(r"(?:mailer|.*/bin/mailer) +(.*)", line.strip()):
                yield found[1].partition(" #")[0]


def fault_in_command(words: list[str]) -> str | None:
    """Return what is wrong with a command line, by the very parser that reads it, or None."""
    command: Any = get_command(commands)
    rest = list(words)
    while rest and hasattr(command, "commands"):
        name = rest.pop(0)
        if name not in command.commands:
            return name
        command = command.commands[name]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return next((word for word in rest if re.match(r"--?[a-z]", word) and word not in known | {"--help"}), None)


def wrong_commands(text: str) -> list[str]:
    return [command for command in commands_named(text) if fault_in_command(command.split())]


@each_page
def test_every_command_on_a_page_exists_with_its_options(page: Path) -> None:
    assert wrong_commands(page.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "planted",
    [
        "`mailer undo`",
        "`mailer digest unsend`",
        "`mailer keys\nrotate --quietly`",
        "```sh\nrunuser -u mailer -- /opt/mailer/bin/mailer serve --insecure\n```",
    ],
)
def test_a_command_that_does_not_exist_is_found(planted: str) -> None:
    assert len(wrong_commands(planted)) == 1


def test_the_pages_name_most_commands() -> None:
    named = {" ".join(command.split()[:2]) for page in PAGES for command in commands_named(page.read_text("utf-8"))}
    assert {"keys rotate", "lists add", "digest send", "subscribers stats"} <= named


@pytest.mark.parametrize("block", [body for page in PAGES for body in blocks(page.read_text("utf-8"), "sh")])
def test_the_shell_can_read_every_example(block: str) -> None:
    assert subprocess.run(["sh", "-n"], input=block, text=True, capture_output=True, check=False).stderr == ""


# --- Settings -------------------------------------------------------------------------------------------------------


@cache
def keys_of(section: str) -> frozenset[str]:
    return frozenset(reading.SECTIONS.get(section, MailingList).model_fields)


def wrong_settings(text: str) -> list[str]:
    """Return what a page says of config.toml that config.toml would not take."""
    wrong = []
    for section, key in re.findall(r"\[([a-z]+)\] ([a-z_]+)", "\n".join(spans(text))):
        wrong += [] if section in reading.SECTIONS and key in keys_of(section) else [f"[{section}] {key}"]
    everywhere = {key for section in (*reading.SECTIONS, "lists") for key in keys_of(section)}
    assigned = (re.match(r"([a-z_]+) = ", span) for span in spans(text))
    wrong += [one[1] for one in assigned if one and one[1] not in everywhere]
    for block in blocks(text, "toml"):
        try:
            reading.read(block, ROOT / "config.toml")
        except ConfigError as error:
            wrong.append(str(error))
    return wrong


@each_page
def test_every_setting_on_a_page_exists(page: Path) -> None:
    assert wrong_settings(page.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "planted", ["`[door] plaintext`", "`secure = false`", '```toml\n[relay]\ntls = "perhaps"\n```', "`[shop] listen`"]
)
def test_a_setting_that_does_not_exist_is_found(planted: str) -> None:
    assert len(wrong_settings(planted)) == 1


# --- Tests, files and functions -------------------------------------------------------------------------------------


@cache
def names_in(module: Path) -> frozenset[str]:
    """Return the functions and classes of a module, and its methods as Class.method."""
    names = set()
    for node in ast.parse(module.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{one.name}" for one in node.body if hasattr(one, "name")}
    return frozenset(names)


_NAMED = re.compile(r"((?:[a-z_]+/)+[\w-]+\.(?:py|txt|toml|md))(?:(?:::|: )([A-Za-z_][\w.]*))?")


def wrong_names(text: str) -> list[str]:
    """Return the tests, files and functions that a page names and that are not there."""
    wrong = []
    for named in filter(None, map(_NAMED.fullmatch, spans(text))):
        path, name = named.groups()
        there = next((one for one in (ROOT / path, ROOT / "mailer" / path) if one.is_file()), None)
        if there is None or (name and name not in names_in(there)):
            wrong.append(named[0])
    return wrong


@each_page
def test_every_test_file_and_function_that_a_page_names_is_there(page: Path) -> None:
    assert wrong_names(page.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "planted",
    [
        "`tests/unit/test_docs.py::test_nothing`",
        "`tests/unit/test_nothing.py::test_nothing`",
        "`tests/conversations/join/nobody.txt`",
        "`inward/nothing.py`",
        "`inward/door/listening.py: Door.welcome`",
    ],
)
def test_a_name_that_is_not_there_is_found(planted: str) -> None:
    assert len(wrong_names(planted)) == 1


def test_every_row_of_the_threats_names_a_test_or_a_conversation() -> None:
    rows = re.findall(r"^\| .*$", (ROOT / "docs" / "threats.md").read_text("utf-8"), re.MULTILINE)
    told = [row for row in rows if not row.startswith(("| promise", "| threat", "| who has", "|---"))]
    bare = [row for row in told if "tests/" not in row]
    assert len(told) > 25
    assert [row.split("|")[1].strip() for row in bare] == []


def test_the_readme_lists_the_folders_and_no_others() -> None:
    listing = re.search(r"^    mailer/\n((?:    .*\n)+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert listing is not None
    listed = {line.split()[0].rstrip("/") for line in listing[1].splitlines() if line.startswith("      ")}
    there = {one.name for one in (ROOT / "mailer").iterdir() if not one.name.startswith("__")}
    assert listed == there
    outside = [line.split()[0] for line in listing[1].splitlines() if not line.startswith("      ")]
    assert all((ROOT / one).is_dir() for one in outside)


# --- What no page and no file may name ------------------------------------------------------------------------------

# Folders that every Debian has (Filesystem Hierarchy Standard 3.0); of /opt ours alone, and nobody's own files. The
# last two begin paths that lead nowhere.
_COMMON = {"bin", "dev", "etc", "lib", "proc", "run", "sbin", "srv", "sys", "tmp", "usr", "var", "path", "does"}
_ABSOLUTE = re.compile(r"""(?:^|(?<=[\s"'`(=:|]))/([a-z][a-z0-9_.-]*)/([A-Za-z][\w.-]*)""")
_NOT_OURS = {
    ".git",
    ".venv",
    ".venv-fuzz",
    "corpus",
    "found",
    ".hypothesis",
    ".mypy_cache",
    ".ruff_cache",
    ".import_linter_cache",
    "__pycache__",
}


def machine_paths(text: str) -> list[str]:
    return [
        f"/{top}/{below}"
        for top, below in _ABSOLUTE.findall(text)
        if top not in _COMMON and (top, below) != ("opt", "mailer")
    ]


def files() -> Iterator[Path]:
    for top in ROOT.iterdir():
        if top.name in _NOT_OURS | {"build", "dist"} or top.suffix == ".db":
            continue
        for path in [top] if top.is_file() else top.rglob("*"):
            if path.is_file() and not _NOT_OURS & set(path.parts):
                yield path


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    found = {}
    for path in files():
        text = path.read_bytes().decode("utf-8", errors="replace")
        if path != Path(__file__) and (named := machine_paths(text)):
            found[str(path.relative_to(ROOT))] = named
    assert found == {}


@pytest.mark.parametrize("planted", ["cd /home/ada/mailer", '"/opt/python/bin"', "".join(("see /", "root/notes"))])
def test_a_folder_of_somebodys_machine_is_found(planted: str) -> None:
    assert len(machine_paths(planted)) == 1


# --- The units ------------------------------------------------------------------------------------------------------


def settings_of(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def silent_losses(unit: dict[str, list[str]]) -> list[str]:
    """Return what a unit takes away without anybody being told (docs/operations.md, section 3)."""
    lost = []
    allowed = " ".join(unit.get("SystemCallFilter", [])).split()
    if " serve " in unit["ExecStart"][0]:
        if not {"user", "net"} <= set(unit["RestrictNamespaces"][0].split()):
            lost.append("the reader's empty network")
        if not {"landlock_create_ruleset", "landlock_restrict_self"} <= set(allowed):
            lost.append("the reader's closed files")
    if " work " in unit["ExecStart"][0] and unit.keys() & {"ProtectProc", "ProcSubset", "PrivatePIDs"}:
        lost.append("sight of other workers")
    return lost


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_runs_a_command_that_exists_and_takes_nothing_away_in_silence(unit: Path) -> None:
    found = settings_of(unit)
    program, *words = found["ExecStart"][0].split()
    assert program == "/opt/mailer/bin/mailer"
    assert fault_in_command(words) is None
    assert silent_losses(found) == []


@pytest.mark.parametrize(
    ("name", "key", "values"),
    [
        ("mailer", "RestrictNamespaces", ["yes"]),
        ("mailer", "SystemCallFilter", ["@system-service"]),
        ("mailer-deliver", "ProtectProc", ["invisible"]),
    ],
)
def test_what_a_unit_would_take_away_in_silence_is_found(name: str, key: str, values: list[str]) -> None:
    found = settings_of(ROOT / "systemd" / f"{name}.service") | {key: values}
    assert len(silent_losses(found)) == 1


def test_the_deliverer_has_a_user_and_a_folder_of_its_own() -> None:
    intake, deliverer = settings_of(ROOT / "systemd" / "mailer.service"), settings_of(UNITS[0])
    assert UNITS[0].stem == "mailer-deliver"
    assert intake["User"] != deliverer["User"]
    assert intake["ExecStart"][0].split()[-1] != deliverer["ExecStart"][0].split()[-1]
