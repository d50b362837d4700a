"""`python -m mutants`: each guard is taken out of a copy of the sources, and its tests are run there."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from mutants.guards import ROOT, Guard, load

WITHIN_S = 120  # for the tests of one guard: without it they may wait for something that never comes
AT_ONCE = 2
COPIED = (
    *("mailer", "templates", "tests", "docs", "keys", "systemd", "bench", "fuzz", "mutants", ".ci"),
    *("config.toml", "pyproject.toml", "README.md", "CHANGELOG.md", "Makefile"),
)
PASSED = 0  # what pytest's exit code says
_RESULT = re.compile(r"^(FAILED|ERROR|PASSED) (tests/[^\s\[]+(?:\[.*?\])?)(?= - |$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of taking out a guard. kept: what is said of each test that did not fail."""

    guard: Guard
    kept: tuple[str, ...]
    took_s: float

    def __str__(self) -> str:
        head = f"{'SURVIVES' if self.kept else 'missed  '} {self.took_s:5.1f} s  {self.guard.name}"
        return "\n".join([head, *(f"                  {one}" for one in self.kept)])


def main() -> int:
    """Take out the guards; return 0 if all were missed by their tests, 1 if one was not."""
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("only", nargs="*", help="words of the names of guards; all if there are none")
    words = parser.parse_args().only
    wanted = [one for one in load() if all(word in one.name for word in words)]
    with _copies() as folders:
        began = time.monotonic()
        if broken := _failing(folders, sorted({test for guard in wanted for test in guard.tests})):
            print(broken)
            print("These tests fail with every guard in its place: mend that first.")
            return 1
        print(f"All tests pass with every guard in its place, {time.monotonic() - began:.0f} s.", flush=True)
        trials = _take_out(folders, wanted)
    missed = sum(not trial.kept for trial in trials)
    print(f"{missed} of {len(wanted)} guards are missed when they are taken out, {time.monotonic() - began:.0f} s.")
    return 0 if missed == len(wanted) else 1


def _take_out(folders: Sequence[Path], guards: Sequence[Guard]) -> list[Trial]:
    """Try the guards, as many at once as there are folders, and say what came of each as soon as it is known."""
    idle: SimpleQueue[Path] = SimpleQueue()
    for folder in folders:
        idle.put(folder)

    def attempt(guard: Guard) -> Trial:
        folder = idle.get()
        try:
            trial = _try(folder, guard)
        finally:
            idle.put(folder)
        print(trial, flush=True)
        return trial

    with ThreadPoolExecutor(len(folders)) as threads:
        return list(threads.map(attempt, guards))


def _try(folder: Path, guard: Guard) -> Trial:
    """Take out a guard, see which of its tests fail, and put it back."""
    path, began = folder / guard.file, time.monotonic()
    whole = path.read_text(encoding="utf-8")
    path.write_text(guard.taken_out(whole), encoding="utf-8")
    try:
        said = _run(folder, guard.tests, is_hurried=len(guard.tests) == 1).stdout
    except subprocess.TimeoutExpired:
        said = ""
    finally:
        path.write_text(whole, encoding="utf-8")
    return Trial(guard, tuple(kept(said, guard.tests)), time.monotonic() - began)


def kept(said: str, tests: Sequence[str]) -> Iterator[str]:
    """Give a sentence about each of the tests that did not fail, from pytest's own summary (-rA).

    A test with parameters has failed where it has for one of them. An error is no failure: what cannot even begin
    without the guard shows nothing about it.
    """
    results = _RESULT.findall(said)
    for test in tests:
        outcomes = {outcome for outcome, name in results if test in (name, name.partition("[")[0])}
        if "FAILED" not in outcomes:
            yield f"{'passes' if outcomes == {'PASSED'} else 'cannot be run'} without it: {test}"


def _failing(folders: Sequence[Path], tests: Sequence[str]) -> str:
    """Return what pytest says of the tests as they are, "" if all pass; each folder gets a share."""
    shares = [share for number in range(len(folders)) if (share := tests[number :: len(folders)])]
    with ThreadPoolExecutor(len(folders)) as threads:
        done = list(threads.map(lambda pair: _run(*pair, within_s=10 * WITHIN_S), zip(folders, shares, strict=False)))
    return "\n".join(one.stdout[-4000:] for one in done if one.returncode != PASSED)


def _run(
    folder: Path, tests: Sequence[str], *, within_s: float = WITHIN_S, is_hurried: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run tests; is_hurried: until the first that fails."""
    hurried = ["-x"] if is_hurried else []
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=short", "--no-header", *hurried, *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "400"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=within_s, check=False
    )


@contextmanager
def _copies() -> Iterator[list[Path]]:
    """Give copies of the sources, so that the tree that people work in is never without a guard."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folders = [Path(name) / str(number) / "project" for number in range(AT_ONCE)]
        for folder in folders:
            folder.mkdir(parents=True)
            for one in COPIED:
                _copy(ROOT / one, folder / one)
        yield folders


def _copy(source: Path, to: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__", "cache", "corpus", "found"))
    elif source.exists():
        shutil.copyfile(source, to)


if __name__ == "__main__":
    sys.exit(main())
