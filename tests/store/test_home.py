"""A database knows where it is at home: a copy is told from the original, and nothing that an original lives through
makes it a copy.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, update

from mailer.errors import NotAtHome, StoreError
from mailer.store import home
from mailer.store.database import Database
from mailer.store.tables import traits
from tests.cluster import Cluster

MACHINE, OTHER_MACHINE = "3d1219c7c4c5404aaa1f6d2a48adfda4\n", "a" * 32 + "\n"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the machine's id."""
    path = tmp_path / "machine-id"
    path.write_text(MACHINE)
    monkeypatch.setattr(home, "MACHINE_ID_FILES", (path,))
    return path


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def is_home(url: str) -> bool:
    async with opened(url) as database:
        try:
            await home.check(database)
        except NotAtHome:
            return False
        return True


async def is_home_at(path: Path) -> bool:
    return await is_home(f"sqlite:///{path}")


@pytest.fixture
async def settled(path: Path) -> Path:
    """An SQLite database that was delivered from."""
    assert await is_home_at(path)
    return path


# --- Both engines ---------------------------------------------------------------------------------------------------


async def test_the_first_delivery_makes_the_home_and_the_next_finds_it(database: Database) -> None:
    await home.check(database)
    async with database.read() as tx:
        [before] = (await tx.execute(select(traits))).all()
    assert before.name == "home" and len(before.value) == hashlib.sha256().digest_size
    await home.check(database)
    async with database.read() as tx:
        assert (await tx.execute(select(traits))).all() == [before]


async def test_workers_that_begin_at_once_agree(database: Database) -> None:
    await asyncio.gather(*(home.check(database) for _ in range(5)))


async def test_a_home_elsewhere_is_refused_until_it_is_adopted(database: Database) -> None:
    await home.check(database)
    async with database.write() as tx:
        await tx.execute(update(traits).values(value=hashlib.sha256(b"elsewhere").digest()))
    with pytest.raises(NotAtHome):
        await home.check(database)
    with pytest.raises(NotAtHome):  # looking changes nothing
        await home.check(database)
    await home.adopt(database)
    await home.check(database)


async def test_what_was_never_delivered_from_can_be_adopted(database: Database) -> None:
    await home.adopt(database)
    await home.check(database)


# --- A file: what makes a copy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["cp"], ["cp", "-a"], ["cp", "-r", "--preserve=all"]])
async def test_a_copied_file_is_not_at_home_and_the_original_still_is(
    settled: Path, tmp_path: Path, command: list[str]
) -> None:
    copy = tmp_path / "copy.db"
    subprocess.run([*command, settled, copy], check=True)
    assert not await is_home_at(copy)
    assert await is_home_at(settled)


