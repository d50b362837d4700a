"""Where this installation is at home: a copy of it must not deliver (DESIGN §7).

An SQLite database is at home on one machine, in one file of one file system. A PostgreSQL database is at home in one
cluster, whichever machine the workers run on. The database holds a digest of that, written by the first delivery ever.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import struct
from pathlib import Path

from sqlalchemy import select, text

from mailer.errors import NotAtHome, StoreError
from mailer.store import upsert
from mailer.store.database import Database
from mailer.store.tables import traits

MACHINE_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
MACHINE_ID_CHARS = 32  # machine-id(5); it may also be empty, or say "uninitialized"
HOME = "home"
_AT_FDCWD, _STATX_BTIME, _STATX_BYTES = -100, 0x800, 256  # statx(2)
_NOWHERE = b"restored"  # no digest of a place
_DOMAIN = b"mailer home 1"  # machine-id(5): only what was hashed for one purpose may be stored


async def check(database: Database) -> None:
    """Return if the database is where it was first delivered from, which is here if it never was. Raises NotAtHome."""
    here = await _here(database)
    if await _known(database) is None:
        async with database.write() as tx:
            row = upsert.insert(tx, traits).values(name=HOME, value=here)
            await tx.execute(row.on_conflict_do_nothing())
    if await _known(database) != here:
        raise NotAtHome


async def is_elsewhere(database: Database) -> bool:
    """Whether the database is a copy, or was moved, and so delivers nothing; nothing is written down."""
    known = await _known(database)
    return known is not None and known != await _here(database)


async def adopt(database: Database) -> None:
    """Make this place the home: from now on deliveries leave from here, and from no other copy of this file."""
    here = await _here(database)
    async with database.write() as tx:
        row = upsert.insert(tx, traits).values(name=HOME, value=here)
        await tx.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": row.excluded.value}))


async def hold(database: Database) -> None:
    """Have nothing delivered from here until somebody adopts it: it was restored from a backup."""
    async with database.write() as tx:
        row = upsert.insert(tx, traits).values(name=HOME, value=_NOWHERE)
        await tx.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": row.excluded.value}))


async def _known(database: Database) -> bytes | None:
    async with database.read() as tx:
        return (await tx.execute(select(traits.c.value).where(traits.c.name == HOME))).scalar()


async def _here(database: Database) -> bytes:
    if database.is_sqlite:
        facts = await asyncio.to_thread(_of_file, Path(database.url.partition(":///")[2]), MACHINE_ID_FILES)
    else:
        facts = await _of_cluster(database)
    digest = hashlib.sha256(_DOMAIN)
    for fact in facts:
        digest.update(len(fact).to_bytes(4, "big") + fact)
    return digest.digest()


def _of_file(path: Path, machine_id_files: tuple[Path, ...]) -> list[bytes]:
    """Return machine, file system, inode and birth; the same through every link and mount that leads to the file."""
    try:
        # f_fsid comes from what the file system is called by itself, where it has that (statvfs(3)). The device
        # number, st_dev, may be another one after each start of the machine (LVM, btrfs).
        system = os.statvfs(path).f_fsid or path.stat().st_dev
        inode = path.stat().st_ino
    except OSError as error:
        raise StoreError(f"({error.strerror})") from error
    return [b"file", machine_id(machine_id_files), str(system).encode(), str(inode).encode(), birth(path)]


def birth(path: Path) -> bytes:
    """Return when a file was made, or nothing where that is not known. Its inode's number is soon used again.

    By statx(2), which Python does not have; to open the file and close it would drop SQLite's locks (fcntl(2)).
    """
    statx, found = getattr(ctypes.CDLL(None), "statx", None), ctypes.create_string_buffer(_STATX_BYTES)
    if statx is None or statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, found) != 0:
        return b""
    [known] = struct.unpack_from("=I", found, 0)
    return b"%d.%d" % struct.unpack_from("=qI", found, 80) if known & _STATX_BTIME else b""


def machine_id(files: tuple[Path, ...] = MACHINE_ID_FILES) -> bytes:
    """Return this machine's id, or nothing where it has none, as in many containers: then the file alone tells."""
    for path in files:
        try:
            found = path.read_bytes().strip()
        except OSError:
            continue
        if len(found) == MACHINE_ID_CHARS:
            return found
    return b""


async def _of_cluster(database: Database) -> list[bytes]:
    """Return cluster, database and table. A replica that takes over is the same; a restored dump is not."""
    named = text(
        "SELECT oid::bigint, 'traits'::regclass::oid::bigint FROM pg_database WHERE datname = current_database()"
    )
    may_ask = text("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')")
    ask = text("SELECT system_identifier FROM pg_control_system()")
    async with database.read() as tx:
        own, table = (await tx.execute(named)).one()
        cluster = (await tx.execute(ask)).scalar() if (await tx.execute(may_ask)).scalar() else ""
    return [b"cluster", str(cluster).encode(), str(own).encode(), str(table).encode()]
