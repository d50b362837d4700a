"""What tests in every folder share: external programs, GnuPG with keys of any kind, letters of others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.cluster import Cluster

ROOT = Path(__file__).parents[1]
IS_CI = os.environ.get("CI") == "true"
DEBIAN_PACKAGE = {
    "dovecot": "dovecot-imapd",
    "gpg": "gnupg",
    "gpgconf": "gnupg",
    "gpgsm": "gpgsm",
    "gpgv": "gpgv",
    "initdb": "postgresql",
    "ip": "iproute2",
    "opendkim-testmsg": "opendkim-tools",
    "pdffonts": "poppler-utils",
    "pdfimages": "poppler-utils",
    "pdfinfo": "poppler-utils",
    "pdftotext": "poppler-utils",
    "postgres": "postgresql",
    "psql": "postgresql",
    "rnpkeys": "rnp",
    "setpriv": "util-linux",
    "smtp-source": "postfix",
    "systemd-analyze": "systemd",
    "unshare": "util-linux",
}
SOCKET_PATH_OCTETS = 107  # sockaddr_un less its NUL; the agent's longest socket name is S.gpg-agent.browser

# One machine may be ten times slower than another, and a failure in CI must be the same when it is run again.
settings.register_profile("steady", deadline=None, database=None, derandomize=IS_CI)
settings.load_profile("steady")


def needs(program: str) -> str:
    """Return the path of an external program; without it the test is skipped, or fails where CI=true."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin") or _of_postgresql(program)
    if path:
        return path
    reason = f"{program} is missing; install Debian's {DEBIAN_PACKAGE.get(program, program)}"
    if IS_CI:
        pytest.fail(reason)
    pytest.skip(reason)