async def test_a_file_that_was_restored_in_its_place_is_not_at_home(settled: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    shutil.copy(settled, backup)
    subprocess.run(["install", "-m", "0600", backup, settled], check=True)  # as in docs/operations.md
    assert not await is_home_at(settled)


def test_a_file_is_told_from_the_next_one_with_its_number(path: Path) -> None:
    births = set()
    for _ in range(20_000):  # the kernel's clock for files ticks every few milliseconds
        path.touch()
        births.add(home.birth(path))
        path.unlink()
        if len(births) == 2 or b"" in births:
            break
    if births == {b""}:
        pytest.skip("this file system does not keep when a file was made")
    assert len(births) == 2
    assert home.birth(path) == b""


async def test_the_same_file_on_another_machine_is_not_at_home(settled: Path, machine: Path) -> None:
    machine.write_text(OTHER_MACHINE)
    assert not await is_home_at(settled)


async def test_the_same_number_in_another_file_system_is_not_at_home(
    settled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(settled)

    class Other:
        f_fsid = real.f_fsid + 1

    monkeypatch.setattr(os, "statvfs", lambda _: Other)
    assert not await is_home_at(settled)


async def test_where_the_file_system_has_no_name_the_device_counts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nameless:
        f_fsid = 0

    monkeypatch.setattr(os, "statvfs", lambda _: Nameless)
    assert await is_home_at(path)
    facts = home._of_file(path, home.MACHINE_ID_FILES)
    assert str(path.stat().st_dev).encode() in facts


async def test_a_copy_that_is_adopted_is_at_home_and_the_original_too(settled: Path, tmp_path: Path) -> None:
    """Which is why the command asks whether the other is stopped."""
    copy = tmp_path / "copy.db"
    shutil.copy(settled, copy)
    async with opened(f"sqlite:///{copy}") as database:
        await home.adopt(database)
    assert await is_home_at(copy)
    assert await is_home_at(settled)


# --- A file: what makes none ----------------------------------------------------------------------------------------


async def test_a_vacuum_and_a_checkpoint_leave_it_at_home(settled: Path) -> None:
    before = settled.stat().st_ino
    with sqlite3.connect(settled) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert settled.stat().st_ino == before
    assert await is_home_at(settled)


async def test_a_move_within_the_file_system_leaves_it_at_home(settled: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved = settled.rename(tmp_path / "elsewhere" / "other-name.db")
    assert await is_home_at(moved)


async def test_a_link_to_its_folder_leads_home(settled: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(settled.parent, target_is_directory=True)
    assert await is_home_at(link / settled.name)


@pytest.mark.parametrize("content", [None, "", "uninitialized\n"])
async def test_without_a_machine_id_the_file_alone_tells(
    path: Path, tmp_path: Path, machine: Path, content: str | None
) -> None:
    machine.unlink() if content is None else machine.write_text(content)
    assert home.machine_id((machine,)) == b""
    assert await is_home_at(path)
    assert await is_home_at(path)
    shutil.copy(path, tmp_path / "copy.db")
    assert not await is_home_at(tmp_path / "copy.db")


async def test_the_first_machine_id_that_is_one_counts(tmp_path: Path, machine: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert home.machine_id((tmp_path / "none", empty, machine)) == MACHINE.strip().encode()


async def test_the_machine_id_itself_is_not_in_the_database(settled: Path) -> None:
    assert MACHINE.strip().encode() not in settled.read_bytes()
    assert bytes.fromhex(MACHINE) not in settled.read_bytes()


async def test_a_file_that_is_gone_is_an_error_of_the_store(path: Path) -> None:
    async with opened(f"sqlite:///{path}") as database:
        path.unlink()
        with pytest.raises(StoreError):
            await home.check(database)


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


async def test_a_copied_database_is_not_at_home_whatever_machine_asks(cluster: Cluster, machine: Path) -> None:
    with cluster.fresh("migrated") as url:
        assert await is_home(url)
        machine.write_text(OTHER_MACHINE)
        assert await is_home(url)
        name = url.partition("@/")[2].partition("?")[0]
        with cluster.fresh(name) as copy:
            assert not await is_home(copy)
        assert await is_home(url)


async def test_a_renamed_database_stays_at_home(cluster: Cluster) -> None:
    with cluster.fresh("migrated") as url:
        assert await is_home(url)
        name = url.partition("@/")[2].partition("?")[0]
        cluster.sql(f"ALTER DATABASE {name} RENAME TO renamed")
        assert await is_home(cluster.url("renamed"))
        cluster.sql(f"ALTER DATABASE renamed RENAME TO {name}")


async def test_an_ordinary_role_may_ask_what_the_cluster_is_called(cluster: Cluster) -> None:
    cluster.sql("CREATE ROLE ordinary LOGIN")
    assert cluster.sql("SELECT has_function_privilege('ordinary', 'pg_control_system()', 'EXECUTE')") == "t\n"
    cluster.sql("DROP ROLE ordinary")


async def test_where_a_role_may_not_ask_the_database_alone_tells(cluster: Cluster) -> None:
    cluster.sql("CREATE ROLE restricted LOGIN")
    with cluster.fresh() as url:
        name = url.partition("@/")[2].partition("?")[0]
        cluster.sql(f"ALTER DATABASE {name} OWNER TO restricted")
        cluster.sql("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC", name)
        assert await is_home(as_role(url, "restricted"))
        assert await is_home(as_role(url, "restricted"))
    cluster.sql("DROP ROLE restricted")


def as_role(url: str, role: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{role}@{rest.partition('@')[2]}"
