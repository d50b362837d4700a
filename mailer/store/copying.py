"""Everything from one database into another, perhaps of the other engine, in one transaction there or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Select, Table, func, insert, select

from mailer.errors import NotCopied
from mailer.store import home
from mailer.store.database import Database, Transaction
from mailer.store.tables import metadata, traits

BATCH = 500
_LARGE_ROWS = {"inbox", "outbox", "editions", "signed_editions"}  # whole letters, of megabytes
_LARGE_BATCH = 1
_HOME = traits.c.name == home.HOME

Progress = Callable[[str, int, int], None]  # the table, how many of its rows are copied, how many there are


async def copy(source: Database, target: Database, progress: Progress = lambda *_: None) -> int:
    """Copy all rows, in batches, and return how many; the source stays as it is, the target must be empty.

    Where the installation is at home is left out: the first delivery from the target makes that its home. Raises
    NotCopied, NotAtHome where the source itself is a stray copy, InstanceBusy, StoreError; the target is empty then.
    """
    if source.url == target.url:
        raise NotCopied("the two are the same database.")
    await source.open(alone=True, may_change=False)
    await target.open(alone=True)
    async with source.read() as tx:
        has_home = (await tx.execute(select(traits).where(_HOME))).first() is not None
    if has_home:
        await home.check(source)
    return await snapshot(source, target, progress)


async def snapshot(source: Database, target: Database, progress: Progress = lambda *_: None) -> int:
    """As `copy`, of a database that is in use, as it is at one moment. Both are open. Raises NotCopied, StoreError."""
    async with source.read() as there, target.write() as here:
        if sum([await _count(here, table) for table in metadata.sorted_tables]):
            raise NotCopied("there is something in the database that it was to be copied to. Give an empty one.")
        return sum([await _copy_table(there, here, table, progress) for table in metadata.sorted_tables])


async def _copy_table(there: Transaction, here: Transaction, table: Table, progress: Progress) -> int:
    number = await _count(there, table)
    progress(table.name, 0, number)
    size = _LARGE_BATCH if table.name in _LARGE_ROWS else BATCH
    rows = await there.stream(_rows(table).execution_options(yield_per=size))
    copied = 0
    async for some in rows.mappings().partitions(size):
        await here.execute(insert(table), [dict(row) for row in some])
        copied += len(some)
        progress(table.name, copied, number)
    if not copied == number == await _count(here, table):
        raise NotCopied(f"of the {number} rows of {table.name} not all arrived.")
    return number


def _rows(table: Table) -> Select[Any]:
    return select(table).where(~_HOME) if table is traits else select(table)


async def _count(tx: Transaction, table: Table) -> int:
    return int((await tx.execute(select(func.count()).select_from(_rows(table).subquery()))).scalar_one())
