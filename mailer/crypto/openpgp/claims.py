"""What the keys and signatures of a certificate say of themselves (RFC 9580 §5.2, §5.5). Verifies nothing.

pysequoia reads signatures; keys, and the Features subpacket, which it does not tell, are read here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, IntFlag

import pysequoia.packet
from pysequoia.packet import HashAlgorithm, KeyFlags, PacketPile, SignatureType

from mailer.crypto.openpgp.failing import failing_as
from mailer.crypto.openpgp.packets import Malformed, Packet, Tag, read_length, take
from mailer.model.certificate import Refusal

RSA_BITS_MIN = 2048  # RFC 9580 §12.4: smaller ones MUST NOT be generated; Sequoia rejects them
RSA_BITS_MAX = 4096  # the library behind pysequoia takes no larger ones
DSA_BITS_MAX = 3072
_FEATURES = 30
_MARKER = b"\xca\x03PGP"  # RFC 9580 §5.8: with it in front nothing is taken for armor


class Kind(Enum):
    """Signature types (RFC 9580 §5.2.1)."""

    GENERIC = SignatureType.GenericCertification
    PERSONA = SignatureType.PersonaCertification
    CASUAL = SignatureType.CasualCertification
    POSITIVE = SignatureType.PositiveCertification
    BINDING = SignatureType.SubkeyBinding
    DIRECT = SignatureType.DirectKey
    KEY_REVOCATION = SignatureType.KeyRevocation
    SUBKEY_REVOCATION = SignatureType.SubkeyRevocation
    USER_ID_REVOCATION = SignatureType.CertificationRevocation


CERTIFICATIONS = (Kind.GENERIC, Kind.PERSONA, Kind.CASUAL, Kind.POSITIVE)


class Flag(IntFlag):
    """Key flags (RFC 9580 §5.2.3.29)."""

    CERTIFY = 0x01
    SIGN = 0x02
    TRANSPORT = 0x04
    STORAGE = 0x08
    ENCRYPT = 0x0C


def _parse(packet: Packet) -> pysequoia.packet.Packet:
    """Return pysequoia's view of a key or signature packet. Raises Malformed."""
    with failing_as(Malformed):
        parsed: pysequoia.packet.Packet
        _, parsed = PacketPile.from_bytes(_MARKER + packet.raw)
        return parsed


# --- Keys -----------------------------------------------------------------------------------------------------------

# RFC 9580 §9.1, draft-ietf-openpgp-pqc. pysequoia does not tell what a damaged key is; the refusal has to say it.
_RSA, _ELGAMAL, _DSA, _CURVES = {1, 2, 3}, {16, 20}, {17}, {18, 19, 22}
_FIXED = {
    25: "x25519",
    26: "x448",
    27: "ed25519",
    28: "ed448",
    30: "mldsa65+ed25519",
    31: "mldsa87+ed448",
    32: "slhdsa128s",
    33: "slhdsa128f",
    34: "slhdsa256s",
    35: "mlkem768+x25519",
    36: "mlkem1024+x448",
}
_FOREIGN = {8: "kyber (LibrePGP)", 21: "diffie-hellman"}  # GnuPG 2.5's, which nobody else reads
_ENCRYPTING = {1, 2, 16, 18, 20, 25, 26, 35, 36}
_OIDS = {
    "2a8648ce3d030107": "nistp256",
    "2b81040022": "nistp384",
    "2b81040023": "nistp521",
    "2b06010401da470f01": "ed25519",
    "2b060104019755010501": "cv25519",
    "2b2403030208010107": "brainpoolP256r1",
    "2b240303020801010b": "brainpoolP384r1",
    "2b240303020801010d": "brainpoolP512r1",
    "2b8104000a": "secp256k1",
}
_SUPPORTED_CURVES = {"nistp256", "nistp384", "nistp521", "ed25519", "cv25519"}


@dataclass(frozen=True, slots=True)
class Key:
    """A public key packet, read. created: seconds since 1970. fingerprint: lower-case hexadecimal.

    weakness: why it cannot be used, whatever its signatures say. can_encrypt: by its algorithm.
    """

    version: int
    created: int
    algorithm: str
    fingerprint: str
    weakness: Refusal | None
    can_encrypt: bool

    @property
    def key_id(self) -> bytes:
        """The eight octets by which signatures and messages refer to it (RFC 9580 §5.5.4)."""
        return to_key_id(self.fingerprint)


