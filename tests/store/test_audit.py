"""The record of what organisers and admins did: whoever changes it is found out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, update

from mailer.crypto.aead import new_key
from mailer.errors import AuditBroken
from mailer.store import audit
from mailer.store.audit import Head
from mailer.store.database import Database, Transaction
from mailer.store.tables import audit as table
from mailer.store.tables import traits

NOW = datetime(2026, 11, 22, 12, 0, 5, 700_000, UTC)
KEY = audit.seal_key(new_key())


async def record(database: Database, *actions: str) -> None:
    for action in actions:
        await audit.record(database, "ada", action, "digest_id=d1", NOW)


async def change(database: Database, do: Callable[[Transaction], Awaitable[object]]) -> None:
    async with database.write() as tx:
        await do(tx)


async def test_entries_come_back_as_they_were_written_in_order(database: Database) -> None:
    await record(database, "one", "two")
    found = [entry async for entry in audit.read(database)]
    assert [(one.number, one.actor, one.action, one.about) for one in found] == [
        (1, "ada", "one", "digest_id=d1"),
        (2, "ada", "two", "digest_id=d1"),
    ]
    assert found[0].moment == NOW.replace(microsecond=0)
    assert (await audit.verify(database)).number == 2


async def test_an_empty_record_is_unbroken(database: Database) -> None:
    assert await audit.verify(database, seal_key=KEY) == Head()


async def test_two_who_record_at_once_both_stand_in_the_chain(database: Database) -> None:
    await asyncio.gather(*(record(database, f"action {number}") for number in range(4)))
    assert (await audit.verify(database)).number == 4


@pytest.mark.parametrize(
    "forge",
    [
        lambda tx: tx.execute(update(table).where(table.c.number == 2).values(about="digest_id=d2")),
        lambda tx: tx.execute(update(table).where(table.c.number == 2).values(actor="bob")),
        lambda tx: tx.execute(update(table).where(table.c.number == 2).values(moment=0)),
        lambda tx: tx.execute(update(table).where(table.c.number == 2).values(action="other")),
        lambda tx: tx.execute(delete(table).where(table.c.number == 2)),
        lambda tx: tx.execute(update(table).where(table.c.number == 2).values(number=9)),
    ],
)
async def test_an_entry_that_was_changed_or_taken_out_is_named(database: Database, forge) -> None:  # type: ignore[no-untyped-def]
    await record(database, "one", "two", "three")
    await change(database, forge)
    with pytest.raises(AuditBroken, match="Entry 2"):
        await audit.verify(database)


async def test_a_head_that_was_noted_shows_a_record_that_was_written_anew_or_cut_off(database: Database) -> None:
    await record(database, "one", "two")
    noted = await audit.verify(database)
    await record(database, "three")
    assert (await audit.verify(database, noted)).number == 3
    await change(database, lambda tx: tx.execute(delete(table).where(table.c.number > 1)))
    with pytest.raises(AuditBroken, match="you noted at entry 2"):
        await audit.verify(database, noted)
    await record(database, "another two")
    await audit.verify(database)  # by itself it looks unbroken
    with pytest.raises(AuditBroken, match="you noted at entry 2"):
        await audit.verify(database, noted)


async def test_the_seal_of_the_service_shows_the_same(database: Database) -> None:
    await record(database, "one", "two")
    await audit.vouch(database, KEY)
    await record(database, "three")
    assert (await audit.verify(database, seal_key=KEY)).number == 3
    await change(database, lambda tx: tx.execute(delete(table)))
    await record(database, "one", "another two", "three")
    with pytest.raises(AuditBroken, match="the service sealed at entry 2"):
        await audit.verify(database, seal_key=KEY)
    with pytest.raises(AuditBroken):
        await audit.vouch(database, KEY)


async def test_a_seal_that_was_forged_or_damaged_is_none(database: Database) -> None:
    await record(database, "one")
    await audit.vouch(database, audit.seal_key(new_key()))
    with pytest.raises(AuditBroken, match="forged"):
        await audit.verify(database, seal_key=KEY)
    await change(database, lambda tx: tx.execute(update(traits).where(traits.c.name == audit.SEAL).values(value=b"x")))
    with pytest.raises(AuditBroken, match="damaged"):
        await audit.verify(database, seal_key=KEY)


async def test_more_than_a_page_of_entries_is_verified(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_PAGE", 2)
    await record(database, *"abcde")
    assert (await audit.verify(database)).number == 5


async def test_an_entry_follows_only_the_one_before_it(database: Database) -> None:
    await record(database, "one")
    [entry] = [entry async for entry in audit.read(database)]
    assert entry.follows(bytes(32))
    assert not entry.follows(new_key())
    assert not replace(entry, about="").follows(bytes(32))
