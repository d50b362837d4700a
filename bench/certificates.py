"""Distinct certificates made by GnuPG, as subscribers have them; kept in a cache, for they take a while."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import processes
from mailer.crypto import openpgp
from mailer.model.certificate import Certificate
from mailer.model.subscriber import Drawer

PER_CALL = 50  # keys that one gpg makes from one parameter file
WITHIN_S = 900.0
NUMBERS = {"ed25519": 1000, "rsa2048": 200}  # RSA keys take longer to make, and a cycle of 200 is as honest
QUICK_NUMBERS = {"ed25519": 40, "rsa2048": 8}
ALGORITHMS = {
    "ed25519": "Key-Type: EDDSA\nKey-Curve: ed25519\nKey-Usage: sign\n"
    "Subkey-Type: ECDH\nSubkey-Curve: cv25519\nSubkey-Usage: encrypt\n",
    "rsa2048": "Key-Type: RSA\nKey-Length: 2048\nKey-Usage: sign\n"
    "Subkey-Type: RSA\nSubkey-Length: 2048\nSubkey-Usage: encrypt\n",
}


@dataclass(frozen=True, slots=True)
class Made:
    """Drawers with what the register keeps of each certificate, and how long gpg took (0: they were there already)."""

    drawers: list[Drawer]
    took_s: float


def load(cache: Path, algorithm: str, number: int) -> Made:
    """Return so many certificates, made now if the cache has fewer. Raises BenchFailed."""
    path = cache / f"{algorithm}.json"
    kept = json.loads(path.read_text()) if path.is_file() else []
    began, missing = time.monotonic(), number - len(kept)
    if missing > 0:
        with ThreadPoolExecutor(2) as pair:  # each waits for a gpg of its own
            halves = pair.map(lambda first: _make(algorithm, first, missing // 2 + 1), (len(kept), number))
        kept += [one for half in halves for one in half][:missing]
        cache.mkdir(exist_ok=True)
        path.write_text(json.dumps(kept))
    drawers = [Drawer(base64.b64decode(blob), fingerprint) for fingerprint, blob in kept[:number]]
    return Made(drawers, time.monotonic() - began if missing > 0 else 0.0)


def _make(algorithm: str, first: int, number: int) -> list[tuple[str, str]]:
    """Make keys with gpg in homes that are thrown away; return fingerprint and minimal certificate of each."""
    kept: list[tuple[str, str]] = []
    while len(kept) < number:
        some = min(PER_CALL, number - len(kept))
        kept += [(one.fingerprint, base64.b64encode(one.blob).decode()) for one in _gpg(algorithm, first, some)]
        first += some
    return kept


def _gpg(algorithm: str, first: int, number: int) -> list[Certificate]:
    home = Path(tempfile.mkdtemp(prefix="gpg-"))  # a new one each time: gpg gets slower with each key that it has
    try:
        one = (
            "%no-protection\n"
            + ALGORITHMS[algorithm]
            + "Expire-Date: 0\nName-Email: reader-{}@crowd.example\n%commit\n"
        )
        (home / "parameters").write_text("".join(one.format(at) for at in range(first, first + number)))
        quiet = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-tty"]
        processes.run([*quiet, "--full-generate-key", str(home / "parameters")], WITHIN_S)
        processes.run([*quiet, "--output", str(home / "all"), "--export"])
        verdicts = openpgp.examine((home / "all").read_bytes(), datetime.now(UTC))
        usable = [verdict for verdict in verdicts if isinstance(verdict, Certificate)]
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)
    if len(usable) != number:
        raise processes.BenchFailed(f"gpg made {number} keys, of which {len(usable)} can be used.")
    return usable
