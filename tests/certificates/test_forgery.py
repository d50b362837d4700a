"""Certificates with parts that their owner never signed: nothing is ever encrypted to those."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pysequoia
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.crypto import openpgp
from mailer.crypto.openpgp import claims, packets
from mailer.model.certificate import Certificate, Refusal, Refused
from tests.certificates.forge import (
    CERTIFY,
    CV25519,
    FEATURES,
    FLAGS,
    KEY_EXPIRES,
    SECP256K1,
    SIGN,
    SIGNATURE_EXPIRES,
    STORAGE,
    TRANSPORT,
    Forge,
    Key,
    period,
    subpacket,
)

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
MADE = NOW - 100 * DAY
FLAGS_OF_PRIMARY = subpacket(FLAGS, bytes([CERTIFY | SIGN]))
ENCRYPTS = subpacket(FLAGS, bytes([TRANSPORT | STORAGE]))
SIGNS = subpacket(FLAGS, bytes([SIGN]))
MDC = subpacket(FEATURES, b"\x01")
COMPROMISED, SUPERSEDED = subpacket(29, b"\x02"), subpacket(29, b"\x01")


def lives(days: int) -> bytes:
    return subpacket(KEY_EXPIRES, period(days * DAY))


def base() -> Forge:
    return Forge(MADE).user_id("<reader@example.org>", FLAGS_OF_PRIMARY, MDC)


def subkey() -> Key:
    return Key(MADE, CV25519)


def liar(victim: Key) -> Key:
    """A key that signs in the name of another."""
    key = Key(MADE)
    key.key_id = victim.key_id
    return key


def reason(forge: Forge) -> Refusal | None:
    (verdict,) = openpgp.examine(bytes(forge), NOW)
    return verdict.reason if isinstance(verdict, Refused) else None


def kept_key_ids(forge: Forge) -> set[bytes]:
    (verdict,) = openpgp.examine(bytes(forge), NOW)
    assert isinstance(verdict, Certificate)
    keys = [packet for packet in packets.walk(verdict.blob) if packet.tag == packets.Tag.PUBLIC_SUBKEY]
    message = openpgp.encrypt(b"hello", verdict.blob, NOW)
    assert message.startswith(b"-----BEGIN PGP MESSAGE-----\r\n\r\n")
    return {claims.read_key(key).key_id for key in keys}


def test_the_forge_makes_good_certificates() -> None:
    key = subkey()
    assert kept_key_ids(base().subkey(key).bind(key, ENCRYPTS)) == {key.key_id}


def test_a_subkey_bound_by_somebody_else_is_not_encrypted_to() -> None:
    ours, theirs = subkey(), subkey()
    for by in (Key(MADE), liar(base().primary)):
        forge = base().subkey(theirs).bind(theirs, ENCRYPTS, by=by)
        assert reason(forge) is Refusal.SIGN_ONLY
    forge = base()
    forge.subkey(theirs).bind(theirs, ENCRYPTS, by=liar(forge.primary)).subkey(ours).bind(ours, ENCRYPTS)
    assert kept_key_ids(forge) == {ours.key_id}


def test_a_subkey_of_another_certificate_with_its_own_binding_is_not_encrypted_to() -> None:
    ours, theirs = subkey(), subkey()
    other = base().subkey(theirs).bind(theirs, ENCRYPTS)
    mixed = base().subkey(ours).bind(ours, ENCRYPTS)
    mixed.packets += other.packets[-2:]
    assert kept_key_ids(mixed) == {ours.key_id}


def test_a_binding_of_one_subkey_does_not_bind_another() -> None:
    ours, theirs = subkey(), subkey()
    forge = base().subkey(ours).bind(ours, ENCRYPTS)
    forge.subkey(theirs).packets.append(forge.packets[-2])  # a copy of the binding of `ours`
    assert kept_key_ids(forge) == {ours.key_id}


def test_a_subkey_without_any_binding_is_not_encrypted_to() -> None:
    ours, theirs = subkey(), subkey()
    assert kept_key_ids(base().subkey(theirs).subkey(ours).bind(ours, ENCRYPTS)) == {ours.key_id}
    assert reason(base().subkey(theirs)) is Refusal.SIGN_ONLY


def test_a_forged_self_signature_vouches_for_nothing() -> None:
    key, stranger = subkey(), Key(MADE)
    forge = Forge(MADE)
    forge.user_id("<reader@example.org>", FLAGS_OF_PRIMARY, by=liar(forge.primary)).subkey(key).bind(key, ENCRYPTS)
    assert reason(forge) is Refusal.NOT_A_CERTIFICATE
    forge = Forge(MADE).user_id("<reader@example.org>", FLAGS_OF_PRIMARY, by=stranger).subkey(key).bind(key, ENCRYPTS)
    assert reason(forge) is Refusal.NOT_A_CERTIFICATE


def test_a_forged_extension_does_not_revive_an_expired_key() -> None:
    key = subkey()
    forge = Forge(MADE).user_id("<reader@example.org>", FLAGS_OF_PRIMARY, lives(50))
    forge.user_id("<reader@example.org>", FLAGS_OF_PRIMARY, lives(900), created=NOW - DAY, by=liar(forge.primary))
    forge.subkey(key).bind(key, ENCRYPTS)
    assert reason(forge) is Refusal.EXPIRED
    forge = base().subkey(key).bind(key, ENCRYPTS, lives(50))
    forge.bind(key, ENCRYPTS, lives(900), created=NOW - DAY, by=liar(forge.primary))
    assert reason(forge) is Refusal.EXPIRED_SUBKEY


def test_a_forged_revocation_revokes_nothing() -> None:
    key = subkey()
    forge = base().subkey(key).bind(key, ENCRYPTS)
    forge.bind(key, COMPROMISED, kind=0x28, created=NOW - DAY, by=liar(forge.primary))
    assert reason(forge) is None
    forge = base().subkey(key).bind(key, ENCRYPTS)
    assert reason(forge.revoke(COMPROMISED, by=liar(forge.primary))) is None


def test_a_true_revocation_is_final_whatever_its_reason_and_whatever_follows() -> None:
    key = subkey()
    for why in (COMPROMISED, SUPERSEDED, b""):
        forge = Forge(MADE).user_id("<reader@example.org>", FLAGS_OF_PRIMARY).revoke(why, created=MADE + DAY)
        forge.user_id("<new@example.org>", FLAGS_OF_PRIMARY, created=MADE + 2 * DAY).subkey(key).bind(key, ENCRYPTS)
        assert reason(forge) is Refusal.REVOKED
        forge = base().subkey(key).bind(key, ENCRYPTS).bind(key, why, kind=0x28, created=MADE + DAY)
        assert reason(forge.bind(key, ENCRYPTS, created=MADE + 2 * DAY)) is Refusal.REVOKED


def test_the_newest_true_binding_decides() -> None:
    key = subkey()
    assert reason(base().subkey(key).bind(key, ENCRYPTS, lives(50)).bind(key, ENCRYPTS, created=NOW - DAY)) is None
    shortened = base().subkey(key).bind(key, ENCRYPTS).bind(key, ENCRYPTS, lives(50), created=MADE + DAY)
    assert reason(shortened) is Refusal.EXPIRED_SUBKEY


def test_a_binding_that_has_itself_expired_binds_nothing() -> None:
    key = subkey()
    ended = subpacket(SIGNATURE_EXPIRES, period(50 * DAY))
    assert reason(base().subkey(key).bind(key, ENCRYPTS, ended)) is Refusal.EXPIRED_SUBKEY
    assert reason(Forge(MADE).user_id("a", FLAGS_OF_PRIMARY, ended)) is Refusal.EXPIRED


def test_a_signature_that_will_expire_ends_the_certificates_life() -> None:
    key = subkey()
    soon = subpacket(SIGNATURE_EXPIRES, period(110 * DAY))
    for forge, then in (
        (base().subkey(key).bind(key, ENCRYPTS, soon), Refusal.EXPIRED_SUBKEY),
        (Forge(MADE).user_id("a", FLAGS_OF_PRIMARY, soon).subkey(key).bind(key, ENCRYPTS), Refusal.EXPIRED),
    ):
        (verdict,) = openpgp.examine(bytes(forge), NOW)
        assert isinstance(verdict, Certificate)
        assert verdict.expires == (MADE + 110 * DAY).replace(microsecond=0)
        assert openpgp.is_usable(verdict.blob, NOW) is None
        assert openpgp.is_usable(verdict.blob, NOW + 11 * DAY) is then


def test_subkeys_without_key_flags_are_unsupported_and_those_made_in_the_future_not_yet_valid() -> None:
    key, future = subkey(), Key(NOW + DAY, CV25519)
    assert reason(base().subkey(key).bind(key)) is Refusal.UNSUPPORTED
    assert reason(base().subkey(future).bind(future, ENCRYPTS, created=NOW + DAY)) is Refusal.NOT_YET_VALID


def test_a_subkey_on_an_unknown_curve_is_unsupported() -> None:
    key = Key(MADE, SECP256K1)
    assert reason(base().subkey(key).bind(key, ENCRYPTS)) is Refusal.UNSUPPORTED


def test_a_subkey_bound_with_sha1_is_weak() -> None:
    key = subkey()
    assert reason(base().subkey(key).bind(key, ENCRYPTS, hash_id=2)) is Refusal.WEAK


@pytest.mark.parametrize("flag", [TRANSPORT, STORAGE])
def test_either_encryption_flag_is_enough(flag: int) -> None:
    key = subkey()
    assert reason(base().subkey(key).bind(key, subpacket(FLAGS, bytes([flag])))) is None


def test_what_the_minimal_certificate_says_of_its_end_is_what_sequoia_says() -> None:
    key = subkey()
    cases = [
        Forge(MADE).direct(FLAGS_OF_PRIMARY, MDC, lives(200)).user_id("a", FLAGS_OF_PRIMARY, lives(300)),
        Forge(MADE).direct(FLAGS_OF_PRIMARY, MDC, lives(300)).user_id("a", FLAGS_OF_PRIMARY, lives(200)),
        Forge(MADE).direct(FLAGS_OF_PRIMARY, MDC, lives(200)).user_id("a", FLAGS_OF_PRIMARY),
        Forge(MADE).direct(FLAGS_OF_PRIMARY, MDC).user_id("a", FLAGS_OF_PRIMARY, lives(200)),
        Forge(MADE).direct(lives(200), created=MADE + DAY).user_id("a", FLAGS_OF_PRIMARY),
        Forge(MADE).user_id("a", FLAGS_OF_PRIMARY, lives(200)).user_id("b", FLAGS_OF_PRIMARY, lives(300)),
        Forge(MADE).user_id("a", FLAGS_OF_PRIMARY, subpacket(25, b"\1"), lives(300)).user_id("b", FLAGS_OF_PRIMARY),
    ]
    for forge in cases:
        whole = bytes(forge.subkey(key).bind(key, ENCRYPTS))
        (verdict,) = openpgp.examine(whole, NOW)
        assert isinstance(verdict, Certificate)
        assert verdict.expires is not None
        assert verdict.expires == pysequoia.Cert.from_bytes(whole).expiration
        assert openpgp.is_usable(verdict.blob, verdict.expires) is Refusal.EXPIRED
        assert openpgp.is_usable(verdict.blob, verdict.expires - timedelta(seconds=1)) is None


_KEY = subkey()
_GOOD = bytes(base().subkey(_KEY).bind(_KEY, ENCRYPTS))


@given(st.data())
def test_a_damaged_certificate_is_never_encrypted_to_under_another_key(data: st.DataObject) -> None:
    damaged = bytearray(_GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    original = {packet.body for packet in packets.walk(_GOOD) if packet.tag != packets.Tag.SIGNATURE}
    for verdict in openpgp.examine(bytes(damaged), NOW):
        if isinstance(verdict, Certificate):
            found = {packet.body for packet in packets.walk(verdict.blob) if packet.tag != packets.Tag.SIGNATURE}
            assert found <= original


@given(st.binary(max_size=300))
def test_whatever_the_bytes_there_is_a_verdict(blob: bytes) -> None:
    assert openpgp.examine(blob, NOW)
    assert openpgp.examine(b"\xc6\x33\x04" + blob, NOW)
    assert openpgp.is_usable(blob, NOW) is not None


@given(st.lists(st.sampled_from(list(packets.walk(_GOOD))), max_size=12))
def test_packets_in_any_order_get_a_verdict(found: list[packets.Packet]) -> None:
    assert openpgp.examine(b"".join(packet.raw for packet in found), NOW)
