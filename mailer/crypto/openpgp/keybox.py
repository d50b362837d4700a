"""GnuPG's keybox (pubring.kbx): whoever sends it instead of an export sends certificates all the same.

Its layout stands in GnuPG's kbx/keybox-blob.c.
"""

from __future__ import annotations

_MAGIC = b"KBXf"  # in the first blob
_OPENPGP = 2


def split(blob: bytes) -> list[bytes]:
    """Return the OpenPGP certificates of a keybox, each as its packets; none where it is no keybox or is damaged."""
    found: list[bytes] = []
    if blob[8:12] != _MAGIC:
        return found
    at = 0
    while at + 16 <= len(blob):
        octets = int.from_bytes(blob[at : at + 4], "big")
        if octets < 16 or at + octets > len(blob):
            break
        start, length = (int.from_bytes(blob[at + place : at + place + 4], "big") for place in (8, 12))
        if blob[at + 4] == _OPENPGP and start + length <= octets:
            found.append(blob[at + start : at + start + length])
        at += octets
    return found
