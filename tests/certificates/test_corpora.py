"""Other programs' certificates and messages, from the corpora beside a developer's checkout."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pysequoia
import pytest

from mailer.crypto import openpgp
from mailer.errors import DecryptionFailed
from mailer.model.certificate import Certificate, Refusal, Refused
from tests.conftest import Gnupg

NOW = datetime.now(UTC)
FOLDERS = ("autocrypt", "openpgp-misc-keys", "openpgp-sequoia", "openpgp-mail", "signature-spoofing")
LIST = openpgp.ListKey.from_secret(
    bytes(pysequoia.Tsk.generate("<news@example.org>", profile=pysequoia.Profile.RFC4880))
)
SURPRISING = {
    "VALID_PGP_KEY2_PUB": Refusal.WEAK,  # SHA-1 self-signatures
    "EXPIRED_PGP_KEY_PUB": Refusal.EXPIRED,
    "eike-v3-v4.pgp": Refusal.WEAK,  # PGP ARMORED FILE, DSA-1024
    "bobs-cert-badly-mangled.asc": None,
    "test-key-revoked.asc": Refusal.REVOKED,
    "revoked_key.txt": Refusal.REVOKED,
    "expired_key.txt": Refusal.EXPIRED,
    "partially_expired_key.txt": Refusal.EXPIRED_SUBKEY,
    "signonly_key.txt": Refusal.SIGN_ONLY,
    "sha-mbles.bob.asc": Refusal.UNSUPPORTED,  # RSA-6144
    "testy-only-a-pk.pgp": Refusal.NOT_A_CERTIFICATE,
    "pgp5-dsa-elg-v3-subkey-binding.pgp": Refusal.WEAK,
    "already-revoked-direct-revocation.pgp": Refusal.REVOKED,
    "secp256k1.gpg": Refusal.SECRET,
}


def files(corpora: Path) -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((corpora / folder).rglob("*")) if path.is_file()]


def test_every_file_gets_a_verdict_in_time(corpora: Path) -> None:
    for path in files(corpora):
        start = time.perf_counter()
        verdicts = openpgp.examine(path.read_bytes(), NOW)
        assert time.perf_counter() - start < 2, path.name
        assert verdicts, path.name


@pytest.mark.parametrize("name", SURPRISING)
def test_these_get_the_verdict_that_was_looked_up_by_hand(corpora: Path, name: str) -> None:
    (path,) = [path for path in files(corpora) if path.name == name]
    (verdict,) = openpgp.examine(path.read_bytes(), NOW)
    assert (verdict.reason if isinstance(verdict, Refused) else None) is SURPRISING[name]


def test_every_accepted_one_is_encrypted_to_in_a_form_that_it_allows(corpora: Path) -> None:
    accepted = 0
    for path in files(corpora):
        for verdict in openpgp.examine(path.read_bytes(), NOW):
            if isinstance(verdict, Certificate):
                assert openpgp.encrypt(b"hello", verdict.blob, NOW), path.name
                accepted += 1
    assert accepted > 15


def test_gnupg_decrypts_for_every_accepted_key_whose_secret_half_is_there(corpora: Path, gnupg: Gnupg) -> None:
    opened = 0
    for path in files(corpora):
        try:
            key = pysequoia.Tsk.from_bytes(path.read_bytes())
            decryptor = key.decryptor()
        except RuntimeError:
            continue
        (verdict,) = openpgp.examine(bytes(key.extract_certificate()), NOW)
        if isinstance(verdict, Refused):
            continue
        message = openpgp.encrypt(b"hello", verdict.blob, NOW)
        assert pysequoia.decrypt(message, decryptor).bytes == b"hello", path.name
        if verdict.version == 4 and "mlkem768+x25519" not in verdict.algorithms:
            gnupg.import_key(bytes(key))
            assert gnupg.decrypt(message).plaintext == b"hello", path.name
        opened += 1
    assert opened >= 3


def test_no_file_raises_anything_but_a_named_refusal_as_a_message(corpora: Path) -> None:
    for path in files(corpora):
        blob = path.read_bytes()
        start = time.perf_counter()
        with suppress(DecryptionFailed):
            assert openpgp.decrypt(blob, [LIST], []).signature is None
        with suppress(DecryptionFailed):
            assert openpgp.verify_cleartext(blob, []).signature is None
        assert time.perf_counter() - start < 2, path.name
        assert openpgp.verify_detached(b"hello", blob, [LIST.public]) is None
