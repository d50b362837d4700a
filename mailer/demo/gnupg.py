"""A second opinion on one copy: GnuPG decrypts it and verifies the list's signature, in a home of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from mailer.crypto.openpgp import ListKey
from mailer.demo import reading
from mailer.errors import DemoFailed

GPG_WITHIN_S = 20.0


def is_installed() -> bool:
    """Return whether there is a GnuPG to ask."""
    return shutil.which("gpg") is not None and shutil.which("gpgconf") is not None


def read_copy(content: bytes, key: ListKey, list_certificate: bytes) -> str:
    """Return the line in which gpg says whose good signature a copy carries. Raises DemoFailed if it does not."""
    # Not in the demonstration's folder: the agent's socket needs a short path (unix(7)).
    home = Path(tempfile.mkdtemp(prefix="mailer-demo-", dir="/tmp"))
    try:
        _gpg(home, "--import", stdin=key.secret)
        _gpg(home, "--import", stdin=list_certificate)
        signed = reading.split_signed(_gpg(home, "--decrypt", stdin=reading.armored(content)).stdout)
        signature = home / "signature.asc"
        signature.write_bytes(signed.signature)
        said = _gpg(home, "--verify", str(signature), "-", stdin=signed.payload).stderr.decode(errors="replace")
    finally:
        # The agent of this home, no other.
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True)  # noqa: S603, S607
        shutil.rmtree(home, ignore_errors=True)
    good = [line for line in said.splitlines() if "Good signature" in line]
    if not good:
        raise DemoFailed("GnuPG does not find a good signature in a copy.")
    return good[0]


def _gpg(home: Path, *arguments: str, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    fixed = ["--homedir", str(home), "--batch", "--no-tty", "--no-auto-key-locate", "--trust-model", "always"]
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(  # noqa: S603
            ["gpg", *fixed, *arguments],  # noqa: S607 - the user's own gpg, wherever it is
            input=stdin,
            env=environment,
            capture_output=True,
            timeout=GPG_WITHIN_S,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        raise DemoFailed(f"`gpg {arguments[0]}` fails on a copy, or on a key.") from None
