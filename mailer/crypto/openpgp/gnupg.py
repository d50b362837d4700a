"""Makes a list's own key with GnuPG, where it is installed: [SC] Ed25519 primary, Cv25519 subkey, version 4.

pysequoia's generator gives the primary [C] only, and Delta Chat verifies with nothing but the primary. The key is in a
folder of its own for a tenth of a second, in memory where there is a tmpfs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from mailer.errors import KeyNotMade

TIMEOUT_S = 60
ATTEMPTS = 4
# No compression, which makes length tell content; no BZip2, which pysequoia cannot read; no AEAD (GnuPG 2.4's packet
# 20), which nobody but GnuPG can.
_PREFERENCES = "AES256 AES192 AES128 SHA512 SHA384 SHA256 Uncompressed"
_FIXED = (
    *("--no-options", "--batch", "--yes", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""),
    *("--charset", "utf-8", "--allow-freeform-uid", "--cert-digest-algo", "SHA512"),
    *("--default-preference-list", _PREFERENCES),
)


def is_installed() -> bool:
    """Return whether there is a gpg here that makes keys."""
    return bool(shutil.which("gpg") and shutil.which("gpgconf") and shutil.which("gpg-agent"))


def make_key(user_id: str, made: datetime) -> bytes:
    """Return a new transferable secret key, binary, unprotected, without expiry. Raises KeyNotMade."""

    def make() -> bytes:
        with _home() as home:
            _run(home, "--quick-gen-key", user_id, "ed25519", "cert,sign", "never", at=made)
            _run(home, "--quick-add-key", _fingerprint(home), "cv25519", "encr", "never", at=made)
            return _run(home, "--export-secret-keys")

    return _try(make)


def add_user_id(secret: bytes, user_id: str) -> bytes:
    """Return a secret key with one more user ID. Raises KeyNotMade."""

    def add() -> bytes:
        with _home() as home:
            _run(home, "--import", stdin=secret)
            _run(home, "--quick-add-uid", _fingerprint(home), user_id)
            return _run(home, "--export-secret-keys")

    return _try(add)


def certify(certificate: bytes, fingerprint: str, secret: bytes, by: str) -> bytes:
    """Return a certificate with a certification of its user ID by another key, binary. Raises KeyNotMade.

    Dated as the newer of the two keys, which were made at midnight: it tells no more than that.
    """

    def sign() -> bytes:
        with _home() as home:
            _run(home, "--import", stdin=secret)
            _run(home, "--import", stdin=certificate)
            made = max(int(line.split(":")[5]) for line in _listing(home) if line.startswith("pub:"))
            midnight = datetime.fromtimestamp(made, UTC)
            _run(home, "--default-key", by, "--quick-sign-key", fingerprint, at=midnight)
            return _run(home, "--export", fingerprint)

    return _try(sign)


def _try(make: Callable[[], bytes]) -> bytes:
    """Return what `make` does; on a busy machine gpg now and then gives up on its agent, so it may begin anew."""
    for _ in range(ATTEMPTS - 1):
        try:
            return make()
        except KeyNotMade:
            continue
    return make()


@contextmanager
def _home() -> Iterator[Path]:
    """Make a GnuPG home, mode 0700; its path is short, because the agent's sockets stand in it."""
    memory = "/dev/shm"  # noqa: S108 - mkdtemp's name there cannot be guessed
    home = Path(tempfile.mkdtemp(prefix="m-", dir=memory if os.access(memory, os.W_OK | os.X_OK) else None))
    try:
        yield home
    finally:
        _call(["gpgconf", "--homedir", str(home), "--kill", "all"])
        shutil.rmtree(home, ignore_errors=True)  # the agent takes its sockets away at the same time


def _fingerprint(home: Path) -> str:
    return next(line.split(":")[9] for line in _listing(home) if line.startswith("fpr:"))


def _listing(home: Path) -> list[str]:
    return _run(home, "--with-colons", "--list-keys").decode().splitlines()


def _run(home: Path, *arguments: str, stdin: bytes = b"", at: datetime | None = None) -> bytes:
    clock = ["--faked-system-time", f"{at:%Y%m%dT%H%M%S}"] if at else []
    done = _call(["gpg", "--homedir", str(home), *_FIXED, *clock, *arguments], stdin)
    if done is None or done.returncode:
        raise KeyNotMade("(gpg failed.)")
    return done.stdout


def _call(command: list[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes] | None:
    try:
        return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=TIMEOUT_S)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
