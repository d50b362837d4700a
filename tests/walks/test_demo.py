"""`mailer demo`, run as it is; and that each of its checks fails on what it is there to find."""

from __future__ import annotations

import base64
import os
import re
import signal
import smtplib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailer.cli import demo, main
from mailer.crypto import openpgp
from mailer.crypto.openpgp import ListKey
from mailer.demo import checks, gnupg, people, reading, search
from mailer.demo.mailbox_server import HOST, MailboxServer, Received
from mailer.demo.play import Play
from mailer.demo.program import Service, run
from mailer.demo.stage import LIST, Stage
from mailer.errors import DemoFailed
from mailer.letters import mime, seal
from mailer.letters.seal import Identity
from mailer.letters.write import Draft
from mailer.model.address import Address
from mailer.model.digest import Edition
from mailer.model.language import Language
from mailer.model.means import OpenPgp
from tests.conftest import needs

NOW = datetime.now(UTC)
READER = "ada@reader.example"
SUBJECT, TEXT = "Three booksellers are home", "They walked out of Northgate Prison at dawn.\n"

# --- All of it -------------------------------------------------------------------------------------------------------


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the demonstration in a working folder of its own, its temporary folder inside `folder`."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "mailer", "demo"],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def processes_in(folder: Path) -> list[str]:
    """The command lines of all processes that have to do with the folder."""
    found = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    return [line.decode(errors="replace") for line in found if bytes(folder) in line]


def test_everything_holds_within_thirty_seconds_and_nothing_is_left(tmp_path: Path) -> None:
    demonstration = start(tmp_path)
    told, complaints = demonstration.communicate(timeout=120)
    assert (demonstration.returncode, complaints) == (0, ""), told
    assert re.findall(r"(?m)^✓ (\d+)\.", told) == [str(number) for number in range(1, 13)]
    for line in (
        "│ Subject: [...]",
        "│ -----BEGIN PGP MESSAGE-----",
        "Ada: good signature by ",
        "│ Subject: Three booksellers are home",
        "│ Subject: 三名書店店員回家了",
        "│ Subject: Your key has expired",
        "3 copies arrived, one for each who is on the list",
        "Two copies went out, none of them to 美玲",
        "None of 4 addresses is there: plain, base64, hexadecimal, UTF-16, quoted-printable",
        "Planted in a copy of the database, an address is found in each of these forms",
    ):
        assert f"\n     {line}" in told, line
    assert re.search(r"All of it held, in \d+\.\d s\.", told)
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


@pytest.mark.parametrize("told_to_end", [signal.SIGINT, signal.SIGTERM])
def test_ended_early_it_leaves_neither_files_nor_processes(tmp_path: Path, told_to_end: signal.Signals) -> None:
    demonstration = start(tmp_path, PYTHONUNBUFFERED="1")
    assert demonstration.stdout is not None
    assert any(line.startswith("✓ 2.") for line in demonstration.stdout)  # the service runs
    assert processes_in(tmp_path)
    demonstration.send_signal(told_to_end)
    demonstration.communicate(timeout=60)
    assert demonstration.returncode == 128 + told_to_end
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def fall_down(_: Play) -> None:
    raise DemoFailed("A promise was broken.")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A demonstration whose second act fails; the folder in which it makes its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(
        Play,
        "acts",
        lambda play: (("All is well", lambda: play.tell("so far")), ("It breaks", lambda: fall_down(play))),
    )
    return tmp_path


