"""Certificates without user IDs, as keys.openpgp.org hands them out until an address is confirmed there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pysequoia
import pytest

from mailer.crypto import openpgp
from mailer.crypto.openpgp import packets
from mailer.crypto.openpgp.packets import Tag
from mailer.model.certificate import Certificate, Refusal, Refused
from tests.certificates.forge import CV25519, Forge, Key, subpacket
from tests.conftest import Gnupg

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
MADE = NOW - 10 * DAY
ENCRYPTS = subpacket(27, b"\x0c")


def stripped(certificate: bytes) -> bytes:
    """What the key server leaves: no user ID, and none of the signatures on one."""
    kept, is_hidden = b"", False
    for packet in packets.walk(certificate):
        is_hidden = packet.tag == Tag.USER_ID or (is_hidden and packet.tag == Tag.SIGNATURE)
        kept += b"" if is_hidden else packet.raw
    return kept


def verdict(blob: bytes) -> Certificate | Refused:
    (found,) = openpgp.examine(blob, datetime.now(UTC))  # the key may be younger than this file
    return found


def reason(blob: bytes) -> Refusal | None:
    found = verdict(blob)
    return found.reason if isinstance(found, Refused) else None


@pytest.mark.parametrize("algorithm", ["ed25519", "rsa2048", "rsa4096", "nistp256", "nistp384", "nistp521"])
def test_letters_open_for_the_owner_whose_name_the_server_hides(gnupg: Gnupg, algorithm: str) -> None:
    fingerprint = gnupg.make_key("reader@example.org", algorithm=algorithm)
    found = verdict(stripped(gnupg.certificate(fingerprint)))
    assert isinstance(found, Certificate)
    assert found.fingerprint == fingerprint.lower()
    message = openpgp.encrypt(b"words", found.blob, datetime.now(UTC))
    assert gnupg.decrypt(message).plaintext == b"words"
    assert gnupg.list_packets(message).count(":pubkey enc packet: version 3") == 1
    assert reason(found.blob) is None


def test_sequoia_alone_would_not_encrypt_to_it(gnupg: Gnupg) -> None:
    """The reason for all this."""
    blob = stripped(gnupg.certificate(gnupg.make_key("reader@example.org")))
    with pytest.raises(RuntimeError):
        pysequoia.encrypt(b"words", [pysequoia.Cert.from_bytes(blob)])


def nameless(key: Key, *said: bytes, by: Key | None = None, hash_id: int = 8, created: datetime | None = None) -> Forge:
    return Forge(MADE).subkey(key).bind(key, *(said or (ENCRYPTS,)), by=by, hash_id=hash_id, created=created)


def test_only_what_the_primary_key_vouches_for_is_written_to() -> None:
    key = Key(MADE, CV25519)
    assert reason(bytes(nameless(key))) is None
    forge = nameless(key)
    liar = Key(MADE)
    liar.key_id = forge.primary.key_id
    assert reason(bytes(Forge(MADE).subkey(key).bind(key, ENCRYPTS, by=liar))) is Refusal.NOT_A_CERTIFICATE
    damaged = bytearray(bytes(forge))
    damaged[-1] ^= 1
    assert reason(bytes(damaged)) is Refusal.NOT_A_CERTIFICATE
    for hash_id in (1, 2):
        assert reason(bytes(nameless(key, hash_id=hash_id))) is Refusal.NOT_A_CERTIFICATE
    assert reason(bytes(nameless(key, created=NOW + DAY))) is Refusal.NOT_A_CERTIFICATE
    assert reason(bytes(nameless(key, subpacket(27, b"\x02")))) is Refusal.NOT_A_CERTIFICATE


def test_one_that_expired_or_was_revoked_is_refused_by_name() -> None:
    key = Key(MADE, CV25519)
    week = subpacket(9, (7 * 86400).to_bytes(4, "big"))
    assert reason(bytes(nameless(key, ENCRYPTS, week))) is Refusal.EXPIRED_SUBKEY
    fortnight = subpacket(9, (14 * 86400).to_bytes(4, "big"))
    found = verdict(bytes(nameless(key, ENCRYPTS, fortnight)))
    assert isinstance(found, Certificate)
    assert found.expires == (MADE + 14 * DAY).replace(microsecond=0)
    assert openpgp.is_usable(found.blob, NOW + 5 * DAY) is Refusal.EXPIRED_SUBKEY
    revoked = nameless(key).bind(key, subpacket(29, b"\0"), kind=0x28)
    assert reason(bytes(revoked)) is Refusal.REVOKED
    assert reason(bytes(nameless(key).revoke(subpacket(29, b"\0")))) is Refusal.REVOKED


def test_a_copy_with_the_name_is_the_same_certificate() -> None:
    key = Key(MADE, CV25519)
    forge = nameless(key)
    bare = bytes(forge)
    named = bytes(forge.user_id("<reader@example.org>", subpacket(27, b"\x03")))
    assert verdict(bare).fingerprint == verdict(named).fingerprint
    assert reason(bare + named) is None
