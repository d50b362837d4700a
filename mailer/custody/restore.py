"""An instance out of a backup, on this machine or another: complete, or not at all; and it delivers nothing yet."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast

from mailer import config
from mailer.crypto import keyfile
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.crypto.stream import Opener
from mailer.custody import departures
from mailer.custody.backup import DATABASE, FACTS, LENGTH_BYTES, MAGIC, SALT_BYTES, USE, outside, piece_key
from mailer.errors import BackupUnusable, InstanceError, SealBroken, VaultError
from mailer.instance import Instance
from mailer.store import digests, home, invitations, marks, outbox
from mailer.store.database import Database

LARGEST_KEY_FILE = 1024 * 1024
STORE_URL = f"sqlite:///{DATABASE}"


@dataclass(frozen=True, slots=True)
class Restored:
    """What came out of a backup. left: how many were erased because they left since, None where nothing says so.

    former_store: where the database was, if that was another engine. outside: as of `backup.Made`.
    """

    made: datetime
    held: int
    left: int | None
    former_store: str
    outside: tuple[str, ...]


def restore(path: Path, folder: Path, passphrase: str, left: Path | None = None) -> Restored:
    """Make the instance of a backup in a folder that is new or empty. Nothing is delivered until it is adopted.

    passphrase: one that opened the service's key file when the backup was made. left: the file of departures, the one
    beside the backup if None. Raises BackupUnusable, WrongPassphrase, InstanceError where the folder is in use.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InstanceError(f"{folder.name} is there already and not empty; nothing was changed.")
    with _new_folder(folder) as part:
        secrets, facts = _unpack(path, part, passphrase)
        config.set_store(part / "config.toml", STORE_URL)
        instance = Instance.open(part)
        beside = left or departures.path_of(path)
        gone = departures.read(beside, secrets) if left is not None or beside.exists() else None
        held, erased = asyncio.run(_settle(instance, gone))
    was = str(facts.get("store", ""))
    return Restored(
        made=datetime.fromtimestamp(int(str(facts["made"])), UTC),
        held=held,
        left=erased,
        former_store="" if was.startswith("sqlite") else was.partition(":")[0],
        outside=outside(Instance.open(folder)),
    )


def _unpack(path: Path, part: Path, passphrase: str) -> tuple[ServiceSecrets, dict[str, object]]:
    try:
        with path.open("rb") as file:
            secrets, salt = _open_head(file, part, passphrase)
            try:
                facts = _extract(Opener(file, piece_key(secrets, salt), USE), part)
            except (SealBroken, tarfile.TarError, ValueError, EOFError) as error:
                raise BackupUnusable(f"{path.name} was damaged, or is not whole.") from error
    except OSError as error:
        raise BackupUnusable(f"{error.filename or path.name}: {error.strerror}.") from error
    return secrets, facts


def _open_head(file: BinaryIO, part: Path, passphrase: str) -> tuple[ServiceSecrets, bytes]:
    if file.read(len(MAGIC)) != MAGIC:
        raise BackupUnusable("The file is no backup of this version of Mailer.")
    salt, length = file.read(SALT_BYTES), int.from_bytes(file.read(LENGTH_BYTES), "big")
    if not 0 < length <= LARGEST_KEY_FILE:
        raise BackupUnusable("The file was damaged.")
    opened = part / "opened.key"
    _write(opened, file.read(length))
    try:
        secrets = ServiceSecrets.from_payload(keyfile.open_file(opened, "service", passphrase).payload)
    except VaultError as error:
        if type(error) is VaultError:
            raise BackupUnusable("The key file at its beginning was damaged.") from error
        raise
    finally:
        opened.unlink()
    return secrets, salt


def _extract(opener: Opener, part: Path) -> dict[str, object]:
    """Write every file of the tar, and return the facts about it. Names lead nowhere but below the folder."""
    facts: dict[str, object] = {}
    with tarfile.open(fileobj=cast(BinaryIO, opener), mode="r|") as tar:
        for entry in tar:
            stream = tar.extractfile(entry)
            target = (part / entry.name).resolve()
            if stream is None or not target.is_relative_to(part.resolve()):
                raise tarfile.TarError("not a file of ours")
            if entry.name == FACTS:
                facts = dict(json.loads(stream.read()))
                continue
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                shutil.copyfileobj(stream, file)
    opener.read()  # what is behind the tar's end, so that the last piece is checked too
    if "made" not in facts or not (part / DATABASE).is_file() or not (part / "config.toml").is_file():
        raise tarfile.TarError("a part is missing")
    return facts


async def _settle(instance: Instance, gone: list[marks.Mark] | None) -> tuple[int, int | None]:
    """Hold what was on its way, and keep out who left since."""
    database: Database = instance.database()
    try:
        await database.open()
        async with database.write() as tx:
            held = await digests.hold_all(tx)
            await outbox.erase_all(tx)  # answers that waited then have left since
            await invitations.erase_all(tx)  # nobody knows which cards were used or withdrawn since
            erased = None if gone is None else await marks.apply(tx, gone)
        await home.hold(database)
    finally:
        await database.close()
    return held, erased


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder that gets its name when all is well, and is gone when not. Raises BackupUnusable."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a restore that was killed
    try:
        part.mkdir(mode=0o700, parents=True)
        yield part
        if folder.exists():
            _give(part, folder.stat())
            folder.rmdir()
        part.rename(folder)
    except OSError as error:
        raise BackupUnusable(f"{folder.name} cannot be made: {error.strerror}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _give(part: Path, owner: os.stat_result) -> None:
    """Give what was made to whoever the empty folder belonged to, where that is somebody else."""
    if (owner.st_uid, owner.st_gid) != (os.getuid(), os.getgid()):
        for path in (part, *part.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
