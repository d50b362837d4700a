"""A backup on one machine, a restore on another, and who left in between; then panic."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update
from typer.testing import CliRunner

from mailer.cli.main import commands
from mailer.crypto import tokens
from mailer.crypto.stream import Sealer
from mailer.custody import backup, departures, panic, restore
from mailer.custody.upkeep import Upkeep, read_head
from mailer.errors import AuditBroken, BackupUnusable, InstanceBusy, InstanceError, NotAtHome, WrongPassphrase
from mailer.instance import Instance
from mailer.model.address import Address
from mailer.model.digest import DigestState
from mailer.store import audit, digests, home, marks, roster, tables
from tests.attacks.search import Plants
from tests.conftest import ROOT
from tests.house import CONTACT, LIST, ROSTER, SERVICE, House, Person, furnish, make_instance, open_house, reply_to
from tests.walks.crowd import publish_digest
from tests.walks.far_server import FarServer

ANNA, BEN = "anna@reader.example", "ben@reader.example"


def made_now(instance: Instance, path: Path) -> backup.Made:
    _, secrets = instance.open_service(SERVICE)
    return backup.make(instance, secrets, path, datetime.now(UTC))


async def state_of(house: House, digest_id: str = "d1") -> DigestState:
    async with house.database.read() as tx:
        found = await digests.status(tx, digest_id)
    assert found is not None
    return found.state


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    for which, text in (("service", SERVICE), ("roster", ROSTER)):
        (folder / f"{which}-passphrase").write_text(text)
    environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(folder)}
    command = [sys.executable, "-m", "mailer", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


# --- There and back -------------------------------------------------------------------------------------------------


async def row_of(house: House, person: Person) -> roster.Found | None:
    found = await roster.identify(house.secrets, "news", Address.parse(person.address))
    async with house.database.read() as tx:
        return await roster.find(tx, found)


async def leave_by_token(house: House, person: Person) -> None:
    found = await row_of(house, person)
    assert found is not None
    who = tokens.Purpose.UNSUBSCRIBE, "news", found.subscriber.id
    own = Address.parse(LIST).with_detail(f"unsubscribe-{tokens.derive_token(house.secrets.token_key, *who)}")
    await house.write(person.letter("", to=str(own)))


def carry(former: FarServer, far: FarServer, folder: Path) -> Instance:
    """Do what the admin does with config.toml on the new machine."""
    path = folder / "config.toml"
    path.write_text(path.read_text().replace(f"port = {former.port}", f"port = {far.port}"))
    return Instance.open(folder)


@pytest.mark.parametrize("_engine", ["sqlite", "postgresql"], indirect=True)
async def test_who_left_after_the_backup_stays_out_and_nothing_leaves_until_it_is_adopted(tmp_path: Path) -> None:
    file, bare = tmp_path / "b", tmp_path / "bare"
    anna, ben = Person.with_key(ANNA), Person.with_key(BEN)
    async with open_house(tmp_path / "instance") as first:
        await first.join(anna)
        await first.join(ben)
        assert await publish_digest(first) == 2
        await asyncio.to_thread(made_now, first.instance, file)
        assert len(await first.deliver()) == 2
        await leave_by_token(first, anna)
        assert await row_of(first, anna) is None
        await Upkeep(first.database, first.keyring, first.instance.folder).look()
        engine = "" if first.database.is_sqlite else "postgresql+asyncpg"
    restored = await asyncio.to_thread(restore.restore, file, bare, SERVICE)
    assert (restored.left, restored.held, restored.former_store) == (1, 1, engine)
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(FarServer())
        instance = carry(first.far, far, bare)
        second = await furnish(stack, instance, far, Person(CONTACT), first.clock)
        assert second.database.is_sqlite
        assert await row_of(second, anna) is None
        assert await row_of(second, ben) is not None
        assert await home.is_elsewhere(second.database)
        with pytest.raises(NotAtHome):
            await home.check(second.database)
        assert await second.deliver() == []  # the digest is held besides
        assert await state_of(second) is DigestState.HELD
        await home.adopt(second.database)
        await home.check(second.database)
        async with second.database.write() as tx:
            assert await digests.resume(tx, "d1", second.clock(), second.clock() + timedelta(days=1))
        [copy] = await second.deliver()
        assert ben.open(copy)


async def test_without_word_of_departures_that_is_said_and_the_newest_file_can_be_given(tmp_path: Path) -> None:
    file = tmp_path / "b"
    async with open_house(tmp_path / "instance") as house:
        anna = Person.with_key(ANNA)
        await house.join(anna)
        await asyncio.to_thread(made_now, house.instance, file)
        await leave_by_token(house, anna)
        await Upkeep(house.database, house.keyring, house.instance.folder).look()
    carried = departures.path_of(file).rename(tmp_path / "carried")
    assert (await asyncio.to_thread(restore.restore, file, tmp_path / "one", SERVICE)).left is None
    assert (await asyncio.to_thread(restore.restore, file, tmp_path / "two", SERVICE, carried)).left == 1
    carried.write_bytes(carried.read_bytes()[:-1] + b"x")
    with pytest.raises(BackupUnusable, match="damaged"):
        await asyncio.to_thread(restore.restore, file, tmp_path / "three", SERVICE, carried)
    assert not (tmp_path / "three").exists()


async def test_who_asked_to_be_forgotten_stays_out_too_whatever_a_forger_writes_in_their_name(tmp_path: Path) -> None:
    file = tmp_path / "b"
    async with open_house(tmp_path / "instance") as house:
        anna, ben = Person.with_key(ANNA), Person.with_key(BEN)
        await house.join(anna)
        await house.join(ben)
        await asyncio.to_thread(made_now, house.instance, file)
        upkeep = Upkeep(house.database, house.keyring, house.instance.folder)
        await leave_by_token(house, anna)
        await house.write(Person(ANNA).letter("forget me"))  # anybody can; the mark of her leaving is erased
        [asked] = await house.write(ben.letter("forget me"))
        await house.write(ben.letter("yes", to=reply_to(asked)))
        assert await row_of(house, ben) is None
        await upkeep.look()
        assert await marks.who_forgotten(house.database) == []
    restored = await asyncio.to_thread(restore.restore, file, tmp_path / "bare", SERVICE)
    assert restored.left == 2


async def test_without_a_backup_nothing_is_kept_of_who_asked_to_be_forgotten(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        anna = Person.with_key(ANNA)
        await house.join(anna)
        [asked] = await house.write(anna.letter("forget me"))
        await house.write(anna.letter("yes", to=reply_to(asked)))
        assert await row_of(house, anna) is None
        assert await marks.who_forgotten(house.database) == []


async def test_under_another_domain_it_sends_with_the_same_key(tmp_path: Path) -> None:
    file, bare = tmp_path / "b", tmp_path / "bare"
    anna = Person.with_key(ANNA)
    async with open_house(tmp_path / "instance") as first:
        await first.join(anna)
        await asyncio.to_thread(made_now, first.instance, file)
    assert run(tmp_path, "restore", file, bare).returncode == 0
    renamed = run(tmp_path, "lists", "rename", "news", "news@other.example", "--instance", bare)
    assert renamed.returncode == 0, renamed.stderr
    assert run(tmp_path, "adopt", "--yes", "--instance", bare).returncode == 0
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(FarServer())
        second = await furnish(stack, carry(first.far, far, bare), far, Person(CONTACT), first.clock)
        await home.check(second.database)
        assert await publish_digest(second, "d2") == 1
        [copy] = await second.deliver()
        assert b"\r\nFrom: news@other.example\r\n" in b"\r\n" + copy.content
        assert anna.open(copy)


# --- What cannot be -------------------------------------------------------------------------------------------------


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return make_instance(tmp_path / "instance", Person.with_key(CONTACT))


def test_a_backup_is_never_overwritten_and_the_instance_keeps_no_copy(instance: Instance, tmp_path: Path) -> None:
    file = tmp_path / "b"
    made_now(instance, file)
    before = file.read_bytes()
    with pytest.raises(BackupUnusable, match="never overwritten"):
        made_now(instance, file)
    assert file.read_bytes() == before
    assert not list((instance.folder / "run").glob("backup.db*"))
    assert [path.stat().st_mode & 0o777 for path in (file, departures.path_of(file))] == [0o600, 0o600]


def test_one_that_was_killed_is_in_nobodys_way(instance: Instance, tmp_path: Path) -> None:
    (instance.folder / "run").mkdir(exist_ok=True)
    (instance.folder / "run" / "backup.db").write_bytes(b"half a database")
    (tmp_path / "b.part").write_bytes(b"half a backup")
    made_now(instance, tmp_path / "b")
    (tmp_path / ".bare.part").mkdir()
    (tmp_path / ".bare.part" / "mailer.db").write_bytes(b"half a database")
    restore.restore(tmp_path / "b", tmp_path / "bare", SERVICE)
    assert {path.name for path in tmp_path.iterdir()} == {"instance", "b", "b.left", "bare"}


def test_backups_in_the_folder_of_the_instance_are_not_put_into_the_next(instance: Instance, tmp_path: Path) -> None:
    made_now(instance, instance.folder / "one")
    second = made_now(instance, instance.folder / "two")
    restore.restore(instance.folder / "two", tmp_path / "bare", SERVICE)
    names = {str(path.relative_to(tmp_path / "bare")) for path in (tmp_path / "bare").rglob("*") if path.is_file()}
    assert {"config.toml", "mailer.db", "keys/service.key", "keys/roster.key", "keys/contact.asc"} <= names
    assert not {name for name in names if name.startswith(("one", "two"))}
    assert second.files == len(names - {"mailer.db"})


def test_files_that_lie_elsewhere_are_named(instance: Instance, tmp_path: Path) -> None:
    path = instance.config_path
    path.write_text(path.read_text().replace('ca_file = ""', f'ca_file = "{tmp_path}/ca.pem"', 1))
    assert made_now(Instance.open(instance.folder), tmp_path / "b").outside == ("relay.ca_file",)


def test_with_no_room_there_is_no_backup_and_no_half_of_one(instance: Instance, needs: Callable[[str], str]) -> None:
    command = [needs("bash"), "-c", 'ulimit -f 64; exec "$@"', "bash", sys.executable, "-m", "mailer", "backup"]
    file = instance.folder.parent / "b"
    (instance.folder.parent / "service-passphrase").write_text(SERVICE)
    environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(instance.folder.parent)}
    Instance.open(instance.folder)
    asyncio.run(opened_once(instance))
    done = subprocess.run(
        [*command, str(file), "--instance", str(instance.folder)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert not file.exists()
    assert not list(instance.folder.parent.glob("b*"))


async def opened_once(instance: Instance) -> None:
    database = instance.database()
    await database.open()
    await database.close()


def test_a_wrong_passphrase_opens_nothing_and_leaves_nothing(instance: Instance, tmp_path: Path) -> None:
    made_now(instance, tmp_path / "b")
    with pytest.raises(WrongPassphrase):
        restore.restore(tmp_path / "b", tmp_path / "bare", ROSTER)
    assert not (tmp_path / "bare").exists() and not list(tmp_path.glob(".bare*"))


def test_a_folder_that_is_in_use_is_left_alone(instance: Instance, tmp_path: Path) -> None:
    made_now(instance, tmp_path / "b")
    with pytest.raises(InstanceError):
        restore.restore(tmp_path / "b", instance.folder, SERVICE)
    assert Instance.open(instance.folder)


@pytest.mark.parametrize("at", [3, 20, 60, 500, 12_000, -1, "cut", "empty"])
def test_a_backup_that_was_damaged_makes_no_instance(instance: Instance, tmp_path: Path, at: int | str) -> None:
    file = tmp_path / "b"
    made_now(instance, file)
    blob = bytearray(file.read_bytes())
    if isinstance(at, int):
        blob[at] ^= 1
    else:
        blob = blob[: len(blob) // 2] if at == "cut" else bytearray()
    file.write_bytes(blob)
    with pytest.raises((BackupUnusable, WrongPassphrase)):
        restore.restore(file, tmp_path / "bare", SERVICE)
    assert not (tmp_path / "bare").exists() and not list(tmp_path.glob(".bare*"))


def test_names_in_a_backup_lead_nowhere_else(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "DATABASE", "../mailer.db")
    made_now(instance, tmp_path / "b")
    with pytest.raises(BackupUnusable):
        restore.restore(tmp_path / "b", tmp_path / "bare", SERVICE)
    assert not (tmp_path / "mailer.db").exists()


async def test_a_backup_tells_nobodys_name(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await house.join(Person.with_key(ANNA))
        await asyncio.to_thread(made_now, house.instance, tmp_path / "b")
        plants = Plants(frozenset({ANNA, "reader.example", LIST, CONTACT}), {"rest": house.secrets.rest_key})
    for path in (tmp_path / "b", departures.path_of(tmp_path / "b")):
        assert plants.find(path.name, path.read_bytes()) == []
    assert plants.find("control", (tmp_path / "instance" / "config.toml").read_bytes())


def test_a_backup_out_of_reach_harms_nobody(instance: Instance, tmp_path: Path) -> None:
    """As in the layout with two users: the intake may not look into the folder of the backups."""
    for path in (tmp_path, *tmp_path.parents):
        if path.owner() == "root" and os.getuid() == 0 and path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(0o711)
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o700)
    made_now(instance, kept / "b")
    made_now(instance, tmp_path / "c")
    reached = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{AS_NOBODY}; print(_is_there(Path({str(kept / 'b')!r})), "
            f"_may_be_there(Path({str(kept / 'b')!r})), _is_there(Path({str(tmp_path / 'c')!r})))",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert reached.stdout.split() == ["False", "True", "True"], reached.stderr


AS_NOBODY = (
    "import os; from pathlib import Path; from mailer.custody.departures import _is_there;"
    " from mailer.custody.panic import _may_be_there; os.getuid() or os.setuid(65534)"
)


async def test_upkeep_outlives_whatever_goes_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_house(tmp_path / "instance") as house:
        upkeep = Upkeep(house.database, house.keyring, house.instance.folder)
        looks: list[int] = []

        async def look(_self: Upkeep) -> None:
            looks.append(1)
            raise ZeroDivisionError

        monkeypatch.setattr(Upkeep, "look", look)
        monkeypatch.setattr("mailer.custody.upkeep.EVERY_S", 0.0)
        running = asyncio.create_task(upkeep.run())
        while len(looks) < 3:
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert caplog.text.count("upkeep failed (ZeroDivisionError)") == 1


def test_what_lies_about_in_the_folder_is_not_put_in_twice(instance: Instance, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    asyncio.run(opened_once(instance))
    path = instance.config_path
    path.write_text(path.read_text().replace('url = "sqlite:///mailer.db"', f'url = "sqlite:///{elsewhere}"'))
    (instance.folder / "backup.json").write_text("{}")
    made_now(Instance.open(instance.folder), tmp_path / "b")
    restore.restore(tmp_path / "b", tmp_path / "bare", SERVICE)
    assert Instance.open(tmp_path / "bare")


def test_keys_behind_a_symbolic_link_are_in_it(instance: Instance, tmp_path: Path) -> None:
    (instance.folder / "keys").rename(tmp_path / "keys")
    (instance.folder / "keys").symlink_to(tmp_path / "keys")
    made_now(instance, tmp_path / "b")
    restore.restore(tmp_path / "b", tmp_path / "bare", SERVICE)
    assert (tmp_path / "bare" / "keys" / "roster.key").read_bytes() == (tmp_path / "keys" / "roster.key").read_bytes()


def test_without_the_registers_key_there_is_no_backup(instance: Instance, tmp_path: Path) -> None:
    instance.roster_key_path.unlink()
    with pytest.raises(BackupUnusable, match="where the register's key lies"):
        made_now(instance, tmp_path / "b")


def test_while_a_key_is_rotated_or_another_backup_is_made_there_is_none(instance: Instance, tmp_path: Path) -> None:
    with instance.roster_in_use(alone=True), pytest.raises(InstanceBusy):
        made_now(instance, tmp_path / "b")
    with backup._snapshot_file(instance), pytest.raises(BackupUnusable, match="Another backup"):
        made_now(instance, tmp_path / "b")
    made_now(instance, tmp_path / "b")


def test_one_that_cannot_be_read_back_is_said_to_be_none(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Sealer.close
    monkeypatch.setattr(Sealer, "close", lambda self: (close(self), self._file.write(b"x")))
    with pytest.raises(BackupUnusable, match="cannot be read back"):
        made_now(instance, tmp_path / "b")


def test_into_the_folder_where_one_stands(instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_now(instance, tmp_path / "b")
    (tmp_path / "bare").mkdir()
    monkeypatch.chdir(tmp_path / "bare")
    restore.restore(tmp_path / "b", Path(), SERVICE)
    assert Instance.open(tmp_path / "bare")


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_what_is_restored_belongs_to_whom_the_folder_belonged(instance: Instance, tmp_path: Path) -> None:
    made_now(instance, tmp_path / "b")
    (tmp_path / "bare").mkdir()
    os.chown(tmp_path / "bare", 65534, 65534)
    restore.restore(tmp_path / "b", tmp_path / "bare", SERVICE)
    owners = {path.stat().st_uid for path in (tmp_path / "bare", *(tmp_path / "bare").rglob("*"))}
    assert owners == {65534}


# --- Panic ----------------------------------------------------------------------------------------------------------


async def test_panic_leaves_nothing_that_opens_anything(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    async with open_house(folder) as house:
        await house.join(Person.with_key(ANNA))
        keys = [path.read_bytes() for path in (folder / "keys").iterdir()]
        links = {path.name: tmp_path / f"link to {path.name}" for path in (folder / "keys").iterdir()}
        for path in (folder / "keys").iterdir():
            os.link(path, links[path.name])  # what a disk or a file system may keep
        os.link(folder / "mailer.db", tmp_path / "link to the database")
    began = time.monotonic()
    done = panic.destroy(folder, folder / "mailer.db")
    assert done.keys == len(keys) and done.keys_s < 2 and not done.left
    assert time.monotonic() - began < 10
    assert not folder.exists()
    for path in links.values():
        assert path.read_bytes() == b""
    assert b"subscribers" not in (tmp_path / "link to the database").read_bytes()


def test_panic_works_without_settings_and_with_a_key_that_lies_elsewhere(instance: Instance, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.key"
    (instance.folder / "keys" / "roster.key").rename(elsewhere)
    (instance.folder / "keys" / "roster.key").symlink_to(elsewhere)
    instance.config_path.write_text("this is no toml")
    done = run(tmp_path, "panic", "--yes", "--json", "--instance", instance.folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["keys"] >= 4
    assert not elsewhere.exists() and not instance.folder.exists()


def test_panic_asks_twice(instance: Instance, tmp_path: Path) -> None:
    for said in ("n\n", "y\nn\n", "y\n"):
        result = CliRunner().invoke(commands, ["panic", "--instance", str(instance.folder)], input=said)
        assert result.exit_code == 1
        assert Instance.open(instance.folder).service_key_path.exists()
    result = CliRunner().invoke(commands, ["panic", "--instance", str(instance.folder)], input="y\ny\n")
    assert result.exit_code == 0 and not instance.folder.exists()


def test_panic_ends_what_runs_and_names_the_backups(instance: Instance, tmp_path: Path) -> None:
    (tmp_path / "service-passphrase").write_text(SERVICE)
    made_now(instance, tmp_path / "b")
    environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    command = [sys.executable, "-m", "mailer", "serve", "--instance", str(instance.folder)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as service:
        assert service.stderr is not None
        while "listening" not in service.stderr.readline():
            assert service.poll() is None
        children = panic._holders(instance.folder / "run")
        assert service.pid in children and len(children) > 1  # the reader's child too
        done = panic.destroy(instance.folder, instance.folder / "mailer.db")
        assert service.wait(5) == -signal.SIGKILL
    assert done.processes == len(children)
    assert done.backups == [str(tmp_path / "b"), str(tmp_path / "b.left")]


def test_panic_goes_on_where_a_step_fails(instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_now(instance, tmp_path / "b")

    def out_of_reach(_path: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(panic, "_holders", lambda _run: [2**22 + 1])  # gone by now
    monkeypatch.setattr(Path, "exists", out_of_reach)
    done = panic.destroy(instance.folder, instance.folder / "mailer.db")
    monkeypatch.undo()
    assert not instance.folder.exists() and not done.left
    assert done.backups == [str(tmp_path / "b"), str(tmp_path / "b.left")]


def test_panic_needs_no_database_that_can_be_opened(instance: Instance, tmp_path: Path) -> None:
    path = instance.config_path
    path.write_text(path.read_text().replace('url = "sqlite:///mailer.db"', 'url = "postgresql://h/d?nonsense=1"'))
    done = run(tmp_path, "panic", "--yes", "--json", "--instance", instance.folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["elsewhere"] is True
    assert not instance.folder.exists()


def test_panic_takes_nobody_elses_process_for_ours(tmp_path: Path) -> None:
    lock = tmp_path / "run" / "roster.lock"
    lock.parent.mkdir()
    lock.touch()
    status = lock.stat()
    other = f"{os.major(status.st_dev) + 1:02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    own = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    assert not panic._is_on(other, os.getpid(), status)
    assert panic._is_on(own, os.getpid(), status)
    with lock.open():
        assert panic._is_on(other, os.getpid(), status)  # it has the very file open


# --- The record -----------------------------------------------------------------------------------------------------


def test_what_is_done_by_command_stands_in_the_record_without_a_name(instance: Instance, tmp_path: Path) -> None:
    at = ("--instance", instance.folder)
    assert run(tmp_path, "subscribers", "add", ANNA, "--consent-recorded", *at).returncode == 0
    assert run(tmp_path, "subscribers", "ban", ANNA, "--yes", *at).returncode == 0
    assert run(tmp_path, "digest", "pause", "nosuch", *at).returncode == 1
    assert run(tmp_path, "subscribers", "stats", *at).returncode == 0
    listed = json.loads(run(tmp_path, "audit", "list", "--json", *at).stdout)
    assert [(one["action"], one["about"]) for one in listed] == [
        ("subscribers add", ""),
        ("subscribers ban", ""),
        ("digest pause", "digest_id=nosuch"),
        ("failed: digest pause", "digest_id=nosuch"),
    ]
    verified = json.loads(run(tmp_path, "audit", "verify", "--json", *at).stdout)
    assert verified["entries"] == 4
    with contextlib.closing(sqlite3.connect(instance.folder / "mailer.db")) as database:
        database.execute("UPDATE audit SET actor = 'nobody' WHERE number = 3")
        database.commit()
    broken = run(tmp_path, "audit", "verify", *at)
    assert broken.returncode == 1 and "Entry 3" in broken.stderr


def test_what_cannot_be_recorded_is_not_done(instance: Instance, tmp_path: Path) -> None:
    asyncio.run(opened_once(instance))
    (instance.folder / "mailer.db").write_bytes(b"no database" * 1000)
    done = run(tmp_path, "lists", "retire", "news", "--instance", instance.folder)
    assert done.returncode == 1
    assert Instance.open(instance.folder).directory().lists[0].is_retired is False


async def test_the_running_service_seals_the_record_and_tells_once_that_it_was_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_house(tmp_path / "instance") as house:
        await audit.record(house.database, "ada", "one", "", house.clock())
        upkeep = Upkeep(house.database, house.keyring, house.instance.folder)
        await upkeep.look()
        key = audit.seal_key(house.secrets.rest_key)
        assert (await audit.verify(house.database, seal_key=key)).number == 1
        async with house.database.write() as tx:
            await tx.execute(update(tables.audit).values(action="two"))
        await audit.record(house.database, "ada", "three", "", house.clock())
        await upkeep.look()
        await upkeep.look()
    assert caplog.text.count("was tampered with") == 1


def test_what_was_typed_by_mistake_stands_in_no_record(instance: Instance, tmp_path: Path) -> None:
    at = ("--instance", instance.folder)
    assert run(tmp_path, "subscribers", "show", "--list", ANNA, "news", *at).returncode == 1
    assert run(tmp_path, "digest", "cancel", ANNA, *at).returncode == 1
    abouts = {one["about"] for one in json.loads(run(tmp_path, "audit", "list", "--json", *at).stdout)}
    assert abouts == {"list_id=?", "digest_id=?"}


async def test_a_seal_that_was_taken_out_is_missed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_house(tmp_path / "instance") as house:
        for action in ("one", "two"):
            await audit.record(house.database, "ada", action, "", house.clock())
        upkeep = Upkeep(house.database, house.keyring, house.instance.folder)
        await upkeep.look()
        async with house.database.write() as tx:
            await tx.execute(delete(tables.audit).where(tables.audit.c.number == 2))
            await tx.execute(delete(tables.traits).where(tables.traits.c.name == audit.SEAL))
        await upkeep.look()
        assert "seal was taken out" in caplog.text
        noted = read_head(house.instance.folder)
        with pytest.raises(AuditBroken):
            await audit.verify(house.database, noted)


async def test_a_locked_service_keeps_nothing_up(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await audit.record(house.database, "ada", "one", "", house.clock())
        house.keyring.lock()
        await Upkeep(house.database, house.keyring, house.instance.folder).look()
        async with house.database.read() as tx:
            assert (await tx.execute(select(tables.traits).where(tables.traits.c.name == audit.SEAL))).first() is None
