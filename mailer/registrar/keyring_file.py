"""Keys for people of an import from a key ring beside it, by fingerprint or else by address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from mailer.crypto.openpgp import armor_certificate
from mailer.errors import BadAddress
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Refused
from mailer.registrar.foreign import FINGERPRINT
from mailer.registrar.sheet import Row
from mailer.registrar.vetting import Examine

Find = Callable[[bytes, Address], Awaitable[tuple[Certificate | Refused, ...]]]  # inward.reader.Reader.find


async def give_keys(rows: Sequence[Row], ring: bytes, examine: Examine, find: Find) -> list[Row]:
    """Return the lines, each with the key in the ring that is its person's; those without one stay as they are."""
    usable = {one.fingerprint.upper(): one for one in await examine(ring) if isinstance(one, Certificate)}
    given = []
    for row in rows:
        wanted = row.cells.get(FINGERPRINT, "").removeprefix("0x").upper()
        key = usable.get(wanted) if wanted else await _of_address(row, ring, find)
        given.append(row if key is None else replace(row, cells=row.cells | {"key": armor_certificate(key.blob)}))
    return given


async def _of_address(row: Row, ring: bytes, find: Find) -> Certificate | None:
    try:
        address = Address.parse(row.cells.get("address", ""))
    except BadAddress:
        return None
    usable = [one for one in await find(ring, address) if isinstance(one, Certificate)]
    return usable[0] if len(usable) == 1 else None