def _of_postgresql(program: str) -> str | None:
    """Debian keeps the server's programs off the path, in a folder for each version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), key=lambda path: int(path.parts[-3]))
    return str(found[-1]) if found else None


@pytest.fixture(name="needs")
def _needs() -> Callable[[str], str]:
    return needs


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of letters and certificates made by other programs, which lies beside a developer's checkout."""
    folder = ROOT.parent / "shared" / "corpora"
    if not folder.is_dir():
        pytest.skip("no folder shared/corpora beside this checkout")
    return folder


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL for all tests of a run, with a database that has every table, to copy."""
    from tests.cluster import TEMPLATE, Cluster

    cluster = Cluster.make()
    try:
        cluster.sql(f"CREATE DATABASE {TEMPLATE}")
        migrate = (
            "import asyncio, sys; from mailer.store.database import Database as D; asyncio.run(D(sys.argv[1]).open())"
        )
        subprocess.run([sys.executable, "-c", migrate, cluster.url(TEMPLATE)], cwd=ROOT, check=True)
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database: whoever asks for it runs on both engines."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/mailer.db"
        return
    with request.getfixturevalue("cluster").emptied() as url:
        yield url


@dataclass(frozen=True)
class Opened:
    """What gpg made of a message: the plaintext, and its machine-readable status lines without `[GNUPG:] `."""

    plaintext: bytes
    status: tuple[str, ...]

    def has(self, keyword: str) -> bool:
        """Whether gpg said e.g. GOODSIG, VALIDSIG, DECRYPTION_OKAY."""
        return any(line.split(" ", 1)[0] == keyword for line in self.status)


class Gnupg:
    """A GnuPG of its own, with its own home folder; keys have no passphrase."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.gpg = needs("gpg")

    @property
    def environment(self) -> dict[str, str]:
        """Environment for other programs that are to use this home (swaks, neomutt)."""
        return {**os.environ, "GNUPGHOME": str(self.home), "LC_ALL": "C"}

    def run(self, *arguments: str, stdin: bytes = b"", at: datetime | None = None, check: bool = True) -> bytes:
        """Run gpg and return its output; `at` is the time it is made to believe, aware."""
        return self._complete(*arguments, stdin=stdin, at=at, check=check).stdout

    def make_key(
        self,
        address: str,
        *,
        algorithm: str = "ed25519",
        made: datetime | None = None,
        expires: datetime | None = None,
        can_encrypt: bool = True,
    ) -> str:
        """Make a key and return its fingerprint: [SC] primary and, if it can encrypt, an [E] subkey.

        algorithm: "ed25519" (subkey cv25519), "rsa1024" and larger, "nistp256" and other names that gpg knows.
        """
        primary, subkey = _KEY_KINDS.get(algorithm, (algorithm, algorithm))
        expiry = _gpg_time(expires) if expires else "0"
        self._make("--quick-gen-key", f"<{address}>", primary, "cert,sign", expiry, at=made)
        fingerprint = self.fingerprints(address)[-1]
        if can_encrypt:
            self._make("--quick-add-key", fingerprint, subkey, "encr", expiry, at=made)
        return fingerprint

    def make_expired_key(self, address: str, *, now: datetime, algorithm: str = "ed25519") -> str:
        """Make a key, primary and subkey, that expired the day before `now`."""
        return self.make_key(
            address, algorithm=algorithm, made=now - timedelta(days=30), expires=now - timedelta(days=1)
        )

    def make_key_with_expired_subkey(self, address: str, *, now: datetime) -> str:
        """Make a key whose primary lives on, but whose only encryption subkey expired the day before `now`."""
        made = now - timedelta(days=30)
        fingerprint = self.make_key(address, made=made, can_encrypt=False)
        self._make("--quick-add-key", fingerprint, "cv25519", "encr", _gpg_time(now - timedelta(days=1)), at=made)
        return fingerprint

    def _make(self, *arguments: str, at: datetime | None) -> None:
        """Make a key; where gpg gives up on its agent, which happens on a busy machine, again with another agent."""
        for is_last in (False, False, True):
            if self._complete(*arguments, stdin=b"", at=at, check=is_last).returncode == 0:
                return
            subprocess.run([needs("gpgconf"), "--homedir", str(self.home), "--kill", "all"], check=True)

    def revoke(self, fingerprint: str) -> None:
        """Revoke a key with the revocation certificate that gpg laid aside when it made the key."""
        path = self.home / "openpgp-revocs.d" / f"{fingerprint}.rev"
        self.run("--import", stdin=path.read_text().replace("\n:---", "\n---").encode())

    def fingerprints(self, address: str = "") -> list[str]:
        """Return the fingerprints of the primary keys (of an address), in upper case, oldest first."""
        lines = self.run("--with-colons", "--list-keys", *([f"<{address}>"] if address else [])).decode().splitlines()
        pairs = pairwise(lines)
        return [line.split(":")[9] for before, line in pairs if before.startswith("pub:") and line.startswith("fpr:")]

    def certificate(self, fingerprint: str, *, armored: bool = False) -> bytes:
        """Return the public key, binary unless armored."""
        return self.run(*(["--armor"] if armored else []), "--export", fingerprint)

    def secret(self, fingerprint: str) -> bytes:
        """Return the secret key, binary."""
        return self.run("--export-secret-keys", fingerprint)

    def import_key(self, blob: bytes) -> None:
        """Take in a public or secret key, binary or armored."""
        self.run("--import", stdin=blob)

    def encrypt(self, plaintext: bytes, *fingerprints: str, signer: str | None = None) -> bytes:
        """Return the armored message, signed too if there is a signer."""
        recipients = [part for fingerprint in fingerprints for part in ("--recipient", fingerprint)]
        signing = ["--sign", "--local-user", signer] if signer else []
        return self.run("--armor", "--trust-model", "always", *signing, "--encrypt", *recipients, stdin=plaintext)

    def sign_detached(self, payload: bytes, signer: str) -> bytes:
        """Return an armored detached signature over the very bytes."""
        return self.run("--armor", "--digest-algo", "SHA512", "--local-user", signer, "--detach-sign", stdin=payload)

    def decrypt(self, message: bytes) -> Opened:
        """Decrypt, and verify what is signed inside. Raises CalledProcessError if it does not open."""
        return self._read_status("--decrypt", stdin=message)

    def verify(self, payload: bytes, signature: bytes) -> Opened:
        """Check a detached signature. Raises CalledProcessError if it is bad; the plaintext is empty."""
        path = self.home / "signature"
        path.write_bytes(signature)
        return self._read_status("--verify", str(path), "-", stdin=payload)

    def list_packets(self, message: bytes) -> str:
        """Return what `gpg --list-packets` prints; of an encrypted message only the packets outside."""
        return self.run("--list-packets", "--list-only", stdin=message, check=False).decode(errors="replace")

    def close(self) -> None:
        """Stop the agent of this home, no other, and remove the home."""
        subprocess.run([needs("gpgconf"), "--homedir", str(self.home), "--kill", "all"], check=True)
        shutil.rmtree(self.home, ignore_errors=True)  # the agent takes its sockets away at the same time

    def _read_status(self, *arguments: str, stdin: bytes) -> Opened:
        path = self.home / "status"
        plaintext = self.run("--status-file", str(path), "--trust-model", "always", *arguments, stdin=stdin)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return Opened(plaintext, tuple(line.removeprefix("[GNUPG:] ") for line in lines))

    def _complete(
        self, *arguments: str, stdin: bytes, at: datetime | None, check: bool
    ) -> subprocess.CompletedProcess[bytes]:
        clock = ["--faked-system-time", _gpg_time(at)] if at else []
        fixed = ["--homedir", str(self.home), "--batch", "--yes", "--quiet", "--no-tty", "--no-auto-key-locate"]
        quiet = ["--pinentry-mode", "loopback", "--passphrase", ""]
        command = [self.gpg, *fixed, *quiet, *clock, *arguments]
        return subprocess.run(command, input=stdin, env=self.environment, capture_output=True, check=check)


_KEY_KINDS = {"ed25519": ("ed25519", "cv25519")}


def _gpg_time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%S}"


@pytest.fixture
def gnupg() -> Iterator[Gnupg]:
    """A fresh GnuPG home, mode 0700, its path short enough for the agent's sockets."""
    home = Path(tempfile.mkdtemp(prefix="gpg-"))
    if len(bytes(home / "S.gpg-agent.browser")) > SOCKET_PATH_OCTETS:
        home.rmdir()
        home = Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))
    gnupg = Gnupg(home)
    yield gnupg
    gnupg.close()
