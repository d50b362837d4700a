"""`mailer keys check`: a verdict on each certificate in a file, for people and for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mailer.cli.keys import check
from mailer.cli.main import commands
from mailer.model.certificate import Found

FILES = Path(__file__).parents[1] / "certificates" / "files"
USABLE, EXPIRED, SECRET = FILES / "usable.asc", FILES / "expired.asc", FILES / "secret.asc"
FINGERPRINT = "87718ce35816bbd894be3054b817fb498ae3a50b"


def run(*arguments: Path | str) -> Result:
    return CliRunner().invoke(commands, ["keys", "check", *map(str, arguments)])


def verdicts(*arguments: Path | str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(run(*arguments, "--json").stdout)
    return found


def test_a_usable_one_is_told_in_one_line() -> None:
    result = run(USABLE)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{USABLE}: usable\t8771 8CE3 5816")
    assert "ed25519, cv25519\tno expiry\tPKESK v3, SEIPD v1" in result.stdout


def test_a_program_is_told_all_there_is_to_know() -> None:
    assert verdicts(USABLE) == [
        {
            "file": str(USABLE),
            "usable": True,
            "reason": None,
            "detail": None,
            "fingerprint": FINGERPRINT,
            "algorithms": ["ed25519", "cv25519"],
            "expires": None,
            "form": "PKESK v3, SEIPD v1",
        }
    ]
    [expired] = verdicts(EXPIRED)
    assert (expired["usable"], expired["reason"], expired["form"]) == (False, "expired", None)
    assert str(expired["expires"]).endswith("+00:00")


def test_one_that_cannot_be_used_makes_the_exit_code_1_and_hides_no_other() -> None:
    result = run(EXPIRED, USABLE, SECRET, "--json")
    assert result.exit_code == 1
    assert [one["reason"] for one in json.loads(result.stdout)] == ["expired", None, "secret"]


def test_several_in_one_file_get_a_verdict_each(tmp_path: Path) -> None:
    path = tmp_path / "keyring.asc"
    path.write_bytes(EXPIRED.read_bytes() + USABLE.read_bytes())
    assert [(one["file"], one["usable"]) for one in verdicts(path)] == [(str(path), False), (str(path), True)]


def test_what_cannot_be_read_is_said_and_the_others_are_judged_all_the_same(tmp_path: Path) -> None:
    folder, missing = tmp_path / "folder", tmp_path / "missing"
    folder.mkdir()
    result = run(folder, missing, USABLE, "--json")
    found = json.loads(result.stdout)
    assert [one["reason"] for one in found] == ["unreadable", "unreadable", None]
    assert [one["detail"] for one in found] == ["Is a directory", "No such file or directory", None]
    assert result.exit_code == 1


def test_a_file_of_another_kind_is_called_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "id_ed25519.pub"
    path.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGmH ada@home\n")
    lines = run(path, tmp_path).stdout.splitlines()
    assert lines[0].startswith(f"{path}: refused (not-a-certificate: {Found.SSH})")
    assert lines[1] == f"{tmp_path}: refused (unreadable: Is a directory)"


def test_of_a_huge_file_no_more_is_read_than_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "huge.asc"
    with path.open("wb") as file:
        file.write(USABLE.read_bytes())
        file.truncate(1 << 40)  # a sparse terabyte
    assert [one["reason"] for one in verdicts(path)] == ["too-large"]


def test_a_file_that_the_reader_dies_of_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "TIME_S", 0.0001)
    assert [one["reason"] for one in verdicts(USABLE)] == ["too-large"]


def test_a_name_that_is_no_text_is_printed_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.asc")
    path.write_bytes(USABLE.read_bytes())
    printed = subprocess.run([sys.executable, "-m", "mailer", "keys", "check", path], capture_output=True, check=True)
    assert b"usable" in printed.stdout


def test_the_program_itself_takes_less_than_two_seconds_and_200_megabytes(tmp_path: Path) -> None:
    flooded = tmp_path / "flooded.asc"
    flooded.write_bytes(USABLE.read_bytes() + b"\n" * 7_000_000)
    measured = """
import resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "mailer", "keys", "check", sys.argv[1]], capture_output=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(done.returncode, used.ru_maxrss, used.ru_utime + used.ru_stime)
"""
    started = time.monotonic()
    command = [sys.executable, "-c", measured, str(flooded)]
    code, kilobytes, seconds = subprocess.run(command, capture_output=True, check=True).stdout.split()
    assert code == b"0"
    assert int(kilobytes) < 200_000
    assert float(seconds) < 2  # of the processor: how busy the machine is belongs to nobody
    assert time.monotonic() - started < 20


def test_the_command_line_loads_no_more_than_it_is_asked_for() -> None:
    """Everything together takes a second to load."""
    program = "import sys; from mailer.cli.main import commands; commands(standalone_mode=False)"
    for arguments, is_loaded in ((["keys", "check", "--help"], b"False"), (["--help"], b"True")):
        ended = f"{program}\nprint('sqlalchemy' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", ended, *arguments], capture_output=True, check=True)
        assert done.stdout.endswith(is_loaded + b"\n")
        assert b"check" in done.stdout


def test_an_unknown_command_is_refused_by_name() -> None:
    result = CliRunner().invoke(commands, ["keys", "chek"])
    assert result.exit_code == 2
    assert "check" in result.output
