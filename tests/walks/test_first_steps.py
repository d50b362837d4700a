"""The command line at its first steps: what goes wrong is one sentence, and nothing half-made is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def mailer(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    command = [sys.executable, "-m", "mailer", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def init(folder: Path, service: str, roster: str) -> subprocess.CompletedProcess[str]:
    (folder / "s").write_text(service)
    (folder / "r").write_text(roster)
    files = ("--service-passphrase-file", "s", "--roster-passphrase-file", "r")
    return mailer("init", "instance", "--address", "news@lists.example", *files, cwd=folder)


def assert_one_sentence(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 1
    assert done.stderr.startswith("mailer: ")
    assert "Traceback" not in done.stderr


def test_passphrases_that_are_no_good_leave_no_half_instance(tmp_path: Path) -> None:
    for service, roster in (("", "a long enough one"), ("short", "a long enough one"), ("the same for both",) * 2):
        assert_one_sentence(init(tmp_path, service, roster))
        assert not (tmp_path / "instance").exists()
    assert init(tmp_path, "a long enough one", "another long enough one").returncode == 0


def test_a_place_where_nothing_can_be_written_is_named_without_a_traceback(tmp_path: Path) -> None:
    assert init(tmp_path, "a long enough one", "another long enough one").returncode == 0
    key = ("keys", "export", "--instance", "instance", "--service-passphrase-file", "s", "--output")
    assert_one_sentence(mailer(*key, "nowhere/news.asc", cwd=tmp_path))
    assert_one_sentence(mailer("init", "s/inside", cwd=tmp_path))
    (tmp_path / "kept").write_text("something dear")
    assert_one_sentence(mailer(*key, "kept", cwd=tmp_path))
    assert (tmp_path / "kept").read_text() == "something dear"
    assert mailer(*key, "news.asc", cwd=tmp_path).returncode == 0
