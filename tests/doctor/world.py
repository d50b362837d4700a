"""A healthy instance with all that `doctor` looks at: a door, a relay, a name server, a small machine."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import trustme

from mailer import config, control
from mailer.app import door_settings, relay_settings
from mailer.crypto import dkim
from mailer.crypto.dkim import DkimKey
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.doctor.checks import CHECKS
from mailer.doctor.finding import Finding
from mailer.doctor.names import Names
from mailer.doctor.run import run
from mailer.doctor.scene import Scene
from mailer.instance import Instance
from mailer.inward.door import Door
from mailer.inward.server_certificate import ServerCertificate
from mailer.store import condition, home, upsert
from mailer.store.database import Database
from mailer.store.tables import seconds, traits
from tests.doctor.name_server import NameServer, Zone
from tests.house import CONTACT, SERVICE, Person, make_instance, point_relay_at
from tests.walks.far_server import FarServer

HOST, DOMAIN, ADDRESS = "mx.lists.example", "lists.example", "203.0.113.7"
NOW = datetime.now(UTC)


@dataclass
class World:
    """What there is. state: what the service says on its socket. now: what the clock of the checks says."""

    instance: Instance
    secrets: ServiceSecrets
    database: Database
    far: FarServer
    names: NameServer
    root: Path
    record: str
    authority: trustme.CA
    state: str = "unlocked"
    now: datetime = field(default_factory=lambda: datetime.now(UTC))  # NOW may be a quarter of an hour ago
    more: dict[str, Any] = field(default_factory=dict)

    def zone(self) -> Zone:
        return {
            (DOMAIN, "MX"): [f"10 {HOST}."],
            (DOMAIN, "TXT"): [f"v=spf1 ip4:{ADDRESS} -all"],
            (f"_dmarc.{DOMAIN}", "TXT"): ["v=DMARC1; p=reject; adkim=s; aspf=s"],
            (f"mailer._domainkey.{DOMAIN}", "TXT"): [self.record],
            (HOST, "A"): [ADDRESS],
            ("7.113.0.203.in-addr.arpa", "PTR"): [f"{HOST}."],
        }

    def file(self, path: str, content: str) -> Path:
        """Put a file onto the small machine."""
        at = self.root / path.lstrip("/")
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(content)
        return at

    def settings(self, *changes: tuple[str, str]) -> Instance:
        """Return the instance as it would be with other settings."""
        text = self.instance.config_path.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        return Instance(self.instance.folder, config.read(text, self.instance.config_path))

    def scene(self, **changes: Any) -> Scene:
        instance = changes.pop("instance", self.instance)
        about = {
            "names": Names(self.names.address),
            "now": self.now,
            "relay_settings": partial(relay_settings, instance),
            "secrets": self.secrets,
            "root": self.root,
            "opened": self.database,
        }
        return Scene(instance, **(about | changes))

    async def look(self, **changes: Any) -> list[Finding]:
        return await run(self.scene(**changes), CHECKS)


async def note_backup(database: Database, moment: datetime) -> None:
    async with database.write() as tx:
        row = upsert.insert(tx, traits).values(name=condition.BACKUP, value=str(seconds(moment)).encode())
        await tx.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": row.excluded.value}))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def write_certificate(folder: Path, authority: trustme.CA, *names: str, expires: datetime | None = None) -> None:
    made = authority.issue_cert(*names, not_after=expires) if expires else authority.issue_cert(*names)
    (folder / "chain.pem").write_bytes(b"".join(one.bytes() for one in made.cert_chain_pems))
    (folder / "key.pem").touch(mode=0o600)
    (folder / "key.pem").write_bytes(made.private_key_pem.bytes())


def prepare(folder: Path, relay_port: int) -> tuple[Instance, str, trustme.CA]:
    """Make the instance, its DKIM key and its certificate; return it, the DNS record and the authority."""
    instance = point_relay_at(make_instance(folder, Person.with_key(CONTACT)), relay_port)
    (folder / "keys" / "mailer.dkim").touch(mode=0o600)
    pem = dkim.generate("ed25519")
    (folder / "keys" / "mailer.dkim").write_bytes(pem)
    authority = trustme.CA()
    write_certificate(folder, authority, HOST)
    text = instance.config_path.read_text()
    for old, new in (
        ('listen = ["127.0.0.1:0"]', f'listen = ["127.0.0.1:{free_port()}"]'),
        ('hostname = "localhost"', f'hostname = "{HOST}"'),
        ('tls_certificate = ""', 'tls_certificate = "chain.pem"'),
        ('tls_key = ""', 'tls_key = "key.pem"'),
        ('dkim_selector = ""', 'dkim_selector = "mailer"'),
        ('dkim_key = ""', 'dkim_key = "keys/mailer.dkim"'),
    ):
        assert old in text, old
        text = text.replace(old, new, 1)
    instance.config_path.write_text(text)
    return Instance.open(folder), DkimKey.load(pem, "mailer").record, authority


@asynccontextmanager
async def open_world(folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(FarServer())
        names = stack.enter_context(NameServer().running())
        instance, record, authority = prepare(folder / "instance", far.port)
        database = instance.database()
        await database.open()
        stack.push_async_callback(database.close)
        await home.adopt(database)
        await note_backup(database, NOW - timedelta(hours=1))
        _, secrets = instance.open_service(SERVICE)
        (folder / "root").mkdir()
        world = World(instance, secrets, database, far, names, folder / "root", record, authority)
        names.zone = world.zone()
        door = instance.config.door
        certificate = ServerCertificate.load(door.tls_certificate, door.tls_key)
        stack.enter_context(control.claim(instance.control_path))

        async def answer(request: control.Request) -> str:
            return world.state

        await stack.enter_async_context(control.listening(instance.control_path, answer))
        await stack.enter_async_context(Door(door_settings(instance, certificate), lambda mailbox: True, _accept))
        yield world


async def _accept(*arguments: object) -> Any:
    raise AssertionError("nobody writes to this door")


Plant = Callable[[World], Any]
