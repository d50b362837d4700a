"""Another OpenPGP key for a list: announced by both keys, known for an overlap, erased; given up at once if need be."""

from __future__ import annotations

import asyncio
import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from mailer import control
from mailer import instance as instances
from mailer.cli.main import commands
from mailer.crypto import openpgp
from mailer.crypto.openpgp import ListKey
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.errors import RotationUnderWay, VaultError
from mailer.instance import Instance
from mailer.model.certificate import Certificate, grouped
from mailer.model.subscriber import Format
from mailer.outward import announce, publish
from mailer.outward.compose import compose
from mailer.outward.copies import Copies
from mailer.registrar import renewing
from mailer.store import queue
from mailer.store.tables import deliveries, tallies, traits
from tests.conftest import Gnupg, needs
from tests.conversations import post
from tests.house import LIST, SERVICE, Clock, House, Person, make_instance, open_house
from tests.walks.far_server import Received

OVERLAP = timedelta(days=30)


def renew(house: House | Files, how: Any = renewing.renew) -> ServiceSecrets:
    """What the command does to the key file."""
    opened, _ = house.instance.open_service(SERVICE)
    changed = how(opened, house.instance.directory().lists[0], house.clock(), OVERLAP)
    assert isinstance(changed, ServiceSecrets)
    return changed


def restart(house: House, secrets: ServiceSecrets | None = None) -> None:
    """Begin anew with what the key file holds, intake and deliverer."""
    house.secrets = secrets or house.instance.open_service(SERVICE)[1]
    house.keyring.unlock(house.secrets)
    directory = house.instance.directory()
    house.deliverer.copies = Copies(house.database, house.keyring, directory, house.clock, lambda: 0.5)


async def tell(house: House) -> dict[str, int]:
    return await announce.plan(house.database, house.keyring, house.instance.directory(), house.clock())


def inside(person: Person, received: Received) -> tuple[bytes, bytes, EmailMessage]:
    """What is signed, the signatures, and the message."""
    message = person.open(received)
    assert message.get_content_type() == "multipart/signed"
    assert person.key is not None
    plain = openpgp.decrypt(post.message_in(received), [ListKey.from_secret(bytes(person.key))], []).plaintext
    boundary = b"--" + str(message.get_boundary()).encode()
    _, payload, signature, _ = plain.split(boundary)
    return payload[2:-2], signature, message


def signers(payload: bytes, signature: bytes, *keys: ListKey) -> list[str]:
    """Whose signatures are good, each looked for alone."""
    found = (openpgp.verify_detached(payload, signature, [key.public]) for key in keys)
    return [one.fingerprint for one in found if one]


def current(secrets: ServiceSecrets) -> ListKey:
    return ListKey.from_secret(secrets.list_keys["news"])


async def rows(house: House) -> list[Any]:
    async with house.database.read() as tx:
        return list((await tx.execute(select(deliveries))).all())


# --- The announcement -----------------------------------------------------------------------------------------------


async def test_readers_are_told_in_a_letter_that_both_keys_sign(tmp_path: Path, gnupg: Gnupg) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key("ada@reader.example")
        await house.join(ada)
        old = current(house.secrets)
        restart(house, renew(house))
        new = current(house.secrets)
        assert list((await tell(house)).values()) == [1]
        [letter] = await house.deliver()
        payload, signature, message = inside(ada, letter)
        assert signers(payload, signature, old, new) == [old.fingerprint, new.fingerprint]
        assert signers(payload + b"x", signature, old, new) == []
        gnupg.import_key(old.public)
        gnupg.import_key(new.public)
        (tmp_path / "payload").write_bytes(payload)
        block = signature[signature.index(b"-----BEGIN") :]
        (tmp_path / "signature.asc").write_bytes(block)
        verified = gnupg.run("--status-fd", "1", "--verify", str(tmp_path / "signature.asc"), str(tmp_path / "payload"))
        assert verified.count(b"GOODSIG") == 2
        text = ada.read(letter)
        assert grouped(new.fingerprint) in text and grouped(old.fingerprint) in text
        assert "Our key changes" in post.subject_for(letter, ada)
        assert post.outside(letter)["Subject"] == "[...]"
        [file] = [part for part in message.walk() if part.get_content_type() == "application/pgp-keys"]
        [verdict] = openpgp.examine(bytes(file.get_payload(decode=True)), house.clock())  # type: ignore[arg-type]
        assert isinstance(verdict, Certificate) and verdict.fingerprint == new.fingerprint
        gnupg.import_key(bytes(file.get_payload(decode=True)))  # type: ignore[arg-type]
        listed = gnupg.run("--with-colons", "--check-sigs", new.fingerprint).decode().upper()
        assert f"SIG:!::22:{old.fingerprint[-16:].upper()}" in listed


