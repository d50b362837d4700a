"""A digest's way out when things go wrong: each delivery comes to one of its ends, and the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pysequoia
import pytest
from sqlalchemy import event, func, select, update

from mailer.crypto import openpgp
from mailer.errors import StoreFull
from mailer.model.certificate import Certificate
from mailer.model.digest import DeliveryState, DigestState
from mailer.model.failure import Failure
from mailer.model.language import Language
from mailer.model.mailing_list import Directory
from mailer.model.retry import POLICY_ATTEMPTS, Answer, Outcome
from mailer.model.subscriber import Drawer, State
from mailer.outward import deliver
from mailer.outward.settle import KEY_NOTICE
from mailer.store import digests, queue, roster, tables
from mailer.store.ledger import Entry
from mailer.store.tables import deliveries, subscribers
from tests.house import House, Person, open_house, open_text, text_of
from tests.walks.crowd import address_of, enrol, publish_digest
from tests.walks.far_server import FarServer, Misdeed, Received

BOTH = (
    "---\nsubject: News\nlanguage: en\n---\n\nAll of it.\n",
    "---\nsubject: 消息\nlanguage: zh-Hant\n---\n\n全部。\n",
)
READER = Person.with_key("reader@crowd.example")
TODAY = datetime.now(UTC).date()


def drawer_of(person: Person) -> Drawer:
    [certificate] = openpgp.examine(person.certificate, datetime.now(UTC))
    assert isinstance(certificate, Certificate)
    return Drawer(certificate.blob, certificate.fingerprint)


async def fill(house: House, count: int = 1, person: Person = READER, language: Language = Language.EN) -> list[bytes]:
    return await enrol(
        house.database, house.secrets, house.instance.roster_public(), count, [drawer_of(person)], language
    )


@asynccontextmanager
async def waiting_digest(
    folder: Path, count: int = 1, **answers: str | Misdeed | list[str | Misdeed]
) -> AsyncIterator[tuple[House, list[bytes]]]:
    """A house with a digest on its way to `count` subscribers."""
    async with open_house(folder / "instance", FarServer(answers)) as house:
        house.deliverer.pace = replace(house.deliverer.pace, retry_s=0.0)
        ids = await fill(house, count)
        assert await publish_digest(house) == count
        yield house, ids


async def counts(house: House, job: str = "d1") -> dict[DeliveryState, int]:
    async with house.database.read() as tx:
        return await queue.counts(tx, job)


async def ends(house: House, job: str = "d1") -> dict[tuple[DeliveryState, str, Failure | None], int]:
    async with house.database.read() as tx:
        return {(one.state, one.relay, one.failure): one.number for one in await queue.ends(tx, job)}


def narrow(house: House) -> None:
    """Let one letter be on its way at a time."""
    for lane in house.deliverer._lanes:
        lane.limit, lane.gate = 1, asyncio.Semaphore(1)


async def row(house: House, job: str = "d1"):  # type: ignore[no-untyped-def]
    async with house.database.read() as tx:
        return (await tx.execute(select(deliveries).where(deliveries.c.job == job))).one()


async def state_of_digest(house: House, digest_id: str = "d1") -> DigestState:
    async with house.database.read() as tx:
        status = await digests.status(tx, digest_id)
    assert status is not None
    return status.state


async def send_until(house: House, days: int) -> None:
    """Let the digest leave for so long: as shipped, what has not left after two days is held."""
    ends = int((house.clock() + timedelta(days=days)).timestamp())
    await do(house, lambda tx: tx.execute(tables.digests.update().values(send_before=ends)))


async def do(house: House, act: Callable[..., Awaitable[object]], *arguments: object, **named: object) -> None:
    async with house.database.write() as tx:
        await act(tx, *arguments, **named)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def recipients(letters: list[Received]) -> list[str]:
    return sorted(one.rcpt.partition("<")[2].partition(">")[0] for one in letters)


# --- What the relay answers -----------------------------------------------------------------------------------------


async def test_later_means_later_with_longer_and_longer_waits_and_an_end(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, RCPT="450 4.2.0 greylisted") as (house, _):
        await send_until(house, days=9)
        waits = []
        while (await counts(house)).get(DeliveryState.DUE):
            waits.append((await row(house)).due - house.clock().timestamp())
            house.clock.pass_(seconds=max(waits[-1], 0) + 1)
            assert await house.deliver() == []
        del waits[0]  # from the beginning to the first attempt
        assert await counts(house) == {DeliveryState.FAILED: 1}
        assert 44 <= waits[0] <= 75 and 89 <= waits[1] <= 150  # a minute and two, each a quarter more or less
        assert max(waits) <= 4 * 3600 * 1.25
        assert sum(waits) + len(waits) >= 5 * 24 * 3600
        assert await ends(house) == {(DeliveryState.FAILED, "main", Failure.TEMPORARY): 1}
        assert await state_of_digest(house) is DigestState.SENT


async def test_what_has_not_left_in_time_is_held_until_an_organiser_says_go_on(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 2) as (house, _):
        house.clock.pass_(hours=49)
        assert await house.deliver() == []
        assert await state_of_digest(house) is DigestState.HELD
        await do(house, digests.resume, "d1", house.clock(), house.clock() + timedelta(hours=1))
        assert len(await house.deliver()) == 2
        assert await state_of_digest(house) is DigestState.SENT


async def test_a_paused_digest_rests_and_goes_on(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 2) as (house, _):
        await do(house, digests.pause, "d1")
        assert await house.deliver() == []
        await do(house, digests.resume, "d1", house.clock(), house.clock() + timedelta(hours=1))
        assert len(await house.deliver()) == 2


async def test_before_it_is_due_nothing_is_tried(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, RCPT="450 4.2.0 greylisted") as (house, _):
        await house.deliver()
        house.clock.pass_(seconds=40)
        await house.deliver()
        assert sum(line.startswith("RCPT") for line in house.far.commands) == 1


async def test_a_greylisted_letter_arrives_at_the_second_try(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, RCPT=["450 4.2.0 greylisted"]) as (house, _):
        assert await house.deliver() == []
        assert await state_of_digest(house) is DigestState.SENDING
        house.clock.pass_(minutes=2)
        assert len(await house.deliver()) == 1
        assert await counts(house) == {DeliveryState.SENT: 1}
        assert await state_of_digest(house) is DigestState.SENT


async def test_never_means_never_and_the_others_get_theirs(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 3, RCPT=["550 5.1.1 no such user"]) as (house, _):
        assert len(await house.deliver()) == 2
        assert await counts(house) == {DeliveryState.FAILED: 1, DeliveryState.SENT: 2}
        house.clock.pass_(days=6)
        assert await house.deliver() == []


async def test_a_relay_that_is_down_is_left_alone_for_a_while_and_counts_for_nobody(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 5, CONNECT=[Misdeed.CLOSE] * 4) as (house, _):
        tried = []
        for _ in range(3):
            await house.deliver()
            tried.append(house.far.connections)
            assert await counts(house) == {DeliveryState.DUE: 5}
            house.clock.pass_(seconds=61)
        assert tried == [2, 3, 4]  # as many as a lane begins with; then one, to see whether it is back
        async with house.database.read() as tx:
            rows = (await tx.execute(select(deliveries.c.attempts, deliveries.c.first))).all()
        assert set(rows) == {(0, None)}
        assert len(await house.deliver()) == 5


async def test_while_a_relay_is_down_nothing_is_claimed(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 5, CONNECT=Misdeed.CLOSE) as (house, _):
        await house.deliver()
        assert await house.deliverer.deliver_due() == 0
        assert await counts(house) == {DeliveryState.DUE: 5}
        house.clock.pass_(seconds=2)
        assert await house.deliverer.deliver_due() > 0


async def test_a_letter_that_the_relay_hangs_up_on_does_not_keep_the_others(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 4, CONTENT=[Misdeed.CLOSE]) as (house, _):
        narrow(house)
        assert await house.deliver() == []
        house.clock.pass_(seconds=2)
        assert len(await house.deliver()) == 3  # all but the one that was on its way
        house.clock.pass_(seconds=80)
        assert len(await house.deliver()) == 1


async def test_a_letter_that_may_have_arrived_is_tried_less_and_less_often_and_not_for_ever(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, DOT=Misdeed.CLOSE) as (house, _):
        await send_until(house, days=9)
        for _ in range(400):
            await house.deliver()
            if not (await counts(house)).get(DeliveryState.DUE):
                break
            house.clock.pass_(hours=1)
        assert await counts(house) == {DeliveryState.FAILED: 1}
        assert len(house.far.letters) < 60


async def test_what_providers_answered_is_written_down_though_nothing_more_is_sent(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 3, RCPT=["550 5.7.1 blocked"]) as (house, _):
        running = asyncio.create_task(house.deliverer._deliver_for_ever())
        await until(lambda: len(house.far.letters) == 2)
        async with asyncio.timeout(20):
            while len(await weather(house)) < 2:
                house.clock.pass_(seconds=2)
                await house.deliverer._try_to_restock()
        assert await weather(house) == {"sent": 2, "policy": 1}
        house.deliverer._stopping.set()
        await running


async def test_what_providers_answered_is_counted_once_though_two_write_it_down_together(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 3) as (house, _):
        await house.deliver()
        house.clock.pass_(seconds=2)
        settler = house.deliverer._settler
        await asyncio.gather(settler.write_answers(), settler.write_answers())
        async with house.database.read() as tx:
            assert (await tx.execute(select(func.sum(tables.weather.c.number)))).scalar() == 3


async def test_a_reader_who_is_refused_again_and_again_counts_once(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, RCPT="550 5.7.1 blocked") as (house, _):
        await send_until(house, days=9)
        for _ in range(POLICY_ATTEMPTS):
            await house.deliver()
            house.clock.pass_(hours=5)
        assert await counts(house) == {DeliveryState.FAILED: 1}
        assert await weather(house) == {"policy": 1}


async def weather(house: House) -> dict[str, int]:
    async with house.database.read() as tx:
        return {row.outcome: row.number for row in await tx.execute(select(tables.weather))}


async def test_a_worker_holds_about_a_batch_however_many_providers_there_are(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 60, CONTENT=[Misdeed.STALL] * 99) as (house, ids):
        names = house.deliverer.providers
        for one, name in zip(ids, names * 4, strict=False):
            row = update(deliveries).where(deliveries.c.subscriber_id == one).values(provider=name)
            await do(house, lambda tx, row=row: tx.execute(row))
        house.deliverer.pace = replace(house.deliverer.pace, batch=20)
        running = asyncio.create_task(house.deliverer.run())
        await until(lambda: "DATA" in house.far.commands)
        assert (await counts(house))[DeliveryState.LEASED] <= 20 + len(names)
        house.far.resumed.set()
        await until(lambda: len(house.far.letters) == 60)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


# --- What became of the subscriber meanwhile ------------------------------------------------------------------------


def expiring_key() -> Person:
    key = pysequoia.Tsk.generate("<soon@crowd.example>", profile=pysequoia.Profile.RFC4880, validity_seconds=24 * 3600)
    return Person("soon@crowd.example", key)


async def test_a_key_that_expired_suspends_and_is_told_once_without_content(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await fill(house, person=expiring_key())
        for digest_id in ("d1", "d2"):
            assert await publish_digest(house, digest_id) == 1
        await send_until(house, days=9)
        house.clock.pass_(days=2)
        [notice] = await house.deliver()
        [first, second] = [state for job in ("d1", "d2") for state in await counts(house, job)]
        assert {first, second} - {DeliveryState.SKIPPED} == {DeliveryState.UNUSABLE_KEY}  # the second may see the first
        assert await counts(house, f"notice/{KEY_NOTICE}") == {DeliveryState.SENT: 1}
        assert "no longer" in open_text(notice)
        assert b"All of it" not in notice.content and b"Subject: News" not in notice.content
        assert recipients([notice]) == [address_of(0)]
        async with house.database.read() as tx:
            assert (await tx.execute(select(subscribers.c.state))).scalar_one() == State.SUSPENDED
        assert await publish_digest(house, "d3") == 0
        assert await house.deliver() == []


async def test_who_sent_a_new_key_while_the_letter_waited_gets_it_under_the_new_one(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance", FarServer({"CONTENT": [Misdeed.STALL]})) as house:
        narrow(house)
        [first, second] = await fill(house, 2, person=expiring_key())
        await publish_digest(house)
        delivering = asyncio.create_task(house.deliver())
        await until(lambda: "DATA" in house.far.commands)  # both are claimed, one is on its way
        async with house.database.read() as tx:
            row = (await tx.execute(select(subscribers).where(subscribers.c.id.in_([first, second])))).all()
        for one in row:
            opened = (await entries(house, one.id))[one.id]
            found = roster.Found(opened.subscriber, opened.drawer, opened.record.drawer_key)
            await do(house, roster.put_in_drawer, found, drawer_of(READER))
        house.clock.pass_(seconds=1.1)
        house.far.resumed.set()
        letters = await delivering
        assert len(letters) == 2
        assert "All of it" in text_of(READER.open(letters[1]))


async def entries(house: House, *ids: bytes):  # type: ignore[no-untyped-def]
    async with house.database.read() as tx:
        return await house.deliverer.ledger.entries(tx, ids)


async def test_who_paused_meanwhile_is_skipped(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 2) as (house, ids):
        await do(house, roster.set_state, ids[0], State.PAUSED)
        assert recipients(await house.deliver()) == [address_of(1)]
        assert await counts(house) == {DeliveryState.SKIPPED: 1, DeliveryState.SENT: 1}


async def test_who_left_meanwhile_gets_nothing(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 2) as (house, ids):
        await do(house, roster.erase, ids[0], TODAY, leave_mark=True)
        assert recipients(await house.deliver()) == [address_of(1)]
        assert await counts(house) == {DeliveryState.SENT: 1}


async def test_who_leaves_after_the_batch_was_claimed_gets_nothing(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 3, CONTENT=[Misdeed.STALL]) as (house, ids):
        narrow(house)
        delivering = asyncio.create_task(house.deliver())
        await until(lambda: "DATA" in house.far.commands)
        for one in ids:
            await do(house, roster.erase, one, TODAY, leave_mark=True)
        house.clock.pass_(seconds=1.1)
        house.far.resumed.set()
        assert len(await delivering) == 1  # the one that was on its way
        assert await counts(house) == {}


async def test_a_poisoned_row_is_set_aside_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with waiting_digest(tmp_path, 4) as (house, ids):
        broken = update(subscribers).where(subscribers.c.id == ids[2])
        await do(house, lambda tx: tx.execute(broken.values(record=b"\x01" + b"?" * 1264)))
        assert recipients(await house.deliver()) == [address_of(number) for number in (0, 1, 3)]
        assert await counts(house) == {DeliveryState.ASIDE: 1, DeliveryState.SENT: 3}
        assert "set aside" in caplog.text and "crowd.example" not in caplog.text
        assert await state_of_digest(house) is DigestState.SENT


async def test_no_reader_goes_without_where_the_default_language_changed_on_the_way(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 2) as (house, ids):
        await do(house, roster.set_language, ids[0], Language.ZH_HANS)
        [mailing_list] = house.instance.directory().lists
        changed = replace(mailing_list, default_language=Language.ZH_HANT)
        house.deliverer.copies.directory = Directory((changed,))
        assert sorted(recipients(await house.deliver())) == [address_of(0), address_of(1)]


async def test_a_refusal_for_policy_counts_only_when_it_stays(tmp_path: Path) -> None:
    """A blocked address of ours must not empty a digest in minutes (RFC 3463 §3.8)."""
    blocked: list[str | Misdeed] = ["550 5.7.1 blocked"] * (POLICY_ATTEMPTS - 1)
    async with waiting_digest(tmp_path, RCPT=blocked) as (house, _):
        await send_until(house, days=9)
        for _ in range(POLICY_ATTEMPTS - 1):
            assert await house.deliver() == []
            assert await counts(house) == {DeliveryState.DUE: 1}
            house.clock.pass_(hours=5)
        assert recipients(await house.deliver()) == [address_of(0)]


async def test_a_refusal_for_policy_that_stays_is_final(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, RCPT="550 5.7.1 blocked") as (house, _):
        await send_until(house, days=9)
        for _ in range(POLICY_ATTEMPTS):
            await house.deliver()
            house.clock.pass_(hours=5)
        assert await counts(house) == {DeliveryState.FAILED: 1}


async def test_a_letter_that_cannot_be_made_is_set_aside_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with waiting_digest(tmp_path, 2) as (house, ids):
        make = house.deliverer.copies.make

        async def fail_for_one(claimed: queue.Claimed, entry: Entry, sender: str, max_octets: int) -> object:
            if claimed.subscriber_id == ids[0]:
                raise KeyError
            return await make(claimed, entry, sender, max_octets)

        monkeypatch.setattr(house.deliverer.copies, "make", fail_for_one)
        assert recipients(await house.deliver()) == [address_of(1)]
        assert await counts(house) == {DeliveryState.ASIDE: 1, DeliveryState.SENT: 1}
        assert "set aside: KeyError" in caplog.text


async def test_each_reader_gets_the_edition_of_their_language_else_the_lists_own(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        expected = {Language.EN: "All of it.", Language.ZH_HANT: "全部。", Language.ZH_HANS: "All of it."}
        readers = {language: Person.with_key(f"{language}@crowd.example") for language in expected}
        for language, reader in readers.items():
            await fill(house, person=reader, language=language)
        await publish_digest(house, "d1", *BOTH)
        letters = await house.deliver()
        for language, reader in readers.items():
            assert [text for text in texts_for(reader, letters) if expected[language] in text], language


def texts_for(reader: Person, letters: list[Received]) -> list[str]:
    """What a reader can decrypt of these."""
    texts = []
    for letter in letters:
        try:
            texts.append(text_of(reader.open(letter)))
        except RuntimeError:  # pysequoia's word for another one's letter
            continue
    return texts


# --- The lease, the disk, the end -----------------------------------------------------------------------------------


async def test_when_the_lease_is_nearly_over_no_final_dot_is_sent(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path) as (house, _):
        pace = house.deliverer.pace
        ages = [pace.usable_lease_s - 1, pace.usable_lease_s]
        allowed: list[bool] = []

        class Impatient:
            async def send(self, _letter: object, may_finish: Callable[[], bool]) -> object:
                start = house.clock()
                for age in ages:
                    house.clock.moment = start + timedelta(seconds=age)
                    allowed.append(may_finish())
                return Outcome(Answer.LATER, is_connection_lost=True)

        @asynccontextmanager
        async def connection() -> AsyncIterator[Impatient]:
            yield Impatient()

        house.deliverer.routes.outlets["main"].relay.connection = connection  # type: ignore[method-assign, assignment]
        await house.deliverer.deliver_due()
        assert allowed == [True, False]


async def test_what_is_left_when_the_lease_is_nearly_over_is_given_back_and_claimed_anew(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 3, CONTENT=[Misdeed.STALL]) as (house, _):
        narrow(house)
        running = asyncio.create_task(house.deliverer.run())
        await until(lambda: "DATA" in house.far.commands)
        assert await counts(house) == {DeliveryState.LEASED: 3}
        house.clock.pass_(seconds=house.deliverer.pace.usable_lease_s)
        await house.deliverer._claims.give_back(house.clock())
        assert await counts(house) == {DeliveryState.LEASED: 1, DeliveryState.DUE: 2}
        house.far.resumed.set()
        await until(lambda: len(house.far.letters) == 3)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_a_worker_holds_of_a_digest_that_was_stopped_is_given_back(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 3, CONTENT=[Misdeed.STALL]) as (house, _):
        narrow(house)
        running = asyncio.create_task(house.deliverer.run())
        await until(lambda: "DATA" in house.far.commands)
        await do(house, digests.pause, "d1")
        await house.deliverer._try_to_restock()
        assert await counts(house) == {DeliveryState.LEASED: 1, DeliveryState.DUE: 2}
        house.far.resumed.set()
        await until(lambda: not house.deliverer._on_their_way)
        assert await counts(house) == {DeliveryState.SENT: 1, DeliveryState.DUE: 2}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert len(house.far.letters) == 1


@pytest.mark.parametrize("times", [1, 3])
async def test_with_a_full_disk_nothing_more_is_sent_and_nothing_twice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, times: int
) -> None:
    async with waiting_digest(tmp_path, 6) as (house, _):
        sent_while_full: list[int] = []

        def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if house.far.letters and len(sent_while_full) < times and "DELETE FROM deliveries" in statement:
                sent_while_full.append(len(house.far.letters))
                raise StoreFull

        listen(house, fail)
        assert recipients(await house.deliver()) == [address_of(number) for number in range(6)]
        assert len(sent_while_full) == times
        assert max(sent_while_full) <= house.deliverer.routes.outlets["main"].relay.places
        assert await counts(house) == {DeliveryState.SENT: 6}
        assert "cannot be written down yet" in caplog.text


async def test_told_to_stop_it_sees_through_what_is_on_its_way_and_gives_back_the_rest(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 5, CONTENT=[Misdeed.STALL, Misdeed.STALL]) as (house, _):
        running = asyncio.create_task(house.deliverer.run())
        await until(lambda: house.far.commands.count("DATA") == 2)
        running.cancel()
        await asyncio.sleep(0)
        house.far.resumed.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await counts(house) == {DeliveryState.SENT: 2, DeliveryState.DUE: 3}
        assert len(house.far.letters) == 2


async def test_told_to_stop_it_does_not_wait_for_a_relay_that_says_nothing(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 3, DOT=Misdeed.HANG) as (house, _):
        house.deliverer.pace = replace(house.deliverer.pace, finish_s=0.05)
        running = asyncio.create_task(house.deliverer.run())
        await until(lambda: len(house.far.letters) == 2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await counts(house) == {DeliveryState.DUE: 3}


async def test_at_the_start_the_leases_of_a_process_that_died_are_given_back_at_once(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path, 2) as (house, _):
        boot, _, _ = house.deliverer.worker.partition(":")
        lease_s = house.deliverer.pace.lease_s
        for worker in (f"{boot}:999999999:1", "another-boot:1:1"):
            await do(house, queue.claim, worker, "d1", house.deliverer.providers, house.clock(), lease_s, 1)
        running = asyncio.create_task(house.deliverer.run())
        await until(lambda: len(house.far.letters) == 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert await counts(house) == {DeliveryState.SENT: 1, DeliveryState.LEASED: 1}


async def test_a_batch_that_cannot_be_claimed_leaves_no_trace(tmp_path: Path) -> None:
    async with waiting_digest(tmp_path) as (house, _):
        failing = fail_once(house, "data_key_id IS NULL")
        with pytest.raises(StoreFull):
            await house.deliverer.deliver_due()
        assert not failing and await counts(house) == {DeliveryState.DUE: 1}
        assert len(await house.deliver()) == 1


async def test_a_database_that_cannot_be_read_makes_deliveries_wait(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with waiting_digest(tmp_path) as (house, _):

        async def fail(*_: object) -> None:
            raise StoreFull

        with monkeypatch.context() as patch:
            patch.setattr(house.deliverer.ledger, "entries", fail)
            await house.deliverer.deliver_due()
        assert await counts(house) == {DeliveryState.DUE: 1}
        assert "deliveries wait" in caplog.text
        house.clock.pass_(seconds=5)
        assert len(await house.deliver()) == 1


async def test_the_loop_outlives_a_database_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "POLL_S", 0.0)
    async with waiting_digest(tmp_path) as (house, _):
        failing = fail_once(house, "data_key_id IS NULL")
        running = asyncio.create_task(house.deliverer.run())
        await until(lambda: len(house.far.letters) == 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert not failing and await counts(house) == {DeliveryState.SENT: 1}


def listen(house: House, hear: Callable[..., None]) -> None:
    """Have each statement heard before it runs."""
    for engine in house.database.engines:
        event.listen(engine, "before_cursor_execute", hear)


def fail_once(house: House, part: str) -> list[str]:
    """Let the first statement that holds `part` find the disk full; empty once that has happened."""
    failing = [part]

    def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if failing and failing[0] in statement:
            failing.clear()
            raise StoreFull

    listen(house, fail)
    return failing