def to_key_id(fingerprint: str) -> bytes:
    """Return the key ID that belongs to a fingerprint: of version 6 (64 digits) its begin, of version 4 its end."""
    octets = bytes.fromhex(fingerprint)
    return octets[:8] if len(octets) == 32 else octets[-8:]


def read_key(packet: Packet) -> Key:
    """Return what a key packet says of itself; nothing of a secret one, whose owner must make a new one anyway.

    Raises Malformed.
    """
    octets, _ = take(packet.body, 0, 6)  # version, creation, algorithm
    version = octets[0]
    if packet.tag == Tag.SECRET_KEY:
        return Key(version, 0, "secret", "", Refusal.SECRET, False)
    algorithm, material = _locate(packet.body)
    name, weakness = _describe(algorithm, material)
    if version not in {4, 6}:
        is_weak = version in {2, 3} and weakness is Refusal.WEAK
        return Key(version, 0, f"{name} v{version}", "", Refusal.WEAK if is_weak else Refusal.UNSUPPORTED, False)
    created = int.from_bytes(octets[1:5], "big")
    return Key(version, created, name, _fingerprint(packet.body), weakness, algorithm in _ENCRYPTING)


def _locate(body: bytes) -> tuple[int, bytes]:
    """Return a key's algorithm and numbers: version 3 has days of validity before it, 5 and 6 a length after it."""
    at = 7 if body[0] in {2, 3} else 5
    octets, at = take(body, at, 1)
    return octets[0], body[at + 4 if body[0] in {5, 6} else at :]


def _fingerprint(body: bytes) -> str:
    """RFC 9580 §5.5.4."""
    if body[0] == 6:
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest()
    if len(body) > 0xFFFF:
        raise Malformed
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False).hexdigest()


