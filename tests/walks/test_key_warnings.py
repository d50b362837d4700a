"""Readers are warned before their key runs out, and of one that did they are told without content."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mailer.outward import expiring
from mailer.outward.expiring import KeyWatch
from mailer.store import queue, rounds
from mailer.store.database import Database
from mailer.store.tables import deliveries, subscribers, tallies
from mailer.store.tables import rounds as rounds_table
from tests.certificates.forge import CV25519, FEATURES, FLAGS, KEY_EXPIRES, Forge, Key, period, subpacket
from tests.conversations import post
from tests.conversations.stage import Holder, Stage
from tests.conversations.stage import expiring as until
from tests.house import LIST, House, Person, open_house, reply_to
from tests.walks.far_server import Received

WARNING = {"en": "Your key expires soon", "zh-Hant": "您的公鑰快要過期", "zh-Hans": "您的公钥快要过期"}
JOIN = {"en": "subscribe", "zh-Hant": "訂閱", "zh-Hans": "订阅"}


def watch(house: House, page: int = expiring.PAGE) -> KeyWatch:
    return KeyWatch(house.database, house.deliverer.ledger, house.clock, page)


async def with_key_until(house: House, name: str, days: float, language: str = "en") -> Person:
    person = until(Person.with_key(f"{name}@reader.example"), house.clock() + timedelta(days=days))
    await house.join(person, JOIN[language])
    return person


async def a_day_later(house: House, one: KeyWatch, days: float = 1) -> list[Received]:
    house.clock.pass_(days=days)
    await look_all(house, one)
    return await house.deliver()


async def look_all(house: House, one: KeyWatch) -> None:
    for _ in range(2):
        house.clock.pass_(minutes=1)
        await one.look()


async def rows(house: House, table: Any) -> list[Any]:
    async with house.database.read() as tx:
        return list((await tx.execute(select(table))).all())


async def test_somebody_is_warned_at_30_14_and_3_days_sealed_and_each_once(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, one = await with_key_until(house, "ada", 33.5), watch(house)
        told: list[int] = []
        for day in range(33):
            for letter in await a_day_later(house, one):
                assert post.is_sealed(letter) and post.recipient(letter) == ada.address
                assert post.outside(letter)["Subject"] == "[...]"
                assert post.subject_for(letter, ada) == WARNING["en"]
                told.append(33 - day)
        assert told == [30, 14, 3]


async def test_everybody_is_warned_in_their_language_and_told_what_to_do(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        people = {language: await with_key_until(house, f"ada-{language}", 29.5, language) for language in WARNING}
        letters = await a_day_later(house, watch(house), 0.1)
        assert len(letters) == 3
        for language, person in people.items():
            [letter] = [one for one in letters if post.recipient(one) == person.address]
            assert post.subject_for(letter, person) == WARNING[language]
            text = person.read(letter)
            assert "gpg --quick-set-expire" in text and "sq key expire" in text and "Thunderbird" in text


async def test_nothing_stays_of_who_was_warned(tmp_path: Path) -> None:
    """Neither a row nor a column: a step told beside a subscriber's id would tell when their key ends."""
    async with open_house(tmp_path / "instance") as house:
        await with_key_until(house, "ada", 33.5)
        one = watch(house)
        before = await rows(house, subscribers)
        assert len(await a_day_later(house, one, 4)) == 1
        assert await rows(house, deliveries) == []
        after = await rows(house, subscribers)
        plain = [column.name for column in subscribers.columns if column.name not in ("record", "data_key_id")]
        assert [[getattr(row, name) for name in plain] for row in after] == [
            [getattr(row, name) for name in plain] for row in before
        ]
        [tally] = await rows(house, tallies)
        assert (tally.job, tally.number) == ("notice/key-expires", 1)


