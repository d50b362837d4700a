"""Certificates with nothing but subkeys: key servers that hide user IDs leave no signature about the primary key.

Sequoia encrypts to none of them, and GnuPG imports none; their owners' programs read the letters all the same. So what
Sequoia would check is checked here, and it is handed the subkeys under a primary key of our own (RFC 9580 §10.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from mailer.crypto.openpgp.packets import Malformed, Packet, Tag, frame, take, walk

_RSA, _ECDSA, _EDDSA, _ED25519 = {1, 3}, 19, 22, 27
_ED25519_CURVE = bytes.fromhex("092b06010401da470f01")
_CURVES: dict[bytes, ec.EllipticCurve] = {
    bytes.fromhex("082a8648ce3d030107"): ec.SECP256R1(),
    bytes.fromhex("052b81040022"): ec.SECP384R1(),
    bytes.fromhex("052b81040023"): ec.SECP521R1(),
}
_HASHES: dict[int, hashes.HashAlgorithm] = {8: hashes.SHA256(), 9: hashes.SHA384(), 10: hashes.SHA512()}
_SHA256, _DIRECT, _BINDING = 8, 0x1F, 0x18
_CREATED, _FLAGS, _ISSUER = 2, 27, 16


def is_bound(primary: bytes, subkey: bytes, signature: bytes) -> bool:
    """Return whether a signature by one version 4 key is valid over another; all three are bodies of packets.

    It is about nothing but the mathematics: what the signature says, and when, is for others to judge.
    """
    try:
        algorithm, digest_id, trailer, numbers = _split(signature)
        digest = hashlib.new(_HASHES[digest_id].name, _over(primary) + _over(subkey) + trailer).digest()
        _verify(primary, algorithm, _HASHES[digest_id], digest, numbers)
    except (Malformed, LookupError, ValueError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _split(signature: bytes) -> tuple[int, int, bytes, bytes]:
    """Return algorithm, hash, what is hashed of the signature itself, and its numbers (RFC 9580 §5.2.3, §5.2.4)."""
    if signature[0] != 4:
        raise Malformed
    middle = 6 + int.from_bytes(signature[4:6], "big")
    octets, at = take(signature, middle, 2)
    _, at = take(signature, at, int.from_bytes(octets, "big") + 2)
    head = signature[:middle]
    return signature[2], signature[3], head + b"\x04\xff" + len(head).to_bytes(4, "big"), signature[at:]


def _over(key: bytes) -> bytes:
    return b"\x99" + len(key).to_bytes(2, "big") + key


def _verify(primary: bytes, algorithm: int, named: hashes.HashAlgorithm, digest: bytes, numbers: bytes) -> None:
    material = primary[6:]
    if primary[5] != algorithm and not {primary[5], algorithm} <= _RSA:
        raise Malformed
    if algorithm in _RSA:
        (n, e), (value,) = _mpis(material, 2), _mpis(numbers, 1)
        public = rsa.RSAPublicNumbers(int.from_bytes(e, "big"), int.from_bytes(n, "big")).public_key()
        public.verify(value.rjust(len(n), b"\0"), digest, padding.PKCS1v15(), Prehashed(named))
    elif algorithm == _ECDSA:
        curve, (point,) = _CURVES[material[: 1 + material[0]]], _mpis(material[1 + material[0] :], 1)
        r, s = (int.from_bytes(each, "big") for each in _mpis(numbers, 2))
        key = ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
        key.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(named)))
    else:
        point, value = _eddsa(algorithm, material, numbers)
        Ed25519PublicKey.from_public_bytes(point).verify(value, digest)


def _eddsa(algorithm: int, material: bytes, numbers: bytes) -> tuple[bytes, bytes]:
    if algorithm == _ED25519:
        return material, numbers
    if algorithm != _EDDSA or not material.startswith(_ED25519_CURVE):
        raise Malformed
    (point,), (r, s) = _mpis(material[len(_ED25519_CURVE) :], 1), _mpis(numbers, 2)
    return point.removeprefix(b"\x40"), r.rjust(32, b"\0") + s.rjust(32, b"\0")


def _mpis(blob: bytes, count: int) -> list[bytes]:
    """Return multiprecision integers (RFC 9580 §3.2)."""
    found, at = [], 0
    for _ in range(count):
        bits, at = take(blob, at, 2)
        value, at = take(blob, at, (int.from_bytes(bits, "big") + 7) // 8)
        found.append(value)
    return found


# --- Handed to Sequoia ----------------------------------------------------------------------------------------------


def adopt(certificate: bytes) -> bytes:
    """Return the subkeys of a nameless certificate under a primary key of this process. Raises Malformed.

    Only to encrypt: whatever signature is in it, the adopted subkeys may be written to.
    """
    subkeys = [packet for packet in walk(certificate) if packet.tag == Tag.PUBLIC_SUBKEY]
    made = max((packet.body[1:5] for packet in subkeys), default=bytes(4))  # no signature may be older than its key
    primary = (
        b"\x04" + made + bytes([_EDDSA]) + _ED25519_CURVE + _mpi(b"\x40" + _own_key().public_key().public_bytes_raw())
    )
    head = frame(Tag.PUBLIC_KEY, primary) + _sign(_DIRECT, primary, b"\x01", made)
    return head + b"".join(_bind(primary, packet, made) for packet in subkeys)


@cache
def _own_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def _bind(primary: bytes, subkey: Packet, made: bytes) -> bytes:
    return subkey.raw + _sign(_BINDING, primary, b"\x0c", made, [subkey.body])


def _sign(kind: int, primary: bytes, flags: bytes, made: bytes, others: Iterable[bytes] = ()) -> bytes:
    key_id = hashlib.sha1(_over(primary), usedforsecurity=False).digest()[-8:]
    hashed = _subpacket(_CREATED, made) + _subpacket(_FLAGS, flags)
    head = bytes([4, kind, _EDDSA, _SHA256]) + len(hashed).to_bytes(2, "big") + hashed
    over = b"".join(map(_over, (primary, *others))) + head + b"\x04\xff" + len(head).to_bytes(4, "big")
    digest = hashlib.sha256(over).digest()
    value, unhashed = _own_key().sign(digest), _subpacket(_ISSUER, key_id)
    tail = len(unhashed).to_bytes(2, "big") + unhashed + digest[:2] + _mpi(value[:32]) + _mpi(value[32:])
    return frame(Tag.SIGNATURE, head + tail)


def _subpacket(kind: int, content: bytes) -> bytes:
    return bytes([len(content) + 1, kind]) + content


def _mpi(value: bytes) -> bytes:
    value = value.lstrip(b"\0")
    return int.from_bytes(value, "big").bit_length().to_bytes(2, "big") + value
