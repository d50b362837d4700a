"""An installation that was copied delivers nothing until it is told that it is the one (DESIGN §7)."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailer.crypto.keyring import Keyring
from mailer.demo.mailbox_server import MailboxServer
from mailer.errors import NotAtHome
from mailer.instance import Instance
from mailer.model.subscriber import Drawer
from mailer.outward import publish
from mailer.outward.compose import compose
from mailer.store import home
from tests.house import ROSTER, SERVICE, Person, make_instance, point_relay_at
from tests.walks import crowd

WITHIN_S = 30.0
REFUSED = "This is a copy, or was moved or restored"


@dataclass
class Site:
    """An instance with one reader, and the mail server that its relay is."""

    folder: Path
    mailboxes: MailboxServer

    @property
    def instance(self) -> Path:
        return self.folder / "instance"

    def command(self, *words: str, instance: Path, answer: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._line(*words, instance=instance),
            cwd=self.folder,
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def work_until_it_ends(self, instance: Path) -> subprocess.CompletedProcess[str]:
        return self.command("work", "--processes", "1", *self._both(), instance=instance)

    @contextmanager
    def at_work(self, instance: Path) -> Iterator[None]:
        """Deliver during the block, and end in good order."""
        command = self._line("work", "--processes", "1", *self._both(), instance=instance)
        with subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            try:
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                _, log = process.communicate(timeout=WITHIN_S)
                sys.stderr.write(log.decode())  # shown where a test fails
        assert process.returncode == 0

    def deliver(self, count: int, instance: Path | None = None) -> None:
        """Work until so many letters came in all."""
        with self.at_work(instance or self.instance):
            self.mailboxes.wait_for(count, WITHIN_S)

    def copied(self) -> Path:
        copy = self.folder / "copy"
        subprocess.run(["cp", "-r", "--preserve=all", self.instance, copy], check=True)
        return copy

    def passphrase(self, which: str) -> list[str]:
        return [f"--{which}-passphrase-file", str(self.folder / which)]

    def _both(self) -> list[str]:
        return [*self.passphrase("service"), *self.passphrase("roster")]

    def _line(self, *words: str, instance: Path) -> list[str]:
        return [sys.executable, "-m", "mailer", *words, "--instance", str(instance)]


async def deliver_from(instance: Instance, reader: Person, folder: Path) -> None:
    """Have one reader, one digest that waits, and the mark that a first delivery leaves."""
    _, secrets = instance.open_service(SERVICE)
    database, now = instance.database(), datetime.now(UTC)
    await database.open()
    await crowd.enrol(database, secrets, instance.roster_public(), 1, [Drawer(reader.certificate, "f00d")])
    source = folder / "news.md"
    source.write_text("---\nsubject: News\nlanguage: en\n---\n\nAll of it.\n")
    await publish.save(database, secrets, "d1", "news", [compose(source)], now)
    news, providers = instance.directory().lists[0], instance.providers
    await publish.send(database, Keyring(secrets), news, "d1", now, providers=providers)
    await home.check(database)
    await database.close()


async def is_home(folder: Path) -> bool:
    database = Instance.open(folder).database()
    try:
        await home.check(database)
    except NotAtHome:
        return False
    finally:
        await database.close()
    return True


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An installation that has delivered before and has a digest waiting."""
    with MailboxServer() as mailboxes:
        site = Site(tmp_path, mailboxes)
        instance = point_relay_at(make_instance(site.instance, None), mailboxes.port)
        for name, passphrase in (("service", SERVICE), ("roster", ROSTER)):
            (tmp_path / name).write_text(passphrase + "\n")
        asyncio.run(deliver_from(instance, Person.with_key(crowd.address_of(0)), tmp_path))
        yield site


def test_a_copy_says_so_and_sends_nothing_while_the_original_goes_on(site: Site) -> None:
    copy = site.copied()
    done = site.work_until_it_ends(copy)
    assert done.returncode == 1
    assert REFUSED in done.stderr and "mailer adopt" in done.stderr
    assert "Traceback" not in done.stderr
    assert site.mailboxes.letters == []
    site.deliver(1)


def test_a_copy_that_was_adopted_delivers(site: Site) -> None:
    copy = site.copied()
    done = site.command("adopt", "--yes", instance=copy)
    assert (done.returncode, done.stderr) == (0, "")
    site.deliver(1, copy)


@pytest.mark.parametrize("answer", ["", "\n", "n\n"])
def test_who_does_not_say_that_the_other_is_stopped_adopts_nothing(site: Site, answer: str) -> None:
    copy = site.copied()
    done = site.command("adopt", instance=copy, answer=answer)
    assert done.returncode == 1
    assert "twice" in done.stdout and "stopped" in done.stdout
    assert not asyncio.run(is_home(copy))


def test_who_says_that_the_other_is_stopped_adopts(site: Site) -> None:
    copy = site.copied()
    assert site.command("adopt", instance=copy, answer="y\n").returncode == 0
    assert asyncio.run(is_home(copy))


def test_the_same_folder_under_another_name_is_no_copy(site: Site) -> None:
    link = site.folder / "link"
    link.symlink_to(site.instance, target_is_directory=True)
    site.deliver(1, link)


def test_a_restored_database_is_not_delivered_from(site: Site) -> None:
    path = site.instance / "mailer.db"
    backup = site.folder / "backup.db"
    backup.write_bytes(path.read_bytes())
    subprocess.run(["install", "-m", "0600", backup, path], check=True)  # as in docs/operations.md
    assert not asyncio.run(is_home(site.instance))
