"""A certificate at a glance: what it says of itself, if it is an ordinary one and nothing in it is amiss.

This runs once for every copy of every digest, where reading each packet with pysequoia takes a third as long as
encrypting. It only ever says yes: at whatever is rare, damaged or revoked it gives up, and `minimal` looks closely.

It is written for speed. Between two encryptions the processor has forgotten all of this, and to fetch a line again
costs more than what the line does: hence few lines, and loops rather than cases.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from mailer.crypto.openpgp.packets import Tag


class Glance(NamedTuple):
    """A version 4 certificate that can be encrypted to until it `dies`.

    dies: seconds, the first moment at which any key or signature in it expires, or None. features: what its
    self-signatures advertise (RFC 9580 §5.2.3.32), None if they do not say.
    """

    dies: int | None
    features: int | None


class _Unclear(Exception):
    """Something in it has to be looked at closely."""


_Said = dict[int, bytes]  # the subpackets of a signature (RFC 9580 §5.2.3.7)

_DIRECT, _CERTIFICATIONS, _BINDING = (0x1F,), (0x10, 0x11, 0x12, 0x13), (0x18,)  # signature types (§5.2.1)
_CREATED, _LIVES_FOR, _KEY_LIVES_FOR, _ISSUER, _FLAGS, _FEATURES, _ISSUER_FINGERPRINT = 2, 3, 9, 16, 27, 30, 33
_NOTATION, _PRIMARY_USER_ID = 20, 25
_PERIODS = frozenset({_LIVES_FOR, _KEY_LIVES_FOR})
_OCTETS = {  # of the subpackets that may be there, None where any number will do; others have an inside
    **dict.fromkeys((_CREATED, _LIVES_FOR, _KEY_LIVES_FOR), 4),
    _ISSUER: 8,
    _PRIMARY_USER_ID: 1,
    _ISSUER_FINGERPRINT: 21,
    **dict.fromkeys((11, 21, 22, 23, _FLAGS, _FEATURES, 34), None),  # preferences, and what is wanted here
}
_ENCRYPT = 0x0C
_USER_ID_OCTETS_MAX = 2048  # as in `sheaves`
_SHA2 = (8, 9, 10, 11)
_NUMBERS = {1: 1, 17: 2, 19: 2, 22: 2}  # how many a signature is made of: RSA, DSA, ECDSA, EdDSA
# algorithm, curve, and the begin of a point of 263 bits (RFC 9580 §5.5.5.5, §5.5.5.6, §9.2)
_ED25519 = bytes.fromhex("16 09 2b06010401da470f01 010740")
_CV25519 = bytes.fromhex("12 0a 2b060104019755010501 010740")
_EDDSA, _BINDS = _ED25519[0], b"\x04\x18"
_KDFS = frozenset(bytes((3, 1, digest, cipher)) for digest in (8, 9, 10) for cipher in (7, 8, 9))


def glance(certificate: bytes) -> Glance | None:
    """Return what a minimal certificate says of itself, or None where that takes a closer look."""
    try:
        return _read(certificate)
    except (_Unclear, LookupError):
        return None


def _read(certificate: bytes) -> Glance:
    primary = key = issuer = b""
    kinds: tuple[int, ...] = ()  # of which types a signature may be here
    vouching: list[_Said] = []
    bindings: list[_Said] = []
    deaths: list[int] = []
    for tag, body in _split(certificate):
        if tag == Tag.SIGNATURE and kinds:
            if kinds is _BINDING and key[5] == _EDDSA and body.startswith(_BINDS):
                continue  # for signing only
            said = _read_signature(body, kinds, issuer)
            (bindings if kinds is _BINDING else vouching).append(said)
            if not _PERIODS.isdisjoint(said):
                deaths += _deaths(said, key)
        elif tag == Tag.USER_ID and primary and len(body) <= _USER_ID_OCTETS_MAX:
            key, kinds = primary, _CERTIFICATIONS
        elif (tag == Tag.PUBLIC_SUBKEY if primary else tag == Tag.PUBLIC_KEY) and _is_ordinary(body):
            key, kinds = body, _BINDING if primary else _DIRECT
            if not primary:
                primary, issuer = body, b"\x04" + _fingerprint(body)
        else:
            raise _Unclear
    if not vouching or not any(said.get(_FLAGS, b"\0")[0] & _ENCRYPT for said in bindings):
        raise _Unclear
    return Glance(min(deaths, default=None), _all_features(vouching))


def _all_features(vouching: list[_Said]) -> int | None:
    features: int | None = None
    for said in vouching:
        if _FEATURES in said:
            features = (features or 0) | (said[_FEATURES] or b"\0")[0]
    return features


def _split(blob: bytes) -> list[tuple[int, bytes]]:
    """Return tags and bodies of packets as `packets.frame` makes them, of less than 8384 octets."""
    found = []
    at, end = 0, len(blob)
    while at < end:
        tag, octets = blob[at] - 0xC0, blob[at + 1]
        at += 2
        if octets >= 192:
            if octets >= 224:
                raise _Unclear
            octets = ((octets - 192) << 8) + blob[at] + 192
            at += 1
        found.append((tag, blob[at : at + octets]))
        at += octets
    if at != end:
        raise _Unclear
    return found


def _is_ordinary(key: bytes) -> bool:
    """Whether it is a version 4 key of a kind that nearly everybody has, whole, and neither too weak nor too large."""
    if key[0] != 4:
        return False
    if key[5] == 1:
        return 2048 <= int.from_bytes(key[6:8], "big") <= 4096 and _are_numbers(key, 6, 2)  # as in `claims`
    if key.startswith(_CV25519, 5):
        return len(key) == 56 and key[52:] in _KDFS
    return key.startswith(_ED25519, 5) and len(key) == 51


def _fingerprint(key: bytes) -> bytes:
    """RFC 9580 §5.5.4.2."""
    return hashlib.sha1(b"\x99" + len(key).to_bytes(2, "big") + key, usedforsecurity=False).digest()


def _are_numbers(body: bytes, at: int, count: int) -> bool:
    """Whether it is `count` multiprecision integers from `at` on (RFC 9580 §3.2), and nothing else."""
    for _ in range(count):
        bits = (body[at] << 8) + body[at + 1]
        if body[at + 2].bit_length() != (bits - 1) % 8 + 1:
            return False
        at += 2 + (bits + 7) // 8
    return at == len(body)


def _read_signature(body: bytes, kinds: tuple[int, ...], issuer: bytes) -> _Said:
    """Return what is in the hashed area of a signature (RFC 9580 §5.2.3) of one of these types, by the key itself."""
    if body[0] != 4 or body[1] not in kinds or body[3] not in _SHA2:
        raise _Unclear
    middle = 6 + (body[4] << 8) + body[5]
    end = middle + 2 + (body[middle] << 8) + body[middle + 1]
    said, added = _subpackets(body, 6, middle), _subpackets(body, middle + 2, end)
    is_named = False
    for area in (said, added):
        is_named |= _ISSUER in area or _ISSUER_FINGERPRINT in area
        if area.get(_ISSUER, issuer[-8:]) != issuer[-8:] or area.get(_ISSUER_FINGERPRINT, issuer) != issuer:
            raise _Unclear
        if area.get(_PRIMARY_USER_ID, b"\1") > b"\1":
            raise _Unclear
    if not is_named or not _are_numbers(body, end + 2, _NUMBERS[body[2]]):
        raise _Unclear
    return said


def _subpackets(body: bytes, at: int, end: int) -> _Said:
    found: _Said = {}
    while at < end:
        octets, kind = body[at] - 1, body[at + 1] & 0x7F
        if not 0 <= octets < 191 or kind in found:  # which of two counts is not for here
            raise _Unclear
        found[kind] = content = body[at + 2 : at + 2 + octets]
        if octets != (_notation_octets(content) if kind == _NOTATION else _OCTETS[kind] or octets):
            raise _Unclear
        at += 2 + octets
    if at != end:
        raise _Unclear
    return found


def _notation_octets(content: bytes) -> int:
    """Return how long a notation with a name in ASCII says that it is (RFC 9580 §5.2.3.24)."""
    name, value = (content[4] << 8) + content[5], (content[6] << 8) + content[7]
    return 8 + name + value if content[8 : 8 + name].isascii() else -1


def _deaths(said: _Said, key: bytes) -> list[int]:
    """Return when a signature, and the key that it is about, expire by what it says (RFC 9580 §5.2.3.13, §5.2.3.18)."""
    made = {_KEY_LIVES_FOR: key[1:5], _LIVES_FOR: said.get(_CREATED, b"\0")}
    kinds = [kind for kind in made if any(said.get(kind, b""))]  # zero: never
    return [int.from_bytes(made[kind], "big") + int.from_bytes(said[kind], "big") for kind in kinds]
