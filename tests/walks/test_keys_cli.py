"""`mailer lists identity`, `mailer keys dkim` and their relatives: what is made, what is refused and then unchanged."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mailer import config
from mailer.cli.main import commands
from mailer.crypto.dkim import DkimKey, generate
from mailer.crypto.openpgp import ListKey
from mailer.errors import ConfigError, DkimKeyUnusable, ListUnknown, VaultError
from mailer.instance import Instance
from mailer.model.certificate import grouped
from tests.house import LIST, SERVICE, Person, make_instance

IDENTITY = ("lists", "identity", "news", "abroad", "letters@other.example")


@dataclass
class Office:
    """An instance and somebody at its command line."""

    folder: Path

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(commands, [*arguments, "--instance", str(self.folder)])

    def open(self, *arguments: str) -> Result:
        """Run a command that needs the service passphrase."""
        return self.run(*arguments, "--service-passphrase-file", str(self.folder.parent / "s"))

    def do(self, *arguments: str) -> str:
        result = self.open(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def refuse(self, error: type[Exception], *arguments: str) -> None:
        """Run a command that must be refused by that error and change nothing but the record of commands."""
        before = self.files()
        assert isinstance(self.open(*arguments).exception, error)
        assert self.files() == before

    def files(self) -> dict[Path, bytes]:
        found = (path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith("mailer.db"))
        return {path: path.read_bytes() for path in found}

    @property
    def instance(self) -> Instance:
        return Instance.open(self.folder)

    def fingerprint(self, name: str) -> str:
        _, secrets = self.instance.open_service(SERVICE)
        return ListKey.from_secret(secrets.list_keys[name]).fingerprint


@pytest.fixture
def office(tmp_path: Path) -> Office:
    (tmp_path / "s").write_text(SERVICE)
    return Office(make_instance(tmp_path / "house", None).folder)


# --- Identities -----------------------------------------------------------------------------------------------------


def test_an_identity_has_a_key_of_its_own_and_stands_in_the_settings(office: Office) -> None:
    told = office.do(*IDENTITY, "--display-name", "Letters")
    [news] = office.instance.directory().lists
    [abroad] = news.identities
    assert (abroad.name, str(abroad.address), abroad.display_name) == ("abroad", "letters@other.example", "Letters")
    assert grouped(office.fingerprint("news/abroad")) in told
    assert office.fingerprint("news/abroad") != office.fingerprint("news")


def test_the_same_identity_twice_is_refused_and_the_first_key_stays(office: Office) -> None:
    office.do(*IDENTITY)
    office.refuse(ConfigError, *IDENTITY)
    office.refuse(ConfigError, *IDENTITY[:4], "letters@third.example")
    office.refuse(ConfigError, *IDENTITY[:3], "third", IDENTITY[4])


@pytest.mark.parametrize("address", [LIST, "News@lists.example", "events@lists.example", "letters+x@other.example"])
def test_an_address_that_a_list_has_already_is_no_identity(office: Office, address: str) -> None:
    office.do("lists", "add", "events@lists.example")
    office.refuse(ConfigError, *IDENTITY[:4], address)


@pytest.mark.parametrize("name", ["Abroad", "a/b", "", "a.b", "a" * 33])
def test_a_name_that_could_be_mistaken_is_refused(office: Office, name: str) -> None:
    office.refuse(ConfigError, "lists", "identity", "news", name, "letters@other.example")


def test_an_unknown_list_gets_no_identity(office: Office) -> None:
    office.refuse(ListUnknown, "lists", "identity", "olds", "abroad", "letters@other.example")


def test_a_list_whose_id_is_taken_is_refused_and_the_first_key_stays(office: Office) -> None:
    office.refuse(ConfigError, "lists", "add", "other@lists.example", "--list-id", "news")
    office.refuse(ConfigError, "lists", "add", LIST, "--list-id", "other")


def test_a_refused_list_leaves_the_contact_of_another_alone(office: Office, tmp_path: Path) -> None:
    files = [tmp_path / "one.asc", tmp_path / "two.asc"]
    for file in files:
        file.write_bytes(Person.with_key(f"{file.stem}@team.example").certificate)
    contact = ("--contact", "team@elsewhere.example", "--contact-key")
    office.do("lists", "add", "events@lists.example", *contact, str(files[0]))
    office.refuse(ConfigError, "lists", "add", "b@lists.example", "--list-id", "events", *contact, str(files[1]))


def test_interrupted_between_key_and_settings_the_command_is_given_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(config.editing, "_replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        assert isinstance(office.open(*IDENTITY).exception, ConfigError)
    assert office.instance.directory().lists[0].identities == ()
    office.do(*IDENTITY)
    assert len(office.instance.open_service(SERVICE)[1].keys_of("news")) == 2


def test_the_fingerprints_of_identities_are_shown(office: Office) -> None:
    office.do(*IDENTITY)
    assert office.run("lists", "show").stdout.splitlines() == [
        f"news\t{LIST}\tactive",
        "news/abroad\tletters@other.example\tactive",
    ]
    assert grouped(office.fingerprint("news/abroad")) in office.do("lists", "show")
    assert grouped(office.fingerprint("news/abroad")) in office.do("keys", "show")
    [told] = json.loads(office.do("lists", "show", "--json"))
    [abroad] = json.loads(office.do("keys", "show", "--json"))["identities"]
    assert told["identities"][0]["fingerprint"] == abroad["fingerprint"] == office.fingerprint("news/abroad")
    assert told["fingerprint"] == office.fingerprint("news")


def test_the_certificate_of_an_identity_is_exported_by_its_name(office: Office) -> None:
    office.do(*IDENTITY)
    own, abroad = office.do("keys", "export"), office.do("keys", "export", "--identity", "abroad")
    assert own != abroad
    assert [one.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----") for one in (own, abroad)] == [True, True]
    office.refuse(ListUnknown, "keys", "export", "--identity", "nowhere")


# --- DKIM -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_a_dkim_key_is_made_and_what_to_write_down_is_said(office: Office, algorithm: str) -> None:
    told = office.run("keys", "dkim", "mailer2026", "--algorithm", algorithm).stdout
    path = office.folder / "keys" / "mailer2026.lists.example.dkim"
    key = DkimKey.load(path.read_bytes(), "mailer2026")
    assert path.stat().st_mode & 0o777 == 0o600
    assert key.algorithm == algorithm
    [record] = [line for line in told.splitlines() if line.startswith("mailer2026._domainkey.lists.example. IN TXT (")]
    strings = re.findall(r'"([^"]*)"', record)
    assert "".join(strings) == key.record
    assert max(map(len, strings)) <= 255


def test_the_two_lines_that_are_said_make_the_relay_sign(office: Office) -> None:
    office.do(*IDENTITY)
    told = office.run("keys", "dkim", "mailer2026", "--identity", "abroad").stdout
    assert "mailer2026._domainkey.other.example." in told
    lines = [line for line in told.splitlines() if line.startswith("dkim_")]
    path = office.instance.config_path
    text = path.read_text().replace('dkim_selector = ""\n', "").replace('dkim_key = ""\n', "\n".join(lines) + "\n")
    path.write_text(text)
    key = office.instance.dkim(office.instance.config.relay)
    assert key is not None
    assert key.selector == "mailer2026"
    assert office.run("check-config").exit_code == 0


def test_a_relay_without_a_key_is_left_to_sign_by_itself(office: Office) -> None:
    assert office.instance.dkim(office.instance.config.relay) is None


def test_a_dkim_key_is_never_overwritten(office: Office) -> None:
    office.run("keys", "dkim", "mailer2026")
    before = (office.folder / "keys" / "mailer2026.lists.example.dkim").read_bytes()
    assert isinstance(office.run("keys", "dkim", "mailer2026").exception, VaultError)
    assert (office.folder / "keys" / "mailer2026.lists.example.dkim").read_bytes() == before


@pytest.mark.parametrize("selector", ["../x", "a.b", "A", "a-", "a" * 64, "a_b", ""])
def test_a_selector_that_is_no_label_makes_no_file(office: Office, selector: str) -> None:
    before = sorted(office.files())
    result = office.run("keys", "dkim", selector)
    assert result.exit_code == 2
    assert "a selector has 1 to 63" in " ".join(result.output.split())
    assert sorted(office.files()) == before


def test_what_the_record_is_can_be_read_by_a_program(office: Office) -> None:
    told = json.loads(office.run("keys", "dkim", "m1", "--algorithm", "ed25519", "--json").stdout)
    assert (office.folder / told["dkim_key"]).is_file()
    assert told["dns_name"] == "m1._domainkey.lists.example"
    assert told["dns_value"].startswith("v=DKIM1; k=ed25519; p=")


@pytest.mark.parametrize(
    ("section", "name"), [("", r"\[relay\]"), ('[[relays]]\nname = "second"\n', r'\[\[relays\]\] "second"')]
)
@pytest.mark.parametrize(("content", "why"), [(b"", "no private key"), (None, "cannot be read")])
def test_a_dkim_key_that_cannot_be_used_is_named_with_its_section(
    office: Office, section: str, name: str, content: bytes | None, why: str
) -> None:
    _use_key(office, section, content)
    error = office.run("check-config").exception
    assert isinstance(error, DkimKeyUnusable)
    assert re.search(f"{name} dkim_key: .*{why}", str(error))


def test_a_dkim_key_that_others_can_read_is_refused(office: Office) -> None:
    _use_key(office, "", generate("ed25519"))
    (office.folder / "keys" / "k.dkim").chmod(0o640)
    assert "chmod 600" in str(office.run("check-config").exception)


def _use_key(office: Office, section: str, content: bytes | None) -> None:
    if content is not None:
        (office.folder / "keys" / "k.dkim").write_bytes(content)
        (office.folder / "keys" / "k.dkim").chmod(0o600)
    lines = 'dkim_selector = "s"\ndkim_key = "keys/k.dkim"\n'
    path = office.instance.config_path
    text = path.read_text()
    if section:
        text = text.replace("[delivery]\n", f"{section}{lines}[delivery]\n", 1)
    else:
        text = text.replace('dkim_selector = ""\n', "", 1).replace('dkim_key = ""\n', lines, 1)
    path.write_text(text)
