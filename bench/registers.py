"""Instances full of subscribers, ready for `mailer` commands. What takes long to make is kept in a cache."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import tomlkit

from bench import certificates, digest, filling, processes
from mailer import config
from mailer import instance as instances
from mailer.crypto.keyfile.passphrase import SlotKdf
from mailer.instance import Instance
from mailer.model.address import Address
from mailer.model.subscriber import Drawer
from mailer.store.database import Database

CHEAP = SlotKdf(memory_kib=64, iterations=1, lanes=1)  # what opens the key files is not measured
LIST = "news@lists.example"
CONNECTIONS = 20
DOOR_CONNECTIONS = 100  # all of the benchmark's clients come from one host


@dataclass(frozen=True, slots=True)
class Register:
    """Which subscribers: how many, with which certificates, and whether their records are fresh."""

    size: int
    algorithm: str
    is_fresh: bool = False


@dataclass(frozen=True, slots=True)
class House:
    """An instance in a folder, ready to be run by `mailer` commands."""

    folder: Path
    metrics_port: int
    stages_before: dict[str, float] = field(default_factory=dict)  # the metrics go on counting over all digests

    @property
    def options(self) -> list[str]:
        """For commands that open the service secrets."""
        return ["--instance", str(self.folder), "--service-passphrase-file", str(self.folder / "service")]

    @property
    def worker_options(self) -> list[str]:
        """For `mailer work`."""
        return [*self.options, "--roster-passphrase-file", str(self.folder / "roster")]

    def log(self, name: str) -> Path:
        """Where a process of it writes what it has to say."""
        return self.folder / f"{name}.log"

    def database(self) -> Database:
        return Instance.open(self.folder).database()

    def plan(self) -> tuple[str, int]:
        """Write a digest and send it on its way; return its id and how many deliveries wait."""
        source = digest.write(self.folder)
        drafted = json.loads(processes.run(processes.mailer("digest", "new", str(source), "--json", *self.options)))
        sent = processes.run(processes.mailer("digest", "send", drafted["id"], "--no-wait", "--json", *self.options))
        return drafted["id"], json.loads(sent)["planned"]


@dataclass(frozen=True)
class Stock:
    """Certificates and registers, made once and kept in `folder`. numbers: of distinct certificates, by algorithm."""

    folder: Path
    numbers: Mapping[str, int]

    def certificates(self, algorithm: str) -> certificates.Made:
        """Return the certificates of all registers with this algorithm. Raises BenchFailed."""
        return certificates.load(self.folder, algorithm, self.numbers[algorithm])

    def furnish(self, folder: Path, register: Register, relay_port: int, url: str | None = None) -> House:
        """Return a new instance in `folder` with this register; on SQLite it is a copy.

        url: of an empty PostgreSQL database, which is filled now.
        """
        kept = self.keep(Register(0, register.algorithm)) if url else self.keep(register)
        shutil.copytree(kept, folder)
        for name, passphrase in (("service", filling.SERVICE), ("roster", filling.ROSTER)):
            (folder / name).write_text(passphrase)
        metrics_port = _configure(folder, relay_port, url)
        if url is not None:
            (folder / "mailer.db").unlink()
            self._fill(folder, register)
        return House(folder, metrics_port)

    def keep(self, register: Register) -> Path:
        """Return the instance on SQLite in the cache, made now if it is not there or was made by other code."""
        drawers = self.certificates(register.algorithm).drawers
        fresh = "_fresh" if register.is_fresh else ""
        folder = self.folder / f"{register.algorithm}_{len(drawers)}_{register.size}{fresh}"
        made_by, mark = _fingerprint(drawers), folder / "made-by"
        if mark.is_file() and mark.read_text() == made_by:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        instances.create(folder, filling.SERVICE, filling.ROSTER, CHEAP)
        instance = Instance.open(folder)
        opened, _ = instance.open_service(filling.SERVICE)
        instances.add_list(instance, opened, filling.LIST_ID, Address.parse(LIST))
        config.add_list(instance.config_path, filling.LIST_ID, Address.parse(LIST))
        self._fill(folder, register)
        mark.write_text(made_by)
        return folder

    def _fill(self, folder: Path, register: Register) -> None:
        drawers = self.certificates(register.algorithm).drawers
        asyncio.run(filling.fill(Instance.open(folder), register.size, drawers, is_fresh=register.is_fresh))


def _fingerprint(drawers: list[Drawer]) -> str:
    """Of the certificates, and of the code by which a register is laid out: with others an older one is not used."""
    package = processes.ROOT / "mailer"
    code = [*Path(__file__).parent.glob("*.py"), package / "instance.py", processes.ROOT / "config.toml"]
    code += [*(package / "store").rglob("*.py"), *(package / "crypto").rglob("*.py")]
    parts = [path.read_bytes() for path in sorted(code)] + [drawer.certificate for drawer in drawers]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _configure(folder: Path, relay_port: int, url: str | None) -> int:
    """Fill in config.toml; return the port of the metrics."""
    path, metrics_port = folder / "config.toml", processes.free_port()
    document = tomlkit.parse(path.read_text())
    relay = {"host": "127.0.0.1", "port": relay_port, "tls": "none", "connections": CONNECTIONS}
    document["relay"].update(relay)
    document["door"].update({"listen": ["127.0.0.1:0"], "max_connections_per_host": DOOR_CONNECTIONS})
    document["store"].update({"url": url or "sqlite:///mailer.db"})
    document["metrics"].update({"listen": f"127.0.0.1:{metrics_port}"})
    path.write_text(tomlkit.dumps(document))
    return metrics_port
