"""Who takes part in a conversation, what they have, and what the list is like: all but the letters."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from mailer.crypto import openpgp
from mailer.crypto.openpgp import minimal, packets
from mailer.model.address import Address
from mailer.model.certificate import Certificate
from mailer.model.language import Language
from mailer.model.mailing_list import Directory
from mailer.outward import publish
from mailer.outward.compose import compose
from mailer.registrar import enrolment, vetting
from mailer.store import inbox, roster
from tests import x509_people
from tests.authority import NOW
from tests.conversations.script import Step, says
from tests.house import House, Person, new_key
from tests.walks.far_server import Received

JOIN = {"en": "subscribe", "zh-Hant": "訂閱", "zh-Hans": "订阅"}


@dataclass
class Stage:
    """A house with people. unread: letters that came out and of which nobody spoke yet. asked: to whom a reply goes."""

    house: House
    folder: Path
    people: dict[str, Person] = field(default_factory=dict)
    unread: list[Received] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)
    unsubscribe: dict[str, str] = field(default_factory=dict)
    token: str = ""
    codes: dict[str, str] = field(default_factory=dict)
    batches: dict[str, str] = field(default_factory=dict)
    is_aside_expected: bool = False

    def __post_init__(self) -> None:
        self.people["The team"] = self.house.contact

    async def found(self, name: str) -> roster.Found | None:
        """Return somebody's entry in the register."""
        person = await self.identify(name)
        async with self.house.database.read() as tx:
            return await roster.find(tx, person)

    async def identify(self, name: str) -> roster.Person:
        return await roster.identify(self.house.secrets, "news", Address.parse(self.people[name].address))

    async def send_digest(self) -> list[Received]:
        house, source = self.house, self.folder / "issue.md"
        source.write_text("---\nsubject: The news\nlanguage: en\n---\n\nThis is new.\n", encoding="utf-8")
        name = f"d{house.clock():%Y%m%d}"
        await publish.save(house.database, house.secrets, name, "news", [compose(source)], house.clock())
        mailing_list = house.instance.directory().lists[0]
        providers = house.instance.providers
        await publish.send(house.database, house.keyring, mailing_list, name, house.clock(), providers=providers)
        return await house.deliver()


@dataclass
class Holder(Person):
    """Somebody whose certificate is not just the public half of their key."""

    blob: bytes = b""

    @property
    def certificate(self) -> bytes:
        return self.blob


def expiring(person: Person, moment: datetime) -> Holder:
    """Their key with another end, signed later than before: the library signs by the second, so it may have to wait."""
    assert person.key is not None
    before, cert = _signed_at(person.certificate), person.key.extract_certificate()
    while True:
        blob = bytes(cert.set_expiration(moment, person.key.certifier()))
        if _signed_at(blob) > before:
            return Holder(person.address, person.key, blob)


def _signed_at(certificate: bytes) -> int:
    sheaf = minimal.read(certificate)
    assert sheaf is not None
    return max(one.created or 0 for one in sheaf.self_signatures)


@says(r"(\w+) has (a key|a new key|no key)")
async def has(stage: Stage, _step: Step, name: str, what: str) -> None:
    address = f"{name.lower()}@reader.example"
    words = ""
    if name in stage.people:
        stage.people[f"{name}'s old key"] = stage.people[name]
        words = stage.people[name].words
    stage.people[name] = Person(address, None if what == "no key" else new_key(address), words=words)


@says(r"(\w+) has a certificate(?: (on an elliptic curve|that has expired))?")
async def has_certificate(stage: Stage, _step: Step, name: str, bad: str | None) -> None:
    """For S/MIME; the list's own, if it has one, is known to its holder."""
    address = f"{name.lower()}@reader.example"
    key = stage.house.keyring.smime_key("news")
    how: dict[str, object] = {}
    if bad == "on an elliptic curve":
        how = {"key": ec.generate_private_key(ec.SECP256R1())}
    elif bad == "that has expired":
        how = {"ends": NOW - timedelta(hours=1)}
    holder = x509_people.Holder.at(address, **how)
    stage.people[name] = replace(holder, of_list=key.public_pem if key else b"")


@says(r"The list has an X\.509 key")
async def list_has_x509_key(stage: Stage, _step: Step) -> None:
    x509_people.give_key(stage.house)


