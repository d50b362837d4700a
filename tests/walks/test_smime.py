"""S/MIME from end to end: the list's key at the command line, readers in the register, and what reaches them."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner, Result

from mailer.cli.main import commands
from mailer.crypto import smime
from mailer.crypto.keyfile import KeyFile
from mailer.crypto.keyring import Keyring
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.crypto.smime import SmimeKey
from mailer.errors import (
    CertificateAuthoritiesUnusable,
    CertificateNotTaken,
    FileUnusable,
    NotEnrolled,
    SheetUnusable,
    VaultError,
)
from mailer.instance import Instance
from mailer.inward.reader import Reader
from mailer.model.address import Address
from mailer.model.certificate import grouped
from mailer.model.digest import DeliveryState
from mailer.model.subscriber import Method
from mailer.outward import publish
from mailer.store import roster
from tests import opening
from tests.authority import NOW, Authority, Wanted, pem, rsa_key, to_pkcs12
from tests.house import LIST, ROSTER, SERVICE, Clock, House, Person, furnish, make_instance, open_house, point_relay_at
from tests.walks.crowd import publish_digest
from tests.walks.far_server import FarServer
from tests.x509_people import AUTHORITY, Holder, give_key

SECRET_AT = "BEGIN PRIVATE KEY"


class Office:
    """An instance and somebody at its command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, passphrase in (("s", SERVICE), ("r", ROSTER)):
            (folder.parent / name).write_text(passphrase)

    def run(self, *arguments: str, roster: bool = False, **given: str) -> Result:
        files = ["--roster-passphrase-file", str(self.folder.parent / "r")] if roster else self._service
        return CliRunner().invoke(commands, [*arguments, "--instance", str(self.folder), *files], **given)

    @property
    def _service(self) -> list[str]:
        return ["--service-passphrase-file", str(self.folder.parent / "s")]

    def do(self, *arguments: str, roster: bool = False) -> str:
        result = self.run(*arguments, roster=roster)
        assert result.exit_code == 0, result.output
        return result.stdout

    def key(self, name: str = "news") -> SmimeKey:
        _, secrets = Instance.open(self.folder).open_service(SERVICE)
        return SmimeKey.from_pem(secrets.smime_keys[name])


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(make_instance(tmp_path / "house", None).folder)


def answer_to(request: bytes, authority: Authority = AUTHORITY, address: str = LIST) -> bytes:
    """Return what an authority answers: the certificate for the key of a request, and its own."""
    asked = x509.load_pem_x509_csr(request)
    assert asked.is_signature_valid
    wanted = Wanted(address=address, key=asked.public_key())
    return pem(authority.sign(wanted), authority.certificate, *authority.above)


# --- The list's own key ----------------------------------------------------------------------------------------------


def test_a_key_of_the_lists_own_vouches_for_its_address_and_its_secret_half_is_nowhere_in_clear(office: Office) -> None:
    told = office.do("keys", "smime")
    assert "Start `mailer work` again" in told
    key = office.key()
    assert grouped(key.fingerprint) in told
    assert not any(SECRET_AT in path.read_text("latin-1") for path in office.folder.rglob("*") if path.is_file())
    shown = json.loads(office.do("keys", "show", "--json"))
    assert shown["smime"]["fingerprint"] == key.fingerprint
    assert office.do("keys", "export", "--smime") == key.public_pem.decode()


def test_a_key_that_is_there_is_replaced_only_by_a_word(office: Office) -> None:
    office.do("keys", "smime")
    before = office.key().fingerprint
    assert office.run("keys", "smime", input="n\n").exit_code == 1
    assert office.key().fingerprint == before
    office.do("keys", "smime", "--yes")
    assert office.key().fingerprint != before


def test_an_authority_is_asked_and_its_answer_taken_in_with_the_chain(office: Office, tmp_path: Path) -> None:
    request, answer = tmp_path / "request.pem", tmp_path / "answer.pem"
    office.do("keys", "smime", "--request", str(request))
    answer.write_bytes(answer_to(request.read_bytes(), AUTHORITY.intermediate()))
    office.do("keys", "smime", "--answer", str(answer))
    key = office.key()
    assert [one.subject for one in key.chain] == [
        AUTHORITY.intermediate().certificate.subject,
        AUTHORITY.certificate.subject,
    ]
    assert smime.examine(key.public_pem, NOW, AUTHORITY.pem)[0].fingerprint == key.fingerprint
    office.do("keys", "smime", "--answer", str(answer))  # a renewal for the same key


