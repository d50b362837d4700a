"""Processes that write to one file queue up: nobody who is killed, or loses patience, stays in the way."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailer.errors import StoreError
from mailer.store.turn import Turn

HOLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def other_process(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process whose turn it is."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


async def test_whoever_waits_too_long_is_told_so(tmp_path: Path) -> None:
    turn = Turn(tmp_path)
    with other_process(tmp_path), pytest.raises(StoreError, match="SQLITE_BUSY"):
        async with turn.taken(0.01):
            pass


async def test_whoever_is_killed_is_in_nobodys_way(tmp_path: Path) -> None:
    turn = Turn(tmp_path)
    with other_process(tmp_path) as process:
        waiting = asyncio.ensure_future(turn.taken(30).__aenter__())
        assert not (await asyncio.wait({waiting}, timeout=0.05))[0]
        process.kill()
        await waiting


@pytest.mark.parametrize("how", ["loses patience", "is cancelled"])
async def test_a_turn_that_comes_too_late_is_passed_on(tmp_path: Path, how: str) -> None:
    turn = Turn(tmp_path)
    with other_process(tmp_path) as process:
        waiting = asyncio.ensure_future(turn.taken(0.01 if how == "loses patience" else 30).__aenter__())
        await asyncio.wait({waiting}, timeout=0.05)
        waiting.cancel()
        assert isinstance(
            (await asyncio.gather(waiting, return_exceptions=True))[0], StoreError | asyncio.CancelledError
        )
        process.kill()
        assert turn._waiting is not None
        await turn._waiting
        await asyncio.sleep(0)  # what is to be done then is done
    with other_process(tmp_path):
        pass
    async with turn.taken(1):
        pass


async def test_writers_of_one_process_go_one_after_the_other(tmp_path: Path) -> None:
    turn, inside, most = Turn(tmp_path), 0, 0

    async def write() -> None:
        nonlocal inside, most
        async with turn.taken(10):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(write() for _ in range(20)))
    assert most == 1


async def test_an_error_gives_the_turn_back(tmp_path: Path) -> None:
    turn = Turn(tmp_path)
    with pytest.raises(ZeroDivisionError):
        async with turn.taken(1):
            raise ZeroDivisionError
    with other_process(tmp_path):
        pass


async def test_where_the_folder_cannot_be_opened_the_databases_own_locks_have_to_do(tmp_path: Path) -> None:
    async with Turn(tmp_path / "missing").taken(1):
        pass
