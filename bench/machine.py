"""Where it was measured: figures mean nothing without that."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.processes import ROOT

SYNCS = 30


def facts(home: Path, postgresql: str, load_before: float) -> dict[str, object]:
    """Return them for the table and for JSON. home: a folder on the disk that is measured. load_before: of others."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "kernel": platform.release(),
        "load_before": round(load_before, 2),
        "fsync_ms": round(_fsync_ms(home), 2),
        "python": platform.python_version(),
        "pysequoia": version("pysequoia"),
        "sqlite": sqlite3.sqlite_version,
        "postgresql": postgresql or "not measured",
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """The commit that is checked out, with a + where files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def _fsync_ms(home: Path) -> float:
    """How long the disk takes to have 4 KiB for certain: the price of each commit."""
    path, took = home / "fsync", []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(4096))
            began = time.monotonic()
            os.fsync(file.fileno())
            took.append(1000 * (time.monotonic() - began))
    path.unlink()
    return statistics.median(took)
