"""Another roster key for the whole register, in steps that may be interrupted anywhere and begun again.

Until the last step the key file holds both keys, the new one and the former one, and the register opens with the two.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import delete, insert, select, update

from mailer.crypto.vault import RosterKey
from mailer.store.database import Database, Transaction
from mailer.store.ledger import BATCH, Ledger, open_data_key
from mailer.store.tables import roster_data_keys, subscribers


async def rotate(
    database: Database, new: RosterKey, former: RosterKey, is_compromised: bool, progress: Callable[[int], None]
) -> int:
    """Make the register open with `new` alone; return how many records do not open at all and stay as they are.

    is_compromised: somebody may have the former key, so every record is encrypted anew under a new data key. progress:
    told how many records each step dealt with. Raises SealBroken where neither key fits this register, StoreError.
    """
    async with database.write() as tx:
        await _reseal_data_keys(tx, new, former)
        if is_compromised:
            await _begin_data_key(tx, new)
    ledger = await Ledger.open(database, new, former)
    broken = await _absorb_all(database, ledger, progress)
    async with database.write() as tx:
        await _drop_unused_data_keys(tx)
    return broken


async def _reseal_data_keys(tx: Transaction, new: RosterKey, former: RosterKey) -> None:
    for row in (await tx.execute(select(roster_data_keys))).all():
        data_key = open_data_key(row.sealed, row.id, (new, former))
        one = update(roster_data_keys).where(roster_data_keys.c.id == row.id)
        await tx.execute(one.values(sealed=new.seal_data_key(data_key)))


async def _begin_data_key(tx: Transaction, new: RosterKey) -> None:
    data_key, sealed = new.new_data_key()
    await tx.execute(update(roster_data_keys).values(is_current=False))
    await tx.execute(insert(roster_data_keys).values(id=data_key.id, sealed=sealed, is_current=True))


async def _absorb_all(database: Database, ledger: Ledger, progress: Callable[[int], None]) -> int:
    after, broken = b"", 0
    while True:
        page = select(subscribers.c.id).where(subscribers.c.id > after).order_by(subscribers.c.id).limit(BATCH)
        async with database.write() as tx:
            ids = list((await tx.execute(page)).scalars())
            broken += len(await ledger.absorb(tx, ids, again=True))
        if not ids:
            return broken
        progress(len(ids))
        after = ids[-1]


async def _drop_unused_data_keys(tx: Transaction) -> None:
    used = select(subscribers.c.data_key_id).where(subscribers.c.data_key_id.is_not(None)).distinct()
    idle = (roster_data_keys.c.is_current.is_(False)) & roster_data_keys.c.id.not_in(used)
    await tx.execute(delete(roster_data_keys).where(idle))