def _describe(algorithm: int, material: bytes) -> tuple[str, Refusal | None]:
    bits = int.from_bytes(material[:2], "big")
    if algorithm in _RSA:
        weakness = Refusal.WEAK if bits < RSA_BITS_MIN else Refusal.UNSUPPORTED if bits > RSA_BITS_MAX else None
        return f"rsa{bits}", weakness
    if algorithm in _DSA:
        return f"dsa{bits}", _dsa_weakness(bits, material[2 + (bits + 7) // 8 :])
    if algorithm in _ELGAMAL:
        return f"elg{bits}", Refusal.WEAK
    if algorithm in _CURVES:
        curve = _OIDS.get(material[1 : 1 + material[0]].hex() if material else "", "unknown curve")
        return curve, None if curve in _SUPPORTED_CURVES else Refusal.UNSUPPORTED
    name = _FIXED.get(algorithm)
    return name or _FOREIGN.get(algorithm, f"algorithm {algorithm}"), None if name else Refusal.UNSUPPORTED


def _dsa_weakness(bits: int, rest: bytes) -> Refusal | None:
    """FIPS 186-4 §4.2: the sizes that there are; others take any time to check that their maker likes."""
    if bits < RSA_BITS_MIN:
        return Refusal.WEAK
    return None if bits <= DSA_BITS_MAX and int.from_bytes(rest[:2], "big") <= 256 else Refusal.UNSUPPORTED


# --- Signatures -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature packet, read. Times in seconds; None for what is not said. kind: None for all others than Kind's.

    weak_hash: the hash that it is made with, if that is broken (RFC 9580 §9.5), else "". issuers: key IDs that it
    names. What is only said outside the hashed area is ignored, but for issuers.
    """

    kind: Kind | None
    weak_hash: str
    raw: bytes = field(repr=False)
    created: int | None = None
    lives_for: int | None = None
    key_lives_for: int | None = None
    flags: Flag | None = None
    features: int | None = None
    is_primary_user_id: bool = False
    issuers: frozenset[bytes] = frozenset()

    @property
    def dies(self) -> int | None:
        """When it stops to be valid itself (RFC 9580 §5.2.3.18), seconds, or None."""
        return (self.created or 0) + self.lives_for if self.lives_for else None

    def may(self, flag: Flag) -> bool:
        """Whether it allows the key any of the uses in `flag`."""
        return bool((self.flags or 0) & flag)


_WEAK_HASHES = ((HashAlgorithm.MD5, "md5"), (HashAlgorithm.SHA1, "sha1"), (HashAlgorithm.RipeMD, "ripemd160"))


def read_signature(packet: Packet) -> Signature:
    """Return what a signature packet says, unverified. Raises Malformed."""
    parsed = _parse(packet)
    if parsed.signature_version is None:
        raise Malformed
    with failing_as(Malformed):  # for a type or hash that pysequoia does not know
        kind, hash_algorithm = parsed.signature_type, parsed.hash_algorithm
    named = (parsed.issuer_key_id, parsed.issuer_fingerprint)
    return Signature(
        kind=next((one for one in Kind if one.value == kind), None),
        weak_hash=next((name for weak, name in _WEAK_HASHES if weak == hash_algorithm), ""),
        raw=packet.raw,
        created=_seconds(parsed.signature_created) if parsed.signature_created else None,
        lives_for=_period(parsed.signature_validity_period),
        key_lives_for=_period(parsed.key_validity_period),
        flags=_flags(parsed.key_flags),
        features=_read_features(packet.body),
        is_primary_user_id=bool(parsed.primary_userid),
        issuers=frozenset(to_key_id(name) for name in named if name),
    )


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _period(span: timedelta | None) -> int | None:
    return int(span.total_seconds()) or None if span else None  # zero: never expires


def _flags(said: KeyFlags | None) -> Flag | None:
    if said is None:
        return None
    uses = {
        Flag.CERTIFY: said.certification,
        Flag.SIGN: said.signing,
        Flag.TRANSPORT: said.transport_encryption,
        Flag.STORAGE: said.storage_encryption,
    }
    return Flag(sum(flag for flag, is_allowed in uses.items() if is_allowed))


def _read_features(body: bytes) -> int | None:
    """Return the first octet of the hashed Features subpacket (RFC 9580 §5.2.3.32), which pysequoia does not tell."""
    if body[0] not in {4, 6}:
        return None
    width = 4 if body[0] == 6 else 2
    octets, at = take(body, 4, width)
    hashed, _ = take(body, at, int.from_bytes(octets, "big"))
    content = dict(_walk_subpackets(hashed)).get(_FEATURES)
    return None if content is None else content[0] if content else 0


_ISSUER, _ISSUER_FINGERPRINT = 16, 33
_KEY_REVOCATION = 0x20  # may be by a revoker whom the owner named


def is_anothers(body: bytes, owner: bytes) -> bool:
    """Whether a signature names others as its issuer, and not the key with this ID; quickly, for there may be many."""
    try:
        if body[0] == 3:  # RFC 9580 §5.2.2
            return body[2] != _KEY_REVOCATION and body[7:15] != owner
        if body[0] != 4 or body[1] == _KEY_REVOCATION:
            return False
        hashed, at = take(body, 6, int.from_bytes(body[4:6], "big"))
        unhashed, _ = take(body, at + 2, int.from_bytes(body[at : at + 2], "big"))
        named = {_named(kind, said) for area in (hashed, unhashed) for kind, said in _walk_subpackets(area)} - {b""}
    except (Malformed, IndexError):
        return False
    return bool(named) and owner not in named


def _named(kind: int, said: bytes) -> bytes:
    if kind == _ISSUER:
        return said[:8]
    return said[-8:] if kind == _ISSUER_FINGERPRINT and said[:1] == b"\x04" else b""


def _walk_subpackets(area: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(area):
        if area[at] == 255 or area[at] < 192:
            octets, at, _ = read_length(area, at)
        else:  # RFC 9580 §5.2.3.7: no partial lengths here, so two octets reach up to 254
            pair, at = take(area, at, 2)
            octets = ((pair[0] - 192) << 8) + pair[1] + 192
        content, at = take(area, at, octets)
        if not content:
            raise Malformed
        yield content[0] & 0x7F, content[1:]
