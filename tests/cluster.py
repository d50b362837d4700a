"""A PostgreSQL of the tests' own: made in a temporary folder, reached by a Unix socket, and gone afterwards."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mailer.store.tables import metadata
from tests.conftest import needs

PORT = 5432  # names the socket; only listen_addresses would open it to the network
ROLE = "mailer"
TEMPLATE = "migrated"
_EMPTY = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid();"
    + "".join(f"DELETE FROM {name};" for name in metadata.tables)
)


@dataclass
class Cluster:
    """A running server. listen: addresses beside the socket, for tests in network namespaces of their own."""

    folder: Path
    listen: str = ""
    port: int = PORT
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _reused: set[str] = field(default_factory=set)
    _idle: list[str] = field(default_factory=list)
    _server: subprocess.Popen[bytes] | None = None

    @classmethod
    def make(cls, listen: str = "", port: int = PORT) -> Cluster:
        """Make a cluster and start it. The temporary folder is this server's, so it is no fixture's."""
        cluster = cls(Path(tempfile.mkdtemp(prefix="pg-")), listen, port)
        shutil.chown(cluster.folder, _user())
        run = [needs("initdb"), "--pgdata", str(cluster.folder / "data"), "--username", ROLE, "--no-sync", "--auth"]
        # Words are sorted as people do it, not by octets, as on an ordinary server: a query must not rely on octets.
        words = ["--encoding", "UTF8", "--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en-US"]
        cluster._run(*run, "trust", *(words if _version(run[0]) >= 15 else words[:2]))
        if listen:
            with (cluster.folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write("host all all all trust\n")
        cluster.start()
        return cluster

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = {"unix_socket_directories": self.folder, "port": self.port, "listen_addresses": self.listen}
        # What a test commits need not outlive the machine.
        options |= {"fsync": "off", "full_page_writes": "off", "max_connections": 60}
        options |= {"deadlock_timeout": "50ms"}
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [needs("postgres"), "-D", str(self.folder / "data"), *arguments]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(_as_user(command), stdout=log, stderr=log, cwd="/")
        self._wait_until_ready()

    def stop(self, told: signal.Signals = signal.SIGINT) -> None:
        """End the server by its id. SIGINT: at once, in good order. SIGQUIT: as in a crash."""
        if self._server is not None:
            self._server.send_signal(told)
            self._server.wait(30)
            self._server = None

    def remove(self) -> None:
        """End the server and erase everything."""
        self.stop()
        shutil.rmtree(self.folder)

    def url(self, name: str) -> str:
        """Return the URL of a database, as in config.toml."""
        return f"postgresql+asyncpg://{ROLE}@/{name}?host={self.folder}&port={self.port}"

    @contextlib.contextmanager
    def fresh(self, template: str = "template1") -> Iterator[str]:
        """Give the URL of a database of its own."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield self.url(name)
        self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    @contextlib.contextmanager
    def emptied(self) -> Iterator[str]:
        """Give the URL of a database that has every table and no row: three times as quick as a fresh one."""
        name = self._idle.pop() if self._idle else f"reused_{next(self._numbers)}"
        if name not in self._reused:
            self._reused.add(name)
            self.sql(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield self.url(name)
        self.sql(_EMPTY, name)
        self._idle.append(name)

    def sql(self, statement: str, name: str = "postgres", *, url: str = "") -> str:
        """Run a statement and return what it gives, one row a line. url: of another database, as `fresh` gave it."""
        name = url.partition("@/")[2].partition("?")[0] or name
        return self._psql(name, statement).stdout.decode()

    def _psql(self, name: str, statement: str) -> subprocess.CompletedProcess[bytes]:
        where = ["--host", str(self.folder), "--port", str(self.port), "--username", ROLE, "--dbname", name]
        command = [needs("psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", *where]
        return subprocess.run([*command, "--command", statement], check=True, capture_output=True)

    def _run(self, *command: str) -> None:
        subprocess.run(_as_user([*command]), check=True, capture_output=True, cwd="/")

    def _wait_until_ready(self) -> None:
        for _ in range(1000):
            with contextlib.suppress(subprocess.CalledProcessError):
                self.sql("SELECT 1")
                return
            assert self._server is not None and self._server.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text())


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def _user() -> str:
    """PostgreSQL does not run as root."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    names = {one.pw_name for one in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _as_user(command: list[str]) -> list[str]:
    if os.getuid() != 0:
        return command
    one = pwd.getpwnam(_user())
    return [needs("setpriv"), f"--reuid={one.pw_uid}", f"--regid={one.pw_gid}", "--clear-groups", *command]


def _version(initdb: str) -> int:
    return int(re.findall(rb"\d+", subprocess.run([initdb, "--version"], check=True, capture_output=True).stdout)[0])
