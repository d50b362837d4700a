"""`mailer subscribers`, typed: real files, a real database, real keys, and nothing in between faked."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import pty
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pysequoia
import pytest
from typer.testing import CliRunner, Result

from mailer import config, instance
from mailer.cli import lists, subscribers
from mailer.crypto import openpgp
from mailer.crypto.keyfile import SlotKdf
from mailer.crypto.keyring import Keyring
from mailer.crypto.openpgp.expiry import expiry
from mailer.errors import InstanceBusy, MailerError, StoreError
from mailer.instance import Instance
from mailer.inward.reader import Reader
from mailer.letters.seal import Open, Sealed
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Refusal, grouped
from mailer.model.command import Verb
from mailer.model.language import Language
from mailer.model.request import Request
from mailer.outward.copies import Copies
from mailer.registrar import enrolment, vetting
from mailer.registrar.enrolment import Register, Terms
from mailer.registrar.faults import SENTENCES, Fault
from mailer.registrar.vetting import Applicant
from mailer.store import pending, queue, roster
from mailer.store.database import Database
from mailer.store.ledger import Entry, Ledger
from tests.conftest import Gnupg
from tests.house import Person

CERTIFICATES = Path(__file__).parents[1] / "certificates" / "files"
CHEAP = SlotKdf(memory_kib=8, iterations=1, lanes=1)
SERVICE, ROSTER = "service passphrase", "roster passphrase"
ANNA, BEN, CARA = "anna@example.net", "Ben.B@example.net", "cara@xn--pssu33l.example"
TODAY = datetime.now(UTC).date().isoformat()

T = TypeVar("T")


@dataclass
class Office:
    """An instance with one list, and somebody who types commands."""

    folder: Path

    def run(self, *arguments: str | Path, stdin: str = "") -> Result:
        """Run `mailer subscribers …`; the passphrases lie where systemd would put them."""
        result = CliRunner().invoke(
            subscribers.commands,
            [*map(str, arguments), "--instance", str(self.folder / "instance")],
            input=stdin,
            env={"CREDENTIALS_DIRECTORY": str(self.folder), "COLUMNS": "200"},
        )
        if result.exception and not isinstance(result.exception, SystemExit | MailerError):
            raise result.exception
        return result

    def ok(self, *arguments: str | Path, stdin: str = "") -> str:
        """Run a command that must succeed, and return its standard output."""
        result = self.run(*arguments, stdin=stdin)
        assert result.exit_code == 0, f"{result.output}{result.exception}"
        return result.stdout

    def refused(self, *arguments: str | Path) -> str:
        """Run a command that must fail with exit code 1, and return the sentence that the admin reads."""
        result = self.run(*arguments)
        assert isinstance(result.exception, MailerError), result.output
        return str(result.exception)

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def listed(self) -> dict[str, dict[str, object]]:
        return {one["address"]: one for one in json.loads(self.ok("list", "--json"))["subscribers"]}

    def states(self) -> dict[str, object]:
        return {address: one["state"] for address, one in self.listed().items()}

    def bad_lines(self, *arguments: str | Path) -> list[tuple[int, str]]:
        """Run an import that reports bad lines, and return them."""
        return [
            (one["line"], one["reason"]) for one in json.loads(self.run("import", "--json", *arguments).stdout)["bad"]
        ]

    @property
    def instance(self) -> Instance:
        return Instance.open(self.folder / "instance")

    @property
    def database_path(self) -> Path:
        return self.folder / "instance" / "mailer.db"

    def register(self, database: Database) -> Register:
        _, secrets = self.instance.open_service(SERVICE)
        own = self.instance.directory().lists[0]
        return Register(database, secrets, own, self.instance.roster_public(), self.instance.providers)

    def within(self, do: Callable[[Database], Awaitable[T]]) -> T:
        """Do something with the database open, as the service would."""

        async def run() -> T:
            database = self.instance.database()
            await database.open()
            try:
                return await do(database)
            finally:
                await database.close()

        return asyncio.run(run())

    def notices(self) -> list[Sealed | Open]:
        """Make every notice that waits, as the deliverer does."""

        async def make(database: Database) -> list[Sealed | Open]:
            ledger = await Ledger.open(database, self.instance.open_roster(ROSTER))
            keyring = Keyring(self.register(database).secrets)
            copies = Copies(database, keyring, self.instance.directory(), lambda: datetime.now(UTC), lambda: 0.5)
            async with database.write() as tx:
                names, now = self.instance.providers.names, datetime.now(UTC)
                jobs = await queue.notice_jobs(tx)
                claimed = [one for job in jobs for one in await queue.claim(tx, "test", job, names, now, 60, 100)]
                entries = await ledger.entries(tx, [one.subscriber_id for one in claimed])
            letters = []
            for one in claimed:
                entry = entries[one.subscriber_id]
                assert isinstance(entry, Entry)
                letters.append(await copies.make(one, entry))
            return [letter for letter in letters if letter is not None]

        return self.within(make)


def make_office(folder: Path) -> Office:
    """Make an instance with the list news@example.org."""
    folder.mkdir()
    instance.create(folder / "instance", SERVICE, ROSTER, CHEAP)
    office = Office(folder)
    office.write("service-passphrase", SERVICE + "\n")
    office.write("roster-passphrase", ROSTER + "\n")
    lists.add_wanted(office.instance, lists.read_wanted("news@example.org", None, None, None), SERVICE)
    return office


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return make_office(tmp_path / "office")


# --- add ------------------------------------------------------------------------------------------------------------


def test_who_is_added_is_invited_and_the_deliverer_asks_them_in_their_language(office: Office) -> None:
    assert "asked by mail" in office.ok("add", ANNA, "--language", "zh-Hant")
    assert office.states() == {ANNA: "invited"}
    [letter] = office.notices()
    assert isinstance(letter, Open) and str(letter.recipient) == ANNA
    assert re.search(rb"Reply-To: <?news\+confirm-[a-z2-7]{24}@example\.org", letter.content)


def test_an_invitation_is_sealed_to_the_key_that_came_with_it(office: Office) -> None:
    office.ok("add", ANNA, "--key", CERTIFICATES / "usable.asc")
    [letter] = office.notices()
    assert isinstance(letter, Sealed)


def test_recorded_consent_and_a_key_make_somebody_a_subscriber_at_once(office: Office) -> None:
    office.ok("add", ANNA, "--key", CERTIFICATES / "usable.asc", "--consent-recorded")
    assert office.states() == {ANNA: "active"}
    assert office.notices() == []


def test_recorded_consent_without_a_key_leads_to_a_letter_that_asks_for_one(office: Office) -> None:
    office.ok("add", ANNA, "--consent-recorded")
    assert office.states() == {ANNA: "suspended"}
    [letter] = office.notices()
    assert isinstance(letter, Open) and str(letter.recipient) == ANNA


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("expired.asc", Fault.KEY_EXPIRED),
        ("expired-subkey.asc", Fault.KEY_EXPIRED_SUBKEY),
        ("revoked.asc", Fault.KEY_REVOKED),
        ("sign-only.asc", Fault.KEY_SIGN_ONLY),
        ("secret.asc", Fault.KEY_SECRET),
        ("weak-rsa1024.asc", Fault.KEY_WEAK),
        ("unsupported-brainpool.asc", Fault.KEY_UNSUPPORTED),
        ("not-a-certificate-message.asc", Fault.KEY_NOT_A_CERTIFICATE),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_by_its_reason(office: Office, name: str, fault: Fault) -> None:
    assert SENTENCES[fault] in office.refused("add", ANNA, "--key", CERTIFICATES / name)
    assert office.states() == {}


def test_a_file_with_two_keys_is_refused(office: Office) -> None:
    both = (CERTIFICATES / "usable.asc").read_bytes() + (CERTIFICATES / "usable-rsa2048.asc").read_bytes()
    assert SENTENCES[Fault.KEY_SEVERAL] in office.refused("add", ANNA, "--key", office.write("both.asc", both))


def test_an_enormous_key_file_is_refused(office: Office) -> None:
    path = office.write("huge.asc", b"x" * (1 << 21))
    assert SENTENCES[Fault.KEY_TOO_LARGE] in office.refused("add", ANNA, "--key", path)


def test_a_key_file_that_is_missing_or_no_file_is_named(office: Office) -> None:
    os.mkfifo(office.folder / "fifo")
    assert "gone.asc" in office.refused("add", ANNA, "--key", office.folder / "gone.asc")
    assert "fifo" in office.refused("add", ANNA, "--key", office.folder / "fifo")


def test_every_refusal_of_a_certificate_and_every_fault_has_a_sentence() -> None:
    assert {Fault.of_key(refusal) for refusal in Refusal} | set(Fault) == set(SENTENCES)


@pytest.mark.parametrize("address", ["news@example.org", "news+subscribe@EXAMPLE.org", "postmaster@example.org"])
def test_a_list_is_no_subscriber_of_ours(office: Office, address: str) -> None:
    assert SENTENCES[Fault.OUR_ADDRESS] in office.refused("add", address)


def test_what_is_no_address_is_not_added_and_not_repeated(office: Office) -> None:
    sentence = office.refused("add", "anna at example.net")
    assert SENTENCES[Fault.BAD_ADDRESS] in sentence and "anna" not in sentence


def test_somebody_is_added_once_however_the_address_is_spelt(office: Office) -> None:
    office.ok("add", ANNA)
    assert SENTENCES[Fault.INVITED] in office.refused("add", "Anna@EXAMPLE.net")
    office.ok("add", ANNA, "--consent-recorded", "--key", CERTIFICATES / "usable.asc")
    assert office.states() == {ANNA: "active"}
    assert office.notices() == []  # the invitation went with the row that it was for
    assert SENTENCES[Fault.SUBSCRIBED] in office.refused("add", ANNA, "--consent-recorded")


def test_whoever_left_may_be_asked_again_but_is_never_put_back(office: Office) -> None:
    office.ok("add", ANNA, "--consent-recorded")
    office.ok("remove", ANNA, "--yes")
    assert SENTENCES[Fault.LEFT] in office.refused("add", ANNA, "--consent-recorded")
    office.ok("add", ANNA)
    assert office.states() == {ANNA: "invited"}
    assert SENTENCES[Fault.LEFT] in office.refused("add", ANNA, "--consent-recorded")


def test_a_banned_address_is_never_added(office: Office) -> None:
    office.ok("add", ANNA)
    office.ok("remove", ANNA, "--ban", "--yes")
    assert office.states() == {}
    assert SENTENCES[Fault.BANNED] in office.refused("add", ANNA)
    assert SENTENCES[Fault.BANNED] in office.refused("add", "ANNA@example.net", "--consent-recorded")


def test_nobody_joins_a_retired_list(office: Office) -> None:
    config.retire_list(office.instance.config_path, "news")
    assert "retired" in office.refused("add", ANNA)
    assert "retired" in office.refused("import", office.write("one.csv", f"address\n{ANNA}\n"))


def test_a_key_that_uses_up_the_readers_time_is_refused() -> None:
    async def examine() -> Certificate | Fault:
        async with Reader(time_s=0.0001) as reader:
            return await vetting.examine(reader.examine, (CERTIFICATES / "usable.asc").read_bytes())

    assert asyncio.run(examine()) is Fault.KEY_TOO_MUCH


def test_while_the_roster_key_is_changed_nothing_else_uses_it(office: Office) -> None:
    with office.instance.roster_in_use(alone=True):
        for command in (["list"], ["export", "--plain"], ["add", ANNA]):
            assert isinstance(office.run(*command).exception, InstanceBusy)
        office.ok("stats")
    assert office.states() == {}


def test_a_wrong_passphrase_changes_nothing(office: Office) -> None:
    office.write("service-passphrase", "something else")
    assert "passphrase" in office.refused("add", ANNA)
    assert office.states() == {}


# --- show, remove, stats, list --------------------------------------------------------------------------------------


def test_all_that_is_held_on_somebody_is_shown(office: Office, gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key(ANNA, expires=datetime.now(UTC) + timedelta(days=100))
    key = office.write("anna.gpg", gnupg.certificate(fingerprint))
    office.ok("add", ANNA, "--key", key, "--consent-recorded", "--language", "zh-Hans")

    async def ask_to_leave(database: Database) -> None:
        secrets = office.register(database).secrets
        person = await roster.identify(secrets, "news", Address.parse(ANNA))
        request = Request(Verb.UNSUBSCRIBE, Address.parse(ANNA), Language.EN)
        mark, sealed = pending.seal_request(secrets, person, request, "a" * 24)
        async with database.write() as tx:
            await pending.ask(tx, mark, sealed, datetime.now(UTC) + timedelta(days=7))

    office.within(ask_to_leave)
    held = json.loads(office.ok("show", "ANNA@example.net", "--json"))
    assert (held["state"], held["language"], held["joined"]) == ("active", "zh-Hans", TODAY)
    assert held["fingerprint"] == grouped(fingerprint)
    assert held["expires"] == (datetime.now(UTC) + timedelta(days=100)).date().isoformat()
    assert held["waiting_for_confirmation"] == ["unsubscribe"]
    assert held["certificate"].startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")
    assert f"fingerprint\t{grouped(fingerprint)}" in office.ok("show", ANNA)


def test_nothing_held_is_said_with_exit_code_1(office: Office) -> None:
    result = office.run("show", ANNA)
    assert (result.exit_code, result.stdout) == (1, "Nothing held.\n")


def test_the_mark_of_somebody_who_left_is_held_and_shown(office: Office) -> None:
    office.ok("add", ANNA, "--consent-recorded")
    office.ok("remove", ANNA, "--yes")
    assert json.loads(office.ok("show", ANNA, "--json")) == {"list": "news", "mark": "left", "mark_since": TODAY}


def test_removing_asks_first_and_erases_every_trace_but_a_mark(office: Office) -> None:
    office.ok("add", ANNA, "--consent-recorded")
    assert office.run("remove", ANNA, stdin="n\n").exit_code == 1
    assert office.states() == {ANNA: "suspended"}
    office.ok("remove", ANNA, stdin="y\n")
    assert office.states() == {} and office.notices() == []
    assert office.run("remove", ANNA, "--yes").exit_code == 1


def test_who_was_only_invited_leaves_no_mark_when_removed(office: Office) -> None:
    office.ok("add", ANNA)
    office.ok("remove", ANNA, "--yes")
    assert office.run("show", ANNA).exit_code == 1


def test_an_address_can_be_banned_before_it_joins(office: Office) -> None:
    office.ok("remove", ANNA, "--ban", "--yes")
    assert json.loads(office.ok("show", ANNA, "--json"))["mark"] == "banned"


def test_counting_needs_no_passphrase(office: Office) -> None:
    office.ok("add", ANNA)
    office.ok("add", BEN, "--consent-recorded", "--language", "zh-Hant")
    (office.folder / "service-passphrase").unlink()
    (office.folder / "roster-passphrase").unlink()
    counted = json.loads(office.ok("stats", "--json"))
    assert counted == {
        "list": "news",
        "total": 2,
        "groups": [
            {"state": "invited", "language": "en", "count": 1},
            {"state": "suspended", "language": "zh-Hant", "count": 1},
        ],
    }
    assert office.ok("stats").splitlines()[-1] == "total\t\t2"


def test_listing_needs_the_roster_passphrase(office: Office) -> None:
    office.ok("add", ANNA)
    office.write("roster-passphrase", SERVICE)
    assert "opens no slot" in office.refused("list")
    (office.folder / "roster-passphrase").unlink()
    assert "passphrase is needed" in office.refused("list")
    assert "passphrase is needed" in office.refused("export", "--plain")


def test_the_list_shows_keys_as_people_compare_them_and_can_be_narrowed(office: Office, gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key(ANNA, expires=datetime.now(UTC) + timedelta(days=100))
    office.ok("add", ANNA, "--consent-recorded", "--key", office.write("anna.gpg", gnupg.certificate(fingerprint)))
    office.ok("add", BEN)
    expires = (datetime.now(UTC) + timedelta(days=100)).date().isoformat()
    anna = f"{ANNA}\tactive\ten\t{TODAY}\t{grouped(fingerprint)}\t{expires}"
    assert office.ok("list").splitlines() == [anna, f"{BEN}\tinvited\ten\t{TODAY}\tno key\t"]
    assert office.ok("list", "--state", "active").splitlines() == [anna]
    assert office.run("list", "--state", "nonsense").exit_code == 2


def test_rows_that_do_not_open_are_counted_and_named_and_stop_nothing(office: Office) -> None:
    for address in (ANNA, BEN, CARA):
        office.ok("add", address)
    with sqlite3.connect(office.database_path) as connection:
        [(one,), (other,), _] = connection.execute("SELECT id FROM subscribers").fetchall()
        drawer = connection.execute("SELECT drawer FROM subscribers WHERE id = ?", [other]).fetchone()[0]
        connection.execute("UPDATE subscribers SET drawer = ? WHERE id = ?", [drawer, one])
    connection.close()
    result = office.run("list", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["unopened"] == [one.hex()[:8]]
    assert len(json.loads(result.stdout)["subscribers"]) == 2
    assert one.hex()[:8] in result.stderr
    exported = office.run("export", "--plain")
    assert exported.exit_code == 1 and len(list(csv.DictReader(io.StringIO(exported.stdout)))) == 2


def test_a_key_runs_out_when_the_examiner_said_it_would(gnupg: Gnupg) -> None:
    now = datetime.now(UTC)
    mine = gnupg.make_key(ANNA, expires=now + timedelta(days=10))
    half = gnupg.make_key(BEN, can_encrypt=False)
    gnupg.run("--quick-add-key", half, "cv25519", "encr", (now + timedelta(days=5)).strftime("%Y%m%dT%H%M%S"))
    blobs = [gnupg.certificate(mine), gnupg.certificate(half)]
    blobs += [path.read_bytes() for path in sorted(CERTIFICATES.glob("usable*.asc"))]
    for blob in blobs:
        [certificate] = openpgp.examine(blob, now)
        assert isinstance(certificate, Certificate)
        assert expiry(certificate.blob) == certificate.expires
    assert expiry(b"") is None


# --- import ---------------------------------------------------------------------------------------------------------


def test_imported_people_are_asked_to_confirm(office: Office) -> None:
    file = office.write("people.csv", f"address,language\n{ANNA},zh-Hant\n{BEN},\n")
    assert "2 invited" in office.ok("import", file)
    assert {address: one["language"] for address, one in office.listed().items()} == {ANNA: "zh-Hant", BEN: "en"}
    assert sorted(str(letter.recipient) for letter in office.notices()) == sorted([ANNA, BEN])


def test_imported_people_whose_consent_is_recorded_are_not_asked(office: Office) -> None:
    armored = (CERTIFICATES / "usable.asc").read_text()
    office.write("keys/ben.gpg", (CERTIFICATES / "usable-rsa2048.asc").read_bytes())
    file = office.write("people.csv", f'address,key\n{ANNA},"{armored}"\n{BEN},keys/ben.gpg\n{CARA},\n')
    counted = json.loads(office.ok("import", file, "--consent-recorded", "--json"))
    assert counted == {"lines": 3, "imported": 3, "states": {"active": 2, "suspended": 1}, "bad": []}
    assert office.states() == {ANNA: "active", BEN: "active", CARA: "suspended"}
    assert [str(letter.recipient) for letter in office.notices()] == [CARA]


HEADED = "邮箱,语言\r\nanna@example.net,简体中文\r\nben.b@example.net,繁體中文\r\n"


@pytest.mark.parametrize(
    "content",
    [
        HEADED.encode(),
        HEADED.encode("utf-8-sig"),
        HEADED.replace(",", ";").encode(),
        HEADED.replace(",", "\t").encode("utf-16"),
        HEADED.encode("gb18030"),
        HEADED.replace("邮箱,语言", "電郵,語言").replace("简体中文", "zh-CN").encode("big5hkscs"),
        HEADED.replace("\r\n", "\n").encode() + b"\n\n , \n",
        HEADED.replace("\r\n", "\r").encode(),
        b'\n"E-Mail","Language",""\n" anna@example.net ",zh_hans,\nBen.B@example.net,zh-TW,\n',
    ],
    ids=["utf-8", "mark", "semicolon", "utf-16-tabs", "gb18030", "big5", "blank-lines", "cr", "quoted"],
)
def test_what_spreadsheets_write_is_read(office: Office, content: bytes) -> None:
    office.ok("import", office.write("people.csv", content))
    found = {address.lower(): one["language"] for address, one in office.listed().items()}
    assert found == {ANNA: "zh-Hans", BEN.lower(): "zh-Hant"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "No column is named address"),
        (b"\naddress,phone\nanna@example.net,1\n", "Column 2 is none of"),
        (b"address,email\na@example.net,b@example.net\n", "two columns for address"),
        (b"language\nen\n", "No column is named address"),
        (b'address\nanna@example.net\n"ben@example.net\ncara@example.net\n', "Line 3: a quotation mark"),
        ("address\n安娜@example.net\n".encode("gb18030"), "CSV UTF-8"),
        ("address\nanna@example.net\n".encode("utf-16-le"), "CSV UTF-8"),
        (b"\x80\x81\xff", "CSV UTF-8"),
        (b"PK\x03\x04\x14\x00\x06\x00", "CSV UTF-8"),
    ],
    ids=[
        "empty",
        "unknown",
        "twice",
        "no-address",
        "quote",
        "doubtful",
        "unmarked-utf-16",
        "noise",
        "xlsx",
    ],
)
def test_a_file_that_is_not_what_we_read_is_refused_in_clear_words(office: Office, content: bytes, told: str) -> None:
    sentence = office.refused("import", office.write("people.csv", content), "--skip-bad")
    assert told in sentence and "example.net" not in sentence
    assert office.states() == {}


def test_a_file_that_is_not_there_is_named(office: Office) -> None:
    assert "gone.csv" in office.refused("import", office.folder / "gone.csv")


BAD_LINES = """\
address,language,key,state,joined,format,passphrase
new@example.net,en,,,
,en,,,
no address,en,,,
news+help@example.org,,,,
ok2@example.net,klingon,,,
ok3@example.net,,,nobody,
ok4@example.net,,,banned,
ok5@example.net,,,active,2999-01-01
ok6@example.net,,,active,yesterday
ok7@example.net,,keys/none.asc,,
ok8@example.net,,../elsewhere.asc,,
ok9@example.net,,/etc/passwd,,
ok10@example.net,,keys/link.asc,,
ok11@example.net,,keys/expired.asc,,
ok12@example.net,,keys/secret.asc,,
NEW@example.NET,en,,,
subscribed@example.net,,,,
invited@example.net,,,,
left@example.net,,,,
Banned@example.net,,,,
ok13@example.net,en,,,,,,surplus
ok14@example.net,,,,,telegram,
ok15@example.net,,,,,pdf,
ok16@example.net,,,,,pdf,too few words
ok17@example.net,,,,,,Capital letters are not ours
ok18@example.net,,,,,pdf,elephant telephone microscope xylophone kangaroo
"""
BAD = [
    (3, "no-address"),
    (4, "bad-address"),
    (5, "own-address"),
    (6, "language"),
    (7, "state"),
    (8, "state"),
    (9, "day"),
    (10, "day"),
    (11, "key-file"),
    (12, "key-outside"),
    (13, "key-outside"),
    (14, "key-outside"),
    (15, "key-expired"),
    (16, "key-secret"),
    (17, "duplicate"),
    (18, "subscribed"),
    (19, "invited"),
    (20, "left"),
    (21, "banned"),
    (22, "too-many-cells"),
    (23, "format"),
    (24, "passphrase"),
    (25, "passphrase"),
    (26, "passphrase"),
    (27, "passphrase"),  # longer than programs take
]


@pytest.fixture
def bad_file(office: Office) -> Path:
    """A file with one good line and every kind of bad one."""
    office.ok("add", "subscribed@example.net", "--consent-recorded")
    office.ok("add", "invited@example.net")
    office.ok("add", "left@example.net", "--consent-recorded")
    office.ok("remove", "left@example.net", "--yes")
    office.ok("remove", "banned@example.net", "--ban", "--yes")
    for name in ("expired.asc", "secret.asc"):
        office.write(f"keys/{name}", (CERTIFICATES / name).read_bytes())
    (office.folder / "keys" / "link.asc").symlink_to(CERTIFICATES / "usable.asc")
    return office.write("people.csv", BAD_LINES)


def test_bad_lines_are_reported_by_number_and_nobody_is_imported(office: Office, bad_file: Path) -> None:
    before = office.states()
    assert office.bad_lines(bad_file) == BAD
    assert "25 of 26 lines" in office.refused("import", bad_file)
    assert office.states() == before


def test_bad_lines_can_be_left_out(office: Office, bad_file: Path) -> None:
    before = office.states()
    result = office.run("import", bad_file, "--skip-bad")
    assert (result.exit_code, result.stdout) == (0, "Imported 1 of 26 (1 invited).\n")
    assert office.states() == before | {"new@example.net": "invited"}


def test_no_address_is_told_to_the_terminal_or_left_on_the_disk(office: Office, bad_file: Path) -> None:
    for options in ([], ["--skip-bad"], ["--json"], ["--skip-bad", "--json", "--consent-recorded"]):
        result = office.run("import", bad_file, *options)
        assert "@" not in result.output + str(result.exception)
    kept = b"".join(path.read_bytes() for path in (office.folder / "instance").rglob("*") if path.is_file())
    assert b"example.net" not in kept and b"news@example.org" in kept  # the control: config.toml names the list


def test_the_line_that_a_duplicate_repeats_is_named(office: Office) -> None:
    file = office.write("people.csv", f"address\n{ANNA}\n\n{BEN}\nAnna@Example.net\n")
    assert "line 5: the same address is there already, on line 2" in office.run("import", file).stderr


def test_line_numbers_count_the_lines_of_keys_in_cells_too(office: Office) -> None:
    armored = (CERTIFICATES / "usable.asc").read_text()
    file = office.write("people.csv", f'address,key\n{ANNA},"{armored}"\nnobody,\n')
    assert office.bad_lines(file) == [(3 + armored.count("\n"), "bad-address")]


def test_consent_that_was_recorded_since_makes_invited_people_subscribers(office: Office) -> None:
    office.ok("add", ANNA)
    file = office.write("people.csv", f'address,key\n{ANNA},"{(CERTIFICATES / "usable.asc").read_text()}"\n')
    office.ok("import", file, "--consent-recorded")
    assert office.states() == {ANNA: "active"} and office.notices() == []


def test_when_writing_fails_half_way_nobody_is_imported(office: Office) -> None:
    async def enrol(database: Database) -> None:
        register, terms = office.register(database), Terms()
        people = [Applicant(line, Address.parse(f"p{line}@example.net"), Language.EN) for line in range(600)]
        people.append(Applicant(600, people[0].address, Language.EN))  # what vetting never lets through
        prepared = await enrolment.prepare(register, people, terms, width=4)
        with pytest.raises(StoreError):
            await enrolment.enrol(register, prepared, terms)

    office.within(enrol)
    assert office.states() == {} and office.notices() == []


def test_an_imported_row_is_the_one_that_joining_by_mail_writes(office: Office) -> None:
    async def join(database: Database) -> None:
        register = office.register(database)
        person = await roster.identify(register.secrets, "news", Address.parse(ANNA))
        new = roster.Newcomer.draw(os.urandom, roster.Drawer(), Language.EN, "other-7", datetime.now(UTC).date())
        async with database.write() as tx:
            await roster.add(tx, register.secrets, register.public, person, new)

    def row() -> dict[str, object]:
        connection = sqlite3.connect(office.database_path)
        connection.row_factory = sqlite3.Row
        [found] = [dict(one) for one in connection.execute("SELECT * FROM subscribers")]
        connection.execute("DELETE FROM subscribers")
        connection.commit()
        connection.close()
        return {name: len(value) if isinstance(value, bytes) else value for name, value in found.items()}

    office.within(join)
    joined = row()
    office.ok("add", ANNA, "--consent-recorded")
    assert row() == joined | {"state": "suspended"}


# --- export ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def peopled(office: Office, gnupg: Gnupg) -> Office:
    """A list with somebody in each state, and keys of two kinds."""
    fingerprint = gnupg.make_key(ANNA, expires=datetime.now(UTC) + timedelta(days=100))
    office.write("anna.asc", gnupg.certificate(fingerprint, armored=True))
    office.write("cara.asc", (CERTIFICATES / "usable-sequoia-v6.asc").read_bytes())
    rows = [
        "address,language,key,state,joined,format,passphrase",
        f"{ANNA},zh-Hant,anna.asc,active,2024-02-29,attachment,",
        f"{BEN},en,,suspended,2025-01-01,,",
        f"{CARA},zh-Hans,cara.asc,paused,,pdf,cotton violin marble pepper arm",
        "dora@example.net,en,,active,,pdf,cotton violin marble pepper lad",
        "=cmd|'/C.calc'!A0@example.net,en,,invited,,,",
        "''+o@example.net,en,,,,,",
    ]
    office.ok("import", office.write("people.csv", "\n".join(rows)), "--consent-recorded")
    return office


def test_an_export_goes_into_another_instance_whole(peopled: Office, tmp_path: Path) -> None:
    peopled.ok("export", "--plain", "--output", peopled.folder / "all.csv")
    other = make_office(tmp_path / "other")
    other.ok("import", peopled.folder / "all.csv", "--consent-recorded")
    moved = {address: one | {"joined": ""} for address, one in other.listed().items()}
    assert moved == {address: one | {"joined": ""} for address, one in peopled.listed().items()}
    assert other.listed()[ANNA]["joined"] == "2024-02-29"
    assert sorted(other.states().values(), key=str) == [
        "active",
        "active",
        "invited",
        "paused",
        "suspended",
        "suspended",
    ]
    certificates = [json.loads(one.ok("show", ANNA, "--json"))["certificate"] for one in (peopled, other)]
    assert certificates[0] == certificates[1]
    shown = [json.loads(other.ok("show", one, "--json")) for one in (ANNA, BEN, CARA, "dora@example.net")]
    assert [one["format"] for one in shown] == ["attachment", "pgp-mime", "pdf", "pdf"]
    assert [one["method"] for one in shown] == ["openpgp", "openpgp", "pdf", "pdf"]
    assert [one.get("passphrase") for one in shown] == [None, None, "kept", "kept"]
    assert other.ok("export", "--plain") == peopled.ok("export", "--plain")


def test_without_recorded_consent_an_export_is_only_a_list_of_people_to_ask(peopled: Office, tmp_path: Path) -> None:
    file = peopled.write("all.csv", peopled.ok("export", "--plain"))
    other = make_office(tmp_path / "other")
    other.ok("import", file)
    assert set(other.states().values()) == {"invited"}


def test_an_export_is_encrypted_to_the_certificate_that_is_given(peopled: Office, gnupg: Gnupg) -> None:
    [fingerprint] = gnupg.fingerprints(ANNA)
    key = peopled.write("me.asc", gnupg.certificate(fingerprint, armored=True))
    path = peopled.folder / "all.csv.asc"
    peopled.ok("export", "--key", key, "--output", path)
    sealed = path.read_bytes()
    assert sealed.startswith(b"-----BEGIN PGP MESSAGE-----") and ANNA.encode() not in sealed
    assert gnupg.decrypt(sealed).plaintext == peopled.run("export", "--plain").stdout_bytes
    assert peopled.ok("export", "--key", key).startswith("-----BEGIN PGP MESSAGE-----")


@pytest.mark.parametrize("arguments", [[], ["--plain", "--key", "me.asc"]])
def test_an_export_is_encrypted_or_said_to_be_plain(office: Office, arguments: list[str]) -> None:
    result = office.run("export", *arguments, "--output", office.folder / "all.csv")
    assert result.exit_code == 2 and "--plain" in result.stderr
    assert not (office.folder / "all.csv").exists()


def test_an_export_to_a_key_that_cannot_be_used_writes_nothing(peopled: Office) -> None:
    path = peopled.folder / "all.csv.asc"
    peopled.refused("export", "--key", CERTIFICATES / "expired.asc", "--output", path)
    assert not path.exists()


def test_an_exported_file_is_the_owners_alone_and_replaces_none(peopled: Office) -> None:
    path = peopled.folder / "all.csv"
    peopled.ok("export", "--plain", "--output", path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    assert "all.csv" in peopled.refused("export", "--plain", "--output", path)
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_written_whole_is_not_left_behind(tmp_path: Path) -> None:
    code = (
        "import resource; from pathlib import Path; from mailer.cli.subscribers.desk import write_new\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8)); write_new(Path('all.csv'), bytes(9000))"
    )
    ran = subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "FileUnusable: A file cannot be used: all.csv: File too large." in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_cell_of_an_export_is_a_formula_to_a_spreadsheet(peopled: Office) -> None:
    rows = list(csv.reader(io.StringIO(peopled.ok("export", "--plain"))))
    cells = [cell for row in rows for cell in row]
    assert "'=cmd|'/C.calc'!A0@example.net" in cells and "''+o@example.net" in cells
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")]
    assert any(cell.startswith("'-----BEGIN") for cell in cells)


# --- from elsewhere ------------------------------------------------------------------------------------------------


def test_a_schleuder_list_comes_over_with_its_key_ring(office: Office) -> None:
    anna, ben = Person.with_key(ANNA), Person.with_key(BEN)
    fingerprint = pysequoia.Cert.from_bytes(anna.certificate).fingerprint
    listed = f"{ANNA}\t0x{fingerprint.upper()}\tadmin\n{BEN}\n{CARA}\n"
    people, ring = office.write("list.txt", listed), office.write("ring.asc", anna.armored + ben.armored)
    office.ok("import", people, "--keys", ring, "--consent-recorded")
    assert {address: bool(one["fingerprint"]) for address, one in office.listed().items()} == {
        ANNA: True,
        BEN: True,  # by the address in the key
        CARA: False,
    }


def test_who_was_barred_elsewhere_is_left_out_and_counted(office: Office) -> None:
    text = "uuid,email,name,attributes,status\na,anna@example.net,A,{},enabled\nb,ben@example.net,B,{},blocklisted\n"
    result = office.run("import", office.write("listmonk.csv", text))
    assert "1 are left out" in result.stderr
    assert office.states() == {ANNA: "invited"}


def test_a_kind_that_was_named_is_not_guessed(office: Office) -> None:
    told = office.refused("import", office.write("people.csv", "address\nanna@example.net\n"), "--from", "sympa")
    assert "nobody in it, read as an export of sympa" in told


# --- the commands ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["list", "show", "add", "remove", "ban", "import", "export", "stats", "invite"])
def test_every_command_has_an_example(office: Office, name: str) -> None:
    assert f"Example: mailer subscribers {name}" in office.ok(name, "--help")


def test_where_there_are_several_lists_one_must_be_named(office: Office) -> None:
    lists.add_wanted(office.instance, lists.read_wanted("other@example.org", None, None, None), SERVICE)
    assert "--list" in office.refused("stats")
    office.ok("add", ANNA, "--list", "other")
    assert json.loads(office.ok("stats", "--list", "news", "--json"))["total"] == 0


def test_the_program_itself_imports_and_says_in_one_sentence_what_is_wrong(office: Office) -> None:
    file = office.write("people.csv", f"address\n{ANNA}\nnobody\n")
    command = [
        sys.executable,
        "-m",
        "mailer",
        "subscribers",
        "import",
        str(file),
        "-i",
        str(office.folder / "instance"),
    ]
    environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(office.folder)}
    ran = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert (
        ran.stderr.startswith("line 3: that is not an e-mail address") and "mailer: Nothing was imported" in ran.stderr
    )
    ran = subprocess.run([*command, "--skip-bad"], env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "Imported 1 of 2 (1 invited).\n")


def test_a_person_who_watches_sees_how_far_an_import_has_come(office: Office) -> None:
    file = office.write("people.csv", "address\n" + "".join(f"p{number}@example.net\n" for number in range(9)))
    screen, terminal = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "mailer",
        "subscribers",
        "import",
        str(file),
        "-i",
        str(office.folder / "instance"),
    ]
    environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(office.folder), "TERM": "xterm"}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError), os.fdopen(screen, "rb", buffering=0) as seen:  # EIO: the other end is closed
        while more := seen.read(65536):
            shown += more
    assert running.wait() == 0
    assert b"Sealing" in shown and b"9/9" in shown and b"example.net" not in shown
