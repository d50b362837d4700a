"""A whole instance in one test: real door, register, reader, OpenPGP and relay connection. Only the far server and the
clock are stood in for. `write` hands a letter to the door by SMTP and returns the letters that came of it.
"""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pysequoia

from mailer import config
from mailer import instance as instances
from mailer.app import door_settings, open_routes
from mailer.crypto.keyfile.passphrase import SlotKdf
from mailer.crypto.keyring import Keyring
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.crypto.vault import RosterKey
from mailer.instance import Instance
from mailer.inward.case import Listener
from mailer.inward.door import Door
from mailer.inward.intake import Intake
from mailer.inward.reader import Reader
from mailer.inward.receive import Receiver
from mailer.inward.worker import InboxWorker
from mailer.model.address import Address
from mailer.outward.copies import Copies
from mailer.outward.deliver import Deliverer, Pace
from mailer.outward.process import worker_name
from mailer.outward.replies import ReplySender
from mailer.store.database import Database
from mailer.store.ledger import Ledger
from tests import opening
from tests.walks.far_server import FarServer, Received

CHEAP = SlotKdf(memory_kib=64, iterations=1, lanes=1)
SERVICE, ROSTER = "service passphrase of the tests", "roster passphrase of the tests"
SQLITE = "sqlite:///mailer.db"
database_url = SQLITE  # what instances are made with; tests/walks/conftest.py puts another engine here
LIST = "news@lists.example"
CONTACT = "team@elsewhere.example"


@dataclass
class Person:
    """Somebody with an address and, by default, a key. words: those that open their PDFs."""

    address: str
    key: pysequoia.Tsk | None = None
    words: str = field(default="", kw_only=True)

    @classmethod
    def with_key(cls, address: str) -> Person:
        return cls(address, new_key(address))

    @property
    def certificate(self) -> bytes:
        assert self.key is not None
        return bytes(self.key.extract_certificate())

    @property
    def armored(self) -> str:
        return str(pysequoia.armor(self.certificate, pysequoia.ArmorKind.PublicKey))

    def letter(
        self,
        subject: str = "",
        text: str = "",
        *,
        to: str = LIST,
        with_key: bool = False,
        **more: str,
    ) -> EmailMessage:
        message = EmailMessage(policy=policy.SMTP)
        message["From"], message["To"], message["Subject"] = self.address, to, subject
        message["Message-ID"] = f"<{abs(hash((subject, text, to)))}@client.example>"
        message["Date"] = datetime.now(UTC)
        for name, value in more.items():
            message[name.replace("_", "-")] = value
        message.set_content(text + "\n")
        if with_key:
            message.add_attachment(
                self.armored.encode(), maintype="application", subtype="pgp-keys", filename="key.asc"
            )
        return message

    def open(self, received: Received) -> EmailMessage:
        """Open a letter with the key, or with the words, to the message inside."""
        if opening.form_of(received.content) is opening.Form.PDF:
            return opening.open_pdf(received.content, self.words)
        assert self.key is not None
        return opening.open_pgp(received.content, self.key)

    def read(self, received: Received) -> str:
        """Return the text of a letter, decrypted if need be."""
        is_open = opening.form_of(received.content) is opening.Form.CLEAR
        return text_of(opening.parse(received.content) if is_open else self.open(received))


def new_key(address: str) -> pysequoia.Tsk:
    return pysequoia.Tsk.generate(f"<{address}>", profile=pysequoia.Profile.RFC4880)


def text_of(message: EmailMessage) -> str:
    plain = next(part for part in message.walk() if part.get_content_type() == "text/plain")
    return str(plain.get_content())


def open_text(received: Received) -> str:
    """The text of a letter that must not be encrypted."""
    message = message_from_bytes(received.content, policy=policy.SMTP)
    assert opening.form_of(received.content) is opening.Form.CLEAR
    return text_of(message)  # type: ignore[arg-type]


@dataclass
class Clock:
    """Stands still until told otherwise."""

    moment: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.moment

    def pass_(self, **how_long: float) -> None:
        self.moment += timedelta(**how_long)


