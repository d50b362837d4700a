"""Letters and replies that wait: what one of them does wrong stops no other, and what is sent is not sent again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pysequoia
import pytest
from sqlalchemy import select, text, update
from typer.testing import CliRunner

from mailer.cli import inbox as inbox_commands
from mailer.cli.main import commands
from mailer.errors import ConfigError, Locked, NothingAside, StoreConflict, StoreError, StoreFull
from mailer.inward import worker
from mailer.inward.worker import MOST_ATTEMPTS, MOST_STARTS
from mailer.model.address import Address
from mailer.model.language import Language
from mailer.model.subscriber import Drawer, State
from mailer.store import inbox, outbox, roster
from mailer.store import tables as stored
from tests.conftest import ROOT
from tests.house import House, Person, open_house, open_text, reply_to
from tests.walks.far_server import FarServer, Misdeed
from tests.walks.test_deliver import fail_once, until

ADA, BOB = "ada@reader.example", "bob@reader.example"
TODAY = datetime.now(UTC).date()


def house(folder: Path, **answers: str | Misdeed | list[str | Misdeed]) -> AbstractAsyncContextManager[House]:
    return open_house(folder / "instance", FarServer(answers))


def wish(address: str) -> Any:
    return Person(address).letter("status")


async def waiting(here: House) -> dict[str, int]:
    async with here.database.read() as tx:
        return await inbox.count(tx)


def failing(here: House, error: Exception, *, times: int = 99) -> Callable[..., Awaitable[object]]:
    """Let the walk of the next letters fail so often."""
    receive, left = here.worker.receiver.receive, [error] * times

    async def fail(letter: inbox.Waiting) -> object:
        if left:
            raise left.pop()
        return await receive(letter)

    return fail


# --- Letters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError(ADA), StoreConflict()])
async def test_a_letter_that_fails_again_and_again_is_set_aside_and_the_next_is_answered(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path) as here:
        await here.send(wish(ADA))
        with monkeypatch.context() as patch:
            patch.setattr(here.worker.receiver, "receive", failing(here, error))
            for _ in range(MOST_ATTEMPTS):
                assert await waiting(here) == {"waiting": 1}
                assert await here.worker.deal_with_next()
                here.clock.pass_(minutes=2)
        assert await waiting(here) == {"failed": 1}
        assert not await here.worker.deal_with_next()
        assert ADA not in caplog.text and type(error).__name__ in caplog.text
        assert len(await here.write(wish(BOB))) == 1


@pytest.mark.parametrize("error", [StoreFull(), StoreError(), Locked()])
async def test_trouble_that_is_not_the_letters_fault_is_not_counted(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as here:
        await here.send(wish(ADA))
        with monkeypatch.context() as patch:
            patch.setattr(here.worker.receiver, "receive", failing(here, error))
            for _ in range(MOST_STARTS + 2):
                with pytest.raises(type(error)):
                    await here.worker.deal_with_next()
                here.clock.pass_(minutes=2)
        assert await waiting(here) == {"waiting": 1}
        assert len(await here.work()) == 1


async def test_a_letter_that_brings_the_process_down_each_time_is_set_aside_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as here:
        await here.send(wish(ADA))
        for _ in range(MOST_STARTS):
            async with here.database.write() as tx:
                assert await inbox.claim(tx, here.clock(), 1.0, 1)  # and then nothing: the process is gone
            here.clock.pass_(minutes=2)
        monkeypatch.setattr(here.worker.receiver, "receive", failing(here, StoreError("was read")))
        await here.worker.deal_with_next()
        assert await waiting(here) == {"failed": 1}


async def test_a_letter_whose_seal_is_broken_is_set_aside(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.send(wish(ADA))
        async with here.database.write() as tx:
            await tx.execute(update(stored.inbox).values(sealed=b"\x01 nothing of ours"))
        assert await here.work() == []
        assert await waiting(here) == {"seal-broken": 1}


async def test_a_letter_for_a_contact_without_a_key_is_set_aside(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance", with_contact=False) as here:
        assert await here.write(Person(ADA).letter("to a person", "how are you?")) == []
        assert await waiting(here) == {"no-contact-key": 1}


def key_that_ended(here: House) -> bytes:
    return (ROOT / "tests" / "certificates" / "files" / "expired.asc").read_bytes()


def key_that_ends_tomorrow(here: House) -> bytes:
    assert here.contact.key is not None
    certificate, tomorrow = pysequoia.Cert.from_bytes(here.contact.certificate), here.clock() + timedelta(days=1)
    return bytes(certificate.set_expiration(tomorrow, here.contact.key.certifier()))


@pytest.mark.parametrize("key", [key_that_ended, key_that_ends_tomorrow])
async def test_letters_for_a_contact_whose_key_has_ended_are_kept_until_there_is_a_new_one(
    tmp_path: Path, key: Callable[[House], bytes]
) -> None:
    async with open_house(tmp_path / "instance") as here:
        path = here.instance.folder / "keys" / "contact.asc"
        path.write_bytes(key(here))
        read_settings_again(here)  # and do not stop: other letters are for everybody
        here.clock.pass_(days=2)
        assert await here.write(Person(ADA).letter("to a person", "how are you?")) == []
        assert await waiting(here) == {"no-contact-key": 1}
        if key is key_that_ended:
            assert "the contact_key of news has ended" in await asyncio.to_thread(typed, here, "check-config")
        path.write_bytes(here.contact.certificate)
        read_settings_again(here)
        told = await asyncio.to_thread(typed, here, "inbox", "retry", "no-contact-key")
        assert told == "1 letter(s) are read again.\n"
        assert [one.rcpt for one in await here.work()] == [f"RCPT TO:<{here.contact.address}>"]
        assert await waiting(here) == {}


async def test_what_never_was_a_certificate_is_no_key_of_a_contact(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as here:
        (here.instance.folder / "keys" / "contact.asc").write_bytes(b"no certificate")
        with pytest.raises(ConfigError):
            here.instance.directory()


def read_settings_again(here: House) -> None:
    receiver = here.worker.receiver
    receiver.listener = replace(receiver.listener, directory=here.instance.directory())


def typed(here: House, *arguments: str) -> str:
    result = CliRunner().invoke(commands, [*arguments, "--instance", str(here.instance.folder)])
    assert result.exit_code == 0, result.output
    return result.stdout


async def test_what_is_set_aside_is_listed_by_reason_and_read_again_as_if_for_the_first_time(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance", with_contact=False) as here:
        await here.write(Person(ADA).letter("to a person", "how are you?"))
        await here.send(Person(BOB).letter("to a person", "and you?"))
        async with here.database.write() as tx:
            [letter] = await inbox.claim(tx, here.clock(), 300.0, 9)
            await inbox.set_aside(tx, letter.id, "failed")
        listed = json.loads(await asyncio.to_thread(typed, here, "inbox", "list", "--json"))
        assert [(one["reason"], one["letters"]) for one in listed] == [("failed", 1), ("no-contact-key", 1)]
        assert all(datetime.fromisoformat(one["oldest"]).tzinfo for one in listed)
        assert ADA not in str(listed)
        await asyncio.to_thread(typed, here, "inbox", "retry", "failed")
        assert await waiting(here) == {"waiting": 1, "no-contact-key": 1}
        here.clock.pass_(seconds=1)
        async with here.database.write() as tx:
            assert [one.attempts for one in await inbox.claim(tx, here.clock(), 300.0, 9)] == [1]
        recorded = await asyncio.to_thread(typed, here, "audit", "list")
        assert "inbox retry\treason=failed" in recorded
        with pytest.raises(NothingAside):
            await asyncio.to_thread(again_for_nothing, here)


def again_for_nothing(here: House) -> None:
    inbox_commands.retry(reason="template", instance_folder=here.instance.folder)


async def test_a_sealed_letter_that_was_moved_to_another_row_is_set_aside(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.send(wish(ADA))
        await here.send(wish(BOB))
        async with here.database.write() as tx:
            first, second = (await tx.execute(select(stored.inbox.c.id, stored.inbox.c.sealed))).all()
            await tx.execute(update(stored.inbox).where(stored.inbox.c.id == first.id).values(sealed=second.sealed))
        assert len(await here.work()) == 1
        assert await waiting(here) == {"seal-broken": 1}


async def test_while_it_is_locked_letters_wait_and_are_answered_afterwards(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        here.keyring.lock()
        await here.send(wish(ADA))
        running = [asyncio.create_task(work.run()) for work in (here.worker, here.replies)]
        await asyncio.sleep(0)
        assert await waiting(here) == {"waiting": 1}
        here.keyring.unlock(here.secrets)
        await until(lambda: len(here.far.letters) == 1)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        assert await waiting(here) == {}


async def test_what_has_run_out_is_erased_by_and_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PURGE_EVERY_S", 0.0)
    async with house(tmp_path) as here:
        [question] = await here.write(Person.with_key(ADA).letter("subscribe", with_key=True))
        await here.send(wish(BOB))
        async with here.database.write() as tx:
            await tx.execute(update(stored.inbox).values(aside="failed"))
        failed = fail_once(here, "DELETE FROM requests")  # the first time the disk is full
        here.clock.pass_(days=29)
        purging = asyncio.create_task(here.worker.purge_for_ever())
        await _until_empty(here, stored.requests)
        assert not failed and await waiting(here) == {"failed": 1}
        here.clock.pass_(days=2)
        await _until_empty(here, stored.inbox)
        purging.cancel()
        assert [open_text(letter) for letter in await here.write(Person(ADA).letter("ok"), to=reply_to(question))]


async def _until_empty(here: House, table: Any) -> None:
    async with asyncio.timeout(20):
        while True:
            async with here.database.read() as tx:
                if not (await tx.execute(select(table))).all():
                    return


async def test_who_moves_to_an_address_that_was_invited_is_moved(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        ada, new = Person.with_key(ADA), await roster.identify(here.secrets, "news", Address.parse(BOB))
        await here.join(ada)
        row = roster.Newcomer(b"i" * 12, b"k" * 32, Drawer(), Language.EN, "other-1", TODAY, State.INVITED)
        async with here.database.write() as tx:
            await roster.add(tx, here.secrets, here.instance.roster_public(), new, row)
        [question] = await here.write(ada.letter(f"change address to {BOB}"))
        [second] = await here.write(ada.letter("ok"), to=reply_to(question))
        assert len(await here.write(ada.letter("ok"), to=reply_to(second))) == 2
        async with here.database.read() as tx:
            found = await roster.find(tx, new)
        assert found is not None and found.subscriber.state is State.ACTIVE
        assert await waiting(here) == {}


# --- Replies --------------------------------------------------------------------------------------------------------


async def left(here: House) -> int:
    async with here.database.read() as tx:
        return await outbox.count(tx)


async def test_a_reply_that_is_wanted_later_is_sent_later(tmp_path: Path) -> None:
    async with house(tmp_path, RCPT=["451 4.7.1 greylisted"]) as here:
        assert await here.write(wish(ADA)) == []
        assert await left(here) == 1
        here.clock.pass_(seconds=40)
        assert await here.work() == []
        here.clock.pass_(seconds=60)
        assert len(await here.work()) == 1
        assert await left(here) == 0


async def test_a_reply_that_nobody_takes_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with house(tmp_path, RCPT="451 4.7.1 <ada@reader.example> greylisted") as here:
        await here.write(wish(ADA))
        here.clock.pass_(days=5)
        assert await left(here) == 1
        await here.work()
        assert await left(here) == 0
        assert "given up" in caplog.text and ADA not in caplog.text


async def test_a_reply_that_is_refused_is_dropped_and_the_next_one_goes(tmp_path: Path) -> None:
    async with house(tmp_path, RCPT=["550 5.1.1 no such user"]) as here:
        await here.send(wish(ADA))
        await here.send(wish(BOB))
        assert len(await here.work()) == 1
        assert await left(here) == 0


async def test_a_reply_whose_seal_is_broken_is_dropped_and_the_next_one_goes(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        for address in (ADA, BOB):
            await here.send(wish(address))
        while await here.worker.deal_with_next():
            pass
        async with here.database.write() as tx:
            await tx.execute(
                text("UPDATE outbox SET sealed = id WHERE id = (SELECT id FROM outbox ORDER BY id LIMIT 1)")
            )
        assert len(await here.work()) == 1
        assert await left(here) == 0


async def test_a_reply_that_was_taken_before_the_disk_was_full_is_not_sent_again(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.send(wish(ADA))
        while await here.worker.deal_with_next():
            pass
        failing = fail_once(here, "DELETE FROM outbox")
        with pytest.raises(StoreFull):
            await here.replies.send_batch()
        assert not failing and await left(here) == 1
        here.clock.pass_(hours=1)
        await here.work()
        assert await left(here) == 0
        assert len(here.far.letters) == 1


async def test_told_to_stop_it_sees_a_reply_through(tmp_path: Path) -> None:
    async with house(tmp_path, CONTENT=[Misdeed.STALL]) as here:
        await here.send(wish(ADA))
        while await here.worker.deal_with_next():
            pass
        running = asyncio.create_task(here.replies.run())
        await until(lambda: "DATA" in here.far.commands)
        running.cancel()
        await asyncio.sleep(0)
        here.far.resumed.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await left(here) == 0
        assert len(here.far.letters) == 1
