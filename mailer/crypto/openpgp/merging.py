"""A certificate that we have, and the same one as somebody sends it now: put together, and what is new about it.

Whoever sends it, nothing is lost: what comes out holds the newest self-signature of each key, and every revocation.
Yet a copy may be older than ours and have a subkey that its owner gave up long ago. So nobody's word is needed for what
only their own key can have made and what only goes forward; for anything else the owner is asked.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from mailer.crypto.openpgp import armor, minimal
from mailer.crypto.openpgp.claims import Kind
from mailer.crypto.openpgp.sheaves import Sheaf


class News(Enum):
    """What a certificate, put together with ours, says more. LATER: the same keys, signed anew, none of them before."""

    NONE = "none"
    LATER = "later"
    OTHER = "other"


def put_together(blob: bytes, certificate: bytes, armored: str) -> bytes:
    """Return a file that `blob` and our certificate (binary, and in ASCII armor) are in, for `examine`."""
    is_armored = next(armor.find_blocks(blob, 1), None) is not None
    return blob + b"\n" + armored.encode() if is_armored else blob + certificate


def compare(ours: bytes, merged: bytes, now: datetime) -> News:
    """Return what is new in `merged`, what `examine` made of both; minimal certificates of one fingerprint."""
    if ours == merged:
        return News.NONE
    before, after = minimal.read(ours), minimal.read(merged)
    if before is None or after is None or before.key.fingerprint != after.key.fingerprint:
        return News.OTHER
    old, new = _signed(before), _signed(after)
    gone = _expired(before, int(now.timestamp())) & (old.keys() - new.keys())  # they end by themselves
    if old.keys() - gone != new.keys() or any(new[name] < old[name] for name in new):
        return News.OTHER
    return News.LATER if any(new[name] > old[name] for name in new) else News.NONE


def _signed(sheaf: Sheaf) -> dict[str, int]:
    """Return when the owner last signed the primary key and each subkey, seconds, by fingerprint."""
    found = {sheaf.key.fingerprint: max((one.created or 0 for one in sheaf.self_signatures), default=0)}
    for subkey in sheaf.subkeys.values():
        key = minimal.read_key(subkey)
        name = key.fingerprint if key else subkey.packet.body.hex()
        found[name] = max((one.created or 0 for one in subkey.of(Kind.BINDING)), default=0)
    return found


def _expired(sheaf: Sheaf, now: int) -> set[str]:
    """Return the subkeys whose own binding has run out, by fingerprint."""
    found = set()
    for subkey in sheaf.subkeys.values():
        key, bindings = minimal.read_key(subkey), subkey.of(Kind.BINDING)
        if key and bindings and minimal.is_past(minimal.death_by(key, bindings[0]), now):
            found.add(key.fingerprint)
    return found
