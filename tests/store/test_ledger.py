"""The register as the roster key reads it: fresh and absorbed records, and rows that open for nobody."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text, update

from mailer.crypto.aead import derive_key, label, seal
from mailer.crypto.vault import RosterKey
from mailer.errors import SealBroken
from mailer.model.subscriber import State
from mailer.store import ledger as ledger_module
from mailer.store import roster, rotation
from mailer.store.ledger import Entry, Ledger, Poisoned
from mailer.store.tables import roster_data_keys, subscribers
from tests.store.conftest import TODAY, Register, somebody


async def read(register: Register, ledger: Ledger, *ids: bytes) -> dict[bytes, Entry | Poisoned]:
    async with register.database.read() as tx:
        return await ledger.entries(tx, ids)


async def absorb(register: Register, ledger: Ledger, *ids: bytes) -> list[bytes]:
    async with register.database.write() as tx:
        return await ledger.absorb(tx, ids)


async def columns(register: Register, subscriber_id: bytes) -> dict[str, bytes]:
    async with register.database.read() as tx:
        row = (await tx.execute(select(subscribers).where(subscribers.c.id == subscriber_id))).one()
    return dict(row._mapping)


async def put(register: Register, subscriber_id: bytes, **values: object) -> None:
    one = update(subscribers).where(subscribers.c.id == subscriber_id)
    await register.do(lambda tx: tx.execute(one.values(values)))


# --- What does not open ---------------------------------------------------------------------------------------------


async def test_another_rosters_key_is_refused_at_once(register: Register) -> None:
    await Ledger.open(register.database, register.roster_key)
    with pytest.raises(SealBroken):
        await Ledger.open(register.database, RosterKey.generate())


@pytest.mark.parametrize("known", ["another roster key", "the public half"])
async def test_a_data_key_that_somebody_put_in_is_refused(register: Register, known: str) -> None:
    """Whoever writes to the database could else have the register absorbed into a key that he knows."""
    key, sealed = RosterKey.generate().new_data_key()
    if known == "the public half":
        derived = derive_key(register.roster_key.public.raw, label("roster/data-key-key"))
        sealed = seal(derived, key.key, label("roster/data-key", key.id))
    row = {"id": key.id, "sealed": sealed, "is_current": True}
    await register.do(lambda tx: tx.execute(roster_data_keys.insert().values(row)))
    with pytest.raises(SealBroken):
        await Ledger.open(register.database, register.roster_key)


@pytest.mark.parametrize("column", ["record", "drawer"])
@pytest.mark.parametrize("is_absorbed", [False, True])
async def test_a_row_with_a_changed_octet_is_poisoned_and_the_others_open(
    register: Register, column: str, is_absorbed: bool
) -> None:
    _, new = await register.enter()
    _, other = await register.enter()
    ledger = await Ledger.open(register.database, register.roster_key)
    if is_absorbed:
        assert await absorb(register, ledger, new.subscriber_id, other.subscriber_id) == []
    sealed = bytearray((await columns(register, new.subscriber_id))[column])
    sealed[len(sealed) // 2] ^= 1
    await put(register, new.subscriber_id, **{column: bytes(sealed)})
    entries = await read(register, ledger, new.subscriber_id, other.subscriber_id)
    assert entries[new.subscriber_id] == Poisoned(new.subscriber_id)
    assert isinstance(entries[other.subscriber_id], Entry)


@pytest.mark.parametrize("column", ["record", "drawer"])
@pytest.mark.parametrize("is_absorbed", [False, True])
async def test_what_was_moved_from_another_row_is_poisoned(register: Register, column: str, is_absorbed: bool) -> None:
    _, new = await register.enter()
    _, other = await register.enter()
    ledger = await Ledger.open(register.database, register.roster_key)
    if is_absorbed:
        await absorb(register, ledger, new.subscriber_id, other.subscriber_id)
    theirs = (await columns(register, other.subscriber_id))[column]
    await put(register, new.subscriber_id, **{column: theirs})
    assert await read(register, ledger, new.subscriber_id) == {new.subscriber_id: Poisoned(new.subscriber_id)}


async def test_a_row_under_a_data_key_that_is_not_there_is_poisoned(register: Register) -> None:
    _, new = await register.enter()
    ledger = await Ledger.open(register.database, register.roster_key)
    await absorb(register, ledger, new.subscriber_id)
    await put(register, new.subscriber_id, data_key_id=b"0" * 16)
    assert await read(register, ledger, new.subscriber_id) == {new.subscriber_id: Poisoned(new.subscriber_id)}


@pytest.mark.parametrize("column", ["state", "method", "language"])
async def test_a_plain_column_that_holds_nonsense_poisons_its_row_alone(register: Register, column: str) -> None:
    _, new = await register.enter()
    await register.enter()
    ledger = await Ledger.open(register.database, register.roster_key)
    nonsense = text(f"UPDATE subscribers SET {column} = 'nonsense' WHERE id = :id")
    await register.do(lambda tx: tx.execute(nonsense, {"id": new.subscriber_id}))
    opened = [one async for one in ledger.read_all(register.database, "news")]
    assert {type(one) for one in opened} == {Entry, Poisoned}
    assert Poisoned(new.subscriber_id) in opened


async def test_a_poisoned_row_is_not_absorbed_and_named(register: Register) -> None:
    _, new = await register.enter()
    _, other = await register.enter()
    await put(register, new.subscriber_id, record=b"\x01" + b"x" * 1264)
    ledger = await Ledger.open(register.database, register.roster_key)
    assert await absorb(register, ledger, new.subscriber_id, other.subscriber_id) == [new.subscriber_id]
    assert (await columns(register, new.subscriber_id))["data_key_id"] is None
    assert (await columns(register, other.subscriber_id))["data_key_id"] is not None


# --- What opens -----------------------------------------------------------------------------------------------------


async def test_a_fresh_record_is_absorbed_and_opens_the_same(register: Register) -> None:
    person, new = await register.enter(somebody("Ada.Lovelace@reader.example"))
    ledger = await Ledger.open(register.database, register.roster_key)
    before = await read(register, ledger, new.subscriber_id)
    sealed = (await columns(register, new.subscriber_id))["record"]
    assert await absorb(register, ledger, new.subscriber_id) == []
    after = await columns(register, new.subscriber_id)
    assert len(after["record"]) < len(sealed) / 4 and after["data_key_id"] is not None
    with pytest.raises(SealBroken):
        register.roster_key.open_record(after["record"], "news", new.subscriber_id)
    entry = (await read(register, ledger, new.subscriber_id))[new.subscriber_id]
    assert {new.subscriber_id: entry} == before
    assert isinstance(entry, Entry)
    assert (entry.record.address, entry.drawer) == (person.address, new.drawer)
    assert entry.record.drawer_key == new.drawer_key


async def test_absorbing_again_changes_nothing(register: Register) -> None:
    _, new = await register.enter()
    ledger = await Ledger.open(register.database, register.roster_key)
    await absorb(register, ledger, new.subscriber_id)
    before = await columns(register, new.subscriber_id)
    await absorb(register, ledger, new.subscriber_id)
    assert await columns(register, new.subscriber_id) == before


async def test_the_data_key_is_made_once_and_serves_the_next_process(register: Register) -> None:
    _, new = await register.enter()
    await absorb(register, await Ledger.open(register.database, register.roster_key), new.subscriber_id)
    again = await Ledger.open(register.database, register.roster_key)
    assert isinstance((await read(register, again, new.subscriber_id))[new.subscriber_id], Entry)
    async with register.database.read() as tx:
        assert len((await tx.execute(select(roster_data_keys))).all()) == 1


async def test_whoever_left_is_missing(register: Register) -> None:
    _, new = await register.enter()
    _, other = await register.enter()
    await register.do(lambda tx: roster.erase(tx, new.subscriber_id, TODAY, leave_mark=True))
    ledger = await Ledger.open(register.database, register.roster_key)
    assert set(await read(register, ledger, new.subscriber_id, other.subscriber_id)) == {other.subscriber_id}


async def test_a_whole_list_is_read_page_by_page_and_no_other(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "BATCH", 3)
    entered = {(await register.enter(state=state))[1].subscriber_id for state in [*State][:4] for _ in range(2)}
    await register.enter(somebody("x@y.example", "other"))
    ledger = await Ledger.open(register.database, register.roster_key)
    opened = [one async for one in ledger.read_all(register.database, "news")]
    assert [one.subscriber.id for one in opened if isinstance(one, Entry)] == sorted(entered)


def test_nothing_of_an_entry_shows_in_a_traceback() -> None:
    assert repr(Entry(None, None, None)) == "Entry(…)"  # type: ignore[arg-type]


# --- Another process ------------------------------------------------------------------------------------------------


async def begin_data_key(register: Register) -> None:
    """What a rotation elsewhere does."""
    await register.do(lambda tx: rotation._begin_data_key(tx, register.roster_key))


async def test_what_was_absorbed_elsewhere_under_a_key_made_later_opens(register: Register) -> None:
    _, new = await register.enter()
    ours = await Ledger.open(register.database, register.roster_key)
    other = await Ledger.open(register.database, register.roster_key)
    await begin_data_key(register)
    await absorb(register, await Ledger.open(register.database, register.roster_key), new.subscriber_id)
    assert isinstance((await read(register, ours, new.subscriber_id))[new.subscriber_id], Entry)
    assert [type(one) async for one in other.read_all(register.database, "news")] == [Entry]


async def test_nothing_is_absorbed_under_a_key_that_a_rotation_elsewhere_has_replaced(register: Register) -> None:
    _, new = await register.enter()
    ours = await Ledger.open(register.database, register.roster_key)
    await begin_data_key(register)
    await absorb(register, ours, new.subscriber_id)
    async with register.database.read() as tx:
        current = select(roster_data_keys.c.id).where(roster_data_keys.c.is_current)
        assert (await columns(register, new.subscriber_id))["data_key_id"] == (await tx.execute(current)).scalar_one()


async def test_a_worker_whose_roster_key_was_replaced_absorbs_nothing_and_says_so(
    register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    _, new = await register.enter()
    ours = await Ledger.open(register.database, register.roster_key)
    other = RosterKey.generate()
    await register.do(lambda tx: rotation._reseal_data_keys(tx, other, register.roster_key))
    await register.do(lambda tx: rotation._begin_data_key(tx, other))
    assert await absorb(register, ours, new.subscriber_id) == []
    assert (await columns(register, new.subscriber_id))["data_key_id"] is None
    assert "start this process again" in caplog.text
