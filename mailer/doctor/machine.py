"""The machine around the service: clock, disk, swap, users, a mail server beside it, and the versions installed."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from mailer.config import is_loopback
from mailer.doctor.finding import Finding, fault, left_out, unseen
from mailer.doctor.scene import Scene

AHEAD = timedelta(minutes=5)  # a clock may be corrected by so much between two looks
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_BEGAN = datetime(2025, 1, 1, tzinfo=UTC)  # Mailer is not older
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([0-9.]+)")
_LOCAL_DISKS = 16  # a number of inodes below which nothing can be made


def clock(scene: Scene) -> Iterator[Finding]:
    """Is this machine's clock right, as far as it can be seen from here?"""
    mend = "Set it, and keep it right: timedatectl set-ntp true (Debian: systemd-timesyncd)."
    if scene.now < _BEGAN:
        yield fault(f"The clock says {scene.now:%Y-%m-%d}, which is long ago.", mend)
        return
    if (ahead := _newest_file(scene)) > scene.now + AHEAD:
        yield fault(f"A file of the instance is from {ahead:%Y-%m-%d %H:%M} UTC, which is to come.", mend)
    kernel = _kernel_time(scene)
    if kernel is not None and abs(kernel - scene.now) > AHEAD:
        yield fault("The clock of this process differs from the kernel's by more than five minutes.", mend)
    if scene.has_systemd and not is_kept_right():
        yield fault("No time server keeps this clock right; leases, signatures and tokens need it.", mend)


def is_kept_right() -> bool:
    """Whether the kernel knows of somebody who keeps its clock right (adjtimex(2), which changes nothing here)."""
    nothing = ctypes.create_string_buffer(512)  # modes = 0
    return bool(ctypes.CDLL(None).adjtimex(nothing) != _TIME_ERROR)


def _newest_file(scene: Scene) -> datetime:
    folder, database = scene.instance.folder, scene.database_file
    paths = [folder / "config.toml", *(folder / "keys").glob("*")]
    if database is not None:
        paths += [database, database.with_name(database.name + "-wal")]
    return datetime.fromtimestamp(max(path.stat().st_mtime for path in paths if path.exists()), UTC)


def _kernel_time(scene: Scene) -> datetime | None:
    """Return the time by /proc, which no wrapper around this process changes; None in a container that invents it."""
    mounts = scene.read("/proc/self/mountinfo")
    began = re.search(r"^btime (\d+)$", scene.read("/proc/stat"), re.MULTILINE)
    running = scene.read("/proc/uptime").split(" ")[0]
    if began is None or not running or " /proc/uptime " in mounts or " /proc/stat " in mounts:
        return None
    return datetime.fromtimestamp(int(began[1]) + float(running), UTC)


def disk(scene: Scene) -> Iterator[Finding]:
    """Is there room for what comes in?"""
    least = scene.instance.config.door.min_free_bytes
    for folder in sorted({scene.instance.folder, *([scene.database_file.parent] if scene.database_file else [])}):
        if not folder.is_dir():
            continue
        free, inodes = shutil.disk_usage(folder).free, os.statvfs(folder)
        if free < least:
            yield fault(
                f"The disk of {folder} has {_mib(free)} MiB left: the door takes no letter.",
                "Make room, or a larger disk.",
            )
        elif free < 2 * least:
            yield fault(f"The disk of {folder} is nearly full: {_mib(free)} MiB left.", "Make room, or a larger disk.")
        elif inodes.f_files and inodes.f_favail < _LOCAL_DISKS:
            yield fault(f"The disk of {folder} has no room for another file (inodes).", "Remove files from it.")
    database = scene.database_file
    if database is not None and database.exists():
        size, free = database.stat().st_size, shutil.disk_usage(database.parent).free
        if 2 * least <= free < size:
            yield fault(
                f"The disk of {database.parent} has less room left than the database is large.",
                "Make room: a backup, or a rotation of keys, may need as much.",
            )


def _mib(octets: int) -> int:
    return octets // (1024 * 1024)


