"""Files that only their owner may read, replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from mailer.errors import VaultError

LARGEST_BYTES = 16 * 1024 * 1024


def read(path: Path) -> bytes:
    """Return the content of the file (or of what a symbolic link leads to).

    Raises VaultError where it is missing, too large, no ordinary file, or open to others than its owner.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # not to wait for a FIFO's writer
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise VaultError(f"{path} is not an ordinary file.")
            if status.st_mode & 0o077:
                raise VaultError(f"Others can read {path}, or write to it: chmod 600 {path}")
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise VaultError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > LARGEST_BYTES:
        raise VaultError(f"{path} is too large to be a key file.")
    return content


def create(path: Path, content: bytes) -> None:
    """Write a new file, mode 0600. Raises VaultError where something is there already."""
    with _locked(path.parent):
        if os.path.lexists(path):
            raise VaultError(f"{path} exists already, and is never overwritten. Move it away first.")
        _put(path, content)


def replace(path: Path, old: bytes, new: bytes) -> None:
    """Put `new` in the place of `old`: killed at any moment, one or the other is there.

    A symbolic link stays one, and the owner stays the owner. Raises VaultError where the file is not `old` any more.
    """
    target = Path(os.path.realpath(path))
    with _locked(target.parent):
        if read(target) != old:
            raise VaultError(f"{path} was changed by another command in between. Run this one again.")
        _put(target, new)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: two commands at once must not undo each other's change."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise VaultError(f"{folder} cannot be opened: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    except OSError as error:
        raise VaultError(f"Nothing can be written to {folder}: {error.strerror}.") from error
    finally:
        os.close(descriptor)


def _put(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")  # always the same name: what a killed command left is cleared away
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if path.exists():  # root may run a command; the service must still be able to read the file
            status = path.stat()
            os.fchown(descriptor, status.st_uid, status.st_gid)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    new.replace(path)
