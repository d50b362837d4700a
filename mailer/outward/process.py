"""Who delivers: a name for this process that its leases carry, and whether another one is gone."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


def worker_name() -> str:
    """Return a name for this process that tells, after a crash on the same machine, that it is gone."""
    return f"{_place()}:{os.getpid()}:{_started(os.getpid())}"


def is_dead_worker(worker: str) -> bool:
    """Return whether a worker ran here and is gone for certain.

    Of other machines and containers, and of processes that /proc hides (hidepid), only the lease's end tells.
    """
    place, _, process = worker.partition(":")
    pid, _, started = process.partition(":")
    if place != _place() or not pid.isdigit() or not started:
        return False
    now = _started(int(pid))
    return now != started if now else not _exists(int(pid))


@cache
def _place() -> str:
    """Return what tells this machine's run and this container's process ids from others (pid_namespaces(7))."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:13]
    return f"{boot}/{Path('/proc/self/ns/pid').readlink().name.strip('pid:[]')}"


def _exists(pid: int) -> bool:
    """Return whether a process runs, somebody else's and hidden ones too; a zombie does not run."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not Path(f"/proc/{pid}").exists() or bool(_started(pid))


def _started(pid: int) -> str:
    """Return when a process began, in clock ticks since boot (proc(5), field 22); "" for a zombie or a hidden one."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