@dataclass
class House:
    """An instance with everything running, step by step."""

    instance: Instance
    secrets: ServiceSecrets
    roster_key: RosterKey
    database: Database
    keyring: Keyring
    door: Door
    worker: InboxWorker
    replies: ReplySender
    deliverer: Deliverer
    far: FarServer
    clock: Clock
    contact: Person

    async def send(self, letter: EmailMessage | bytes, *, to: str = LIST, sender: str | None = "") -> None:
        """Hand a letter to the door by SMTP; sender "" is the From, None the null reverse-path."""
        raw = letter if isinstance(letter, bytes) else letter.as_bytes()
        mail_from = "" if sender is None else sender or str(message_from_bytes(raw, policy=policy.SMTP)["From"])
        host, port = self.door.addresses[0]

        def submit() -> None:
            with smtplib.SMTP(host, port, local_hostname="client.example") as client:
                client.sendmail(mail_from, [to], raw)

        await asyncio.to_thread(submit)

    async def work(self) -> list[Received]:
        """Read what waits, send what was answered; return what the far server got of it."""
        before = len(self.far.letters)
        while await self.worker.deal_with_next():
            pass
        while await self.replies.send_batch():
            pass
        return self.far.letters[before:]

    async def write(self, letter: EmailMessage | bytes, *, to: str = "", sender: str | None = "") -> list[Received]:
        to = to or str(
            message_from_bytes(letter.as_bytes(), policy=policy.SMTP)["To"] if not isinstance(letter, bytes) else LIST
        )
        await self.send(letter, to=to, sender=sender)
        return await self.work()

    async def deliver(self) -> list[Received]:
        before = len(self.far.letters)
        await self.deliverer.deliver_due()
        return self.far.letters[before:]

    async def join(self, person: Person, verb: str = "subscribe") -> Received:
        """Take somebody through both steps; return the welcome letter."""
        [question] = await self.write(person.letter(verb, with_key=True))
        [welcome] = await self.write(person.letter("Re: [...]", "ok"), to=reply_to(question))
        return welcome


def reply_to(received: Received) -> str:
    return str(message_from_bytes(received.content, policy=policy.SMTP)["Reply-To"])


def make_instance(folder: Path, contact: Person | None, list_key: bytes | None = None, **door: object) -> Instance:
    """Make an instance with one list whose relay is plain SMTP on loopback; the port is filled in later."""
    instances.create(folder, SERVICE, ROSTER, CHEAP)
    path = folder / "config.toml"
    text = path.read_text().replace('listen = ["127.0.0.1:2525"]', 'listen = ["127.0.0.1:0"]')
    text = text.replace(f'url = "{SQLITE}"', f'url = "{database_url}"')
    path.write_text(text.replace('host = ""', 'host = "127.0.0.1"').replace('tls = "verify"', 'tls = "none"'))
    instance = Instance.open(folder)
    opened, _ = instance.open_service(SERVICE)
    instances.add_list(instance, opened, "news", Address.parse(LIST))
    contact_key = ""
    if contact is not None:
        contact_key = "keys/contact.asc"
        (folder / contact_key).write_bytes(contact.certificate)
    config.add_list(
        path,
        "news",
        Address.parse(LIST),
        contact=Address.parse(contact.address) if contact else None,
        contact_key=contact_key,
    )
    return Instance.open(folder)


def point_relay_at(instance: Instance, port: int) -> Instance:
    path = instance.config_path
    path.write_text(path.read_text().replace("port = 465", f"port = {port}"))
    return Instance.open(instance.folder)


@asynccontextmanager
async def open_house(folder: Path, far: FarServer | None = None, *, with_contact: bool = True) -> AsyncIterator[House]:
    contact = Person.with_key(CONTACT)
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(far or FarServer())
        instance = make_instance(folder, contact if with_contact else None)
        yield await furnish(stack, point_relay_at(instance, far.port), far, contact, Clock())


async def furnish(
    stack: AsyncExitStack,
    instance: Instance,
    far: FarServer,
    contact: Person,
    clock: Clock,
    reader: Reader | None = None,
) -> House:
    _, secrets = instance.open_service(SERVICE)
    roster_key = instance.open_roster(ROSTER)
    database, keyring, directory = instance.database(), Keyring(secrets), instance.directory()
    stack.push_async_callback(database.close)
    await database.open()
    reader = reader or await stack.enter_async_context(Reader(now=clock))
    public = instance.roster_public()
    listener = Listener(database, keyring, reader, directory, clock)
    receiver = Receiver(database, keyring, listener, public, instance.policy, instance.providers, clock=clock)
    worker = InboxWorker(receiver)
    intake = Intake(database, instance.transit_public(), instance.folder, clock=clock, arrived=worker.arrived)
    door = await stack.enter_async_context(
        Door(door_settings(instance, None), lambda mailbox: directory.find(mailbox) is not None, intake.accept)
    )
    routes = await open_routes(stack, instance)
    routes.clock = clock
    replies = ReplySender(database, keyring, routes, instance.providers, worker.answered, clock=clock)
    ledger = await Ledger.open(database, roster_key)
    copies = Copies(database, keyring, directory, clock, lambda: 0.5)
    providers = instance.providers.names
    deliverer = Deliverer(database, ledger, copies, routes, providers, worker_name(), Pace(), clock)
    return House(
        instance, secrets, roster_key, database, keyring, door, worker, replies, deliverer, far, clock, contact
    )
