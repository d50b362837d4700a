"""Everything is copied from one engine to the other, and back, or nothing is."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Date, Integer, LargeBinary, func, insert, select

from mailer.errors import InstanceBusy, NotAtHome, NotCopied, StoreError
from mailer.store import copying, home
from mailer.store.database import Database
from mailer.store.tables import metadata, traits
from tests.cluster import Cluster

EACH = 7  # rows in a table
Rows = dict[str, set[tuple[object, ...]]]


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "BATCH", 3)


@pytest.fixture
def urls(tmp_path: Path, cluster: Cluster, database_url: str) -> Iterator[tuple[str, str]]:
    """From one engine to the other: `database_url` is the one that it comes from."""
    if database_url.startswith("postgresql"):
        yield database_url, f"sqlite:///{tmp_path}/copied.db"
    else:
        with cluster.fresh() as url:
            yield database_url, url


@pytest.fixture
async def both(urls: tuple[str, str]) -> AsyncIterator[tuple[Database, Database]]:
    source, target = Database(urls[0]), Database(urls[1])
    await source.open()
    await _fill(source)
    await source.close()
    yield source, target
    await target.close()
    await source.close()


async def _fill(database: Database) -> None:
    async with database.write() as tx:
        for table in metadata.sorted_tables:
            rows = [{one.name: _value(one, number) for one in table.columns} for number in range(EACH)]
            await tx.execute(insert(table), rows)


def _value(column: Column[Any], number: int) -> object:
    if column.nullable and number % 2:
        return None
    if isinstance(column.type, Boolean):
        return number == 0  # one data key at most is the current one
    if isinstance(column.type, Integer):
        return number
    if isinstance(column.type, LargeBinary):
        return os.urandom(column.type.length or 3000)
    if isinstance(column.type, Date):
        return date(2026, 1, 1 + number)
    return f"\N{CJK UNIFIED IDEOGRAPH-4E2D}{number}"


async def content(database: Database) -> Rows:
    async with database.read() as tx:
        return {table.name: {tuple(row) for row in await tx.execute(select(table))} for table in metadata.sorted_tables}


async def test_every_row_arrives_as_it_was_and_the_source_stays(both: tuple[Database, Database]) -> None:
    source, target = both
    told: list[tuple[str, int, int]] = []
    number = await copying.copy(source, target, lambda *one: told.append(one))
    assert number == EACH * len(metadata.tables)
    assert await content(target) == await content(source)
    assert {(table, EACH, EACH) for table in metadata.tables} <= set(told)


async def test_what_is_copied_back_is_what_it_was(both: tuple[Database, Database]) -> None:
    source, target = both
    before = await content(source)
    await copying.copy(source, target)
    await source.close()
    async with source.write() as tx:
        for table in metadata.sorted_tables:
            await tx.execute(table.delete())
    await source.close()
    await target.close()
    await copying.copy(target, source)
    assert await content(source) == before


async def test_a_target_that_holds_something_is_refused_and_stays(both: tuple[Database, Database]) -> None:
    source, target = both
    await target.open()
    async with target.write() as tx:
        await tx.execute(insert(traits).values(name="planted", value=b""))
    await target.close()
    with pytest.raises(NotCopied, match="Give an empty one"):
        await copying.copy(source, target)
    async with target.read() as tx:
        assert [row.name for row in await tx.execute(select(traits))] == ["planted"]


async def test_a_copy_that_fails_half_way_leaves_nothing(
    both: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = both

    def fail(table: str, at: int, _of: int) -> None:
        if table == metadata.sorted_tables[-1].name and at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await copying.copy(source, target, fail)
    assert {name for name, rows in (await content(target)).items() if rows} == set()
    await target.close()
    await source.close()
    assert await copying.copy(source, target)


async def test_a_source_that_is_not_there_is_not_made(tmp_path: Path, urls: tuple[str, str]) -> None:
    missing = Database(f"sqlite:///{tmp_path}/missing.db")
    with pytest.raises(StoreError, match=r"There is no missing\.db"):
        await copying.copy(missing, Database(urls[1]))
    assert not (tmp_path / "missing.db").exists()


async def test_a_source_without_tables_is_left_without(tmp_path: Path, cluster: Cluster) -> None:
    with cluster.fresh() as url:
        empty = Database(url)
        with pytest.raises(StoreError, match="another version"):
            await copying.copy(empty, Database(f"sqlite:///{tmp_path}/new.db"))
        await empty.close()
        assert cluster.sql("SELECT count(*) FROM pg_class WHERE relname = 'inbox'", url=url) == "0\n"


async def test_a_database_is_not_copied_to_itself(both: tuple[Database, Database]) -> None:
    with pytest.raises(NotCopied, match="the same"):
        await copying.copy(both[0], Database(both[0].url))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_nothing_is_copied_while_the_source_is_in_use(both: tuple[Database, Database], database_url: str) -> None:
    user = Database(database_url)
    await user.open()
    with pytest.raises(InstanceBusy):
        await copying.copy(*both)
    await user.close()


async def test_where_the_source_is_at_home_does_not_come_along(both: tuple[Database, Database]) -> None:
    source, target = both
    await home.adopt(source)
    await source.close()
    await copying.copy(source, target)
    async with target.read() as tx:
        assert (await tx.execute(select(func.count()).select_from(traits))).scalar_one() == EACH
    await home.check(target)  # which may deliver


async def test_a_stray_copy_is_not_made_at_home_by_copying_it(both: tuple[Database, Database]) -> None:
    source, target = both
    async with source.write() as tx:
        await tx.execute(insert(traits).values(name=home.HOME, value=b"elsewhere"))
    await source.close()
    with pytest.raises(NotAtHome):
        await copying.copy(source, target)
    async with target.read() as tx:
        assert (await tx.execute(select(func.count()).select_from(traits))).scalar_one() == 0
