"""The database: its schema, its file, its home, its server and its backup."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from mailer.config import is_loopback
from mailer.doctor.finding import Finding, fault, left_out, unseen
from mailer.doctor.machine import AHEAD
from mailer.doctor.scene import Scene
from mailer.errors import StoreDamaged
from mailer.model import times
from mailer.store import condition, home, marks

LARGEST_READ_BYTES = 512 * 1024 * 1024  # reading more takes longer than a look should
FRESH = timedelta(days=1)
_NETWORKED = re.compile(r"nfs|cifs|smb|9p|fuse\.sshfs|glusterfs|ceph")


async def opens(scene: Scene) -> AsyncIterator[Finding]:
    """Does it open, in the form that this Mailer knows?"""
    if scene.trouble is None:
        return
    file = scene.database_file
    if file is not None and not file.exists():
        yield left_out(f"{file.name} is not there yet; the first start of the service makes it.", "`mailer serve`")
    else:
        yield fault(
            str(scene.trouble), "Start the service, which brings an older database up to date; else see the log."
        )


async def integrity(scene: Scene) -> AsyncIterator[Finding]:
    """Is the file whole, and does the disk keep what was committed?"""
    file = scene.database_file
    if file is None:
        yield left_out("PostgreSQL looks after its own files.")
        return
    if _NETWORKED.search(scene.file_system(file.resolve())):
        yield fault(
            f"{file} lies on a network file system, where SQLite loses data.", "Move it to a disk of this machine."
        )
    if file.exists() and file.stat().st_size > LARGEST_READ_BYTES:
        yield left_out(f"{file.name} is too large to be read in passing.", f'sqlite3 {file} "PRAGMA integrity_check"')
        return
    try:
        async with scene.database.read() as tx:
            is_damaged, lax = await condition.damage(tx), await condition.lax_settings(tx)
    except StoreDamaged:
        is_damaged, lax = True, []
    if is_damaged:
        yield fault(f"{file.name} is damaged.", "Stop the service and restore a backup: docs/operations.md.")
    for name in lax:
        yield fault(f"SQLite's {name} is not what Mailer asks for.", "Look at the disk: is it a network file system?")


async def moments(scene: Scene) -> AsyncIterator[Finding]:
    """Is nothing in it from a time to come?"""
    async with scene.database.read() as tx:
        newest = await condition.newest(tx)
    if newest is not None and newest > scene.now + AHEAD:
        yield fault(
            f"The database knows of {newest:%Y-%m-%d %H:%M} UTC, which is to come: the clock was wrong, or is.",
            "Set the clock (timedatectl). What was written meanwhile waits until its time.",
        )


async def at_home(scene: Scene) -> AsyncIterator[Finding]:
    """Is it where it delivers from?"""
    if await home.is_elsewhere(scene.database):
        yield fault(
            "This installation is a copy, or was moved or restored, so it delivers nothing.",
            "See that every other copy is stopped for good, then run `mailer adopt`.",
        )


def encrypted_way(scene: Scene) -> Iterator[Finding]:
    """Is the way to a database server on another machine encrypted, and does anybody check who answers?"""
    url = scene.instance.config.store.url
    if scene.database_file is not None:
        yield left_out("The database is a file on this machine.")
        return
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    host = parts.hostname or (options.get("host") or [""])[0]
    if not host or host.startswith("/") or is_loopback(host):
        return
    demanded = (options.get("ssl") or options.get("sslmode") or ["prefer"])[0]
    if demanded not in ("verify-full", "verify-ca"):
        yield fault(
            f"The way to the database server is not sure to be encrypted to the right one (ssl={demanded}).",
            "Add ?ssl=verify-full to url in [store]: docs/operations.md, section 15.",
        )


async def backup(scene: Scene) -> AsyncIterator[Finding]:
    """Is there a backup that is not old?"""
    allowed = timedelta(days=scene.instance.config.doctor.backup_days)
    async with scene.database.read() as tx:
        last, is_empty = await condition.last_backup(tx), await condition.is_empty(tx)
    if last is None and (not is_empty or _made(scene) < scene.now - FRESH):
        yield fault("No backup was ever made.", "Make one, and let a timer do it: docs/operations.md, Backup.")
    elif last is not None and last < scene.now - allowed:
        yield fault(
            f"The last backup is {times.in_words(scene.now - last)} old.",
            "See why the timer that makes them no longer does: docs/operations.md, Backup.",
        )
    if known := await marks.backups(scene.database):
        for finding in _still_there(Path(known[-1][0])):
            yield finding


def _still_there(newest: Path) -> Iterator[Finding]:
    """A backup that was made and is gone restores nothing; one on a disk that was taken out cannot be seen."""
    try:
        names = {one.name for one in newest.parent.iterdir()}
    except OSError:
        yield unseen(
            f"The newest backup, {newest}, is out of this user's reach: whether it is still there nobody saw.",
            "Look where it lies: connect the disk, or run this as the user who makes the backups.",
        )
        return
    if newest.name not in names:
        yield fault(
            f"The newest backup, {newest}, is not there any more.",
            "Copy it back or make another, and carry away copies: who leaves is written down beside it.",
        )


def _made(scene: Scene) -> datetime:
    """Return since when there is this instance, as well as its files tell."""
    paths = [scene.instance.folder / "keys" / name for name in ("transit.pub", "roster.pub")]
    return datetime.fromtimestamp(min((one.stat().st_mtime for one in paths if one.exists()), default=0), UTC)
