"""What organisers and admins did, in a chain: each entry holds a digest of itself and of the one before.

Whoever changes, removes or slips in an entry has to make all later digests anew; a head that was noted elsewhere, or
the seal of a running service (which has a key that the database does not hold), shows that.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import insert, select

from mailer.crypto.aead import derive_key, label
from mailer.crypto.fields import pack, unpack
from mailer.errors import AuditBroken, SealBroken, StoreConflict
from mailer.store import upsert
from mailer.store.database import Database, Transaction
from mailer.store.tables import audit, seconds, traits

LONGEST = 255  # characters of what an entry is about
SEAL = "audit-seal"  # in `traits`: up to where a service vouches for the chain
_BEGINNING = bytes(32)
_PAGE = 500
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """One deed. actor: the machine's user who ran the command. about: ids of digests and lists, never a subscriber."""

    number: int
    moment: datetime
    actor: str
    action: str
    about: str
    digest: bytes

    def follows(self, before: bytes) -> bool:
        """Whether this is the entry that was written behind the one with that digest."""
        return hmac.compare_digest(
            self.digest, _digest(before, self.number, self.moment, self.actor, self.action, self.about)
        )


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain: how many entries there are, and the digest of the last, which speaks for all."""

    number: int = 0
    digest: bytes = _BEGINNING

    def __str__(self) -> str:
        return f"{self.number}:{self.digest.hex()}"

    @classmethod
    def read(cls, text: str) -> Head:
        """Return what str gave. Raises AuditBroken."""
        number, _, digest = text.partition(":")
        try:
            return cls(int(number), bytes.fromhex(digest))
        except ValueError:
            raise AuditBroken("(A head is NUMBER:DIGEST, as `audit verify` prints it.)") from None


async def record(database: Database, actor: str, action: str, about: str, now: datetime) -> None:
    """Write an entry behind the last. Raises StoreError; then what was to be recorded must not be done."""
    for attempt in range(_TRIES):
        try:
            async with database.write() as tx:
                await _append(tx, actor, action, about[:LONGEST], now)
        except StoreConflict:  # on PostgreSQL somebody else's entry took the number
            if attempt == _TRIES - 1:
                raise
        else:
            return


async def read(database: Database) -> AsyncIterator[Entry]:
    """Give every entry, the oldest first, as it is stored; memory stays flat."""
    last = 0
    while True:
        async with database.read() as tx:
            page = select(audit).where(audit.c.number > last).order_by(audit.c.number).limit(_PAGE)
            rows = (await tx.execute(page)).all()
        for row in rows:
            yield Entry(
                row.number, datetime.fromtimestamp(row.moment, UTC), row.actor, row.action, row.about, bytes(row.digest)
            )
        if len(rows) < _PAGE:
            return
        last = rows[-1].number


async def verify(database: Database, noted: Head | None = None, seal_key: bytes | None = None) -> Head:
    """Return the head of an unbroken chain. Raises AuditBroken, which names the first entry that is not as written.

    noted: a head that was written down before. seal_key: from `seal_key`; then the service's seal is checked as well,
    and must be there once anything was noted.
    """
    head, passed = Head(), {0: _BEGINNING}
    sealed = await _sealed(database, seal_key) if seal_key is not None else None
    if seal_key is not None and sealed is None and noted is not None:
        raise AuditBroken("(The service's seal was taken out.)")
    wanted = {one.number for one in (noted, sealed) if one is not None}
    async for entry in read(database):
        if entry.number != head.number + 1 or not entry.follows(head.digest):
            raise AuditBroken(f"(Entry {head.number + 1} was changed or taken out.)")
        head = Head(entry.number, entry.digest)
        if head.number in wanted:
            passed[head.number] = head.digest
    for one, whose in ((noted, "you noted"), (sealed, "the service sealed")):
        if one is not None and passed.get(one.number) != one.digest:
            raise AuditBroken(f"(It is not the chain whose head {whose} at entry {one.number}.)")
    return head


async def ends_with(database: Database, head: Head) -> bool:
    """Whether nothing was written behind that head, and it and its seal are there."""
    last = select(audit.c.number, audit.c.digest).order_by(audit.c.number.desc()).limit(1)
    async with database.read() as tx:
        row = (await tx.execute(last)).one_or_none()
        seal = (await tx.execute(select(traits.c.name).where(traits.c.name == SEAL))).first()
    return row is not None and Head(row.number, bytes(row.digest)) == head and seal is not None


async def vouch(database: Database, seal_key: bytes, noted: Head | None = None) -> Head:
    """Seal the chain up to its present head and return that, unless what was sealed before is not in it any more.

    seal_key: from `seal_key`. noted: the head that was returned before. Entries after this one are covered by the next
    call. Raises AuditBroken.
    """
    head = await verify(database, noted, seal_key)
    value = pack(str(head.number), head.digest, _mac(seal_key, head))
    async with database.write() as tx:
        row = upsert.insert(tx, traits).values(name=SEAL, value=value)
        await tx.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": row.excluded.value}))
    return head


def seal_key(rest_key: bytes) -> bytes:
    """Return the key of the seal. rest_key: of the service secrets."""
    return derive_key(rest_key, label("audit/seal"))


async def _append(tx: Transaction, actor: str, action: str, about: str, now: datetime) -> None:
    last = select(audit.c.number, audit.c.digest).order_by(audit.c.number.desc()).limit(1)
    found = (await tx.execute(last)).one_or_none()
    number, before = (found.number + 1, bytes(found.digest)) if found else (1, _BEGINNING)
    moment = datetime.fromtimestamp(seconds(now), UTC)
    digest = _digest(before, number, moment, actor, action, about)
    row = {"number": number, "moment": seconds(now), "actor": actor, "action": action, "about": about}
    await tx.execute(insert(audit).values(**row, digest=digest))


async def _sealed(database: Database, key: bytes) -> Head | None:
    """Return the head that a service sealed, None where none ever did. Raises AuditBroken for a forged seal."""
    async with database.read() as tx:
        value = (await tx.execute(select(traits.c.value).where(traits.c.name == SEAL))).scalar()
    if value is None:
        return None
    try:
        number, digest, mac = unpack(bytes(value), 3)
        head = Head(int(number), digest)
    except (SealBroken, ValueError):
        raise AuditBroken("(The service's seal was damaged.)") from None
    if not hmac.compare_digest(mac, _mac(key, head)):
        raise AuditBroken("(The service's seal was forged.)")
    return head


def _digest(before: bytes, number: int, moment: datetime, actor: str, action: str, about: str) -> bytes:
    return hashlib.sha256(
        label("audit/entry", before, str(number), str(seconds(moment)), actor, action, about)
    ).digest()


def _mac(key: bytes, head: Head) -> bytes:
    return hmac.digest(key, label("audit/head", str(head.number), head.digest), "sha256")
