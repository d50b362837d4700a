"""A digest whose file says no language is in the list's, where there is only the one file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mailer import instance
from mailer.cli import digest, lists
from mailer.crypto.keyfile import SlotKdf
from mailer.errors import DigestUnusable
from mailer.instance import Instance
from mailer.model.language import Language
from mailer.outward.compose import compose

PASSPHRASE = "service passphrase"


def write(path: Path, front_matter: str = "") -> Path:
    path.write_text(f"---\nsubject: News\n{front_matter}---\n\nText.\n", encoding="utf-8")
    return path


def test_the_default_is_taken_only_where_nothing_says_a_language(tmp_path: Path) -> None:
    hant = Language.ZH_HANT
    assert compose(write(tmp_path / "a.md"), default=hant).language is hant
    assert compose(write(tmp_path / "b.md", "language: en\n"), default=hant).language is Language.EN
    assert compose(write(tmp_path / "c.zh-Hans.md"), default=hant).language is Language.ZH_HANS
    assert compose(write(tmp_path / "d.md"), language=Language.EN, default=hant).language is Language.EN


def test_without_a_default_a_file_must_say_its_language(tmp_path: Path) -> None:
    with pytest.raises(DigestUnusable, match="says no language"):
        compose(write(tmp_path / "a.md"))


def test_a_default_does_not_hide_that_a_file_contradicts_itself(tmp_path: Path) -> None:
    with pytest.raises(DigestUnusable, match="make command, name and file agree"):
        compose(write(tmp_path / "a.zh-Hans.md", "language: en\n"), default=Language.EN)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An instance with a list that speaks 繁體中文 unless told otherwise."""
    folder = tmp_path / "instance"
    instance.create(folder, PASSPHRASE, "roster passphrase", SlotKdf(memory_kib=8, iterations=1, lanes=1))
    wanted = lists.read_wanted("news@example.org", None, None, None, (Language.ZH_HANT, Language.EN))
    lists.add_wanted(Instance.open(folder), wanted, PASSPHRASE)
    assert Instance.open(folder).directory().lists[0].default_language is Language.ZH_HANT
    return folder


def new(folder: Path, *files: Path) -> str:
    """Run `mailer digest new` and return the languages of the editions."""
    (folder.parent / "service-passphrase").write_text(PASSPHRASE)
    command = ["new", *map(str, files), "--json", "--instance", str(folder)]
    result = CliRunner().invoke(digest.commands, command, env={"CREDENTIALS_DIRECTORY": str(folder.parent)})
    if result.exception:
        raise result.exception
    return str(json.loads(result.stdout)["languages"])


def test_a_single_file_may_leave_its_language_to_the_list(folder: Path, tmp_path: Path) -> None:
    assert new(folder, write(tmp_path / "issue.md")) == "zh-Hant"


def test_a_single_file_in_another_language_than_the_lists_says_so(folder: Path, tmp_path: Path) -> None:
    assert new(folder, write(tmp_path / "issue.md", "language: en\n")) == "en"


def test_of_several_files_each_must_say_its_language(folder: Path, tmp_path: Path) -> None:
    said = write(tmp_path / "issue.en.md")
    with pytest.raises(DigestUnusable, match="says no language"):
        new(folder, write(tmp_path / "issue.md"), said)
    assert new(folder, write(tmp_path / "issue.zh-Hant.md"), said) == "zh-Hant, en"
