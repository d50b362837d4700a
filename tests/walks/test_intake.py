"""What stands between the door and the inbox: how full the disk may be, and how much may come in at once."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import func, select

from mailer.crypto.transit import TransitKey
from mailer.errors import StoreBusy, StoreError, StoreFull
from mailer.inward import intake as intakes
from mailer.inward.intake import Intake
from mailer.model.address import Address
from mailer.model.letter import Envelope
from mailer.store.database import Database
from mailer.store.tables import inbox

ENVELOPES = [Envelope(None, Address.parse(f"{name}@lists.example")) for name in ("news", "owner")]
LETTER = b"Subject: help\r\n\r\n"
MIB = 1024 * 1024


@asynccontextmanager
async def opened(folder: Path, **settings: int) -> AsyncIterator[Intake]:
    database = Database(f"sqlite:///{folder}/mailer.db")
    await database.open()
    try:
        yield Intake(database, TransitKey.generate().public, folder, **settings)
    finally:
        await database.close()


async def stored(intake: Intake) -> int:
    async with intake.database.read() as tx:
        return int((await tx.execute(select(func.count()).select_from(inbox))).scalar_one())


@pytest.mark.parametrize(("min_free_bytes", "number"), [(0, 2), (2**60, 0)], ids=["room", "no-room"])
async def test_with_little_disk_left_a_letter_is_not_taken(tmp_path: Path, min_free_bytes: int, number: int) -> None:
    async with opened(tmp_path, min_free_bytes=min_free_bytes) as intake:
        try:
            await intake.accept(ENVELOPES, LETTER)
        except StoreFull:
            assert not number
        assert await stored(intake) == number


async def test_what_is_being_stored_counts_as_gone_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as intake:
        monkeypatch.setattr(intakes.shutil, "disk_usage", lambda folder: SimpleNamespace(free=6 * len(LETTER)))
        async with intake.database.write():  # so that the first letter has to wait
            first = asyncio.ensure_future(intake.accept(ENVELOPES, LETTER))
            await asyncio.sleep(0)
            with pytest.raises(StoreFull):
                await intake.accept(ENVELOPES, LETTER)
        await first
        await intake.accept(ENVELOPES, LETTER)
        assert await stored(intake) == 4


async def test_while_much_is_being_stored_no_more_is_taken(tmp_path: Path) -> None:
    async with opened(tmp_path, at_once_bytes=len(LETTER)) as intake:
        async with intake.database.write():
            first = asyncio.ensure_future(intake.accept(ENVELOPES, LETTER))  # alone it may be larger than that
            await asyncio.sleep(0)
            with pytest.raises(StoreBusy):
                async with asyncio.timeout(2):  # so that this test ends, too, where it is taken
                    await intake.accept(ENVELOPES[:1], LETTER)
        await first
        await intake.accept(ENVELOPES[:1], LETTER)
        assert await stored(intake) == 3


async def test_a_letter_that_cannot_be_stored_gives_its_place_back_and_leaves_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, at_once_bytes=1) as intake:
        real, added = intakes.inbox.add, []

        async def add(*arguments: object) -> None:
            added.append(arguments)
            if len(added) == 2:
                raise StoreError
            await real(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(intakes.inbox, "add", add)
        with pytest.raises(StoreError):
            await intake.accept(ENVELOPES, LETTER)
        assert await stored(intake) == 0
        await intake.accept(ENVELOPES, LETTER)
        assert await stored(intake) == 2


async def test_many_recipients_need_no_more_memory_than_a_few(tmp_path: Path) -> None:
    many = [Envelope(None, Address.parse(f"news+{number}@lists.example")) for number in range(20)]
    async with opened(tmp_path) as intake:
        content = bytes(MIB)
        tracemalloc.start()
        try:
            await intake.accept(many, content)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 6 * MIB
        assert await stored(intake) == 20
