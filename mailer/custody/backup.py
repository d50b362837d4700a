"""A backup: one file with all of an instance, sealed; who knows the service passphrase opens it, on any machine.

It begins with a copy of keys/service.key, which a passphrase opens; the rest is a tar, sealed piece by piece under a
key of the service secrets. The database in it is always SQLite, whichever engine runs. The roster key travels in its
own sealed file: without the roster passphrase a backup tells nobody's name.
"""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

from mailer import config
from mailer.crypto.aead import derive_key, label
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.crypto.stream import Opener, Sealer
from mailer.custody import departures
from mailer.errors import BackupUnusable, SealBroken
from mailer.instance import Instance
from mailer.store import copying, marks
from mailer.store.copying import Progress
from mailer.store.database import Database

MAGIC = b"mailer backup 1\n"
SALT_BYTES = 32
LENGTH_BYTES = 4
USE = "backup/piece"
FACTS, DATABASE = "backup.json", "mailer.db"  # names in the tar beside those of the instance's own files
_LEFT_OUT = {"run"}  # sockets and locks
_SNAPSHOT = "backup.db"


@dataclass(frozen=True, slots=True)
class Made:
    """What a backup holds. outside: settings whose files lie outside the instance's folder and are not in it."""

    rows: int
    files: int
    octets: int
    outside: tuple[str, ...]


def make(
    instance: Instance,
    secrets: ServiceSecrets,
    path: Path,
    now: datetime,
    progress: Progress = lambda *_: None,
) -> Made:
    """Write a backup to a new file, mode 0600: it is there as a whole or not at all. The service may go on running.

    Raises BackupUnusable where there is such a file already or no room, StoreError, VaultError.
    """
    target = path.absolute()
    if target.exists():
        raise BackupUnusable(f"{path.name} is there already, and a backup is never overwritten.")
    if not instance.roster_key_path.exists():
        raise BackupUnusable("keys/roster.key is not here: make the backup where the register's key lies.")
    with instance.roster_in_use(), _snapshot_file(instance) as snapshot:  # no rotation of keys meanwhile
        rows = asyncio.run(_take_snapshot(instance.database(), snapshot, progress))
        files, octets = _write(instance, secrets, target, snapshot, now)
        _check(target, secrets)
    asyncio.run(_remember(instance.database(), secrets, target, now))
    return Made(rows, files, octets, outside(instance))


def _check(target: Path, secrets: ServiceSecrets) -> None:
    """Read the backup once more, to its end. Raises BackupUnusable."""
    with target.open("rb") as file:
        file.seek(len(MAGIC))
        salt = file.read(SALT_BYTES)
        file.seek(int.from_bytes(file.read(LENGTH_BYTES), "big"), os.SEEK_CUR)
        opener = Opener(file, piece_key(secrets, salt), USE)
        try:
            with tarfile.open(fileobj=cast(BinaryIO, opener), mode="r|") as tar:
                names = [entry.name for entry in tar]
            opener.read()
        except (SealBroken, tarfile.TarError) as error:
            raise BackupUnusable(f"{target.name} cannot be read back. Look at the disk, and make another.") from error
    if len(names) != len(set(names)):
        raise BackupUnusable(f"{target.name} holds a file twice. Move what is not ours out of the folder.")


def piece_key(secrets: ServiceSecrets, salt: bytes) -> bytes:
    """Return the key of one backup's pieces."""
    return derive_key(secrets.rest_key, label("backup", salt))


def outside(instance: Instance) -> tuple[str, ...]:
    """Return the settings that name files outside the instance's folder: they are not part of it, nor of a backup."""
    folder = instance.folder.resolve()
    named = config.named_paths(instance.config)
    return tuple(sorted(name for name, path in named.items() if not path.resolve().is_relative_to(folder)))


async def _take_snapshot(database: Database, snapshot: Path, progress: Progress) -> int:
    copy = Database(f"sqlite:///{snapshot}")
    try:
        await database.open()
        await copy.open()
        return await copying.snapshot(database, copy, progress)
    finally:
        await copy.close()
        await database.close()


