"""The crew: workers in processes of their own, replaced when they die, gone when it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailer.crew import STOP_WITHIN_S

# Each worker writes its number and process id into a file of its own, then does as told.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from mailer import crew
from mailer.errors import NotAtHome, StoreUnreachable

folder, size, how = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
crew.STOP_WITHIN_S = float(sys.argv[4])

def work(number):
    (folder / f"{os.getpid()}").write_text(str(number))
    if how == "useless":
        raise NotAtHome
    if how == "homesick" and (folder / "away").exists():
        raise StoreUnreachable
    if how == "faulty":
        raise ZeroDivisionError
    if how == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    (folder / f"{os.getpid()}.ready").touch()
    while True:
        time.sleep(0.01)

sys.exit(crew.Crew(size, work).run())
"""


@contextmanager
def crew(
    folder: Path, size: int, how: str = "willing", stop_within_s: float = STOP_WITHIN_S
) -> Iterator[subprocess.Popen[bytes]]:
    arguments = [sys.executable, "-c", PROGRAM, str(folder), str(size), how, str(stop_within_s)]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def workers(folder: Path, count: int) -> dict[int, int]:
    """Wait until so many have begun; return their numbers by process id."""
    ends = time.monotonic() + 20
    while len(ready := list(folder.glob("*.ready"))) < count:
        assert time.monotonic() < ends, "the workers did not begin"
        time.sleep(0.01)
    return {int(one.stem): int((folder / one.stem).read_text()) for one in ready}


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def are_gone(pids: dict[int, int]) -> bool:
    ends = time.monotonic() + 10
    while any(is_running(pid) for pid in pids) and time.monotonic() < ends:
        time.sleep(0.01)
    return not any(is_running(pid) for pid in pids)


def test_each_worker_has_a_number_and_a_process_of_its_own(tmp_path: Path) -> None:
    with crew(tmp_path, 3) as parent:
        assert sorted(workers(tmp_path, 3).values()) == [0, 1, 2]
        assert parent.pid not in workers(tmp_path, 3)


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_stops_all_and_says_well_done(tmp_path: Path, told: signal.Signals) -> None:
    with crew(tmp_path, 2) as parent:
        pids = workers(tmp_path, 2)
        parent.send_signal(told)
        assert parent.wait(10) == 0
        assert are_gone(pids)


def test_a_worker_that_was_killed_is_replaced_under_its_number(tmp_path: Path) -> None:
    with crew(tmp_path, 2):
        before = workers(tmp_path, 2)
        victim = next(pid for pid, number in before.items() if number == 1)
        os.kill(victim, signal.SIGKILL)
        after = workers(tmp_path, 3)
        assert sorted(after.values()) == [0, 1, 1]


def test_workers_that_are_killed_again_and_again_are_replaced_as_quickly_as_at_first(tmp_path: Path) -> None:
    with crew(tmp_path, 2):
        for count in range(2, 10):
            alive = [pid for pid in workers(tmp_path, count) if is_running(pid)]
            os.kill(alive[0], signal.SIGKILL)
        assert len([pid for pid in workers(tmp_path, 10) if is_running(pid)]) == 2


def test_a_database_that_is_away_when_a_worker_is_replaced_ends_nobody(tmp_path: Path) -> None:
    with crew(tmp_path, 2, "homesick") as parent:
        victim = next(iter(workers(tmp_path, 2)))
        (tmp_path / "away").touch()
        os.kill(victim, signal.SIGKILL)
        ends = time.monotonic() + 20
        while len([one for one in tmp_path.iterdir() if one.suffix == "" and one.name.isdigit()]) < 3:
            assert time.monotonic() < ends
            time.sleep(0.01)
        (tmp_path / "away").unlink()
        assert len(workers(tmp_path, 3)) == 3
        assert parent.poll() is None


def test_workers_end_with_a_crew_that_was_killed(tmp_path: Path) -> None:
    with crew(tmp_path, 2) as parent:
        pids = workers(tmp_path, 2)
        parent.kill()
        assert are_gone(pids)


def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    with crew(tmp_path, 2, "deaf", stop_within_s=0.2) as parent:
        pids = workers(tmp_path, 2)
        parent.terminate()
        assert parent.wait(10) == 0
        assert are_gone(pids)


def test_what_would_fail_for_every_worker_ends_all_with_its_sentence(tmp_path: Path) -> None:
    with crew(tmp_path, 2, "useless") as parent:
        assert parent.wait(10) == 1
        assert parent.stderr is not None
        assert b"mailer adopt" in parent.stderr.read()


def test_a_worker_that_fails_by_accident_is_tried_again(tmp_path: Path) -> None:
    with crew(tmp_path, 1, "faulty") as parent:
        ends = time.monotonic() + 20
        while len(list(tmp_path.iterdir())) < 2:
            assert time.monotonic() < ends
            time.sleep(0.01)
        assert parent.poll() is None