@says(r"(\w+)'s key expires after (\d+) days")
async def expires(stage: Stage, _step: Step, name: str, days: str) -> None:
    stage.people[name] = expiring(stage.people[name], stage.house.clock() + timedelta(days=int(days)))


@says(r"(\w+) revokes (?:his|her) key")
async def revokes(stage: Stage, _step: Step, name: str) -> None:
    stage.people[name] = revoked(stage.people[name], stage.people[name])


def revoked(person: Person, by: Person) -> Holder:
    assert person.key is not None
    assert by.key is not None
    primary, *others = packets.walk(person.certificate)
    revocation = bytes(person.key.extract_certificate().revoke(by.key.certifier()))
    return Holder(person.address, person.key, primary.raw + revocation + b"".join(one.raw for one in others))


@says(r"(\w+) is (\w+) at another address")
async def is_the_same(stage: Stage, _step: Step, name: str, other: str) -> None:
    stage.people[name] = Person(f"{name.lower()}@reader.example", stage.people[other].key)


@says(r"(\w+) is on the list(?:, in (.+))?")
async def joined(stage: Stage, step: Step, name: str, language: str | None) -> None:
    await has(stage, step, name, "a key")
    await stage.house.join(stage.people[name], JOIN[language or "en"])


@says(r"(\w+) was invited(?:, (with) a key)?")
async def invited(stage: Stage, step: Step, name: str, with_key: str | None) -> None:
    await has(stage, step, name, "a key")
    house, person = stage.house, stage.people[name]
    key = openpgp.examine(person.certificate, house.clock())[0] if with_key else None
    assert key is None or isinstance(key, Certificate)
    applicant = vetting.Applicant(1, Address.parse(person.address), Language.EN, key)
    await enrolment.add(register_of(house), applicant, enrolment.Terms())


def register_of(house: House) -> enrolment.Register:
    """Return what an admin's commands write to."""
    mailing_list, public = house.instance.directory().lists[0], house.instance.roster_public()
    providers = house.instance.providers
    return enrolment.Register(house.database, house.secrets, mailing_list, public, providers, house.clock)


@says(r"(\w+) is banned")
async def banned(stage: Stage, _step: Step, name: str) -> None:
    person = await stage.identify(name)
    async with stage.house.database.write() as tx:
        await roster.ban(tx, person, stage.house.clock().date())


@says(r"(\d+) days? pass(?:es)?")
async def passes(stage: Stage, _step: Step, days: str) -> None:
    stage.house.clock.pass_(days=int(days))


@says(r"The list (is retired|has no contact|has wording of its own)")
async def list_changes(stage: Stage, step: Step, what: str) -> None:
    """As config.toml would have it after a restart."""
    receiver = stage.house.worker.receiver
    mine = receiver.listener.directory.lists[0]
    if what == "is retired":
        mine = replace(mine, is_retired=True)
    elif what == "has no contact":
        mine = replace(mine, contact=None, contact_certificate=None)
    else:
        mine = replace(mine, wording=stage.folder / "wording")
        path = stage.folder / "wording" / step.fields["File"]
        path.parent.mkdir(parents=True)
        path.write_text("\n".join([f"Subject: {step.fields['Subject']}", "", *step.text]), encoding="utf-8")
    receiver.listener = replace(receiver.listener, directory=Directory((mine,)))
    receiver._wordings.clear()


@says(r"(\w+) is (active|paused|suspended|invited|not on the list)(?:, in (\S+))?(?:, with the (old|new) key)?")
async def stands(stage: Stage, _step: Step, name: str, state: str, language: str | None, which: str | None) -> None:
    found = await stage.found(name)
    assert (found.subscriber.state if found else "not on the list") == state
    assert language is None or (found is not None and found.subscriber.language == language)
    key = stage.people[f"{name}'s old key" if which == "old" else name].key
    expected = key.extract_certificate().fingerprint if key else ""
    assert which is None or (found is not None and found.drawer.fingerprint == expected)


@says(r"One letter is set aside: (.+)")
async def set_aside(stage: Stage, _step: Step, reason: str) -> None:
    stage.is_aside_expected = True
    async with stage.house.database.read() as tx:
        assert await inbox.count(tx) == {reason: 1}
