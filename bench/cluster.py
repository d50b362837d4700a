"""A PostgreSQL of the benchmark's own: made, started and stopped here, with the settings that it ships with.

fsync and synchronous_commit stay on: what is measured is delivery that survives a power cut.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]

from bench import processes
from bench.processes import BenchFailed

USER = "bench"
START_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server that runs. Its databases are made with `create`."""

    port: int
    version: str

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """Make an empty database; return its URL."""

        async def make() -> None:
            connection = await asyncpg.connect(self.url("postgres"))
            await connection.execute(f"CREATE DATABASE {database}")  # a name of ours
            await connection.close()

        asyncio.run(make())
        return self.url(database)


def program(name: str) -> str | None:
    """Return the path of one of PostgreSQL's programs: Debian keeps them outside of PATH, newest version last."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    return shutil.which(name, path=os.pathsep.join([*map(str, reversed(debian)), os.environ.get("PATH", "")]))


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Run a new cluster in a folder that is made for it. Raises BenchFailed."""
    folder.mkdir(mode=0o700)
    as_user = _as_somebody_else(folder)
    initdb, postgres = program("initdb") or "initdb", program("postgres") or "postgres"
    processes.run([*as_user, initdb, "-D", str(folder), "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C"])
    port = processes.free_port()
    where = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={port}", "-c", "unix_socket_directories="]
    # SIGINT: end the sessions and stop (postgres(1), "fast shutdown")
    with processes.running(
        [*as_user, postgres, "-D", str(folder), *where], folder.parent / "postgresql.log", signal.SIGINT
    ):
        yield Cluster(port, asyncio.run(_first_answer(port)))


def _as_somebody_else(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root: give the folder away, and return what to put before its commands."""
    if os.geteuid() != 0:
        return []
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, user.pw_uid, user.pw_gid)
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
    raise BenchFailed("There is no user to run PostgreSQL as: it does not run as root.")


async def _first_answer(port: int) -> str:
    """Wait until it answers; return its version."""
    until = time.monotonic() + START_WITHIN_S
    while True:
        try:
            connection = await asyncpg.connect(f"postgresql://{USER}@127.0.0.1:{port}/postgres")
        except (OSError, asyncpg.PostgresError):
            if time.monotonic() > until:
                raise BenchFailed("PostgreSQL does not come up.") from None
            await asyncio.sleep(0.1)
            continue
        version: str = await connection.fetchval("SHOW server_version")
        for setting in ("fsync", "synchronous_commit"):
            if await connection.fetchval(f"SHOW {setting}") != "on":
                raise BenchFailed(f"PostgreSQL runs without {setting}: its figures would mean nothing.")
        await connection.close()
        return version