async def _remember(database: Database, secrets: ServiceSecrets, target: Path, now: datetime) -> None:
    try:
        await database.open()
        await marks.set_backup(database, str(target), now)
        await departures.write_beside(database, secrets, target, now)
    finally:
        await database.close()


def _write(instance: Instance, secrets: ServiceSecrets, target: Path, snapshot: Path, now: datetime) -> tuple[int, int]:
    salt = os.urandom(SALT_BYTES)
    key_file = instance.service_key_path.read_bytes()
    files = sorted(_files(instance, but={target, snapshot}))
    with _whole(target) as file:
        file.write(MAGIC + salt + len(key_file).to_bytes(LENGTH_BYTES, "big") + key_file)
        sealer = Sealer(file, piece_key(secrets, salt), USE)
        with tarfile.open(fileobj=cast(BinaryIO, sealer), mode="w|", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, FACTS, json.dumps({"made": int(now.timestamp()), "store": instance.config.store.url}).encode())
            for name in files:
                _add(tar, name, (instance.folder / name).read_bytes())
            tar.add(snapshot, DATABASE, filter=_bare)
        sealer.close()
        octets = file.tell()
    return len(files), octets


def _files(instance: Instance, but: set[Path]) -> Iterator[str]:
    """Give the names of the instance's own files: settings, keys, templates. Letters in folders are not among them."""
    left_out = [instance.folder / name for name in _LEFT_OUT]
    left_out += [one.folder for one in instance.config.all_relays.values() if one.folder]
    for path in _walk(instance.folder):
        is_inside = any(path.is_relative_to(one) for one in left_out)
        is_ours = path.is_file() and not is_inside and path.absolute() not in but
        if is_ours and not _is_database(instance, path) and not _is_backup(path):
            yield str(path.relative_to(instance.folder))


def _walk(folder: Path) -> Iterator[Path]:
    """Give every file below a folder, behind symbolic links too; a circle of links is an error of its own (ELOOP)."""
    for place, _, names in os.walk(folder, followlinks=True):
        yield from (Path(place) / name for name in names)


def _is_database(instance: Instance, path: Path) -> bool:
    """Whether it is SQLite's, now or from before a move to another place: the snapshot has that name in the backup."""
    held = Path(instance.config.store.url.partition(":///")[2])
    is_former = path.parent == instance.folder and path.name.startswith((DATABASE, FACTS))
    return is_former or (path.parent.resolve() == held.parent.resolve() and path.name.startswith(held.name))


def _is_backup(path: Path) -> bool:
    """Whether it is an older backup, or what belongs to one."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC or path.name.endswith(departures.SUFFIX)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(_bare(entry), io.BytesIO(content))


def _bare(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out whose file it was on this machine."""
    entry.mode, entry.uid, entry.gid, entry.uname, entry.gname = 0o600, 0, 0, "", ""
    return entry


@contextmanager
def _snapshot_file(instance: Instance) -> Iterator[Path]:
    """Give a place for the snapshot; one backup at a time. Raises InstanceBusy."""
    folder = instance.folder / "run"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / _SNAPSHOT
    with (folder / "backup.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BackupUnusable("Another backup is being made. Wait until it has ended.") from error
        _remove(path)  # of a backup that was killed
        try:
            yield path
        finally:
            _remove(path)


def _remove(database: Path) -> None:
    for name in (database.name, f"{database.name}-wal", f"{database.name}-shm"):
        with suppress(FileNotFoundError):
            (database.parent / name).unlink()


@contextmanager
def _whole(target: Path) -> Iterator[BinaryIO]:
    """Give a file to write that gets its name when all of it is on the disk. Raises BackupUnusable."""
    part = target.with_name(f"{target.name}.part")
    try:
        with suppress(FileNotFoundError):
            part.unlink()
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.link(part, target)  # fails where there is something by now; a rename would not
        finally:
            part.unlink(missing_ok=True)
        _sync(target.parent)
    except OSError as error:
        raise BackupUnusable(f"{target.name} cannot be written: {error.strerror}.") from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
