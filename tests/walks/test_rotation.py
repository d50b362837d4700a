"""Another roster key: every record opens with the new one alone, and an interruption anywhere is made good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from mailer.crypto.vault import RosterKey
from mailer.errors import InstanceBusy, SealBroken, VaultError
from mailer.instance import Instance
from mailer.registrar.rotating import rotate_roster_key
from mailer.store import rotation
from mailer.store.ledger import Entry, Ledger
from mailer.store.tables import roster_data_keys, subscribers
from tests.house import ROSTER, Person, open_house


async def with_subscribers(folder: Path) -> tuple[Instance, RosterKey]:
    """Two subscribers: one absorbed, one fresh."""
    async with open_house(folder) as house:
        await house.join(Person.with_key("ada@reader.example"))
        async with house.database.write() as tx:
            ids = list((await tx.execute(select(subscribers.c.id))).scalars())
            await house.deliverer.ledger.absorb(tx, ids)
        await house.join(Person.with_key("bob@reader.example"))
        return house.instance, house.roster_key


async def addresses(instance: Instance, key: RosterKey) -> list[str]:
    database = instance.database()
    try:
        ledger = await Ledger.open(database, key)
        entries = [entry async for entry in ledger.read_all(database, "news")]
        return sorted(str(entry.record.address) for entry in entries if isinstance(entry, Entry))
    finally:
        await database.close()


async def data_key_ids(instance: Instance) -> set[bytes]:
    database = instance.database()
    async with database.read() as tx:
        ids = set((await tx.execute(select(roster_data_keys.c.id))).scalars())
    await database.close()
    return ids


@pytest.mark.parametrize("is_compromised", [False, True])
async def test_all_records_open_with_the_new_key_and_none_with_the_old(tmp_path: Path, is_compromised: bool) -> None:
    instance, old = await with_subscribers(tmp_path / "instance")
    before = await data_key_ids(instance)
    assert await rotate_roster_key(instance, ROSTER, is_compromised=is_compromised) == 0
    new = instance.open_roster(ROSTER)
    assert await addresses(instance, new) == ["ada@reader.example", "bob@reader.example"]
    assert instance.roster_public().to_bytes() == new.public.to_bytes()
    assert (await data_key_ids(instance) == before) is not is_compromised
    with pytest.raises(SealBroken):
        await addresses(instance, old)


@pytest.mark.parametrize("step", ["_reseal_data_keys", "_begin_data_key", "_absorb_all", "_drop_unused_data_keys"])
async def test_an_interrupted_rotation_is_finished_by_the_next(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance, _ = await with_subscribers(tmp_path / "instance")
    whole: Callable[..., object] = getattr(rotation, step)

    async def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rotation, step, die)
    with pytest.raises(KeyboardInterrupt):
        await rotate_roster_key(instance, ROSTER, is_compromised=True)
    with pytest.raises(VaultError, match="keys rotate"):
        instance.open_roster(ROSTER)
    monkeypatch.setattr(rotation, step, whole)
    assert await rotate_roster_key(instance, ROSTER, is_compromised=True) == 0
    both = ["ada@reader.example", "bob@reader.example"]
    assert await addresses(instance, instance.open_roster(ROSTER)) == both


async def test_nothing_rotates_while_somebody_reads_the_register(tmp_path: Path) -> None:
    instance, _ = await with_subscribers(tmp_path / "instance")
    before = instance.roster_key_path.read_bytes()
    with instance.roster_in_use(), pytest.raises(InstanceBusy):
        await rotate_roster_key(instance, ROSTER, is_compromised=False)
    assert instance.roster_key_path.read_bytes() == before