async def test_whoever_extends_the_key_in_time_is_warned_no_more(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, one = await with_key_until(house, "ada", 33.5), watch(house)
        assert len(await a_day_later(house, one, 4)) == 1
        longer = until(ada, house.clock() + timedelta(days=900))
        [thanks] = await house.write(longer.letter("my key", with_key=True))
        assert post.subject_for(thanks, ada) == "We use this key from now on"
        for _ in range(4):
            assert await a_day_later(house, one, 9) == []


async def test_a_warning_that_waits_is_not_sent_once_the_key_goes_on_longer(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, one = await with_key_until(house, "ada", 29), watch(house)
        await look_all(house, one)
        assert [row.job for row in await rows(house, deliveries)] == ["notice/key-expires"]
        await house.write(until(ada, house.clock() + timedelta(days=900)).letter("my key", with_key=True))
        assert await house.deliver() == []


async def test_who_pauses_or_has_a_key_without_an_end_is_not_written_to(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await house.join(Person.with_key("bob@reader.example"))
        ada, one = await with_key_until(house, "ada", 29), watch(house)
        await house.write(post.write(ada, "news@lists.example", {"Signed": "by Ada"}, "pause", {"Ada": ada}))
        await look_all(house, one)
        assert await house.deliver() == []


async def test_a_key_that_ends_before_the_letter_leaves_is_told_of_without_content(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, one = await with_key_until(house, "ada", 2), watch(house)
        await look_all(house, one)
        house.clock.pass_(days=3)
        [notice] = await house.deliver()
        assert not post.is_sealed(notice)
        assert post.subject_for(notice, ada) == "Your key no longer works"
        assert [row.state for row in await rows(house, subscribers)] == ["suspended"]


# --- Pages, workers, deaths -----------------------------------------------------------------------------------------


async def test_every_page_is_looked_at_once_a_day_and_nobody_is_left_out(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        for name in ("ada", "bob", "cleo", "dan", "eve"):
            await with_key_until(house, name, 29)
        one = watch(house, page=2)
        warned = []
        for _ in range(10):
            warned.append(await one.look())
            house.clock.pass_(seconds=2)
        assert sum(warned) == 5 and warned[:3] == [2, 2, 1]
        assert len(await house.deliver()) == 5
        house.clock.pass_(days=1)
        for _ in range(10):
            assert await one.look() == 0
            house.clock.pass_(seconds=2)


async def test_of_two_workers_one_has_the_page(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await with_key_until(house, "ada", 29)
        first, second = watch(house), watch(house)
        assert sorted(await asyncio.gather(first.look(), second.look())) == [0, 1]
        assert len(await house.deliver()) == 1


async def test_a_page_of_a_worker_that_died_is_taken_up_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_house(tmp_path / "instance") as house:
        await with_key_until(house, "ada", 29)

        async def die(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(rounds, "turn", die)
            with pytest.raises(KeyboardInterrupt):
                await watch(house).look()
        assert await rows(house, deliveries) == []
        assert await watch(house).look() == 0  # it is still the other's
        house.clock.pass_(minutes=3)
        assert await watch(house).look() == 1
        assert len(await house.deliver()) == 1


async def test_whoever_comes_back_after_its_page_was_taken_changes_nothing(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await with_key_until(house, "ada", 29)
        now = house.clock()
        async with house.database.write() as tx:
            slow = await rounds.take(tx, expiring.ROUND, now, timedelta(seconds=1))
        assert slow is not None
        house.clock.pass_(seconds=5)
        assert await watch(house).look() == 1
        async with house.database.write() as tx:
            assert await rounds.turn(tx, slow, None, house.clock()) is False


async def test_a_certificate_that_cannot_be_read_stops_nobody_elses_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_house(tmp_path / "instance") as house:
        await with_key_until(house, "ada", 29)
        await with_key_until(house, "bob", 29)
        seen: list[bytes] = []

        def break_once(blob: bytes) -> datetime | None:
            seen.append(blob)
            if len(seen) == 1:
                raise ValueError("what it says")
            return whole(blob)

        whole = expiring.certificates.expiry
        monkeypatch.setattr(expiring.certificates, "expiry", break_once)
        assert await watch(house).look() == 1
        assert "ValueError" in caplog.text and "what it says" not in caplog.text


async def test_a_list_key_is_announced_once_on_both_engines(database_url: str) -> None:
    database, now = Database(database_url), datetime.fromisoformat("2026-06-01T12:00:00+00:00")
    await database.open()
    try:
        async with database.write() as tx:
            assert not await queue.is_announced(tx, "list-key-a")
            assert await queue.announce(tx, "list-key-a", "news", now, "list-key-b") == 0
        async with database.write() as tx:
            assert await queue.is_announced(tx, "list-key-a")
            assert await queue.announce(tx, "list-key-a", "news", now, "list-key-b") is None
    finally:
        await database.close()


async def test_a_round_begins_a_day_after_the_last_began_on_both_engines(database_url: str) -> None:
    database, day = Database(database_url), timedelta(days=1)
    await database.open()
    try:
        begun = datetime.fromisoformat("2026-06-01T12:00:00+00:00")
        async with database.write() as tx:
            page = await rounds.take(tx, "x", begun, timedelta(minutes=2))
            assert page is not None and (page.moment, page.place) == (begun, b"")
            assert await rounds.take(tx, "x", begun, timedelta(minutes=2)) is None
            assert await rounds.turn(tx, page, b"7" * 12, begun)
            second = await rounds.take(tx, "x", begun + timedelta(seconds=2), timedelta(minutes=2))
            assert second is not None and (second.moment, second.place) == (begun, b"7" * 12)
            assert await rounds.turn(tx, second, None, begun)
            assert await rounds.take(tx, "x", begun + day - timedelta(seconds=1), timedelta(minutes=2)) is None
            following = await rounds.take(tx, "x", begun + day, timedelta(minutes=2))
            assert following is not None and (following.before, following.moment) == (begun, begun + day)
            assert (await tx.execute(select(rounds_table.c.place))).scalar_one() == b""
    finally:
        await database.close()


# --- A key that became unusable -------------------------------------------------------------------------------------


async def test_the_end_of_the_last_encryption_subkey_counts_though_the_primary_key_has_none(tmp_path: Path) -> None:
    """One warning, then no digest but one notice without content, however many digests there are."""
    async with open_house(tmp_path / "instance") as house:
        made = house.clock() - timedelta(days=10)
        forge, key = Forge(made), Key(made, CV25519)
        forge.user_id("<ada@reader.example>", subpacket(FLAGS, b"\x03"), subpacket(FEATURES, b"\x01"))
        forge.subkey(key).bind(key, subpacket(FLAGS, b"\x0c"), subpacket(KEY_EXPIRES, period(timedelta(days=35))))
        ada, one = Holder("ada@reader.example", blob=bytes(forge)), watch(house)
        letter = f"From: {ada.address}\r\nTo: {LIST}\r\nSubject: subscribe\r\n\r\n".encode()
        [question] = await house.write(letter + post.with_crlf(post.armored(ada.certificate)))
        await house.write(ada.letter("Re: [...]", "ok"), to=reply_to(question))
        [warning] = await a_day_later(house, one)
        assert post.is_sealed(warning) and post.recipient(warning) == ada.address
        stage = Stage(house, tmp_path)
        house.clock.pass_(days=30)
        [notice] = await stage.send_digest()
        assert not post.is_sealed(notice)
        assert str(post.outside(notice)["Subject"]) == "Your key no longer works"
        house.clock.pass_(days=1)
        assert await stage.send_digest() == []
