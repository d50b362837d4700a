"""A list that also sends from another address: mail to it is for the list, and is answered from there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from email import message_from_bytes, policy
from pathlib import Path

import dkim  # type: ignore[import-untyped]
import pytest

from mailer import config
from mailer import instance as instances
from mailer.crypto import openpgp
from mailer.crypto.dkim import Algorithm, DkimKey, generate
from mailer.crypto.openpgp import ListKey
from mailer.instance import Instance
from mailer.model.address import Address
from mailer.outward import publish
from mailer.outward.compose import compose
from tests.conversations import post
from tests.house import (
    CONTACT,
    LIST,
    SERVICE,
    Clock,
    House,
    Person,
    furnish,
    make_instance,
    open_text,
    point_relay_at,
    reply_to,
)
from tests.walks.far_server import FarServer, Received

ABROAD = "letters@other.example"


def give_identity(instance: Instance, name: str = "abroad", address: str = ABROAD) -> Instance:
    opened, _ = instance.open_service(SERVICE)
    own = Address.parse(address)
    config.add_identity(
        instance.config_path,
        "news",
        name,
        own,
        display_name="Letters",
        prepare=lambda: instances.add_identity(opened, "news", name, own),
    )
    return Instance.open(instance.folder)


@asynccontextmanager
async def open_house(folder: Path, **relay: str) -> AsyncIterator[House]:
    """A house whose list has an identity; relay: what stands in the section [relay] besides."""
    contact = Person.with_key(CONTACT)
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(FarServer())
        instance = give_identity(make_instance(folder, contact))
        text = instance.config_path.read_text()
        for name, value in relay.items():
            text = text.replace(f'\n{name} = ""\n', f'\n{name} = "{value}"\n', 1)
        instance.config_path.write_text(text)
        yield await furnish(stack, point_relay_at(instance, far.port), far, contact, Clock())


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path / "house") as opened:
        yield opened


@pytest.fixture
def ada() -> Person:
    return Person.with_key("ada@reader.example")


def field(received: Received, name: str) -> str:
    return str(message_from_bytes(received.content, policy=policy.SMTP)[name])


def is_signed_by(received: Received, reader: Person, key: ListKey) -> bool:
    """Whether the letter, opened with the reader's key, is signed by that key of the list."""
    assert reader.key is not None
    armored = received.content[received.content.index(b"-----BEGIN PGP MESSAGE") :]
    armored = armored[: armored.index(b"-----END PGP MESSAGE-----") + 27]
    opened = openpgp.decrypt(armored, [ListKey.from_secret(bytes(reader.key))], [key.public])
    return opened.signature is not None


async def join_abroad(house: House, person: Person) -> tuple[Received, Received]:
    [question] = await house.write(person.letter("subscribe", with_key=True, to=ABROAD))
    [welcome] = await house.write(person.letter("Re: [...]", "ok"), to=reply_to(question))
    return question, welcome


async def test_mail_to_an_identity_joins_the_list_and_is_answered_from_there(house: House, ada: Person) -> None:
    for received in await join_abroad(house, ada):
        assert field(received, "From") == f"Letters <{ABROAD}>"
        assert "<letters+bounce@other.example>" in received.mail
        assert f"addr={ABROAD};" in field(received, "Autocrypt")
        assert is_signed_by(received, ada, house.keyring.list_key("news", "abroad"))
        assert not is_signed_by(received, ada, house.keyring.list_key("news"))
        assert LIST.partition("@")[2].encode() not in received.content
        assert LIST not in ada.open(received).as_string()


async def test_who_joined_at_an_identity_is_on_the_list_itself(house: House, ada: Person) -> None:
    await join_abroad(house, ada)
    [status] = await house.write(ada.letter("status"))
    assert field(status, "From") == LIST
    assert "active" in ada.read(status)
    assert is_signed_by(status, ada, house.keyring.list_key("news"))


async def test_a_token_that_one_address_mailed_is_good_at_the_other(house: House, ada: Person) -> None:
    [question] = await house.write(ada.letter("subscribe", with_key=True, to=ABROAD))
    detail = reply_to(question).partition("@")[0].partition("+")[2]
    [welcome] = await house.write(ada.letter("Re: [...]", "ok"), to=f"news+{detail}@lists.example")
    assert field(welcome, "From") == LIST


