"""A minimal certificate, as the register keeps it: whether it can still be used, and for what.

Signatures are not checked again: `certificates` did, when the certificate came in.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from mailer.crypto.openpgp import claims, packets, sheaves
from mailer.crypto.openpgp.claims import Flag, Key, Kind, Signature
from mailer.crypto.openpgp.glance import glance
from mailer.crypto.openpgp.packets import Malformed
from mailer.crypto.openpgp.sheaves import Component, Sheaf
from mailer.model.certificate import Refusal


class Usable(NamedTuple):
    """A certificate that can be encrypted to. features: what its self-signatures advertise, None if they do not say.

    is_nameless: it needs a primary key of ours.
    """

    version: int
    features: int | None
    is_nameless: bool = False

    @property
    def reads_only_seipd_v1(self) -> bool:
        """Whether its owner's program must not be sent SEIPD version 2 (RFC 9580 §5.2.3.32, §13.7).

        A version 4 certificate that says nothing was made by an older program.
        """
        return self.version == 4 and not (self.features or 0) & 0x08


def is_usable(certificate: bytes, now: datetime) -> Refusal | None:
    """Return why a minimal certificate can no longer be encrypted to at `now`, or None. A revocation always counts."""
    verdict = judge(certificate, now)
    return verdict if isinstance(verdict, Refusal) else None


def judge(certificate: bytes, now: datetime) -> Usable | Refusal:
    """Return what a minimal certificate is good for at `now`, or why for nothing."""
    seen = glance(certificate)
    if seen and not is_past(seen.dies, int(now.timestamp())):
        return Usable(4, seen.features)
    return look_closely(certificate, now)


def look_closely(certificate: bytes, now: datetime) -> Usable | Refusal:
    """Return the same of any bytes, packet by packet: `judge`, without the short cut for the ordinary."""
    sheaf = read(certificate)
    if sheaf is None:
        return Refusal.NOT_A_CERTIFICATE
    return why_unusable(sheaf, now) or Usable(sheaf.key.version, _features(sheaf), sheaf.is_nameless)


def why_unusable(sheaf: Sheaf, now: datetime) -> Refusal | None:
    """Return the same of a certificate that has been read."""
    at = int(now.timestamp())
    if sheaf.is_secret:
        return Refusal.SECRET
    if not sheaf.self_signatures and not sheaf.is_nameless:
        return Refusal.NOT_A_CERTIFICATE
    if sheaf.key.weakness:
        return sheaf.key.weakness
    if sheaf.primary.of(Kind.KEY_REVOCATION):
        return Refusal.REVOKED
    if is_past(death_of_primary(sheaf), at):
        return Refusal.EXPIRED
    return _why_no_recipient(sheaf, at)


def read(certificate: bytes) -> Sheaf | None:
    """Return the sheaf of a single certificate, or None if it is no such thing."""
    try:
        found = sheaves.sort(packets.walk(certificate))
    except Malformed:
        return None
    return found[0] if len(found) == 1 else None


def is_signer_alive(certificate: bytes, fingerprint: str, signing_key: str, now: datetime) -> bool:
    """Return whether this is the minimal certificate with that fingerprint and lets the key `signing_key` sign."""
    sheaf = read(certificate)
    at = int(now.timestamp())
    if sheaf is None or sheaf.key.fingerprint != fingerprint or sheaf.primary.of(Kind.KEY_REVOCATION):
        return False
    if is_past(death_of_primary(sheaf), at):
        return False
    if sheaf.key.fingerprint == signing_key:
        return True
    for subkey in sheaf.subkeys.values():
        key, bindings = read_key(subkey), subkey.of(Kind.BINDING)
        if key and key.fingerprint == signing_key and bindings and not subkey.of(Kind.SUBKEY_REVOCATION):
            return not is_past(death_by(key, bindings[0]), at)
    return False


def death_of_primary(sheaf: Sheaf) -> int | None:
    """Return when the primary key of a minimal certificate expires, seconds, or None.

    The period stands in the user ID's self-signature, or else in the direct-key signature; in version 6 certificates
    the other way round (RFC 9580 §10.1.2).
    """
    directs = sheaf.primary.of(Kind.DIRECT)
    others = [one for one in sheaf.self_signatures if one not in directs]
    ordered = [*directs, *others] if sheaf.key.version == 6 else [*others, *directs]
    lives_for = next((one.key_lives_for for one in ordered if one.key_lives_for), None)
    ends = [one.dies for one in ordered]
    return earliest(sheaf.key.created + lives_for if lives_for else None, *ends)


def death_by(key: Key, signature: Signature) -> int | None:
    """Return when a key dies by what one self-signature says, or that signature does, seconds, or None."""
    return earliest(key.created + signature.key_lives_for if signature.key_lives_for else None, signature.dies)


def _why_no_recipient(sheaf: Sheaf, at: int) -> Refusal | None:
    if sheaf.key.can_encrypt and any(one.may(Flag.ENCRYPT) for one in sheaf.self_signatures):
        return None
    reason = Refusal.SIGN_ONLY
    for subkey in sheaf.subkeys.values():
        key, bindings = read_key(subkey), subkey.of(Kind.BINDING)
        if key is None or key.weakness or not key.can_encrypt or not any(one.may(Flag.ENCRYPT) for one in bindings):
            continue
        if subkey.of(Kind.SUBKEY_REVOCATION):
            reason = Refusal.REVOKED
        elif is_past(death_by(key, bindings[0]), at):
            reason = Refusal.EXPIRED_SUBKEY
        else:
            return None
    return reason


def _features(sheaf: Sheaf) -> int | None:
    said = [one.features for one in sheaf.self_signatures if one.features is not None]
    return functools.reduce(operator.or_, said) if said else None


def read_key(component: Component) -> Key | None:
    """Return the key that a component is, or None where its packet is damaged."""
    try:
        return claims.read_key(component.packet)
    except Malformed:
        return None


def is_past(moment: int | None, now: int) -> bool:
    """Return whether that moment, if there is one, has come."""
    return moment is not None and moment <= now


def earliest(*moments: int | None) -> int | None:
    """Return the first moment that there is."""
    return min((moment for moment in moments if moment is not None), default=None)


def latest(moments: Iterable[int | None]) -> int | None:
    """Return the last moment, or None (never) if one of them is None."""
    found = list(moments)
    return None if None in found else max((moment for moment in found if moment is not None), default=None)