def test_a_broken_promise_ends_it_with_exit_code_one_and_the_step_named(
    failing: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mailer", "demo"])
    with pytest.raises(SystemExit) as ended:
        main.app()
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert "✓ 1. All is well" in said.out
    assert "✗ 2. It breaks" in said.out
    assert "no. 2, “It breaks”. A promise was broken." in said.err
    assert "All of it held" not in said.out
    assert list(failing.iterdir()) == []


def test_with_keep_the_folder_stays_and_is_named_even_when_a_promise_breaks(
    failing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DemoFailed):
        demo.demo(keep=True)
    [kept] = failing.iterdir()
    assert f"Kept: {kept}" in capsys.readouterr().out


# --- What a reader's program sees ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys() -> dict[str, ListKey]:
    return {name: openpgp.generate_list_key(Address.parse(name)) for name in (LIST, READER, "eve@reader.example")}


@pytest.fixture(scope="module")
def identity(keys: dict[str, ListKey]) -> Identity:
    return Identity("news", Address.parse(LIST), "", keys[LIST])


@pytest.fixture
def make_copy(keys: dict[str, ListKey], identity: Identity) -> Callable[[Identity], bytes]:
    def make(identity: Identity = identity) -> bytes:
        edition = Edition(Language.EN, SUBJECT, TEXT, mime.alternative(TEXT, f"<p>{TEXT}</p>", []))
        return seal.seal_copy(
            seal.sign_edition(edition, identity, NOW),
            recipient=Address.parse(READER),
            means=OpenPgp(keys[READER].public),
            identity=identity,
            message_id="<a@campaign.example>",
            envelope_sender=identity.address,
            unsubscribe=identity.address.with_detail("unsubscribe"),
            now=NOW,
            padding_chance=0.0,
        ).content

    return make


@pytest.fixture
def make_reply(keys: dict[str, ListKey], identity: Identity) -> Callable[[Identity], bytes]:
    def make(identity: Identity = identity) -> bytes:
        draft = Draft("Welcome", TEXT, Language.EN, may_be_open=False)
        reader = Address.parse(READER)
        return seal.seal(
            draft,
            recipient=reader,
            means=OpenPgp(keys[READER].public),
            identity=identity,
            now=NOW,
            message_id="<b@campaign.example>",
        ).content

    return make


def test_a_copy_opens_and_shows_its_protected_subject_and_who_signed_it(
    keys: dict[str, ListKey], make_copy: Callable[[], bytes]
) -> None:
    copy = make_copy()
    opened = reading.open_copy(copy, keys[READER], keys[LIST].public)
    assert (opened.subject, opened.text, opened.signed_by) == (SUBJECT, TEXT, keys[LIST].fingerprint)
    reading.check_silent(copy, opened)
    reading.check_closed_to(copy, keys["eve@reader.example"])


def test_a_letter_signed_by_another_key_is_not_believed(
    keys: dict[str, ListKey],
    identity: Identity,
    make_copy: Callable[[Identity], bytes],
    make_reply: Callable[[Identity], bytes],
) -> None:
    other = replace(identity, key=keys["eve@reader.example"])
    with pytest.raises(DemoFailed, match="no good signature"):
        reading.open_copy(make_copy(other), keys[READER], keys[LIST].public)
    with pytest.raises(DemoFailed, match="no good signature"):
        reading.open_reply(make_reply(other), keys[READER], keys[LIST].public)


def test_a_letter_that_does_not_open_is_found(keys: dict[str, ListKey], make_copy: Callable[[], bytes]) -> None:
    with pytest.raises(DemoFailed, match="does not open"):
        reading.open_copy(make_copy(), keys["eve@reader.example"], keys[LIST].public)


def test_a_copy_that_another_reader_can_open_is_found(keys: dict[str, ListKey], make_copy: Callable[[], bytes]) -> None:
    with pytest.raises(DemoFailed, match="another reader's key"):
        reading.check_closed_to(make_copy(), keys[READER])


def test_a_reply_is_not_taken_for_a_copy_signed_for_all(
    keys: dict[str, ListKey], make_reply: Callable[[], bytes]
) -> None:
    assert reading.open_reply(make_reply(), keys[READER], keys[LIST].public).subject == "Welcome"
    with pytest.raises(DemoFailed, match="not signed"):
        reading.open_copy(make_reply(), keys[READER], keys[LIST].public)


def test_a_letter_in_the_clear_is_found(keys: dict[str, ListKey]) -> None:
    with pytest.raises(DemoFailed, match="not encrypted"):
        reading.open_copy(b"Subject: [...]\r\n\r\n" + TEXT.encode(), keys[READER], keys[LIST].public)


def test_a_subject_that_stands_outside_is_found(keys: dict[str, ListKey], make_copy: Callable[[], bytes]) -> None:
    copy = make_copy().replace(b"Subject: [...]", b"Subject: " + SUBJECT.encode())
    with pytest.raises(DemoFailed, match="subject outside"):
        reading.open_copy(copy, keys[READER], keys[LIST].public)


@pytest.mark.parametrize("leak", [SUBJECT.encode(), base64.b64encode(b"x" + TEXT.encode())])
def test_a_subject_or_text_outside_the_encryption_is_found(
    leak: bytes, keys: dict[str, ListKey], make_copy: Callable[[], bytes]
) -> None:
    copy = make_copy()
    opened = reading.open_copy(copy, keys[READER], keys[LIST].public)
    with pytest.raises(DemoFailed, match="outside the encryption"):
        reading.check_silent(b"X-Preview: " + leak + b"\r\n" + copy, opened)


def test_a_key_in_the_header_that_is_not_the_lists_is_found(
    keys: dict[str, ListKey], make_reply: Callable[[], bytes]
) -> None:
    assert reading.list_certificate(make_reply(), keys[LIST].fingerprint)
    with pytest.raises(DemoFailed, match="not the list's"):
        reading.list_certificate(make_reply(), keys[READER].fingerprint)
    with pytest.raises(DemoFailed, match="cannot be read"):
        reading.list_certificate(make_reply().replace(b"keydata=", b"keydata=*"), keys[LIST].fingerprint)
    with pytest.raises(DemoFailed, match="no Autocrypt"):
        reading.list_certificate(b"Subject: x\r\n\r\n", keys[LIST].fingerprint)


def test_gnupg_says_whose_signature_a_copy_carries(
    keys: dict[str, ListKey], identity: Identity, make_copy: Callable[..., bytes]
) -> None:
    needs("gpg")
    assert gnupg.read_copy(make_copy(), keys[READER], keys[LIST].public).startswith("gpg: Good signature from ")
    forged = make_copy(replace(identity, key=keys["eve@reader.example"]))
    with pytest.raises(DemoFailed, match="gpg --verify"):
        gnupg.read_copy(forged, keys[READER], keys[LIST].public)
    with pytest.raises(DemoFailed, match="gpg --decrypt"):
        gnupg.read_copy(make_copy(), keys["eve@reader.example"], keys[LIST].public)


def test_without_gnupg_one_line_says_that_it_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    told: list[str] = []
    Play(Stage(), told.append).ask_gnupg()
    assert told == ["Left out: GnuPG is not installed here"]


# --- What was sent, and what is on record ----------------------------------------------------------------------------


def test_copies_for_all_and_nobody_else_are_demanded() -> None:
    came = [Received("ada@reader.example", b"1"), Received("lin@reader.example", b"2")]
    assert checks.delivered(came, ["lin@reader.example", "ada@reader.example"])["ada@reader.example"] == b"1"
    for expected in (["ada@reader.example"], [one.recipient for one in came] + ["mei@reader.example"], []):
        with pytest.raises(DemoFailed, match="2 copies came"):
            checks.delivered(came, expected)
    with pytest.raises(DemoFailed, match="3 copies came"):
        checks.delivered([*came, came[0]], [one.recipient for one in came])


@pytest.mark.parametrize("counts", [{"sent": 1, "failed": 1}, {"sent": 3}, {"due": 2}, {}])
def test_deliveries_that_were_not_all_sent_are_found(counts: dict[str, int]) -> None:
    checks.sent([{"planned": 2, "counts": {"sent": 2}}], [(2, 2)])
    with pytest.raises(DemoFailed, match="this became"):
        checks.sent([{"planned": 2, "counts": counts}], [(2, 2)])


@pytest.mark.parametrize("subject", ["Welcome", "Please reply to this letter"])
def test_an_expired_key_that_is_not_refused_by_name_is_found(subject: str, make_reply: Callable[[], bytes]) -> None:
    assert checks.refused(b"Subject: Your key has expired\r\n\r\nHello")[0] == "Your key has expired"
    with pytest.raises(DemoFailed, match="not refused by name"):
        checks.refused(f"Subject: {subject}\r\n\r\nHello".encode())
    with pytest.raises(DemoFailed, match="not refused by name"):
        checks.refused(make_reply())


def test_the_fourth_key_is_really_expired() -> None:
    [verdict] = openpgp.examine(people.Expired().certificate, NOW)
    assert getattr(verdict, "reason", None) == "expired"


# --- The search ------------------------------------------------------------------------------------------------------

ADDRESS = "mei-ling.ho@mail.example"
AS_FOUND_IN_MAIL = {
    "plain": [ADDRESS.encode(), b"Mei-Ling.Ho@Mail.Example", b"<mei-ling.ho@\r\nmail.example>"],
    "base64": [
        *(base64.b64encode(b"xyz"[:offset] + ADDRESS.encode() + b" and more") for offset in range(3)),
        base64.encodebytes(b"x" * 50 + ADDRESS.encode()),
    ],
    "hexadecimal": [ADDRESS.encode().hex().encode(), ADDRESS.encode().hex().upper().encode()],
    "UTF-16": [ADDRESS.encode("utf-16"), ADDRESS.encode("utf-16-be")],
    "quoted-printable": [
        b"mei-ling.ho=40mail.example",
        b"mei-ling.ho%40mail.example",
        b"mei-li=\r\nng.ho=40mail.example",
    ],
}


@pytest.mark.parametrize(("form", "text"), [(form, text) for form, texts in AS_FOUND_IN_MAIL.items() for text in texts])
def test_an_address_is_found_in_whatever_form_it_stands(form: str, text: bytes) -> None:
    assert form in search.find(os.urandom(100) + text + os.urandom(100), ADDRESS)


def test_what_is_not_there_is_not_found() -> None:
    others = b"mei-ling.ho@mail.exam ple, lin@mail.example " + base64.b64encode(b"mei-ling.hu@mail.example")
    assert search.find(os.urandom(1_000_000) + others, ADDRESS) == ()


def test_a_text_in_chinese_is_found_too() -> None:
    text = "三名書店店員回家了"
    for haystack in (text.encode(), base64.b64encode(b"x" + text.encode()), text.encode("utf-16-le")):
        assert search.find(haystack, text)


def test_an_address_in_a_file_ends_the_demonstration_without_being_told(tmp_path: Path) -> None:
    clean, leaky = tmp_path / "clean", tmp_path / "mailer.db-wal"
    clean.write_bytes(os.urandom(1000))
    checks.nothing_found([clean], [ADDRESS])
    leaky.write_bytes(os.urandom(1000) + ADDRESS.encode("utf-16-le"))
    with pytest.raises(DemoFailed, match=r"mailer\.db-wal \(UTF-16\)") as failed:
        checks.nothing_found([clean, leaky], [ADDRESS])
    assert ADDRESS not in str(failed.value)
    assert ADDRESS not in repr(search.find_in_files([leaky], [ADDRESS]))


def test_a_search_that_finds_nothing_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, planted = tmp_path / "mailer.db", tmp_path / "planted.db"
    original.write_bytes(os.urandom(10_000))
    assert set(checks.search_finds(original, planted, ADDRESS)) == set(AS_FOUND_IN_MAIL)
    assert not planted.exists()
    monkeypatch.setattr(search, "find", lambda *_: ("plain", "hexadecimal"))
    with pytest.raises(DemoFailed, match="proves nothing"):
        checks.search_finds(original, planted, ADDRESS)


# --- The stage -------------------------------------------------------------------------------------------------------


def test_a_letter_that_does_not_come_is_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mailer.demo.stage.MAIL_WITHIN_S", 0.0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Stage() as stage, pytest.raises(DemoFailed, match="1 of the letters that were awaited did not come"):
        stage.wait_for(1)


def test_a_letter_too_many_is_noticed_at_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Stage() as stage:
        with smtplib.SMTP(HOST, stage.mailboxes.port) as client:
            client.sendmail("a@b.example", ["c@d.example", "e@f.example"], b"Subject: x\r\n\r\n.dot\r\n")
        assert [one.content for one in stage.wait_for(1)] == [b"Subject: x\r\n\r\n.dot\r\n"]
        with pytest.raises(DemoFailed, match="2 letters were sent in all, and 1 were awaited"):
            stage.stop()


def test_an_answer_to_somebody_else_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Stage() as stage:
        stage.port = stage.mailboxes.port  # what is sent comes back, addressed to the list instead of the writer
        with pytest.raises(DemoFailed, match="somebody else"):
            stage.exchange(people.write(READER, LIST, "subscribe"))


def test_a_door_that_refuses_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Stage() as stage:
        stage.mailboxes.__exit__(None, None, None)
        stage.port = stage.mailboxes.port
        with pytest.raises(DemoFailed, match="does not take a letter"):
            stage.send(people.write(READER, LIST, "subscribe"))


def test_a_command_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match="`mailer lists show` ended with 1: mailer: This is not the folder"):
        run("lists", "show", "--instance", str(tmp_path), cwd=tmp_path)


def test_a_service_that_does_not_come_up_is_told_with_its_last_words(tmp_path: Path) -> None:
    with Service("--instance", str(tmp_path), cwd=tmp_path, log=tmp_path / "log") as service:
        with pytest.raises(DemoFailed, match="does not come up: mailer: This is not the folder"):
            service.port()
        assert service.stop() == 1
    assert "not the folder" in (tmp_path / "log").read_text()


def test_the_mailbox_server_may_be_closed_twice() -> None:
    with MailboxServer() as mailboxes:
        mailboxes.__exit__(None, None, None)