def test_a_request_that_was_not_kept_leaves_no_file(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise VaultError("Full.")

    mine = tmp_path / "mine.pem"
    mine.write_bytes(b"mine")
    assert isinstance(office.run("keys", "smime", "--request", str(mine)).exception, FileUnusable)
    assert mine.read_bytes() == b"mine"
    monkeypatch.setattr(KeyFile, "save", fail)
    result = office.run("keys", "smime", "--request", str(tmp_path / "request.pem"))
    assert isinstance(result.exception, VaultError)
    assert not (tmp_path / "request.pem").exists()


def test_a_file_is_judged_by_the_authorities_of_an_instance_if_one_is_named(office: Office, tmp_path: Path) -> None:
    authorities, file = tmp_path / "authorities.pem", tmp_path / "eve.pem"
    authorities.write_bytes(AUTHORITY.pem)
    file.write_bytes(Authority.root("Another", 110).issue(address="eve@reader.example", key=rsa_key(8)).public_pem)
    config = office.folder / "config.toml"
    before, section, after = config.read_text().partition("[smime]")
    config.write_text(before + section + after.replace('ca_file = ""', f'ca_file = "{authorities}"', 1))
    check = ["keys", "check", str(file), "--json"]
    [alone] = json.loads(CliRunner().invoke(commands, check).stdout)
    assert alone["usable"] is True
    folder = str(office.folder)
    for arguments, environment in ([*check, "--instance", folder], {}), (check, {"MAILER_INSTANCE": folder}):
        [there] = json.loads(CliRunner().invoke(commands, arguments, env=environment).stdout)
        assert (there["usable"], there["reason"]) == (False, "untrusted")


def test_the_key_in_use_goes_on_until_the_answer_is_there(office: Office, tmp_path: Path) -> None:
    office.do("keys", "smime")
    before = office.key().fingerprint
    office.do("keys", "smime", "--request", str(tmp_path / "request.pem"))
    assert office.key().fingerprint == before


ANSWERS: dict[str, Callable[[bytes], bytes]] = {
    "for another key": lambda _: AUTHORITY.issue(address=LIST, key=rsa_key(7)).public_pem,
    "for another address": lambda request: answer_to(request, address="other@lists.example"),
    "no certificate": lambda _: b"sorry",
}


@pytest.mark.parametrize("make", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_does_not_fit_changes_nothing(
    make: Callable[[bytes], bytes], office: Office, tmp_path: Path
) -> None:
    request, answer = tmp_path / "request.pem", tmp_path / "answer.pem"
    office.do("keys", "smime", "--request", str(request))
    answer.write_bytes(make(request.read_bytes()))
    before = (office.folder / "keys" / "service.key").read_bytes()
    assert isinstance(office.run("keys", "smime", "--answer", str(answer), "--yes").exception, CertificateNotTaken)
    assert (office.folder / "keys" / "service.key").read_bytes() == before


def test_without_a_request_there_is_nothing_to_answer_and_nothing_to_export(office: Office, tmp_path: Path) -> None:
    (tmp_path / "answer.pem").write_bytes(AUTHORITY.pem)
    refused = office.run("keys", "smime", "--answer", str(tmp_path / "answer.pem"))
    assert isinstance(refused.exception, CertificateNotTaken)
    assert isinstance(office.run("keys", "export", "--smime").exception, FileUnusable)


def test_an_identity_has_a_key_of_its_own(office: Office) -> None:
    office.do("lists", "identity", "news", "abroad", "letters@other.example")
    office.do("keys", "smime", "--identity", "abroad")
    names = office.key("news/abroad").certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.RFC822Name) == ["letters@other.example"]
    assert isinstance(office.run("keys", "export", "--smime").exception, FileUnusable)


def test_an_identity_without_a_key_of_its_own_signs_with_the_lists() -> None:
    own = AUTHORITY.issue(address=LIST, key=rsa_key(5))
    keyring = Keyring(ServiceSecrets.generate().with_smime_key("news", own.to_pem()))
    for identity in ("", "abroad"):
        found = keyring.smime_key("news", identity)
        assert found is not None and found.fingerprint == own.fingerprint
    assert keyring.smime_key("other") is None


def test_a_file_of_authorities_that_cannot_be_read_is_refused_by_name(office: Office) -> None:
    (office.folder / "authorities.pem").write_text("nothing of the kind")
    settings = office.folder / "config.toml"
    settings.write_text(
        settings.read_text().replace('ca_file = ""\n\n\n[providers]', 'ca_file = "authorities.pem"\n\n\n[providers]')
    )
    refused = CliRunner().invoke(commands, ["check-config", "--instance", str(office.folder)])
    assert isinstance(refused.exception, CertificateAuthoritiesUnusable)
    (office.folder / "authorities.pem").write_bytes(AUTHORITY.pem)
    assert CliRunner().invoke(commands, ["check-config", "--instance", str(office.folder)]).exit_code == 0


# --- The register ----------------------------------------------------------------------------------------------------


def test_readers_with_certificates_are_added_exported_and_imported_again(office: Office, tmp_path: Path) -> None:
    office.do("keys", "smime")
    ada, file = Holder.at("ada@reader.example"), tmp_path / "ada.pem"
    file.write_bytes(ada.x509.public_pem)
    office.do("subscribers", "add", ada.address, "--key", str(file), "--consent-recorded")
    held = json.loads(office.do("subscribers", "show", ada.address, "--json"))
    assert (held["method"], held["fingerprint"]) == (Method.SMIME, grouped(ada.x509.fingerprint))
    assert held["expires"] == ada.x509.expires.date().isoformat()
    assert held["certificate"] == pem(ada.x509.certificate).decode()
    sheet = tmp_path / "people.csv"
    sheet.write_text(office.do("subscribers", "export", "--plain", roster=True), newline="")
    other = Office(make_instance(tmp_path / "other", None).folder)
    refused = other.run("subscribers", "import", str(sheet), "--consent-recorded")
    assert isinstance(refused.exception, SheetUnusable)
    assert "no X.509 key" in refused.output
    other.do("keys", "smime")
    other.do("subscribers", "import", str(sheet), "--consent-recorded")
    assert json.loads(other.do("subscribers", "show", ada.address, "--json"))["fingerprint"] == held["fingerprint"]


def test_nobody_is_added_with_a_certificate_while_the_list_has_no_key(office: Office, tmp_path: Path) -> None:
    (tmp_path / "ada.pem").write_bytes(Holder.at("ada@reader.example").x509.public_pem)
    refused = office.run("subscribers", "add", "ada@reader.example", "--key", str(tmp_path / "ada.pem"))
    assert isinstance(refused.exception, NotEnrolled)


# --- Letters ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path / "house") as house:
        yield house


async def join(house: House, person: Holder) -> None:
    [question] = await house.write(person.letter_with("subscribe"))
    [_] = await house.write(person.letter("Re: [...]", "ok"), to=opening.parse(question.content)["Reply-To"])


async def test_a_digest_reaches_readers_of_both_kinds_each_in_their_form(house: House) -> None:
    own = give_key(house)
    ada, bob = Holder.at("ada@reader.example"), Person.with_key("bob@reader.example")
    await join(house, ada)
    await house.join(bob)
    await publish_digest(house)
    received = {one.rcpt.partition("<")[2].partition(">")[0]: one for one in await house.deliver()}
    assert opening.form_of(received[ada.address].content) is opening.Form.SMIME
    assert opening.form_of(received[bob.address].content) is opening.Form.MAIL
    for person in (ada, bob):
        text = person.read(received[person.address])
        assert text.strip()
    assert own.fingerprint not in received[ada.address].content.decode()


async def test_a_worker_without_the_lists_key_leaves_the_letter_to_others(house: House) -> None:
    before = house.secrets
    give_key(house)
    await join(house, Holder.at("ada@reader.example"))
    after = house.secrets
    house.keyring.unlock(before)
    assert await publish_digest(house) == 1
    for _ in range(2):
        assert await house.deliver() == []
        counts = (await publish.status(house.database, "d1")).counts
        assert counts[DeliveryState.DUE] == 1
        house.clock.pass_(minutes=11)
    house.keyring.unlock(after)
    house.deliverer.copies._identities.clear()  # as in a process that is started again
    [copy] = await house.deliver()
    assert opening.form_of(copy.content) is opening.Form.SMIME


async def test_a_reader_whose_certificate_expired_gets_a_notice_without_content_and_no_digest(house: House) -> None:
    give_key(house)
    ada = Holder.at("ada@reader.example")
    await join(house, ada)
    house.clock.pass_(days=200)
    await publish_digest(house)
    await house.deliver()
    letters = await house.deliver()
    assert all(opening.form_of(one.content) is opening.Form.CLEAR for one in house.far.letters[2:])
    person = await roster.identify(house.secrets, "news", Address.parse(ada.address))
    async with house.database.read() as tx:
        found = await roster.find(tx, person)
    assert found is not None and found.subscriber.state == "suspended", letters


async def test_what_a_letter_holds_beside_a_secret_key_is_not_used_and_the_secret_is_not_kept(house: House) -> None:
    give_key(house)
    ada = Holder.at("ada@reader.example")
    letter = ada.letter_with("subscribe")
    letter.add_attachment(to_pkcs12(ada.x509), maintype="application", subtype="x-pkcs12", filename="me.p12")
    [reply] = await house.write(letter)
    assert "SECRET" in ada.read(reply)
    assert opening.parse(reply.content)["Reply-To"] is None


async def test_a_letter_in_an_envelope_for_somebody_else_is_answered_with_the_lists_certificate(house: House) -> None:
    own, ada = give_key(house), Holder.at("ada@reader.example")
    entity = ada.encrypt(b"Content-Type: text/plain\r\n\r\nsubscribe\r\n", ada.x509.public_pem)
    head = ada.letter().as_bytes().partition(b"Content-Type:")[0].replace(b"MIME-Version: 1.0\r\n", b"")
    [reply] = await house.write(head + entity)
    files = [part.get_content() for part in opening.parse(reply.content).iter_attachments()]
    assert own.der in files


async def test_a_signature_by_smime_proves_nothing_however_good_it_is(house: House) -> None:
    give_key(house)
    ada = Holder.at("ada@reader.example")
    await join(house, ada)
    [question] = await house.write(ada.signed_letter("pause", "pause"))
    assert "+confirm-" in opening.parse(question.content)["Reply-To"]


async def test_with_authorities_a_certificate_of_another_one_is_refused_by_name(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(FarServer())
        instance = point_relay_at(make_instance(tmp_path / "house", None), far.port)
        clock = Clock()
        reader = await stack.enter_async_context(Reader(now=clock, authorities=AUTHORITY.pem))
        house = await furnish(stack, instance, far, Person.with_key("team@elsewhere.example"), clock, reader)
        give_key(house)
        ada, eve = Holder.at("ada@reader.example"), Holder.at("eve@reader.example")
        eve.x509 = Authority.root("Another", 110).issue(address=eve.address, key=rsa_key(8))
        [refused] = await house.write(eve.letter_with("subscribe"))
        assert opening.parse(refused.content)["Subject"] == "We do not know who issued your certificate"
        [question] = await house.write(ada.letter_with("subscribe"))
        assert opening.form_of(question.content) is opening.Form.SMIME
        chained = AUTHORITY.intermediate().issue(address=eve.address, key=rsa_key(9))
        eve.x509 = chained
        house.clock.pass_(days=2)
        [question] = await house.write(eve.letter_with("subscribe", blob=chained.public_pem, name="me.pem"))
        assert opening.form_of(question.content) is opening.Form.SMIME


async def test_between_an_autocrypt_key_and_a_signature_the_former_is_taken(house: House) -> None:
    give_key(house)
    ada, openpgp = Holder.at("ada@reader.example"), Person.with_key("ada@reader.example")
    keydata = base64.b64encode(openpgp.certificate).decode()
    folded = "\r\n ".join(keydata[at : at + 70] for at in range(0, len(keydata), 70))
    field = f"Autocrypt: addr={ada.address}; keydata=\r\n {folded}\r\n".encode()
    [question] = await house.write(field + ada.signed_letter("subscribe"))
    assert opening.form_of(question.content) is opening.Form.MAIL
    assert openpgp.read(question)


def test_a_certificate_stays_usable_to_the_last_second_of_its_life() -> None:
    key = Holder.at("ada@reader.example").x509
    assert smime.is_usable(key.der, key.expires - timedelta(seconds=1)) is None
    assert smime.is_usable(key.certificate.public_bytes(Encoding.DER), key.expires) == "expired"