async def test_it_is_told_once_and_nothing_stays_of_who_was_told(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await house.join(Person.with_key("ada@reader.example"))
        await house.join(Person.with_key("bob@reader.example"))
        restart(house, renew(house))
        assert list((await tell(house)).values()) == [2]
        assert len(await house.deliver()) == 2
        assert await rows(house) == []
        assert await tell(house) == {}
        house.clock.pass_(days=3)
        assert await house.deliver() == []


@pytest.mark.parametrize("wanted", [Format.INLINE, Format.ATTACHMENT])
async def test_whatever_form_a_reader_chose_both_keys_sign_this_letter(tmp_path: Path, wanted: Format) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key("ada@reader.example")
        await house.join(ada)
        people = {"Ada": ada}
        await house.write(post.write(ada, LIST, {"Signed": "by Ada"}, f"format {wanted}", people))
        old = current(house.secrets)
        restart(house, renew(house))
        await tell(house)
        [letter] = await house.deliver()
        payload, signature, _ = inside(ada, letter)
        assert signers(payload, signature, old, current(house.secrets)) == [
            old.fingerprint,
            current(house.secrets).fingerprint,
        ]


async def test_whoever_pauses_or_uses_no_openpgp_is_not_written_to(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key("ada@reader.example")
        await house.join(ada)
        await house.write(post.write(ada, LIST, {"Signed": "by Ada"}, "pause", {"Ada": ada}))
        restart(house, renew(house))
        assert list((await tell(house)).values()) == [0]


async def test_a_worker_without_the_new_key_leaves_the_letter_to_others(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await house.join(Person.with_key("ada@reader.example"))
        before = house.secrets
        restart(house, renew(house))
        await tell(house)
        after, house.secrets = house.secrets, before
        restart(house, before)
        assert await house.deliver() == []
        [waiting] = await rows(house)
        assert waiting.state == "due"
        restart(house, after)
        house.clock.pass_(minutes=11)
        assert len(await house.deliver()) == 1


async def test_a_new_key_of_a_reader_does_not_undo_the_announcement(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, second = Person.with_key("ada@reader.example"), Person.with_key("ada@reader.example")
        await house.join(ada)
        restart(house, renew(house))
        await tell(house)
        people = {"first": ada, "second": second}
        await house.write(post.write(ada, LIST, {"Key": "attached, second's", "Signed": "by first"}, "my key", people))
        [letter] = await house.deliver()
        assert "Our key changes" in post.subject_for(letter, second)


# --- The overlap ----------------------------------------------------------------------------------------------------


def sealed_to(key: ListKey, person: Person) -> bytes:
    entity = b"Content-Type: text/plain\r\n\r\nstatus\r\n"
    head = f"From: {person.address}\r\nTo: {LIST}\r\nSubject: ...\r\nMIME-Version: 1.0\r\n".encode()
    return head + post.encrypt(entity, key.public, post.signer_of(person))


async def test_letters_to_either_key_open_until_the_overlap_ends(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key("ada@reader.example")
        await house.join(ada)
        old = current(house.secrets)
        restart(house, renew(house))
        new = current(house.secrets)
        for key in (old, new):
            [answer] = await house.write(sealed_to(key, ada))
            assert post.subject_for(answer, ada) == "What we hold about you"
        house.clock.pass_(days=30)
        [answer] = await house.write(sealed_to(old, ada))
        assert post.subject_for(answer, ada) == "We could not open your letter"
        [answer] = await house.write(sealed_to(new, ada))
        assert post.subject_for(answer, ada) == "What we hold about you"


async def test_whoever_joins_gets_the_new_key_and_digests_are_signed_with_it(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        restart(house, renew(house))
        new, ada = current(house.secrets), Person.with_key("ada@reader.example")
        welcome = await house.join(ada)
        assert grouped(new.fingerprint) in ada.read(welcome)
        await send_digest(house, tmp_path)
        [copy] = await house.deliver()
        payload, signature, _ = inside(ada, copy)
        assert signers(payload, signature, new) == [new.fingerprint]


async def send_digest(house: House, folder: Path) -> None:
    source = folder / "issue.md"
    source.write_text("---\nsubject: The news\nlanguage: en\n---\n\nThis is new.\n", encoding="utf-8")
    await publish.save(house.database, house.secrets, "d1", "news", [compose(source)], house.clock())
    mailing_list, providers = house.instance.directory().lists[0], house.instance.providers
    await publish.send(house.database, house.keyring, mailing_list, "d1", house.clock(), providers=providers)


async def test_a_digest_that_was_signed_before_goes_on_under_the_key_that_signed_it(tmp_path: Path) -> None:
    """Delta Chat believes the key in Autocrypt and no other."""
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key("ada@reader.example")
        await house.join(ada)
        old = current(house.secrets)
        await send_digest(house, tmp_path)
        restart(house, renew(house))
        [copy] = await house.deliver()
        payload, signature, _ = inside(ada, copy)
        assert signers(payload, signature, old) == [old.fingerprint]
        header = str(message_from_bytes(copy.content, policy=policy.compat32)["Autocrypt"])
        assert "".join(header.partition("keydata=")[2].split()) == encoded(old.public)


def encoded(certificate: bytes) -> str:
    return base64.b64encode(certificate).decode()


# --- The end --------------------------------------------------------------------------------------------------------


@dataclass
class Files:
    """An instance of which nothing runs."""

    instance: Instance
    clock: Clock

    def secrets(self) -> ServiceSecrets:
        return self.instance.open_service(SERVICE)[1]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(make_instance(tmp_path / "instance", None), Clock())


def test_a_second_rotation_waits_until_the_first_has_ended(files: Files) -> None:
    renew(files)
    before = files.instance.service_key_path.read_bytes()
    with pytest.raises(RotationUnderWay):
        renew(files)
    assert files.instance.service_key_path.read_bytes() == before
    files.clock.pass_(days=30)
    renew(files)


def test_finish_erases_the_former_key(files: Files) -> None:
    old, shown = current(files.secrets()), files.instance.directory().lists[0]
    renew(files)
    assert renewing.finish(files.instance.open_service(SERVICE)[0], shown) is True
    secrets = files.secrets()
    assert not secrets.former_keys and old.secret not in secrets.keys_of("news", files.clock())
    assert renewing.finish(files.instance.open_service(SERVICE)[0], shown) is False


def test_a_start_after_the_overlap_erases_the_former_key(files: Files) -> None:
    renew(files)
    opened, secrets = files.instance.open_service(SERVICE)
    assert files.instance.erase_past_keys(opened, secrets, files.clock()) is secrets
    files.clock.pass_(days=30)
    assert not files.instance.erase_past_keys(opened, secrets, files.clock()).former_keys
    assert not files.secrets().former_keys


def test_where_the_file_cannot_be_written_the_former_key_is_forgotten_all_the_same(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew(files)
    opened, secrets = files.instance.open_service(SERVICE)

    def refuse(*_: object) -> None:
        raise VaultError("read only")

    monkeypatch.setattr(opened, "save", refuse)
    files.clock.pass_(days=30)
    assert not files.instance.erase_past_keys(opened, secrets, files.clock()).former_keys
    assert files.secrets().former_keys


def test_giving_up_during_an_overlap_drops_both_keys_before(files: Files) -> None:
    first = current(files.secrets())
    second = current(renew(files))
    secrets = renew(files, renewing.give_up)
    assert secrets.keys_of("news", files.clock()) == (current(secrets).secret,)
    verdicts = openpgp.examine(secrets.former_keys["news"].certificate, files.clock())
    assert {one.fingerprint for one in verdicts} == {first.fingerprint, second.fingerprint}
    assert {getattr(one, "reason", None) for one in verdicts} == {"revoked"}


def test_a_payload_from_before_there_was_any_rotation_is_read(files: Files) -> None:
    payload = {name: value for name, value in files.secrets().to_payload().items() if name != "former_keys"}
    assert ServiceSecrets.from_payload(payload) == files.secrets()


@pytest.mark.parametrize("broken", [{"until": -1}, {"until": True}, {"until": 1e9}, {"secret": 7}, {"more": "x"}])
def test_a_former_key_that_we_never_wrote_is_refused(files: Files, broken: dict[str, object]) -> None:
    payload: Any = renew(files).to_payload()
    payload["former_keys"]["news"] |= broken
    with pytest.raises(VaultError):
        ServiceSecrets.from_payload(payload)


async def test_a_key_that_is_given_up_opens_nothing_and_is_revoked(tmp_path: Path, gnupg: Gnupg) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key("ada@reader.example")
        await house.join(ada)
        old = current(house.secrets)
        restart(house, renew(house, renewing.give_up))
        new = current(house.secrets)
        [answer] = await house.write(sealed_to(old, ada))
        assert post.subject_for(answer, ada) == "We could not open your letter"
        await tell(house)
        [letter] = await house.deliver()
        payload, signature, message = inside(ada, letter)
        assert signers(payload, signature, old, new) == [new.fingerprint]
        assert post.subject_for(letter, ada) == "Do not trust our old key any more"
        files = [part for part in message.walk() if part.get_content_type() == "application/pgp-keys"]
        for file in files:
            gnupg.import_key(bytes(file.get_payload(decode=True)))  # type: ignore[arg-type]
        listed = gnupg.run("--with-colons", "--list-keys").decode()
        validity = {line.split(":")[4]: line.split(":")[1] for line in listed.splitlines() if line.startswith("pub:")}
        assert validity[old.fingerprint[-16:].upper()] == "r"
        assert validity[new.fingerprint[-16:].upper()] != "r"


# --- The command line, and death in between -------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    needs("gpg")
    (tmp_path / "s").write_text(SERVICE)
    make_instance(tmp_path / "instance", None)
    return tmp_path / "instance"


def run(folder: Path, *arguments: str) -> Result:
    given = ("--instance", str(folder), "--service-passphrase-file", str(folder.parent / "s"))
    return CliRunner().invoke(commands, [*arguments, *given])


def do(folder: Path, *arguments: str) -> str:
    result = run(folder, *arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def secrets_in(folder: Path) -> ServiceSecrets:
    return instances.Instance.open(folder).open_service(SERVICE)[1]


async def announced(folder: Path) -> list[str]:
    database = instances.Instance.open(folder).database()
    await database.open()
    async with database.read() as tx:
        names = list((await tx.execute(select(traits.c.name))).scalars())
    await database.close()
    return [name for name in names if name.startswith(queue.ANNOUNCEMENT)]


def test_the_command_makes_announces_and_finishes(folder: Path) -> None:
    old = current(secrets_in(folder)).fingerprint
    said = do(folder, "keys", "rotate", "--overlap", "10d")
    secrets = secrets_in(folder)
    new = current(secrets).fingerprint
    assert new != old and grouped(new) in said
    assert secrets.former_keys["news"].until - datetime.now(UTC) > timedelta(days=9)
    refused = run(folder, "keys", "rotate")
    assert isinstance(refused.exception, RotationUnderWay)
    assert current(secrets_in(folder)).fingerprint == new
    assert "erased" in do(folder, "keys", "rotate", "--finish")
    assert not secrets_in(folder).former_keys and current(secrets_in(folder)).fingerprint == new
    assert "no key before" in do(folder, "keys", "rotate", "--finish")


@pytest.mark.parametrize(("step", "how"), [("introduce", ()), ("save", ()), ("plan", ()), ("plan", ("--compromised",))])
async def test_killed_at_any_step_the_next_run_finishes_and_makes_one_key(
    folder: Path, step: str, how: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the file is written there is no new key; after that, the next run announces this one and no other."""

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    places = {"introduce": openpgp, "save": instances.keyfile.KeyFile, "plan": announce}
    names = {"introduce": "generate_list_key", "save": "save", "plan": "plan"}
    old = current(secrets_in(folder)).fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(places[step], names[step], die)
        assert run_in_thread(folder, "keys", "rotate", *how) != 0
    between = current(secrets_in(folder)).fingerprint
    assert (between == old) is (step != "plan")
    assert await announced(folder) == []
    assert run_in_thread(folder, "keys", "rotate", *how) == 0
    after = current(secrets_in(folder)).fingerprint
    assert after != old and (step != "plan" or after == between)
    assert await announced(folder) == [announce.kind_of(after)]


async def test_a_key_is_given_up_though_an_earlier_rotation_was_not_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(announce, "plan", die)
        assert run_in_thread(folder, "keys", "rotate") != 0
    between = current(secrets_in(folder))
    assert run_in_thread(folder, "keys", "rotate", "--compromised") == 0
    after = secrets_in(folder)
    assert current(after).fingerprint != between.fingerprint
    assert after.former_keys["news"].is_compromised
    assert after.keys_of("news", datetime.now(UTC)) == (current(after).secret,)
    assert await announced(folder) == [announce.kind_of(current(after).fingerprint)]


def run_in_thread(folder: Path, *arguments: str) -> int:
    """The command has an event loop of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run, folder, *arguments).result().exit_code


async def test_a_worker_that_starts_announces_what_a_killed_command_did_not(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await house.join(Person.with_key("ada@reader.example"))
        renew(house)
        restart(house)
        assert list((await tell(house)).values()) == [1]  # what `app.work` does first
        assert await tell(house) == {}
        async with house.database.read() as tx:
            assert (await tx.execute(select(tallies))).all() == []


def test_an_identity_has_its_own_rotation(folder: Path) -> None:
    do(folder, "lists", "identity", "news", "abroad", "letters@other.example")
    before = secrets_in(folder)
    do(folder, "keys", "rotate", "--identity", "abroad")
    after = secrets_in(folder)
    assert after.list_keys["news"] == before.list_keys["news"]
    assert after.list_keys["news/abroad"] != before.list_keys["news/abroad"]
    assert list(after.former_keys) == ["news/abroad"]


# --- A service that runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("standing", "is_handed_over"), [("unlocked", True), ("locked", False)])
async def test_a_service_that_runs_unlocked_is_given_the_new_key(
    folder: Path, standing: str, is_handed_over: bool
) -> None:
    """One that was locked stays locked."""
    asked: list[control.Request] = []

    async def answer(request: control.Request) -> str:
        asked.append(request)
        return standing if request["do"] == "status" else "Unlocked."

    path = Instance.open(folder).control_path
    path.parent.mkdir(mode=0o700, exist_ok=True)
    async with control.listening(path, answer):
        assert await asyncio.to_thread(run_in_thread, folder, "keys", "rotate") == 0
    assert ({"do": "unlock", "service": SERVICE} in asked) is is_handed_over
    assert asked[0] == {"do": "status"}
