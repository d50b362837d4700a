"""Admins are told, encrypted and by the same checks as `doctor`, when a person is needed; and not again that day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from email import message_from_bytes, policy
from pathlib import Path

import pysequoia
import pytest
from sqlalchemy import insert

from mailer import control
from mailer.app import Service, watch_over
from mailer.crypto.keyring import Keyring
from mailer.deliverer_process import DelivererProcess
from mailer.doctor.alerts import WATCHED, Watch
from mailer.doctor.checks import Alert, Check
from mailer.doctor.finding import Finding, fault
from mailer.doctor.scene import Scene
from mailer.errors import FileUnusable, StoreFull
from mailer.instance import Instance
from mailer.model.digest import DigestState
from mailer.store.tables import digests
from tests.house import SERVICE, House, Person, make_instance, open_house, point_relay_at, text_of
from tests.walks.far_server import FarServer, Received

ADMIN = "admin@elsewhere.example"


@dataclass
class Guarded:
    """A house, an admin, and the faults that the checks are to find."""

    house: House
    admin: Person
    watch: Watch
    wrong: set[Alert] = field(default_factory=set)

    async def look(self) -> list[Received]:
        """Look once, let what waits leave, and return what reached the far server."""
        before = len(self.house.far.letters)
        await self.watch.look()
        if not self.house.keyring.is_locked:
            await self.house.work()
        return self.house.far.letters[before:]


@asynccontextmanager
async def guarded(folder: Path) -> AsyncIterator[Guarded]:
    admin = Person.with_key(ADMIN)
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_house(folder))
        instance = with_admin(house.instance, admin)
        watch = watch_over(instance, house.database, house.keyring, house.replies.routes, house.worker.answered)
        assert watch is not None
        watch.clock = house.clock
        here = Guarded(house, admin, watch)

        async def look(scene: Scene, alert: Alert) -> AsyncIterator[Finding]:
            if alert in here.wrong:
                yield fault("planted", "nothing")

        def check(one: Check) -> Check:
            assert one.alert is not None
            alert = one.alert
            return replace(one, look=lambda scene: look(scene, alert), news=None)

        watch.checks = tuple(map(check, WATCHED))
        yield here


def with_admin(instance: Instance, admin: Person) -> Instance:
    (instance.folder / "keys" / "admin.asc").write_bytes(admin.certificate)
    text = instance.config_path.read_text()
    instance.config_path.write_text(f'{text}\n[[admins]]\naddress = "{ADMIN}"\nkey = "keys/admin.asc"\n')
    return Instance.open(instance.folder)


async def test_an_alert_is_sealed_to_the_admin_and_signed_by_the_list(tmp_path: Path) -> None:
    async with guarded(tmp_path / "one") as here:
        here.wrong = {Alert.DISK}
        [letter] = await here.look()
        assert ADMIN in letter.rcpt and "+bounce@" in letter.mail
        assert b"disk" not in letter.content
        inner = here.admin.open(letter)
        assert "the disk is nearly full" in text_of(inner)
        assert inner["Auto-Submitted"] == "auto-generated"
        armored = list(message_from_bytes(letter.content, policy=policy.SMTP).iter_parts())[1].get_content()  # type: ignore[attr-defined]
        body = armored if isinstance(armored, bytes) else armored.encode()
        key = here.house.keyring.list_key("news")
        assert here.admin.key is not None
        store = lambda _: [pysequoia.Cert.from_bytes(key.public)]  # noqa: E731
        assert pysequoia.decrypt(body, here.admin.key.decryptor(), store=store).valid_sigs


async def test_of_each_kind_one_letter_a_day_is_sent_whatever_is_restarted(tmp_path: Path) -> None:
    async with guarded(tmp_path / "one") as here:
        here.wrong = {Alert.DISK, Alert.HELD}
        assert len(await here.look()) == 2
        assert await here.look() == []
        here.watch._told.clear()  # as after a restart
        assert await here.look() == []
        here.house.clock.pass_(days=1)
        assert len(await here.look()) == 2


async def test_of_keys_that_end_one_letter_a_week_is_sent(tmp_path: Path) -> None:
    async with guarded(tmp_path / "one") as here:
        here.wrong = {Alert.KEY}
        sent = 0
        for _ in range(14):
            sent += len(await here.look())
            here.house.clock.pass_(days=1)
        assert sent in (2, 3)  # two weeks, begun on whichever day this is


async def test_nothing_is_sent_where_nothing_is_wrong(tmp_path: Path) -> None:
    async with guarded(tmp_path / "one") as here:
        assert await here.look() == []


async def test_a_relay_that_is_silent_for_a_moment_is_not_told(tmp_path: Path) -> None:
    async with guarded(tmp_path / "one") as here:
        here.wrong = {Alert.RELAY}
        assert await here.look() == []
        here.house.clock.pass_(minutes=10)
        here.wrong = set()
        assert await here.look() == []
        here.wrong = {Alert.RELAY}
        assert await here.look() == []
        here.house.clock.pass_(minutes=31)
        assert len(await here.look()) == 1


async def test_a_locked_service_tells_it_itself_encrypted_and_past_the_outbox(tmp_path: Path) -> None:
    async with guarded(tmp_path / "one") as here:
        here.house.keyring.lock()
        here.wrong = {Alert.LOCKED}
        assert await here.look() == []
        here.house.clock.pass_(minutes=31)
        [letter] = await here.look()
        assert b"multipart/encrypted" in letter.content and b"locked" not in letter.content
        assert "it is locked" in here.admin.read(letter)
        assert await here.look() == []


async def test_what_a_relay_does_not_take_from_a_locked_service_is_given_again(tmp_path: Path) -> None:
    far = FarServer(answers={"MAIL": ["451 4.3.0 later"]})
    admin = Person.with_key(ADMIN)
    async with open_house(tmp_path / "one", far) as house:
        instance = with_admin(house.instance, admin)
        watch = watch_over(instance, house.database, house.keyring, house.replies.routes, house.worker.answered)
        assert watch is not None
        watch.clock = house.clock
        house.keyring.lock()
        watch.checks = (always(Alert.HELD),)
        await watch.look()
        assert far.letters == []
        await watch.look()
        assert len(far.letters) == 1


def always(alert: Alert) -> Check:
    async def look(scene: Scene) -> AsyncIterator[Finding]:
        yield fault("planted", "nothing")

    return Check(str(alert), look, "", alert=alert)


async def test_a_disk_too_full_to_count_on_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with guarded(tmp_path / "one") as here:
        here.wrong = {Alert.DISK}

        @asynccontextmanager
        async def full() -> AsyncIterator[None]:
            raise StoreFull
            yield

        monkeypatch.setattr(here.watch.database, "write", full)
        await here.watch.look()
        await here.watch.look()
        assert len(here.house.far.letters) == 1


async def test_an_admin_whose_key_has_ended_is_told_nothing_in_the_clear(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with guarded(tmp_path / "one") as here:
        here.wrong = {Alert.DISK}
        here.watch.admins = (replace(here.watch.admins[0], certificate=b"nothing"),)
        assert await here.look() == []
        assert "admin 1 cannot be told" in caplog.text
        assert ADMIN not in caplog.text


async def test_without_admins_nobody_watches(tmp_path: Path) -> None:
    async with open_house(tmp_path / "one") as house:
        assert (
            watch_over(house.instance, house.database, house.keyring, house.replies.routes, house.worker.answered)
            is None
        )


async def test_the_watch_finds_a_letter_that_was_set_aside_by_its_own_checks(tmp_path: Path) -> None:
    admin = Person.with_key(ADMIN)
    async with open_house(tmp_path / "one", with_contact=False) as house:
        instance = with_admin(house.instance, admin)
        watch = watch_over(instance, house.database, house.keyring, house.replies.routes, house.worker.answered)
        assert watch is not None
        watch.clock, watch.checks = house.clock, tuple(one for one in WATCHED if one.alert is Alert.ASIDE)
        assert await house.write(Person.with_key("reader@mail.example").letter("A question", "Who are you?")) == []
        await watch.look()
        [letter] = await house.work()
        text = admin.read(letter)
        assert "letters were set aside" in text
        assert "reader" not in text and "question" not in text


async def test_the_running_service_tells_the_admins_by_itself(tmp_path: Path) -> None:
    admin = Person.with_key(ADMIN)
    async with FarServer() as far:
        instance = with_admin(point_relay_at(make_instance(tmp_path / "one", None), far.port), admin)
        database = instance.database()
        await database.open()
        async with database.write() as tx:
            row = {"id": "late", "list_id": "news", "state": DigestState.HELD, "created": 0}
            await tx.execute(insert(digests).values(**row))
        await database.close()
        _, secrets = instance.open_service(SERVICE)
        with control.claim(instance.control_path):
            serving = asyncio.create_task(Service(instance, Keyring(secrets), DelivererProcess(instance.folder)).run())
            async with asyncio.timeout(20):
                while not far.letters and not serving.done():
                    await asyncio.sleep(0.02)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
    assert "a digest is held" in admin.read(far.letters[0])


async def test_the_service_does_not_start_where_an_admins_key_is_missing(tmp_path: Path) -> None:
    instance = with_admin(make_instance(tmp_path / "one", None), Person.with_key(ADMIN))
    (instance.folder / "keys" / "admin.asc").unlink()
    with control.claim(instance.control_path), pytest.raises(FileUnusable):
        await Service(instance, Keyring(), DelivererProcess(instance.folder)).run()
