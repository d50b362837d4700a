"""Who left since a backup was made, in a small sealed file beside it: a restore keeps them out.

The file is written anew, within a minute, when somebody left; it holds no more than the register's own marks, from
which nobody can be named. Copy it along with the backup, and again as often as you like.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from mailer.crypto.aead import label, seal, unseal
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.errors import BackupUnusable, SealBroken
from mailer.store import marks
from mailer.store.database import Database
from mailer.store.marks import Mark

KEPT = timedelta(days=30)  # that somebody was forgotten, where no backup is within reach
SUFFIX = ".left"  # behind the name of the backup


def path_of(backup: Path) -> Path:
    """Return where the departures since a backup are."""
    return backup.with_name(backup.name + SUFFIX)


async def write_beside(database: Database, secrets: ServiceSecrets, backup: Path, made: datetime) -> None:
    """Write who left, was banned or forgotten since the day of a backup, beside what stands there already.

    What stands there stays, whatever the register has forgotten since. Raises BackupUnusable.
    """
    found = [*await marks.since(database, made.astimezone(UTC).date()), *await marks.who_forgotten(database)]
    await asyncio.to_thread(_write, path_of(backup), secrets, found)


def _write(target: Path, secrets: ServiceSecrets, found: Sequence[Mark]) -> None:
    known = {(one.list_id, one.mark): one for one in _known(target, secrets)}
    known |= {(one.list_id, one.mark): one for one in found if one.kind != marks.FORGOTTEN or _is_new(one, known)}
    rows = [[one.list_id, one.mark.hex(), one.kind, one.day.isoformat()] for one in known.values()]
    sealed = seal(secrets.rest_key, json.dumps(rows).encode(), _BOUND)
    part = target.with_name(f"{target.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise BackupUnusable(f"{target.name} cannot be written: {error.strerror}.") from error


def _known(target: Path, secrets: ServiceSecrets) -> list[Mark]:
    return read(target, secrets) if target.exists() else []


def _is_new(one: Mark, known: dict[tuple[str, bytes], Mark]) -> bool:
    return (one.list_id, one.mark) not in known


async def refresh(
    database: Database, secrets: ServiceSecrets, written: dict[Path, tuple[Mark, ...]] | None = None
) -> list[Path]:
    """Write who left beside every backup that is still where it was made; return where that cannot be done.

    written: what was written before; the same is not written again, and what is new is added.
    """
    failed, done, written = [], False, {} if written is None else written
    forgotten = await marks.who_forgotten(database)
    for name, made in await marks.backups(database):
        path = Path(name)
        found = (*await marks.since(database, made.date()), *forgotten)
        if not await asyncio.to_thread(_is_there, path):
            continue
        try:
            if written.get(path) != found:
                await write_beside(database, secrets, path, made)
                written[path] = found
            done = True
        except BackupUnusable:
            failed.append(path)
    await marks.forget(database, forgotten if done else [], datetime.now(UTC).date() - KEPT)
    return failed


def _is_there(path: Path) -> bool:
    """Whether a backup is where it was made and within this user's reach."""
    try:
        return path.exists()
    except OSError:
        return False


def read(path: Path, secrets: ServiceSecrets) -> list[Mark]:
    """Return who left since the backup. Raises BackupUnusable."""
    try:
        rows = json.loads(unseal(secrets.rest_key, path.read_bytes(), _BOUND))
        return [Mark(list_id, bytes.fromhex(mark), kind, date.fromisoformat(day)) for list_id, mark, kind, day in rows]
    except OSError as error:
        raise BackupUnusable(f"{path.name}: {error.strerror}.") from error
    except (SealBroken, ValueError, TypeError):
        raise BackupUnusable(f"{path.name} was damaged, or is of another instance.") from None


_BOUND = label("backup/departures")
