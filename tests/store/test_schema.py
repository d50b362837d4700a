"""The tables are what the migrations make of an empty database, and tell nothing by their order or their names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, Index, Integer, MetaData, create_engine, text

from mailer import store
from mailer.store.database import Database
from mailer.store.tables import SCHEMA_VERSION, metadata

sqlite_alone = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def differences(connection: Connection, wanted: MetaData) -> list[object]:
    options = {"compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), wanted))


def statements(connection: Connection) -> dict[str, str]:
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    return {name: _in_order(sql) for name, sql in rows if name != "alembic_version"}


def _in_order(sql: str) -> str:
    """One spelling for a statement: white space, and the order in which constraints are named, mean nothing."""
    head, _, rest = " ".join(sql.split()).partition("(")
    body, _, tail = rest.rpartition(")")
    return f"{head}({', '.join(sorted(re.split(r', (?![^(]*[)])', body.strip())))}){tail}"


async def test_the_migrations_make_the_tables(database: Database) -> None:
    async with database.read() as tx:
        assert await tx.run_sync(differences, metadata) == []


@pytest.mark.parametrize("change", ["column", "type", "index", "nullable"])
async def test_a_difference_is_found(database: Database, change: str) -> None:
    other = MetaData()
    for table in metadata.tables.values():
        table.to_metadata(other)
    inbox = other.tables["inbox"]
    if change == "column":
        inbox.append_column(Column("planted", Integer))
    elif change == "type":
        inbox.c.aside.type = Integer()
    elif change == "index":
        Index("ix_planted", inbox.c.attempts)
    else:
        inbox.c.sealed.nullable = True
    async with database.read() as tx:
        assert await tx.run_sync(differences, other)


@sqlite_alone
async def test_the_migrations_write_the_very_statements(database: Database, tmp_path: Path) -> None:
    direct = create_engine(f"sqlite:///{tmp_path}/direct.db")
    metadata.create_all(direct)
    with direct.connect() as connection:
        wanted = statements(connection)
    direct.dispose()
    async with database.read() as tx:
        assert await tx.run_sync(statements) == wanted


def test_the_version_that_needs_no_migration_is_the_newest() -> None:
    folder = Path(store.__file__).parent / "migrations"
    assert ScriptDirectory(folder).get_heads() == [SCHEMA_VERSION]


@sqlite_alone
async def test_no_table_keeps_the_order_in_which_rows_came(database: Database) -> None:
    async with database.read() as tx:
        written = await tx.run_sync(statements)
    tables = {name: sql for name, sql in written.items() if sql.startswith("CREATE TABLE")}
    assert set(tables) == set(metadata.tables)
    assert [name for name, sql in tables.items() if not sql.endswith("WITHOUT ROWID")] == []


async def test_opening_again_changes_nothing(database: Database) -> None:
    await database.open()
    async with database.read() as tx:
        assert await tx.run_sync(differences, metadata) == []
        assert (await tx.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
