"""Certificates made to tire us: each is reduced or refused, and none takes two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailer.crypto import openpgp
from mailer.crypto.openpgp import armor, packets
from mailer.crypto.openpgp.packets import Tag
from mailer.model.certificate import Certificate, Refusal, Refused
from tests.certificates.forge import CV25519, FEATURES, FLAGS, Forge, Key, packet, subpacket

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
MADE = NOW - 100 * DAY
LONGEST_S = 2.0
FILES = Path(__file__).parent / "files"
PRIMARY, ENCRYPTS = (subpacket(FLAGS, b"\x03"), subpacket(FEATURES, b"\x01")), subpacket(FLAGS, b"\x0c")


def base() -> Forge:
    key = Key(MADE, CV25519)
    return Forge(MADE).user_id("<reader@example.org>", *PRIMARY).subkey(key).bind(key, ENCRYPTS)


def liar(victim: Key) -> Key:
    key = Key(MADE)
    key.key_id = victim.key_id
    return key


def timed(blob: bytes) -> tuple[Certificate | Refused, ...]:
    start = time.perf_counter()
    verdicts = openpgp.examine(blob, NOW)
    assert time.perf_counter() - start < LONGEST_S
    return verdicts


def reason(blob: bytes) -> Refusal | None:
    (verdict,) = timed(blob)
    return verdict.reason if isinstance(verdict, Refused) else None


def test_megabytes_of_strangers_signatures_cost_nothing() -> None:
    forge = base()
    strangers = [Key(MADE).sign(0x10, b"", MADE, [subpacket(20, bytes(180))]) for _ in range(20)]
    flood = b"".join(strangers) * 1_000
    blob = b"".join(forge.packets[:3]) + flood + b"".join(forge.packets[3:])
    assert len(blob) > 5_000_000
    (verdict,) = timed(blob)
    assert isinstance(verdict, Certificate)
    assert len(verdict.blob) < 500
    armored = openpgp.armor_certificate(bytes(base())).encode() + b"\n" * 1_000_000
    assert reason(armored) is None


def test_strangers_signatures_of_version_3_are_dropped_too() -> None:
    forge = base()
    old = packet(2, b"\x03\x05\x10" + bytes(4) + b"stranger" + b"\x01\x02ab\x00\x08\xff")
    forge.packets[3:3] = [old] * 5000
    (verdict,) = timed(bytes(forge))
    assert isinstance(verdict, Certificate)
    assert len(verdict.blob) < 500


def test_more_packets_than_anybody_has_are_refused() -> None:
    forge = base()
    forge.packets += [liar(forge.primary).sign(0x10, b"", MADE)] * 2000
    assert reason(bytes(forge)) is Refusal.TOO_LARGE
    assert reason(b"\xc2\x00" * 100_000) is Refusal.TOO_LARGE


def test_more_octets_than_anybody_has_are_refused() -> None:
    assert reason(bytes(base()) + bytes(8 << 20)) is Refusal.TOO_LARGE
    assert reason(b"\x00" * 20_000_000) is Refusal.TOO_LARGE


def test_more_certificates_than_anybody_needs_are_refused() -> None:
    assert reason(certificates(201)) is Refusal.TOO_LARGE


def test_a_photograph_of_half_a_megabyte_is_dropped() -> None:
    forge = base()
    forge.packets.insert(3, packet(17, bytes(500_000)))
    (verdict,) = timed(bytes(forge))
    assert isinstance(verdict, Certificate)
    assert len(verdict.blob) < 500


def forged_bindings(count: int) -> bytes:
    forge = base()
    key, by = Key(MADE, CV25519), liar(forge.primary)
    forge.subkey(key).bind(key, ENCRYPTS)
    for number in range(count):
        forge.bind(key, ENCRYPTS, created=MADE + timedelta(seconds=number), by=by)
    return bytes(forge)


def forged_user_ids(count: int) -> bytes:
    forge = base()
    by = liar(forge.primary)
    for number in range(count):
        forge.user_id(f"<{number}@example.org>", *PRIMARY, created=MADE + timedelta(seconds=number), by=by)
    return bytes(forge)


def true_user_ids(count: int) -> bytes:
    forge = base()
    for number in range(count):
        forge.user_id(f"<{number}@example.org>", *PRIMARY)
    return bytes(forge)


def bare_user_ids(count: int) -> bytes:
    forge = base()
    forge.packets += [packet(13, b"<%d@example.org>" % number) for number in range(count)]
    return bytes(forge)


def subkeys(count: int) -> bytes:
    forge = base()
    for number in range(count):
        key = Key(MADE + timedelta(seconds=number), CV25519)
        forge.subkey(key).bind(key, ENCRYPTS, created=key.created)
    return bytes(forge)


def forged_revocations(count: int) -> bytes:
    forge = base()
    by = liar(forge.primary)
    for number in range(count):
        forge.revoke(created=MADE + timedelta(seconds=number), by=by)
    return bytes(forge)


def certificates(count: int) -> bytes:
    return b"".join(bytes(base()) for _ in range(count))


def armored_blocks(count: int) -> bytes:
    return openpgp.armor_certificate(bytes(base())).encode() * count


@pytest.mark.parametrize("count", [20, 240, 600])
@pytest.mark.parametrize(
    "make",
    [
        *(forged_bindings, forged_user_ids, true_user_ids, bare_user_ids, subkeys, forged_revocations),
        *(certificates, armored_blocks),
    ],
)
def test_no_flood_takes_long(make: Callable[[int], bytes], count: int) -> None:
    assert timed(make(count))


@pytest.mark.parametrize("name", ["usable-nistp521", "usable-rsa2048", "usable-sequoia-v6"])
@pytest.mark.parametrize("count", [20, 60, 240])
def test_no_flood_of_dear_signatures_takes_long(name: str, count: int) -> None:
    (block,) = armor.find_blocks((FILES / f"{name}.asc").read_bytes(), 2)
    found = list(packets.walk(block.content or b""))
    at = max(number for number, packet in enumerate(found) if packet.tag == Tag.PUBLIC_SUBKEY) + 1
    flood = []
    for number in range(count):
        forged = bytearray(found[at].raw)
        forged[-3] ^= number % 255 + 1  # the last number, so that the digest's first octets still fit
        flood.append(bytes(forged))
    blob = b"".join(packet.raw for packet in found[:at]) + b"".join(flood) + found[at].raw
    assert timed(blob)


def test_a_keyring_of_a_hundred_gets_a_hundred_verdicts() -> None:
    assert [type(verdict) for verdict in timed(certificates(100))] == [Certificate] * 100


def test_twenty_forged_bindings_do_not_hide_the_true_one() -> None:
    assert reason(forged_bindings(20)) is None
    assert reason(forged_user_ids(20)) is None
    assert reason(forged_revocations(20)) is None


def test_a_blob_of_lengths_that_lead_nowhere_is_no_certificate() -> None:
    for head in (b"\xc6\xff\x7f\xff\xff\xff", b"\x9a\x7f\xff\xff\xff", b"\xc6\xfe\x01", b"\xc6\xe0" * 100_000):
        assert reason(head) is Refusal.NOT_A_CERTIFICATE


def test_an_rsa_key_of_a_megabit_is_unsupported() -> None:
    body = b"\x04\x60\x00\x00\x00\x01\xff\xff" + b"\xff" * 8192 + b"\x00\x11\x01\x00\x01"
    assert reason(packet(6, body)) is Refusal.UNSUPPORTED


def test_an_enormous_exponent_takes_no_time() -> None:
    number = b"\x10\x00" + b"\xff" * 512
    forge = packet(6, b"\x04\x60\x00\x00\x00\x01" + number * 2) + packet(13, b"reader")
    key = Key(MADE)
    assert timed(forge + key.sign(0x13, b"", MADE))