def swap(scene: Scene) -> Iterator[Finding]:
    """Can what is in memory come to lie on a disk, readable?"""
    if not scene.has_systemd:
        yield left_out("In a container the swap is that of the machine beneath: look there.")
        return
    for line in scene.read("/proc/swaps").splitlines()[1:]:
        device = Path(line.split()[0])
        if not _is_encrypted(scene, device):
            yield fault(
                f"The swap on {device} is not encrypted: keys and addresses in memory may come to lie there.",
                "swapoff it, or encrypt it with a key from /dev/urandom: crypttab(5).",
            )
    pattern = scene.read("/proc/sys/kernel/core_pattern").strip()
    limits = scene.read(f"/proc/{pid}/limits") if (pid := _service_pid(scene)) else ""
    core = re.search(r"^Max core file size +(\S+)", limits, re.MULTILINE)
    if core is not None and core[1] != "0" and pattern:
        yield fault("The service may leave its memory in a core dump.", "Set LimitCORE=0 in its unit, and restart it.")


def _is_encrypted(scene: Scene, device: Path) -> bool:
    if device.name.startswith("zram"):
        return True
    name = os.path.basename(os.path.realpath(scene.at(device)))  # noqa: PTH119 - of a link that leads out of the root
    return scene.read(f"/sys/class/block/{name}/dm/uuid").startswith("CRYPT-")


def _service_pid(scene: Scene) -> str | None:
    """Return the process that holds the lock of the running service, if proc(5) tells."""
    lock = scene.instance.control_path.with_suffix(".lock")
    if not lock.exists():
        return None
    found = re.search(rf" (\d+) \S+:{lock.stat().st_ino} ", scene.read("/proc/locks"))
    return found[1] if found else None


def users(scene: Scene) -> Iterator[Finding]:
    """Does the service run as a user of its own?"""
    pid = _service_pid(scene) if scene.has_service else None
    owner = re.search(r"^Uid:\s+(\d+)", scene.read(f"/proc/{pid}/status"), re.MULTILINE) if pid else None
    if owner is not None and owner[1] == "0":
        yield fault(
            "The service runs as root: whoever breaks into it has the whole machine.",
            "Give it a user of its own: docs/operations.md, section 2.",
        )


def postfix(scene: Scene) -> Iterator[Finding]:
    """Does a Postfix beside us keep addresses on the disk (docs/operations.md §4)?"""
    uses = any(is_loopback(relay.host or "x.invalid") for relay in scene.relays.values())
    if not (uses or scene.instance.config.door.lmtp_socket) or not _postfix_runs(scene):
        return
    settings = _main_cf(scene)
    queue = Path(settings.get("queue_directory", "/var/spool/postfix"))
    if not scene.is_in_memory(queue):
        yield fault(
            f"Postfix keeps letters that wait, with their addresses, on the disk ({queue}).",
            "Put its queue into memory: docs/operations.md, section 4.",
        )
    log = settings.get("maillog_file", "")
    if not log or (log != "/dev/stdout" and not scene.is_in_memory(Path(log).parent)):
        yield fault(
            "Postfix writes the sender and recipient of each letter into a log on the disk.",
            "Set maillog_file to a file in memory: docs/operations.md, section 4.",
        )


def _postfix_runs(scene: Scene) -> bool:
    queue = Path(_main_cf(scene).get("queue_directory", "/var/spool/postfix"))
    pid = scene.read(f"{queue}/pid/master.pid").strip()
    return pid.isdecimal() and scene.read(f"/proc/{pid}/comm").strip() == "master"


def _main_cf(scene: Scene) -> dict[str, str]:
    lines = scene.read("/etc/postfix/main.cf").splitlines()
    pairs = (line.partition("=") for line in lines if not line.startswith(("#", " ", "\t")))
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def versions(scene: Scene) -> Iterator[Finding]:
    """Are the libraries at least as new as this Mailer needs?"""
    try:
        needed = requires("mailer") or []
    except PackageNotFoundError:
        yield unseen("Mailer is not installed as a package.", "Install it as docs/operations.md, section 2, says.")
        return
    for name, least in (
        found.groups() for line in needed if "extra" not in line and (found := _REQUIREMENT.match(line))
    ):
        try:
            there = version(name)
        except PackageNotFoundError:
            yield fault(f"The Python package {name} is missing.", _INSTALL)
            continue
        if _numbers(there) < _numbers(least):
            yield fault(f"The Python package {name} is {there}; {least} or newer is needed.", _INSTALL)


_INSTALL = "/opt/mailer/bin/pip install --require-hashes -r requirements.txt"


def _numbers(text: str) -> tuple[int, ...]:
    found = [int(part) for part in re.match(r"[0-9.]*", text)[0].strip(".").split(".") if part]  # type: ignore[index]
    return tuple(found[:3] + [0] * (3 - len(found)))
