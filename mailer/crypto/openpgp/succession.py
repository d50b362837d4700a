"""One list key in the place of another: the old one vouches for the new one, or is revoked; both sign what tells it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import pysequoia
from pysequoia import ArmorKind, SignatureMode

from mailer.crypto.openpgp import armor, claims, gnupg, packets
from mailer.crypto.openpgp.failing import failing_as
from mailer.crypto.openpgp.keys import ListKey, with_crlf
from mailer.crypto.openpgp.packets import Tag
from mailer.errors import KeyNotMade, VaultError


def fingerprint(certificate: bytes) -> str:
    """Return the fingerprint of a certificate of ours, binary: lower-case hexadecimal."""
    return claims.read_key(next(packets.walk(certificate))).fingerprint


def issuers(signature: bytes) -> frozenset[bytes]:
    """Return the IDs of the keys that an armored detached signature of ours names."""
    found: set[bytes] = set()
    for block in armor.find_blocks(signature, 1):
        for packet in packets.walk(block.content or b""):
            found |= set(claims.read_signature(packet).issuers)
    return frozenset(found)


def key_ids(certificate: bytes) -> frozenset[bytes]:
    """Return the IDs of a certificate's primary key and subkeys: eight octets each."""
    keys = (packet for packet in packets.walk(certificate) if packet.tag in (Tag.PUBLIC_KEY, Tag.PUBLIC_SUBKEY))
    return frozenset(claims.read_key(packet).key_id for packet in keys)


def introduce(new: ListKey, former: ListKey) -> bytes:
    """Return the certificate of `new` with a certification by `former` in it, binary; without GnuPG as it is.

    It tells no more than the day on which it was made.
    """
    if gnupg.is_installed():
        with suppress(KeyNotMade):  # it can be done without: the letter that brings it is signed by both
            return gnupg.certify(new.public, new.fingerprint, former.secret, former.fingerprint)
    return new.public


def revoke(key: ListKey) -> bytes:
    """Return the certificate of a key with its revocation, binary. Whoever imports it uses the key no more."""
    with failing_as(VaultError("The list key in it cannot be revoked.")):
        revocation = bytes(key.certificate.revoke(key.certifier))
    primary, *others = packets.walk(key.public)
    return primary.raw + revocation + b"".join(one.raw for one in others)


def sign_by_all(keys: Sequence[ListKey], payload: bytes) -> bytes:
    """Return one armored block with a binary-document signature by each key over `payload`, CRLF line ends.

    RFC 9580 §10.4: a detached signature is one or more signature packets.
    """
    with failing_as(VaultError("A list key in it cannot sign.")):
        signatures = (pysequoia.sign(key.signer, payload, mode=SignatureMode.DETACHED, armor=False) for key in keys)
        return with_crlf(pysequoia.armor(b"".join(signatures), ArmorKind.Signature).encode())
