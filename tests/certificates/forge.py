"""Writes OpenPGP certificates packet by packet, so that tests can have what no program would make."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

ED25519 = bytes.fromhex("092b06010401da470f01")
CV25519 = bytes.fromhex("0a2b060104019755010501")
SECP256K1 = bytes.fromhex("052b8104000a")
HASHES = {1: "md5", 2: "sha1", 8: "sha256", 10: "sha512"}

CERTIFY, SIGN, TRANSPORT, STORAGE = 0x01, 0x02, 0x04, 0x08
CREATED, SIGNATURE_EXPIRES, KEY_EXPIRES, ISSUER, PRIMARY, FLAGS, FEATURES = 2, 3, 9, 16, 25, 27, 30


def packet(tag: int, body: bytes) -> bytes:
    """New format, five-octet length: RFC 9580 §4.2.1."""
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4, "big") + body


def mpi(value: bytes) -> bytes:
    value = value.lstrip(b"\0")
    return (int.from_bytes(value, "big").bit_length()).to_bytes(2, "big") + value


def subpacket(kind: int, content: bytes) -> bytes:
    return bytes([len(content) + 1, kind]) + content


def period(span: timedelta) -> bytes:
    return int(span.total_seconds()).to_bytes(4, "big")


def moment(when: datetime) -> bytes:
    return int(when.timestamp()).to_bytes(4, "big")


@dataclass
class Key:
    """A key with its secret half. curve ED25519 signs, CV25519 and any other only stands there to be encrypted to."""

    created: datetime
    curve: bytes = ED25519
    signing: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def __post_init__(self) -> None:
        head = b"\x04" + moment(self.created)
        if self.curve == ED25519:
            point = b"\x40" + self.signing.public_key().public_bytes_raw()
            self.body = head + bytes([22]) + self.curve + mpi(point)
        else:
            point = b"\x40" + X25519PrivateKey.generate().public_key().public_bytes_raw()
            self.body = head + bytes([18]) + self.curve + mpi(point) + bytes.fromhex("03010807")
        self.hashed = b"\x99" + len(self.body).to_bytes(2, "big") + self.body
        self.key_id = hashlib.sha1(self.hashed).digest()[-8:]

    def sign(
        self, kind: int, over: bytes, created: datetime, subpackets: Iterable[bytes] = (), *, hash_id: int = 8
    ) -> bytes:
        """A version 4 signature packet (RFC 9580 §5.2.3) over `over`, as this key."""
        area = subpacket(CREATED, moment(created)) + b"".join(subpackets)
        head = bytes([4, kind, 22, hash_id]) + len(area).to_bytes(2, "big") + area
        trailer = b"\x04\xff" + len(head).to_bytes(4, "big")
        digest = hashlib.new(HASHES[hash_id], over + head + trailer).digest()
        signature = self.signing.sign(digest)
        unhashed = subpacket(ISSUER, self.key_id)
        tail = len(unhashed).to_bytes(2, "big") + unhashed + digest[:2] + mpi(signature[:32]) + mpi(signature[32:])
        return packet(2, head + tail)


@dataclass
class Forge:
    """A certificate in the making: packets are appended in the order of the calls."""

    created: datetime
    primary: Key = field(init=False)
    packets: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.primary = Key(self.created)
        self.packets = [packet(6, self.primary.body)]

    def direct(self, *subpackets: bytes, created: datetime | None = None, hash_id: int = 8) -> Forge:
        self.packets.append(
            self.primary.sign(0x1F, self.primary.hashed, created or self.created, subpackets, hash_id=hash_id)
        )
        return self

    def revoke(self, *subpackets: bytes, created: datetime | None = None, by: Key | None = None) -> Forge:
        self.packets.insert(
            1, (by or self.primary).sign(0x20, self.primary.hashed, created or self.created, subpackets)
        )
        return self

    def user_id(
        self,
        text: str,
        *subpackets: bytes,
        created: datetime | None = None,
        by: Key | None = None,
        hash_id: int = 8,
    ) -> Forge:
        name = text.encode()
        over = self.primary.hashed + b"\xb4" + len(name).to_bytes(4, "big") + name
        signature = (by or self.primary).sign(0x13, over, created or self.created, subpackets, hash_id=hash_id)
        self.packets += [packet(13, name), signature]
        return self

    def subkey(self, key: Key) -> Forge:
        self.packets.append(packet(14, key.body))
        return self

    def bind(
        self,
        key: Key,
        *subpackets: bytes,
        created: datetime | None = None,
        by: Key | None = None,
        kind: int = 0x18,
        hash_id: int = 8,
    ) -> Forge:
        over = self.primary.hashed + key.hashed
        self.packets.append((by or self.primary).sign(kind, over, created or self.created, subpackets, hash_id=hash_id))
        return self

    def __bytes__(self) -> bytes:
        return b"".join(self.packets)
