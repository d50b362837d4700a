"""Insert, or change what is there already, in one statement: two who do it at once both succeed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

from mailer.store.database import Transaction


def insert(tx: Transaction, table: Table) -> Any:
    """Return the INSERT of this engine, which knows ON CONFLICT; SQLite and PostgreSQL spell it alike."""
    return (sqlite if tx.dialect.name == "sqlite" else postgresql).insert(table)


async def add_up(tx: Transaction, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Add each row's `number` to that of the row with the same primary key, which begins at nought.

    In one order for everybody, so that two who add to the same rows wait for each other but never in a circle.
    """
    if rows:
        in_order = sorted(rows, key=lambda row: str(sorted(row.items())))
        await tx.execute(_adding(tx.dialect.name, table), in_order)


@cache
def _adding(dialect: str, table: Table) -> Any:
    """Return the statement, made once: it runs with every handful of deliveries."""
    row = (sqlite if dialect == "sqlite" else postgresql).insert(table)
    keys = [column.name for column in table.primary_key]
    return row.on_conflict_do_update(index_elements=keys, set_={"number": table.c.number + row.excluded.number})
