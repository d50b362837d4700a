"""How `doctor` looks: all is well, nothing hangs, nobody is named; and what the command says."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy import delete, insert

from mailer.cli import doctor as cli_doctor
from mailer.cli.doctor import exit_code
from mailer.doctor.checks import CHECKS, Check
from mailer.doctor.finding import Finding, fault, left_out, unseen
from mailer.doctor.run import run
from mailer.errors import StoreUnreachable
from mailer.store.tables import inbox as inbox_table
from tests.conftest import ROOT
from tests.doctor import test_machine, test_names, test_upkeep
from tests.doctor.planting import faults
from tests.doctor.world import ADDRESS, DOMAIN, HOST, World
from tests.house import LIST

pytestmark = pytest.mark.asyncio(loop_scope="module")

MX, TXT, DMARC = test_names.MX, test_names.TXT, test_names.DMARC
LETTER = test_upkeep.LETTER


async def test_a_healthy_instance_gives_no_fault(world: World) -> None:
    found = await world.look()
    assert faults(found) == {}
    assert [one for one in found if one.ok is None and not one.is_left_out] == []
    assert len({one.check for one in found if one.ok}) > 28  # the rest does not apply to it


async def test_more_than_twenty_faults_of_different_kinds_are_planted() -> None:
    assert len({check for module in (test_names, test_machine, test_upkeep) for check, _, _ in module.PLANTS}) > 20


async def test_what_is_said_names_no_address_but_lists_own(world: World) -> None:
    async with world.database.write() as tx:
        await tx.execute(insert(inbox_table).values(**LETTER, aside="failed"))
    said = " ".join(one.what + one.do for one in await world.look())
    assert "@" not in said
    async with world.database.write() as tx:
        await tx.execute(delete(inbox_table))


async def test_a_silent_name_server_is_told_and_hangs_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailer.doctor.names.LOOK_UP_S", 0.2)
    world.names.is_silent = True
    before = asyncio.get_running_loop().time()
    found = await world.look()
    world.names.is_silent = False
    assert asyncio.get_running_loop().time() - before < 5
    blind = {one.check for one in found if one.ok is None and not one.is_left_out}
    assert blind == {"mx", "ptr", "spf", "dkim", "dmarc"}
    assert faults(found) == {}


async def test_a_check_that_hangs_or_breaks_stops_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(_: object) -> Iterator[Finding]:
        released.wait()
        yield from ()

    def break_(_: object) -> Iterator[Finding]:
        raise ZeroDivisionError("somebody@example.org")
        yield

    monkeypatch.setattr("mailer.doctor.run.LIMIT_S", 0.1)
    checks = [Check("one", hang, ""), Check("two", break_, ""), Check("three", lambda scene: iter(()), "Well.")]
    found = await run(world.scene(), checks)
    released.set()
    assert [one.ok for one in found] == [None, None, True]
    assert "ZeroDivisionError" in found[1].what and "@" not in found[1].what


# --- The command ----------------------------------------------------------------------------------------------------


async def doctor(folder: Path, *options: str) -> tuple[int, Any]:
    arguments = [sys.executable, "-m", "mailer", "doctor", "--json", "--instance", str(folder), *options]
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out)


OF_THIS_MACHINE = {"root", "swap", "clock", "disk-space", "postfix", "font", "versions", "passphrase-file"}


async def test_the_command_names_a_fault_and_nothing_that_is_well(world: World) -> None:
    world.names.zone = world.zone() | {MX: []}
    code, found = await doctor(world.instance.folder, "--resolver", "{}:{}".format(*world.names.address))
    world.names.zone = world.zone()
    assert all({"check", "ok", "what", "do"} <= set(one) for one in found)
    wrong = {one["check"]: one for one in found if one["ok"] is False}
    assert set(wrong) - OF_THIS_MACHINE == {"mx"}
    assert wrong["mx"]["do"]
    assert code == 1


async def test_the_command_names_a_broken_setting_and_a_folder_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def look() -> tuple[int, Any]:
        with pytest.raises(typer.Exit) as ended:
            cli_doctor.doctor(as_json=True, instance_folder=tmp_path)
        return ended.value.exit_code, json.loads(capsys.readouterr().out)

    code, [found] = look()
    assert (code, found["ok"]) == (2, None)
    (tmp_path / "keys").mkdir()
    (tmp_path / "config.toml").write_text("[door]\nplaintext = true\n")
    code, [found] = look()
    assert (code, found["check"], found["ok"]) == (1, "config", False)
    assert "line 2" in found["what"]


async def test_offline_asks_nobody(world: World) -> None:
    world.names.asked.clear()
    connections = len(world.far.letters)
    found = await run(world.scene(), CHECKS, is_offline=True)
    assert world.names.asked == []
    assert len(world.far.letters) == connections
    assert {one.check for one in found if one.is_left_out} >= {"mx", "spf", "dkim", "dmarc", "ptr", "relay"}
    assert faults(found) == {}


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([Finding("well", ok=True)], 0),
        ([Finding("well", ok=True), left_out("not asked for")], 0),
        ([unseen("no answer", "")], 2),
        ([unseen("no answer", ""), fault("wrong", "mend")], 1),
    ],
)
async def test_the_exit_code_tells_faults_from_what_could_not_be_seen(found: list[Finding], code: int) -> None:
    assert exit_code(found) == code


# --- What is no fault -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    ["v=spf1 mx -all", f"v=spf1 a:{HOST} ~all", "v=spf1 include:_spf.example -all", "v=spf1 redirect=_spf.example"],
)
async def test_every_way_to_allow_a_relay_in_spf_is_understood(world: World, record: str) -> None:
    world.names.zone = world.zone() | {TXT: [record], ("_spf.example", "TXT"): [f"v=spf1 ip4:{ADDRESS}/32 -all"]}
    found = await world.look()
    world.names.zone = world.zone()
    assert faults(found) == {}


async def test_another_name_for_the_same_machine_and_a_policy_from_above_are_no_faults(world: World) -> None:
    zone = world.zone() | {MX: ["10 other.lists.example."], ("other.lists.example", "A"): [ADDRESS]}
    record = zone.pop(DMARC)
    world.names.zone = zone | {("_dmarc.example", "TXT"): record}
    found = faults(await world.look())
    world.names.zone = world.zone()
    assert set(found) == {"dmarc"}  # of a top-level domain nobody takes a policy
    instance = world.settings((f'address = "{LIST}"', 'address = "news@deep.lists.example"'))
    zone = {(f"deep.{name}" if name == DOMAIN else name, kind): value for (name, kind), value in world.zone().items()}
    zone[("mailer._domainkey.deep.lists.example", "TXT")] = [world.record]
    world.names.zone = zone
    assert faults(await world.look(instance=instance)) == {}
    world.names.zone = world.zone()


async def test_a_deliverers_own_folder_needs_no_service(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "deliverer"
    for one in (folder, folder / "keys"):
        one.mkdir(mode=0o700)
    instance = replace(world.instance, folder=folder)
    with instance.roster_in_use():
        assert faults(await world.look(instance=instance)) == {}
    assert set(faults(await world.look(instance=instance))) == {"locked"}


async def test_an_address_behind_a_router_is_not_asked_for_in_the_dns(world: World) -> None:
    port = world.instance.config.door.listen[0].port
    inside = world.settings((f'"127.0.0.1:{port}"', f'"127.0.0.1:{port}", "10.1.2.3:0"'))
    assert faults(await world.look(instance=inside)) == {}


async def test_a_database_that_fails_while_it_is_looked_at_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def gone() -> AsyncIterator[None]:
        raise StoreUnreachable
        yield

    monkeypatch.setattr(world.database, "read", gone)
    blind = {one.check for one in await world.look() if one.ok is None and not one.is_left_out}
    assert {"queue-age", "backup-age", "held", "integrity"} <= blind
