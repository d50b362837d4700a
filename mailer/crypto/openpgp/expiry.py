"""When a certificate of the register's runs out, without checking its signatures again."""

from __future__ import annotations

from datetime import UTC, datetime

from mailer.crypto.openpgp import minimal
from mailer.crypto.openpgp.claims import Flag, Kind
from mailer.crypto.openpgp.glance import glance
from mailer.crypto.openpgp.sheaves import Component, Sheaf


def expiry(certificate: bytes) -> datetime | None:
    """Return when nothing can be encrypted to a minimal certificate any more, UTC: what `examine` said; None: never."""
    sheaf = minimal.read(certificate)
    if sheaf is None:
        return None
    ends = minimal.earliest(minimal.death_of_primary(sheaf), _death_of_recipients(sheaf))
    return datetime.fromtimestamp(ends, UTC) if ends is not None else None


def outlives(certificate: bytes, moment: datetime) -> bool:
    """Return whether one look at a minimal certificate shows that nothing in it ends by then; False: look closely."""
    seen = glance(certificate)
    return seen is not None and (seen.dies is None or seen.dies > moment.timestamp())


def _death_of_recipients(sheaf: Sheaf) -> int | None:
    if sheaf.key.can_encrypt and any(one.may(Flag.ENCRYPT) for one in sheaf.self_signatures):
        return None
    deaths = [_death(subkey) for subkey in sheaf.subkeys.values() if _encrypts(subkey)]
    return minimal.latest(deaths)


def _encrypts(subkey: Component) -> bool:
    return any(one.may(Flag.ENCRYPT) for one in subkey.of(Kind.BINDING))


def _death(subkey: Component) -> int | None:
    key, bindings = minimal.read_key(subkey), subkey.of(Kind.BINDING)
    return minimal.death_by(key, bindings[0]) if key and bindings else None
