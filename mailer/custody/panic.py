"""The end of an instance in a moment: its keys first, then whoever holds them in memory, then all the rest.

What the keys sealed is noise from the first step on. Nothing here needs a passphrase, readable settings or a running
service, and no step stops the next.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mailer.custody import departures
from mailer.store import marks

OVERWRITE_S = 1.0  # for the database, which without keys tells states, languages and providers only
_PIECE = 1024 * 1024
_DATABASE = "mailer.db"


@dataclass
class Destroyed:
    """What was done. keys_s: until no key was left. left: what could not be erased. backups: where copies may be."""

    keys: int = 0
    keys_s: float = 0.0
    processes: int = 0
    files: int = 0
    left: list[str] = field(default_factory=list)
    backups: list[str] = field(default_factory=list)


def destroy(folder: Path, database: Path | None) -> Destroyed:
    """Destroy the instance in a folder. database: where SQLite keeps it; None on another engine. Never raises."""
    began, done = time.monotonic(), Destroyed()
    database = database or folder / _DATABASE
    for path in _files(folder / "keys"):
        done.keys += _erase(path, done, float("inf"))
    done.keys_s = time.monotonic() - began
    _end_holders(folder / "run", done)
    done.backups = _known_backups(database)
    until = time.monotonic() + OVERWRITE_S
    for path in [*(database.with_name(database.name + end) for end in ("", "-wal", "-shm")), *_files(folder)]:
        if os.path.lexists(path):
            done.files += _erase(path, done, until)
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):
        done.left.append(f"{folder.name}: something in it cannot be erased by this user")
    return done


def _end_holders(run: Path, done: Destroyed) -> None:
    """Kill whoever holds the secrets in memory."""
    for pid in _holders(run):
        try:
            os.kill(pid, signal.SIGKILL)
            done.processes += 1
        except ProcessLookupError:
            pass
        except OSError as error:
            done.left.append(f"process {pid}: {error.strerror}")


def _known_backups(database: Path) -> list[str]:
    """Return the paths of backups that are there, or may be: out of this user's sight."""
    names = [name for path in marks.read_places(database) for name in (path, path + departures.SUFFIX)]
    return [name for name in names if _may_be_there(Path(name))]


def _may_be_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True


def _files(folder: Path) -> Iterator[Path]:
    """Give every file below a folder; of symbolic links what they lead to as well."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            if path.is_symlink():
                yield path.resolve()
            yield path


def _erase(path: Path, done: Destroyed, until: float) -> bool:
    """Overwrite a file, as far as the time allows, and remove it; return whether it is gone."""
    try:
        if path.is_symlink() or not path.is_file():
            path.unlink()
            return True
        with path.open("r+b", buffering=0) as file:
            left = file.seek(0, os.SEEK_END)
            file.seek(0)
            while left > 0 and time.monotonic() < until:
                left -= file.write(os.urandom(min(left, _PIECE)))
            os.fsync(file.fileno())
            file.truncate(0)
    except OSError:
        pass  # unlinked all the same
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        done.left.append(f"{path.name}: {error.strerror}")
        return False
    return True


def _holders(run: Path) -> list[int]:
    """Return the processes that hold a lock of the instance, and all that they started (proc(5), /proc/locks)."""
    held: set[int] = set()
    with suppress(OSError):
        locks = [path.stat() for path in run.glob("*.lock")]
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            parts = line.split()
            if len(parts) > 5 and parts[4].isdigit() and any(_is_on(parts[5], int(parts[4]), one) for one in locks):
                held.add(int(parts[4]))
    parents = _parents()
    found = {pid for pid in parents if held & set(_ancestry(pid, parents))}
    return sorted((found | held) - {os.getpid()})


def _is_on(place: str, pid: int, lock: os.stat_result) -> bool:
    """Whether a line of /proc/locks is about this file. Inodes of two file systems may have one number."""
    major, minor, inode = place.split(":")
    if inode != str(lock.st_ino):
        return False
    if (int(major, 16), int(minor, 16)) == (os.major(lock.st_dev), os.minor(lock.st_dev)):
        return True
    with suppress(OSError):  # some file systems show another device number there than stat(2)
        return any(_is_same(path, lock) for path in Path(f"/proc/{pid}/fd").iterdir())
    return False


def _is_same(path: Path, lock: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), lock)
    except OSError:  # closed by now
        return False


def _parents() -> dict[int, int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return parents


def _ancestry(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid > 1:
        yield pid
        pid = parents.get(pid, 0)