@pytest.mark.parametrize("to", [LIST, ABROAD, "letters+status@other.example"])
@pytest.mark.parametrize("identity", ["", "abroad"])
async def test_a_letter_encrypted_to_any_key_of_the_list_is_read_at_any_of_its_addresses(
    house: House, ada: Person, to: str, identity: str
) -> None:
    await join_abroad(house, ada)
    certificate = house.keyring.list_key("news", identity).public
    text = b"Content-Type: text/plain\r\n\r\nstatus\r\n"
    sealed = post.encrypt(text, certificate, post.signer_of(ada))
    head = (
        f"From: {ada.address}\r\nTo: {to}\r\nSubject: [...]\r\nMessage-ID: <9@client.example>\r\nMIME-Version: 1.0\r\n"
    )
    [status] = await house.write(head.encode() + sealed, to=to, sender=ada.address)
    assert "active" in ada.read(status)


async def test_a_letter_from_an_identity_of_our_own_is_never_answered(house: House) -> None:
    own = Person(ABROAD)
    assert await house.write(own.letter("subscribe", to=LIST)) == []
    assert await house.write(own.letter("help", to=ABROAD)) == []


async def test_who_asks_an_identity_for_its_key_gets_that_key(house: House) -> None:
    [answer] = await house.write(Person("eve@reader.example").letter("key", to=ABROAD))
    armored = openpgp.armor_certificate(house.keyring.list_key("news", "abroad").public)
    assert armored.replace("\n", "\r\n").encode() in answer.content
    fingerprint = house.keyring.list_key("news", "abroad").fingerprint.upper()
    assert fingerprint[-4:] in open_text(answer)


async def test_the_postmaster_of_an_identity_s_domain_is_reached(house: House, ada: Person) -> None:
    [passed_on] = await house.write(ada.letter("Hello", "is there a fault?", to="postmaster@other.example"))
    assert f"<{CONTACT}>" in passed_on.rcpt


def test_renaming_and_retiring_a_list_leaves_its_identities_and_their_keys(tmp_path: Path) -> None:
    instance = give_identity(give_identity(make_instance(tmp_path / "house", None)), "third", "news@third.example")
    opened, before = instance.open_service(SERVICE)
    renamed = instances.with_renamed_list(opened, "news", Address.parse("news@new.example"))
    config.rename_list(instance.config_path, "news", Address.parse("news@new.example"))
    config.retire_list(instance.config_path, "news")
    [news] = Instance.open(instance.folder).directory().lists
    assert [(one.name, str(one.address)) for one in news.identities] == [
        ("abroad", ABROAD),
        ("third", "news@third.example"),
    ]
    for name in ("news/abroad", "news/third"):
        assert renamed.list_keys[name] == before.list_keys[name]
    assert len(renamed.keys_of("news")) == 3


# --- A relay that stands for an identity, and signs -----------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
async def test_a_digest_over_the_relay_of_an_identity_is_from_there_and_has_its_dkim_signature(
    tmp_path: Path, ada: Person, algorithm: Algorithm
) -> None:
    pem = generate(algorithm)
    key = DkimKey.load(pem, "m1")
    (tmp_path / "key").write_bytes(pem)
    (tmp_path / "key").chmod(0o600)
    relay = {"identity": "abroad", "dkim_selector": "m1", "dkim_key": str(tmp_path / "key")}
    async with open_house(tmp_path / "house", **relay) as house:
        for received in await join_abroad(house, ada):
            assert verifies(received.content, key)
        await post_digest(house)
        [copy] = await house.deliver()
    assert verifies(copy.content, key)
    assert not verifies(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" + copy.content, key)
    assert field(copy, "From") == f"Letters <{ABROAD}>"
    assert "<letters+unsubscribe-" in field(copy, "List-Unsubscribe").replace("mailto:", "")
    assert "<letters+bounce-" in copy.mail
    assert LIST.partition("@")[2].encode() not in copy.content
    assert "Zebras" in ada.read(copy)


async def post_digest(house: House) -> None:
    source = house.instance.folder / "issue.md"
    source.write_text("---\nsubject: Zebras\nlanguage: en\n---\n\nZebras are weekly.\n")
    await publish.save(house.database, house.secrets, "d1", "news", [compose(source)], house.clock())
    [news] = house.instance.directory().lists
    providers = house.instance.providers
    assert await publish.send(house.database, house.keyring, news, "d1", house.clock(), providers=providers) == 1


def verifies(content: bytes, key: DkimKey) -> bool:
    record = {f"{key.record_name('other.example')}.".encode(): key.record.encode()}
    return bool(dkim.DKIM(content).verify(dnsfunc=lambda name, timeout=5: record.get(name)))
