"""The program itself: `mailer serve` and the commands that reach it, each a process of its own."""

from __future__ import annotations

import os
import re
import select
import signal
import smtplib
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailer import control
from mailer.demo.mailbox_server import MailboxServer
from mailer.demo.program import Service
from mailer.errors import ServiceNotRunning, ServiceRefused, ServiceRunning
from tests.conftest import needs
from tests.house import LIST, ROSTER, SERVICE, Person, make_instance, point_relay_at

WITHIN_S = 20.0


@dataclass
class Site:
    """An instance made from the shipped config.toml, its ports adapted, and the mail server that its relay is."""

    folder: Path
    mailboxes: MailboxServer
    service: Service | None = None

    @property
    def instance(self) -> Path:
        return self.folder / "instance"

    def passphrases(self, *which: str) -> list[str]:
        return [part for one in which for part in (f"--{one}-passphrase-file", str(self.folder / one))]

    def serve(self, *options: str) -> Service:
        arguments = ("--instance", str(self.instance), *options)
        self.service = Service(*arguments, cwd=self.folder, log=self.folder / "log")
        self.service.port()
        return self.service

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        whole = [sys.executable, "-m", "mailer", *arguments, "--instance", str(self.instance)]
        none = subprocess.DEVNULL
        return subprocess.run(
            whole, cwd=self.folder, stdin=none, capture_output=True, text=True, timeout=60, check=False
        )

    def unlock(self) -> None:
        done = self.command("unlock", *self.passphrases("service"))
        assert (done.returncode, done.stdout) == (0, "Unlocked.\n"), done.stderr

    def write(self, person: Person) -> int:
        """Send a wish to join; return the code with which the door answers the letter itself."""
        assert self.service is not None
        with smtplib.SMTP("127.0.0.1", self.service.port(), "client.example") as client:
            client.ehlo()
            assert client.mail(person.address)[0] == 250
            assert client.rcpt(LIST)[0] == 250
            return client.data(person.letter("subscribe", with_key=True).as_bytes())[0]

    def letters_in_the_inbox(self) -> int:
        with sqlite3.connect(f"file:{self.instance / 'mailer.db'}?mode=ro", uri=True) as database:
            return int(database.execute("SELECT count(*) FROM inbox").fetchone()[0])

    def read_answer(self, person: Person, count: int = 1) -> str:
        """Wait until so many letters came in all; return the last, decrypted."""
        received = self.mailboxes.wait_for(count, WITHIN_S)[-1]
        assert received.recipient == person.address
        return person.read(received)  # type: ignore[arg-type]  # it has the content, which is all that is asked of it


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with MailboxServer() as mailboxes:
        site = Site(tmp_path, mailboxes)
        point_relay_at(make_instance(site.instance, None), mailboxes.port)
        for name, passphrase in (("service", SERVICE), ("roster", ROSTER), ("wrong", "not this one")):
            (tmp_path / name).write_text(passphrase + "\n")
        yield site
        if site.service is not None:
            site.service.stop()
            sys.stderr.write(site.service.log.read_text())  # shown where a test fails


@pytest.fixture
def ada() -> Person:
    return Person.with_key("ada@reader.example")


def is_one_sentence_of_ours(done: subprocess.CompletedProcess[str]) -> bool:
    return done.stderr.startswith("mailer: ") and "Traceback" not in done.stderr and not done.stdout


