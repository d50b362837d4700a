"""What is kept of a certificate: enough to encrypt and to verify, and nothing else."""

from __future__ import annotations

import timeit
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailer.crypto import openpgp
from mailer.crypto.openpgp import armor, packets
from mailer.crypto.openpgp.packets import Tag
from mailer.model.certificate import Certificate, Refusal
from tests.certificates.forge import CV25519, FEATURES, FLAGS, Forge, Key, subpacket
from tests.conftest import Gnupg

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
MADE = NOW - 100 * DAY
FILES = Path(__file__).parent / "files"
IS_USABLE_S = 0.0002


def judged(blob: bytes) -> Certificate:
    (verdict,) = openpgp.examine(blob, datetime.now(UTC))
    assert isinstance(verdict, Certificate)
    return verdict


def tags(blob: bytes) -> list[int]:
    return [packet.tag for packet in packets.walk(blob)]


@pytest.fixture
def crowded(gnupg: Gnupg) -> str:
    """A certificate with a photograph, three user IDs, strangers' signatures and subkeys of every kind."""
    made = NOW - 50 * DAY
    fingerprint = gnupg.make_key("reader@example.org", made=made)
    for name in ("<second@example.org>", "<third@example.org>"):
        gnupg.run("--quick-add-uid", fingerprint, name, at=made + DAY)
    gnupg.run("--quick-add-key", fingerprint, "ed25519", "sign", "0", at=made)
    gnupg.run("--quick-add-key", fingerprint, "ed25519", "auth", "0", at=made)
    gnupg.run("--quick-add-key", fingerprint, "cv25519", "encr", "0", at=made + DAY)
    photograph = gnupg.home / "photograph.jpg"
    photograph.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(500) + b"\xff\xd9")
    answers = f"addphoto\n{photograph}\ny\nsave\n".encode()
    gnupg.run("--command-fd", "0", "--edit-key", fingerprint, stdin=answers)
    for number in range(3):
        stranger = gnupg.make_key(f"stranger{number}@example.org", can_encrypt=False)
        gnupg.run("--local-user", stranger, "--quick-sign-key", fingerprint)
    return fingerprint


def test_everything_but_what_is_needed_is_dropped(gnupg: Gnupg, crowded: str) -> None:
    whole = gnupg.certificate(crowded)
    assert tags(whole).count(Tag.USER_ID) == 3
    assert tags(whole).count(Tag.USER_ATTRIBUTE) == 1
    verdict = judged(whole)
    assert tags(verdict.blob) == [
        *(Tag.PUBLIC_KEY, Tag.USER_ID, Tag.SIGNATURE),
        *(Tag.PUBLIC_SUBKEY, Tag.SIGNATURE) * 3,  # two that encrypt, one that signs
    ]
    assert verdict.algorithms == ("ed25519", "cv25519", "cv25519")


def test_the_minimal_certificate_encrypts_verifies_and_is_its_own_minimum(gnupg: Gnupg, crowded: str) -> None:
    verdict = judged(gnupg.certificate(crowded))
    assert gnupg.decrypt(openpgp.encrypt(b"hello", verdict.blob, NOW)).plaintext == b"hello"
    assert openpgp.verify_detached(b"hello", gnupg.sign_detached(b"hello", crowded), [verdict.blob])
    assert judged(verdict.blob) == verdict


def test_gnupg_takes_the_minimal_certificate(gnupg: Gnupg) -> None:
    verdict = judged((FILES / "usable.asc").read_bytes())
    gnupg.import_key(verdict.blob)
    assert gnupg.encrypt(b"hello", verdict.fingerprint)


def test_a_direct_key_signature_that_says_everything_makes_user_ids_needless() -> None:
    key = Key(MADE, CV25519)
    said = (subpacket(FLAGS, b"\x03"), subpacket(FEATURES, b"\x01"))
    encrypts = subpacket(FLAGS, b"\x0c")
    forge = Forge(MADE).direct(*said).user_id("<reader@example.org>", *said).subkey(key).bind(key, encrypts)
    assert Tag.USER_ID not in tags(judged(bytes(forge)).blob)
    forge = Forge(MADE).direct().user_id("<reader@example.org>", *said).subkey(key).bind(key, encrypts)
    assert Tag.USER_ID in tags(judged(bytes(forge)).blob)
    assert Tag.USER_ID not in tags(judged((FILES / "usable-sequoia-v6.asc").read_bytes()).blob)


def test_no_more_than_eight_encryption_subkeys_are_kept_and_those_are_the_newest() -> None:
    forge = Forge(MADE).user_id("<reader@example.org>", subpacket(FLAGS, b"\x03"))
    keys = [Key(MADE + number * DAY, CV25519) for number in range(12)]
    for key in reversed(keys):
        forge.subkey(key).bind(key, subpacket(FLAGS, b"\x0c"), created=key.created)
    kept = [packet.body for packet in packets.walk(judged(bytes(forge)).blob) if packet.tag == Tag.PUBLIC_SUBKEY]
    assert kept == [key.body for key in keys[-8:]]


def test_is_usable_knows_what_became_of_a_certificate() -> None:
    verdict = judged((FILES / "usable.asc").read_bytes())
    assert openpgp.is_usable(verdict.blob, NOW) is None
    for name, reason in (
        ("expired", Refusal.EXPIRED),
        ("expired-subkey", Refusal.EXPIRED_SUBKEY),
        ("revoked", Refusal.REVOKED),
        ("sign-only", Refusal.SIGN_ONLY),
        ("weak-rsa1024", Refusal.WEAK),
        ("unsupported-brainpool", Refusal.UNSUPPORTED),
        ("secret", Refusal.SECRET),
        ("not-a-certificate-message", Refusal.NOT_A_CERTIFICATE),
        ("not-a-certificate-signature", Refusal.NOT_A_CERTIFICATE),
    ):
        (block,) = armor.find_blocks((FILES / f"{name}.asc").read_bytes(), 2)
        assert openpgp.is_usable(block.content or b"", NOW) is reason
    assert openpgp.is_usable(b"", NOW) is Refusal.NOT_A_CERTIFICATE
    assert openpgp.is_usable(verdict.blob[:-1], NOW) is Refusal.NOT_A_CERTIFICATE
    assert openpgp.is_usable(verdict.blob * 2, NOW) is None  # two copies of one
    other = judged((FILES / "usable-rsa2048.asc").read_bytes())
    assert openpgp.is_usable(verdict.blob + other.blob, NOW) is Refusal.NOT_A_CERTIFICATE


def test_is_usable_is_quick() -> None:
    blob = judged((FILES / "usable.asc").read_bytes()).blob
    assert min(timeit.repeat(lambda: openpgp.is_usable(blob, NOW), repeat=20, number=20)) / 20 < 5 * IS_USABLE_S
