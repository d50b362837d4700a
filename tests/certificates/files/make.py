"""Makes the certificates of this folder anew: `python -m tests.certificates.files.make` (needs gpg 2.2)."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pysequoia

from mailer.crypto.openpgp import gnupg as list_keys
from tests.conftest import Gnupg

FOLDER = Path(__file__).parent
MADE = datetime(2024, 1, 1, tzinfo=UTC)
DIED = MADE + timedelta(days=30)


def main() -> None:
    gnupg = Gnupg(Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp")))
    try:
        _by_gnupg(gnupg)
        _by_sequoia()
    finally:
        gnupg.close()


def _by_gnupg(gnupg: Gnupg) -> None:
    def keep(name: str, fingerprint: str) -> None:
        (FOLDER / name).write_bytes(gnupg.certificate(fingerprint, armored=True))

    usable = gnupg.make_key("usable@example.org", made=MADE)
    keep("usable.asc", usable)
    keep("usable-rsa2048.asc", gnupg.make_key("rsa2048@example.org", algorithm="rsa2048", made=MADE))
    keep("usable-nistp521.asc", gnupg.make_key("nistp521@example.org", algorithm="nistp521", made=MADE))
    keep("expired.asc", gnupg.make_key("expired@example.org", made=MADE, expires=DIED))
    keep("expired-subkey.asc", gnupg.make_key_with_expired_subkey("subkey@example.org", now=DIED))
    keep("sign-only.asc", gnupg.make_key("sign-only@example.org", made=MADE, can_encrypt=False))
    keep("weak-rsa1024.asc", gnupg.make_key("rsa1024@example.org", algorithm="rsa1024", made=MADE))
    keep("unsupported-brainpool.asc", gnupg.make_key("bp@example.org", algorithm="brainpoolP256r1", made=MADE))
    keep("unsupported-secp256k1.asc", gnupg.make_key("k1@example.org", algorithm="secp256k1", made=MADE))
    gnupg.run(
        "--cert-digest-algo", "SHA1", "--quick-gen-key", "<sha1@example.org>", "rsa3072", "cert,sign", "0", at=MADE
    )
    (sha1,) = gnupg.fingerprints("sha1@example.org")
    gnupg.run("--cert-digest-algo", "SHA1", "--quick-add-key", sha1, "rsa3072", "encr", "0", at=MADE)
    keep("weak-sha1.asc", sha1)
    gnupg.run("--gen-key", stdin=_DSA, at=MADE)
    keep("weak-dsa2048-elg2048.asc", gnupg.fingerprints("dsa@example.org")[0])
    revoked = gnupg.make_key("revoked@example.org", made=MADE)
    gnupg.revoke(revoked)
    keep("revoked.asc", revoked)
    secret = gnupg.make_key("secret@example.org", made=MADE)
    (FOLDER / "secret.asc").write_bytes(gnupg.run("--armor", "--export-secret-keys", secret))
    (FOLDER / "list-secret.pgp").write_bytes(list_keys.make_key("<news@example.org>", MADE))
    (FOLDER / "not-a-certificate-message.asc").write_bytes(gnupg.encrypt(b"hello", usable))
    (FOLDER / "not-a-certificate-signature.asc").write_bytes(gnupg.sign_detached(b"hello", usable))


_DSA = b"""%no-protection
Key-Type: DSA
Key-Length: 2048
Key-Usage: cert,sign
Subkey-Type: ELG
Subkey-Length: 2048
Name-Email: dsa@example.org
Expire-Date: 0
"""


def _by_sequoia() -> None:
    for name, profile in (("sequoia-v4", pysequoia.Profile.RFC4880), ("sequoia-v6", pysequoia.Profile.RFC9580)):
        key = pysequoia.Tsk.generate("<usable@example.org>", profile=profile)
        (FOLDER / f"usable-{name}.asc").write_text(str(key.extract_certificate()))


if __name__ == "__main__":
    main()
