"""What a service holds while it is locked, and what it leaves on disk of what it holds: nothing."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from mailer.crypto import openpgp
from mailer.crypto.keyring import Keyring
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.errors import Locked
from mailer.model.address import Address
from tests.conftest import ROOT


def test_who_is_locked_holds_neither_the_secrets_nor_a_key_that_was_read_from_them() -> None:
    secret = openpgp.generate_plain_key(Address("news", "lists.example")).secret
    keyring = Keyring(ServiceSecrets.generate().with_list_key("news", secret))
    assert keyring.list_key("news").secret == secret
    keyring.lock()
    assert keyring.is_locked
    assert [name for name, held in vars(keyring).items() if held and isinstance(held, ServiceSecrets | dict)] == []
    for ask in (lambda: keyring.secrets, lambda: keyring.list_key("news"), lambda: keyring.smime_key("news")):
        with pytest.raises(Locked):
            ask()
    with pytest.raises(Locked):
        keyring.keys_of("news", datetime(2026, 1, 1, tzinfo=UTC))


def test_a_service_writes_no_core_and_shows_its_memory_to_no_other_process() -> None:
    code = (
        "import ctypes, os, resource; from mailer.cli.serve import harden; harden();"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE), oct(os.umask(0)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0 (0, 0) 0o77\n", "")