def processes_that_name(folder: Path, word: str = "") -> list[int]:
    """The ids of all processes in whose command line the folder occurs, and the word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if str(folder) in words and (not word or word in words):
            found.append(int(path.parent.name))
    return found


def wait_until_gone(process: int) -> None:
    with open(os.pidfd_open(process), "rb", buffering=0) as handle:
        assert select.select([handle], [], [], WITHIN_S)[0]


# --- Locked and unlocked ---------------------------------------------------------------------------------------------


def test_a_locked_service_accepts_a_letter_and_answers_it_after_unlock(site: Site, ada: Person) -> None:
    site.serve("--locked")
    assert site.write(ada) == 250
    assert site.letters_in_the_inbox() == 1
    assert not site.mailboxes.letters
    site.unlock()
    assert "reply to this letter" in site.read_answer(ada)
    assert site.letters_in_the_inbox() == 0


def test_without_a_passphrase_to_be_had_it_starts_locked_and_says_so(site: Site) -> None:
    service = site.serve()
    assert "starting locked" in service.log.read_text()


def test_lock_stops_the_answers_but_not_the_door(site: Site, ada: Person) -> None:
    site.serve(*site.passphrases("service"))
    assert site.write(ada) == 250
    assert site.read_answer(ada)
    locked = site.command("lock")
    assert (locked.returncode, locked.stdout[:7]) == (0, "Locked.")
    bea = Person.with_key("bea@reader.example")
    assert site.write(bea) == 250
    assert (site.letters_in_the_inbox(), len(site.mailboxes.letters)) == (1, 1)
    site.unlock()
    assert "reply to this letter" in site.read_answer(bea, 2)


def test_a_wrong_passphrase_unlocks_nothing_and_says_what_to_do(site: Site, ada: Person) -> None:
    site.serve("--locked")
    assert site.write(ada) == 250
    done = site.command("unlock", "--service-passphrase-file", str(site.folder / "wrong"))
    assert done.returncode == 1
    assert is_one_sentence_of_ours(done)
    assert "Try again, or use the recovery phrase." in done.stderr
    assert "not this one" not in done.stderr
    assert (site.letters_in_the_inbox(), site.mailboxes.letters) == (1, [])
    site.unlock()
    assert site.read_answer(ada)


def test_a_wrong_roster_passphrase_starts_no_deliverer_and_leaves_it_locked(site: Site, ada: Person) -> None:
    site.serve("--locked")
    assert site.write(ada) == 250
    wrong = ["--roster-passphrase-file", str(site.folder / "wrong")]
    done = site.command("unlock", "--deliver", *site.passphrases("service"), *wrong)
    assert done.returncode == 1
    assert is_one_sentence_of_ours(done)
    assert site.letters_in_the_inbox() == 1
    assert not processes_that_name(site.instance, "work")


@pytest.mark.parametrize("command", ["lock", "unlock"])
def test_without_a_service_lock_and_unlock_say_so(site: Site, command: str) -> None:
    done = site.command(command, *(site.passphrases("service") if command == "unlock" else ()))
    assert done.returncode == 1
    assert is_one_sentence_of_ours(done)
    assert "`mailer serve`" in done.stderr


# --- Beginning and ending --------------------------------------------------------------------------------------------


def test_sigterm_ends_service_and_deliverer_in_good_order_within_ten_seconds(site: Site) -> None:
    service = site.serve("--deliver", *site.passphrases("service", "roster"))
    assert processes_that_name(site.instance, "work")
    began = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began < 10
    assert not processes_that_name(site.instance)
    assert not (site.instance / "run" / "control.sock").exists()
    assert "Traceback" not in service.log.read_text()


def test_a_rotation_says_that_the_deliverer_has_the_key_before_and_stops_it_where_others_may_have_that(
    site: Site,
) -> None:
    needs("gpg")
    site.serve("--deliver", *site.passphrases("service", "roster"))
    [deliverer] = processes_that_name(site.instance, "work")
    done = site.command("keys", "rotate", *site.passphrases("service"))
    assert "The deliverer has the keys of before until `mailer unlock --deliver`." in done.stdout, done.stderr
    assert deliverer in processes_that_name(site.instance, "work")
    done = site.command("keys", "rotate", "--compromised", *site.passphrases("service"))
    assert "The deliverer was stopped" in done.stdout, done.stderr
    assert processes_that_name(site.instance, "work") == []


def test_a_second_service_on_the_same_instance_is_refused_and_the_first_goes_on(site: Site, ada: Person) -> None:
    site.serve("--locked")
    second = site.command("serve", "--deliver", *site.passphrases("service", "roster"))
    assert second.returncode == 1
    assert is_one_sentence_of_ours(second)
    assert "A service runs for this instance already" in second.stderr
    assert not processes_that_name(site.instance, "work")
    assert site.write(ada) == 250
    site.unlock()
    assert site.read_answer(ada)


def test_after_sigkill_nothing_is_left_that_delivers_or_that_hinders_the_next(site: Site, ada: Person) -> None:
    first = site.serve("--deliver", *site.passphrases("service", "roster"))
    [deliverer] = processes_that_name(site.instance, "work")
    os.kill(first._process.pid, signal.SIGKILL)
    wait_until_gone(deliverer)
    assert first.stop() == -signal.SIGKILL
    assert (site.instance / "run" / "control.sock").exists()
    site.serve("--locked")
    assert site.write(ada) == 250
    site.unlock()
    assert site.read_answer(ada)


def test_a_door_that_is_taken_ends_it_with_a_sentence_and_leaves_no_deliverer(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        path = site.instance / "config.toml"
        path.write_text(path.read_text().replace("127.0.0.1:0", f"127.0.0.1:{other.getsockname()[1]}"))
        done = site.command("serve", "--deliver", *site.passphrases("service", "roster"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("mailer: ")
    assert "The door cannot listen" in done.stderr
    assert "Traceback" not in done.stderr
    assert not processes_that_name(site.instance)


def test_a_certificate_that_is_missing_ends_it_with_a_sentence_and_leaves_no_deliverer(site: Site) -> None:
    path = site.instance / "config.toml"
    text = path.read_text().replace('tls_certificate = ""', 'tls_certificate = "missing.pem"')
    path.write_text(text.replace('tls_key = ""', 'tls_key = "missing.key"'))
    done = site.command("serve", "--deliver", *site.passphrases("service", "roster"))
    assert done.returncode == 1
    assert is_one_sentence_of_ours(done)
    assert not processes_that_name(site.instance)


@pytest.mark.parametrize("command", ["serve", "check-config"])
def test_an_unknown_key_is_named_with_its_line(site: Site, command: str) -> None:
    path = site.instance / "config.toml"
    path.write_text(path.read_text().replace("max_recipients = ", "max_recipient = "))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if text.startswith("max_recipient = "))
    done = site.command(command)
    assert done.returncode == 1
    assert is_one_sentence_of_ours(done)
    assert f"config.toml, line {line}: [door] max_recipient: there is no such key" in done.stderr
    assert "did you mean max_recipients?" in done.stderr


def test_what_is_not_toml_ends_it_with_a_sentence(site: Site) -> None:
    path = site.instance / "config.toml"
    path.write_text(path.read_text() + "\n[store\n")
    done = site.command("serve", "--locked")
    assert done.returncode == 1
    assert is_one_sentence_of_ours(done)
    assert re.search(r"config\.toml, line \d+: this is not TOML", done.stderr)


def test_check_config_finds_no_fault_in_what_is_shipped(site: Site) -> None:
    done = site.command("check-config")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no fault found" in done.stdout


# --- The socket between them -----------------------------------------------------------------------------------------


async def answer(request: control.Request) -> str:
    return f"heard {request.get('do')}"


async def test_the_socket_works_in_a_folder_whose_path_is_longer_than_a_sockets_name_may_be(tmp_path: Path) -> None:
    path = tmp_path / ("deep" * 40) / "run" / "control.sock"
    path.parent.parent.mkdir()
    with control.claim(path):
        async with control.listening(path, answer):
            assert await control.ask(path, {"do": "something"}) == "heard something"


async def test_a_request_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run" / "control.sock"
    with control.claim(path):
        async with control.listening(path, answer):
            with pytest.raises(ServiceRefused, match="no request"):
                await control.ask(path, {"do": 1})  # type: ignore[dict-item]


async def test_nobody_at_the_other_end_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "run" / "control.sock"
    with pytest.raises(ServiceNotRunning):
        await control.ask(path, {"do": "lock"})
    path.parent.mkdir()
    with pytest.raises(ServiceNotRunning):
        await control.ask(path, {"do": "lock"})


def test_only_one_at_a_time_may_claim_an_instance(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with control.claim(path), pytest.raises(ServiceRunning), control.claim(path):
        pass
    with control.claim(path):
        pass


def test_a_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(control.ControlUnusable), control.claim(tmp_path / "run" / "control.sock"):
        pass
