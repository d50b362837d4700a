"""The register read for an admin: one person by the service secrets, all by the roster key, as lines or as CSV."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime

from mailer.crypto.certificates import expiry
from mailer.crypto.openpgp import armor_certificate
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.crypto.vault import RosterKey
from mailer.model.address import Address
from mailer.model.certificate import grouped
from mailer.model.language import Language
from mailer.model.means import format_of
from mailer.model.subscriber import Drawer, State
from mailer.registrar import sheet
from mailer.store import roster
from mailer.store.database import Database
from mailer.store.holdings import Holdings, holdings
from mailer.store.ledger import Entry, Ledger, Poisoned

SHORT_ID_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class Listed:
    """One subscriber. fingerprint: lower-case hexadecimal, "" without a key. expires: of the key, None: never."""

    address: Address
    state: State
    language: Language
    joined: date
    fingerprint: str
    expires: datetime | None

    def __repr__(self) -> str:
        return "Listed(…)"


@dataclass(frozen=True, slots=True)
class Listing:
    """Subscribers in the order of their addresses. unopened: short ids of the rows that do not open."""

    subscribers: tuple[Listed, ...]
    unopened: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Export:
    """The whole list as CSV, with how many it holds. unopened: as in Listing."""

    text: str
    subscribers: int
    unopened: tuple[str, ...]

    def __repr__(self) -> str:
        return "Export(…)"


async def show(database: Database, secrets: ServiceSecrets, list_id: str, address: Address) -> Holdings:
    """Return all that is held on an address. Raises SealBroken for a row that was tampered with, StoreError."""
    person = await roster.identify(secrets, list_id, address)
    async with database.read() as tx:
        return await holdings(tx, person)


async def count(database: Database, list_id: str) -> dict[tuple[str, str], int]:
    """Return how many are on a list, by (state, language). Raises StoreError."""
    async with database.read() as tx:
        return await roster.count(tx, list_id)


async def list_all(database: Database, roster_key: RosterKey, list_id: str, state: State | None = None) -> Listing:
    """Return who is on a list. Raises SealBroken for another roster's key, StoreError."""
    found: list[Listed] = []
    unopened: list[str] = []
    async for one in _entries(database, roster_key, list_id):
        if isinstance(one, Poisoned):
            unopened.append(short_id(one))
        elif state in (None, one.subscriber.state):
            found.append(_listed(one))
    found.sort(key=lambda one: one.address.normalised)
    return Listing(tuple(found), tuple(unopened))


async def export(database: Database, roster_key: RosterKey, list_id: str) -> Export:
    """Return the list as CSV that `subscribers import` takes. Raises SealBroken, StoreError."""
    rows: list[tuple[str, ...]] = []
    unopened: list[str] = []
    async for one in _entries(database, roster_key, list_id):
        if isinstance(one, Poisoned):
            unopened.append(short_id(one))
        else:
            rows.append(_row(one))
    rows.sort()
    return Export(sheet.write(rows), len(rows), tuple(unopened))


def short_id(poisoned: Poisoned) -> str:
    """Return what names a row to an admin: the ids are random and tell nothing."""
    return poisoned.subscriber_id.hex()[:SHORT_ID_CHARACTERS]


async def _entries(database: Database, roster_key: RosterKey, list_id: str) -> AsyncIterator[Entry | Poisoned]:
    ledger = await Ledger.open(database, roster_key)
    async for one in ledger.read_all(database, list_id):
        yield one


def _listed(one: Entry) -> Listed:
    subscriber, drawer = one.subscriber, one.drawer
    blob = drawer.certificate or drawer.x509
    expires = expiry(blob) if blob else None
    plain = (subscriber.state, subscriber.language, subscriber.joined)
    return Listed(one.record.address, *plain, drawer.fingerprint, expires)


def armored(drawer: Drawer) -> str:
    """Return the certificate that somebody's letters are sealed to, as text; "" if there is none."""
    if drawer.certificate:
        return armor_certificate(drawer.certificate)
    if not drawer.x509:
        return ""
    lines = textwrap.wrap(base64.b64encode(drawer.x509).decode("ascii"), 64)  # RFC 7468 §3
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def _row(one: Entry) -> tuple[str, ...]:
    """Return one line, in the order of sheet.COLUMNS."""
    listed, drawer = _listed(one), one.drawer
    return (
        str(listed.address),
        listed.language,
        armored(drawer),
        listed.state,
        listed.joined.isoformat(),
        format_of(one.subscriber.method, drawer),
        drawer.passphrase,
        grouped(listed.fingerprint),
        listed.expires.date().isoformat() if listed.expires else "",
    )
