"""Every verdict there is, on certificates made by gpg, sq and pysequoia."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailer.crypto import openpgp
from mailer.model.certificate import Certificate, Refusal, Refused
from tests.certificates.forge import CV25519, Forge, Key, mpi, packet
from tests.conftest import Gnupg

NOW = datetime.now(UTC)  # Sequoia looks at the real clock, so ours must not be another
DAY = timedelta(days=1)
FILES = sorted((Path(__file__).parent / "files").glob("*.asc"))


def reason(blob: bytes) -> Refusal | None:
    (verdict,) = openpgp.examine(blob, datetime.now(UTC))
    return verdict.reason if isinstance(verdict, Refused) else None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_frozen_certificates_get_the_verdict_that_their_name_says(path: Path) -> None:
    found = reason(path.read_bytes())
    assert path.stem.startswith(found or "usable")
    # "expired" must not pass for "expired-subkey"
    assert (found is Refusal.EXPIRED_SUBKEY) == path.stem.startswith("expired-subkey")


def test_a_usable_certificate_says_what_it_is(gnupg: Gnupg) -> None:
    expires = (NOW + 30 * DAY).replace(microsecond=0)
    fingerprint = gnupg.make_key("reader@example.org", expires=expires)
    (verdict,) = openpgp.examine(gnupg.certificate(fingerprint), NOW)
    assert isinstance(verdict, Certificate)
    assert verdict.fingerprint == fingerprint.lower()
    assert verdict.algorithms == ("ed25519", "cv25519")
    assert verdict.version == 4
    assert verdict.expires is not None
    assert abs(verdict.expires - expires) < timedelta(seconds=60)
    assert openpgp.is_usable(verdict.blob, NOW) is None
    assert openpgp.is_usable(verdict.blob, expires + DAY) is Refusal.EXPIRED


@pytest.mark.parametrize("algorithm", ["rsa2048", "rsa3072", "rsa4096", "nistp256", "nistp384", "nistp521"])
def test_what_gnupg_makes_is_usable(gnupg: Gnupg, algorithm: str) -> None:
    fingerprint = gnupg.make_key("reader@example.org", algorithm=algorithm)
    (verdict,) = openpgp.examine(gnupg.certificate(fingerprint), NOW)
    assert isinstance(verdict, Certificate)
    assert verdict.algorithms == (algorithm, algorithm)


def test_what_sqop_makes_is_usable(needs: Callable[[str], str]) -> None:
    secret = subprocess.run([needs("sqop"), "generate-key", "<reader@example.org>"], check=True, capture_output=True)
    public = subprocess.run([needs("sqop"), "extract-cert"], input=secret.stdout, check=True, capture_output=True)
    assert reason(public.stdout) is None
    assert reason(secret.stdout) is Refusal.SECRET


def test_an_rsa_primary_key_that_encrypts_itself_is_usable(gnupg: Gnupg) -> None:
    gnupg.run("--quick-gen-key", "<reader@example.org>", "rsa2048", "cert,sign,encr", "0")
    (verdict,) = openpgp.examine(gnupg.certificate("reader@example.org"), NOW)
    assert isinstance(verdict, Certificate)
    message = openpgp.encrypt(b"hello", verdict.blob, NOW)
    assert gnupg.decrypt(message).plaintext == b"hello"


def test_expired(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_expired_key("reader@example.org", now=NOW)
    (verdict,) = openpgp.examine(gnupg.certificate(fingerprint), NOW)
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.fingerprint) == (Refusal.EXPIRED, fingerprint.lower())
    assert verdict.expires is not None
    assert abs(verdict.expires - (NOW - DAY)) < timedelta(seconds=60)


def test_extended_after_it_expired_is_usable(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_expired_key("reader@example.org", now=NOW)
    gnupg.run("--quick-set-expire", fingerprint, "1y")
    assert reason(gnupg.certificate(fingerprint)) is Refusal.EXPIRED_SUBKEY  # gpg extends the primary key only
    gnupg.run("--quick-set-expire", fingerprint, "1y", subkey_of(gnupg, fingerprint))
    assert reason(gnupg.certificate(fingerprint)) is None


def subkey_of(gnupg: Gnupg, fingerprint: str) -> str:
    lines = gnupg.run("--with-colons", "--list-keys", fingerprint).decode().splitlines()
    return [line.split(":")[9] for line in lines if line.startswith("fpr:")][1]


def test_shortened_by_a_newer_signature_is_expired(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key("reader@example.org", made=NOW - 30 * DAY, expires=NOW + 300 * DAY)
    before = gnupg.certificate(fingerprint)
    gnupg.run("--quick-set-expire", fingerprint, "seconds=86400", at=NOW - 20 * DAY)
    assert reason(before) is None
    assert reason(gnupg.certificate(fingerprint)) is Refusal.EXPIRED


def test_expired_encryption_subkey_alone(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key_with_expired_subkey("reader@example.org", now=NOW)
    (verdict,) = openpgp.examine(gnupg.certificate(fingerprint), NOW)
    assert isinstance(verdict, Refused)
    assert verdict.reason is Refusal.EXPIRED_SUBKEY
    assert verdict.expires is not None
    assert verdict.expires < NOW


def test_an_expired_subkey_beside_a_live_one_is_usable_and_left_out(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key_with_expired_subkey("reader@example.org", now=NOW)
    gnupg.run("--quick-add-key", fingerprint, "cv25519", "encr", "0")
    (verdict,) = openpgp.examine(gnupg.certificate(fingerprint), NOW)
    assert isinstance(verdict, Certificate)
    assert verdict.algorithms == ("ed25519", "cv25519")
    assert gnupg.decrypt(openpgp.encrypt(b"hello", verdict.blob, NOW)).plaintext == b"hello"


def test_revoked(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key("reader@example.org")
    gnupg.revoke(fingerprint)
    assert reason(gnupg.certificate(fingerprint)) is Refusal.REVOKED


def test_a_revocation_certificate_sent_along_counts(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key("reader@example.org")
    certificate = gnupg.certificate(fingerprint, armored=True)
    revocation = (gnupg.home / "openpgp-revocs.d" / f"{fingerprint}.rev").read_bytes().replace(b"\n:---", b"\n---")
    assert reason(certificate + revocation) is Refusal.REVOKED
    assert reason(revocation + certificate) is Refusal.REVOKED
    assert reason(revocation) is Refusal.NOT_A_CERTIFICATE


def test_one_revoked_copy_among_several_counts(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key("reader@example.org")
    before = gnupg.certificate(fingerprint)
    gnupg.revoke(fingerprint)
    assert reason(before + gnupg.certificate(fingerprint)) is Refusal.REVOKED


def test_revoked_subkey(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key("reader@example.org")
    revoke_subkey(gnupg, fingerprint)
    assert reason(gnupg.certificate(fingerprint)) is Refusal.REVOKED


def test_a_revoked_subkey_beside_a_live_one_is_usable_and_left_out(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key("reader@example.org")
    revoke_subkey(gnupg, fingerprint)
    gnupg.run("--quick-add-key", fingerprint, "cv25519", "encr", "0")
    (verdict,) = openpgp.examine(gnupg.certificate(fingerprint), NOW)
    assert isinstance(verdict, Certificate)
    assert verdict.algorithms == ("ed25519", "cv25519")
    message = openpgp.encrypt(b"hello", verdict.blob, NOW)
    assert gnupg.list_packets(message).count(":pubkey enc packet:") == 1
    assert gnupg.decrypt(message).plaintext == b"hello"


def revoke_subkey(gnupg: Gnupg, fingerprint: str) -> None:
    answers = b"key 1\nrevkey\ny\n0\n\ny\nsave\n"
    gnupg.run("--command-fd", "0", "--edit-key", fingerprint, stdin=answers)


def test_sign_only(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key("reader@example.org", can_encrypt=False)
    assert reason(gnupg.certificate(fingerprint)) is Refusal.SIGN_ONLY
    gnupg.run("--quick-add-key", fingerprint, "ed25519", "auth", "0")
    assert reason(gnupg.certificate(fingerprint)) is Refusal.SIGN_ONLY


@pytest.mark.parametrize("algorithm", ["brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1", "secp256k1"])
def test_curves_that_sequoia_does_not_know_are_unsupported(gnupg: Gnupg, algorithm: str) -> None:
    fingerprint = gnupg.make_key("reader@example.org", algorithm=algorithm)
    (verdict,) = openpgp.examine(gnupg.certificate(fingerprint), NOW)
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.algorithms) == (Refusal.UNSUPPORTED, (algorithm,))


def test_an_unsupported_subkey_beside_a_usable_one_does_not_matter(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key("reader@example.org", can_encrypt=False)
    gnupg.run("--quick-add-key", fingerprint, "brainpoolP256r1", "encr", "0")
    assert reason(gnupg.certificate(fingerprint)) is Refusal.UNSUPPORTED
    gnupg.run("--quick-add-key", fingerprint, "cv25519", "encr", "0")
    assert reason(gnupg.certificate(fingerprint)) is None


def test_a_weak_subkey_is_weak_whatever_the_primary_is(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key("reader@example.org", algorithm="rsa3072", can_encrypt=False)
    gnupg.run("--quick-add-key", fingerprint, "rsa1024", "encr", "0")
    assert reason(gnupg.certificate(fingerprint)) is Refusal.WEAK


def test_sha1_self_signatures_are_weak_and_mended_by_a_new_one(gnupg: Gnupg) -> None:
    made = NOW - DAY
    sha1 = ("--cert-digest-algo", "SHA1")
    gnupg.run(*sha1, "--quick-gen-key", "<reader@example.org>", "ed25519", "cert,sign", "0", at=made)
    (fingerprint,) = gnupg.fingerprints("reader@example.org")
    gnupg.run(*sha1, "--quick-add-key", fingerprint, "cv25519", "encr", "0", at=made)
    assert reason(gnupg.certificate(fingerprint)) is Refusal.WEAK
    gnupg.run("--cert-digest-algo", "SHA256", "--quick-set-expire", fingerprint, "1y")
    assert reason(gnupg.certificate(fingerprint)) is Refusal.WEAK  # the subkey's signature still is
    gnupg.run("--cert-digest-algo", "SHA256", "--quick-set-expire", fingerprint, "1y", "*")
    assert reason(gnupg.certificate(fingerprint)) is None


def test_md5_self_signatures_are_weak() -> None:
    key = Key(NOW - DAY, CV25519)
    forge = Forge(NOW - DAY).user_id("a", hash_id=1).subkey(key).bind(key, hash_id=1)
    assert reason(bytes(forge)) is Refusal.WEAK


def test_keys_of_version_2_3_and_5_are_unsupported() -> None:
    numbers = mpi(b"\xff" * 256) + mpi(b"\x01\x00\x01")
    for head in (b"\x02", b"\x03"):  # RFC 4880 §5.5.2: creation, days of validity, RSA
        old = packet(6, head + (0x30000000).to_bytes(4, "big") + b"\0\0\x01" + numbers)
        assert reason(old + packet(13, b"reader")) is Refusal.UNSUPPORTED
    librepgp = packet(
        6, b"\x05" + (0x60000000).to_bytes(4, "big") + b"\x01" + len(numbers).to_bytes(4, "big") + numbers
    )
    assert reason(librepgp + packet(13, b"reader")) is Refusal.UNSUPPORTED


def test_secret_keys_are_named_as_such_armored_and_binary(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key("reader@example.org")
    secret = gnupg.secret(fingerprint)
    assert reason(secret) is Refusal.SECRET
    assert reason(gnupg.run("--armor", "--export-secret-keys", fingerprint)) is Refusal.SECRET
    # mislabelled, damaged, or stubs of subkeys only
    assert reason(gnupg.run("--export-secret-subkeys", fingerprint)) is Refusal.SECRET
    assert reason(openpgp.armor_certificate(secret).encode()) is Refusal.SECRET
    assert (
        reason(b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlIYE\n-----END PGP PRIVATE KEY BLOCK-----") is Refusal.SECRET
    )


def test_a_public_key_beside_a_secret_one_gets_its_own_verdict(gnupg: Gnupg) -> None:
    secret = gnupg.secret(gnupg.make_key("one@example.org"))
    public = gnupg.certificate(gnupg.make_key("two@example.org"))
    one, two = openpgp.examine(secret + public, NOW)
    assert isinstance(one, Refused)
    assert one.reason is Refusal.SECRET
    assert isinstance(two, Certificate)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"hello\r\n",
        b"\x00" * 1000,
        b"\xff" * 1000,
        b"\x99",
        b"\xc6\xff\xff\xff\xff\xff",
        b"\xc6\x00",
        b"\xc6\x05\x04\x00\x00\x00\x00",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----\n",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n????\n-----END PGP PUBLIC KEY BLOCK-----\n",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
        b"PK\x03\x04",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_what_is_no_certificate_is_called_so(blob: bytes) -> None:
    assert reason(blob) is Refusal.NOT_A_CERTIFICATE


def test_a_bare_key_and_one_whose_subkeys_say_nothing_of_their_use_are_not_certificates() -> None:
    key = Key(NOW - DAY, CV25519)
    assert reason(bytes(Forge(NOW - DAY))) is Refusal.NOT_A_CERTIFICATE
    assert reason(bytes(Forge(NOW - DAY).subkey(key).bind(key))) is Refusal.NOT_A_CERTIFICATE


def test_a_key_from_the_future_is_not_yet_valid(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key("reader@example.org", made=NOW + 2 * DAY)
    assert reason(gnupg.certificate(fingerprint)) is Refusal.NOT_YET_VALID


def test_several_certificates_get_a_verdict_each(gnupg: Gnupg) -> None:
    gnupg.make_key("one@example.org")
    gnupg.make_expired_key("two@example.org", now=NOW)
    gnupg.make_key("three@example.org", can_encrypt=False)
    one, two, three = openpgp.examine(gnupg.run("--armor", "--export"), NOW)
    assert isinstance(one, Certificate)
    assert isinstance(two, Refused)
    assert isinstance(three, Refused)
    assert (two.reason, three.reason) == (Refusal.EXPIRED, Refusal.SIGN_ONLY)


def test_verdicts_show_no_fingerprint_in_a_traceback(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key("reader@example.org")
    (verdict,) = openpgp.examine(gnupg.certificate(fingerprint), NOW)
    assert fingerprint.lower() not in repr(verdict)
