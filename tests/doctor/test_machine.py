"""Faults of files and of the machine, each named and nothing else."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import delete

from mailer.doctor import machine
from mailer.letters import typeset
from mailer.store import inbox
from mailer.store.tables import inbox as inbox_table
from tests.doctor.planting import Changes, Plant, Plants, check_planted, faults
from tests.doctor.world import NOW, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANTS = Plants()
planted = PLANTS.planted


# --- Files ----------------------------------------------------------------------------------------------------------


def with_mode(name: str, mode: int) -> None:
    async def plant(world: World) -> AsyncIterator[Changes]:
        path = world.instance.folder / name
        before = path.stat().st_mode
        path.chmod(mode)
        yield {}
        path.chmod(before)

    planted("file-modes", name.rpartition("/")[2])(plant)


for name, mode in (
    ("keys/service.key", 0o640),
    ("keys/roster.key", 0o604),
    ("keys/mailer.dkim", 0o644),
    ("config.toml", 0o644),
    ("mailer.db", 0o644),
    ("key.pem", 0o644),
    ("", 0o755),
    ("keys", 0o701),
    ("keys/transit.pub", 0o660),
    ("keys/roster.pub", 0o620),
):
    with_mode(name, mode)


DISK = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /run rw - tmpfs tmpfs rw\n"
UNIT, MOUNTS = "etc__systemd__system__mailer-deliver.service.d__own.conf".replace(".", "___"), "proc__self__mountinfo"
PLANTS.on_the_machine(
    "passphrase-file",
    "/var/roster",
    **{UNIT: "[Service]\nLoadCredential=roster-passphrase:/var/roster\n", MOUNTS: DISK},
)
PLANTS.on_the_machine(
    "passphrase-file", "in the clear", **{UNIT: "[Service]\nSetCredential=service-passphrase:abc\n", MOUNTS: DISK}
)
PLANTS.on_the_machine(
    "passphrase-file",
    "/srv/words",
    **{UNIT: "[Service]\nExecStart=mailer work --roster-passphrase-file /srv/words\n", MOUNTS: DISK},
)
PLANTS.on_the_machine(
    "passphrase-file",
    "same disk",
    **{"etc__credstore___encrypted__mailer-service-passphrase": "Whxqht+dQJax1aZeCGLxmiAAAAABAAAA\n"},
)


async def test_what_a_group_may_read_but_not_write_is_no_fault(world: World) -> None:
    path = world.instance.folder / "keys" / "transit.pub"
    path.chmod(0o640)
    assert faults(await world.look()) == {}
    path.chmod(0o600)


async def test_a_passphrase_in_memory_is_no_fault(world: World) -> None:
    mounts = world.file("/proc/self/mountinfo", DISK)
    own = world.file(
        "/etc/systemd/system/mailer.service.d/own.conf", "LoadCredential=service-passphrase:/run/mailer/service\n"
    )
    assert faults(await world.look()) == {}
    mounts.unlink()
    own.unlink()


# --- The machine ----------------------------------------------------------------------------------------------------

PLANTS.on_the_machine(
    "clock", "differs from the kernel's", proc__stat="cpu 1\nbtime 1000000000\n", proc__uptime="5.0 1.0\n"
)


@planted("clock", "which is to come")
async def _file_from_the_future(world: World) -> AsyncIterator[Changes]:
    path = world.instance.config_path
    later = (NOW + timedelta(days=2)).timestamp()
    os.utime(path, (later, later))
    yield {}
    os.utime(path)


@planted("clock-database", "which is to come")
async def _row_from_the_future(world: World) -> AsyncIterator[Changes]:
    async with world.database.write() as tx:
        await inbox.add(tx, b"f" * 12, b"sealed", NOW + timedelta(days=2))
    yield {}
    async with world.database.write() as tx:
        await tx.execute(delete(inbox_table))


async def test_a_clock_that_nobody_keeps_right_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (world.root / "run/systemd/system").mkdir(parents=True)
    monkeypatch.setattr(machine, "is_kept_right", lambda: False)
    assert set(faults(await world.look())) == {"clock"}
    monkeypatch.setattr(machine, "is_kept_right", lambda: True)
    assert faults(await world.look()) == {}
    swaps = world.file("/proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 8 0 -2\n")
    assert "/dev/sda2" in faults(await world.look())["swap"][0].what
    dm = world.file("/sys/class/block/sda2/dm/uuid", "CRYPT-PLAIN-swap\n")
    assert faults(await world.look()) == {}
    for path in (swaps, dm):
        path.unlink()
    (world.root / "run/systemd/system").rmdir()


async def test_a_clock_of_long_ago_is_named(world: World) -> None:
    found = faults(await world.look(now=NOW.replace(year=2019)))
    assert "long ago" in found["clock"][0].what


PLANTS.in_settings(
    "disk-space", "the door takes no letter", ("min_free_bytes = 268_435_456", f"min_free_bytes = {2**59}")
)


@planted("disk-space", "nearly full")
async def _disk_nearly_full(world: World) -> AsyncIterator[Changes]:
    import shutil

    free = shutil.disk_usage(world.instance.folder).free
    yield {"instance": world.settings(("min_free_bytes = 268_435_456", f"min_free_bytes = {free * 3 // 4}"))}


POSTFIX = {
    "var__spool__postfix__pid__master___pid": "  99\n",
    "proc__99__comm": "master\n",
    "proc__self__mountinfo": DISK.replace("/run rw", "/var/spool/postfix rw"),
}
PLANTS.on_the_machine(
    "postfix", "a log on the disk", **POSTFIX, etc__postfix__main___cf="maillog_file = /var/log/mail.log\n"
)
PLANTS.on_the_machine(
    "postfix",
    "on the disk (/var/spool/postfix)",
    **POSTFIX | {"proc__self__mountinfo": DISK},
    etc__postfix__main___cf="maillog_file = /run/postfix-log/maillog\n",
)


@planted("root", "runs as root")
async def _root(world: World) -> AsyncIterator[Changes]:
    inode = world.instance.control_path.with_suffix(".lock").stat().st_ino
    made = [
        world.file("/proc/locks", f"1: FLOCK  ADVISORY  WRITE 77 fe:00:{inode} 0 EOF\n"),
        world.file("/proc/77/status", "Name:\tmailer\nUid:\t0\t0\t0\t0\n"),
    ]
    yield {}
    for path in made:
        path.unlink()


async def test_a_library_that_is_too_old_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = machine.version
    monkeypatch.setattr(machine, "version", lambda name: "5.1.1" if name == "aiosmtplib" else real(name))
    [one] = faults(await world.look())["versions"]
    assert "aiosmtplib" in one.what


async def test_a_missing_font_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typeset, "missing", lambda: ["fonts-noto-cjk"])
    found = faults(await world.look())
    assert set(found) == {"font"}
    assert found["font"][0].do == "apt install fonts-noto-cjk"


@pytest.mark.parametrize(("check", "what", "plant"), PLANTS, ids=PLANTS.names)
async def test_a_planted_fault_is_named_and_nothing_else(world: World, check: str, what: str, plant: Plant) -> None:
    await check_planted(world, check, what, plant)
