"""Hostile files about X.509 cost little and break nothing: deep, huge, cut off, altered."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from mailer.crypto import certificates, smime
from mailer.crypto.smime import ber, containers
from mailer.errors import DecryptionFailed
from mailer.inward.reader import Reader
from mailer.model.certificate import Refused
from tests.authority import NOW, Authority, pem, self_signed

SECONDS = 2.0
ROUNDS = 400


def nested(depth: int, tag: int = 0x30) -> bytes:
    """Return values in values, each of indefinite length."""
    return bytes((tag, 0x80)) * depth + b"\0\0" * depth


HOSTILE = {
    "a million levels": nested(500_000),
    "a million levels in PEM": b"-----BEGIN CERTIFICATE-----\n"
    + b"MIAwgDCA" * 200_000
    + b"\n-----END CERTIFICATE-----\n",
    "strings in strings": nested(500_000, 0x24),
    "many small values": ber.sequence(*[ber.Item(5, b"")] * 500_000).der,
    "a length that lies": b"\x30\x84\xff\xff\xff\xff" + bytes(1000),
    "a length of lengths": b"\x30\xff" + b"\xff" * 200,
    "nothing but zeros": bytes(1_000_000),
    "many blocks": b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n" * 16_000,
    "many beginnings": b"-----BEGIN CERTIFICATE-----" * 38_000,
    "a block without an end": b"-----BEGIN CERTIFICATE-----\n" + b"A" * 1_000_000,
    "many certificates": ber.sequence(
        ber.SIGNED_DATA, ber.sequence(ber.sequence(ber.sequence(*[ber.sequence()] * 9_000, tag=0xA0)), tag=0xA0)
    ).der,
}


@pytest.mark.parametrize("blob", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_in_little_time(blob: bytes) -> None:
    begin = time.process_time()
    verdicts = certificates.examine(blob, NOW)
    assert all(isinstance(one, Refused) for one in verdicts)
    assert smime.kind_of(blob) in smime.Kind
    with pytest.raises(DecryptionFailed):
        smime.decrypt(blob, [self_signed()])
    assert time.process_time() - begin < SECONDS


async def test_the_confined_reader_survives_hostile_files_with_200_mib() -> None:
    async with Reader(200 * 1024 * 1024, SECONDS) as reader:
        for blob in HOSTILE.values():
            assert all(isinstance(one, Refused) for one in await reader.examine(blob))


def test_altered_files_never_raise_anything_unexpected() -> None:
    chance = random.Random(9)
    key = Authority.root().intermediate().issue()
    seeds = (key.der, smime.sign_detached(b"hello", key), smime.encrypt(b"hello", key.der, NOW), key.public_pem)
    for _ in range(ROUNDS):
        blob = altered(chance.choice(seeds), chance)
        certificates.examine(blob, NOW, key.public_pem)
        smime.kind_of(blob)
        for read, error in (
            (smime.content_of, smime.Malformed),
            (lambda one: smime.decrypt(one, [key]), DecryptionFailed),
        ):
            try:
                read(blob)
            except error:
                continue


def altered(blob: bytes, chance: random.Random) -> bytes:
    """Return a file with some octets changed, and now and then cut off or with a piece twice."""
    octets = bytearray(blob)
    for _ in range(chance.randint(1, 4)):
        octets[chance.randrange(len(octets))] = chance.randrange(256)
    at = chance.randrange(len(octets))
    return bytes(chance.choice((octets, octets[:at], octets[:at] + octets[max(0, at - 40) :])))


def test_more_than_a_file_may_hold_is_too_large_whatever_it_is() -> None:
    certificate = self_signed().certificate
    many = pem(*[certificate] * 3) + bytes(containers.BLOB_OCTETS)
    (only,) = smime.examine(many, NOW)
    assert isinstance(only, Refused) and only.reason == "too-large"


def test_indefinite_lengths_and_strings_in_pieces_become_definite() -> None:
    pieces = b"\x24\x80" + b"\x04\x01a" + b"\x24\x80\x04\x02bc\0\0" + b"\0\0"
    blob = b"\x30\x80" + pieces + b"\x02\x01\x07" + b"\0\0" + b"what follows is dropped"
    assert ber.read(blob).der == b"\x30\x08\x04\x03abc\x02\x01\x07"


def test_a_value_that_overruns_the_one_around_it_is_malformed() -> None:
    with pytest.raises(smime.Malformed):
        ber.read(b"\x30\x03\x04\x05abcde")


def test_pkcs7_is_written_and_opened_in_one_folder_alone() -> None:
    package = Path(smime.__file__).parents[2]
    users = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "serialization.pkcs7" in path.read_text()
    }
    assert users == {"crypto/smime/messages.py"}
