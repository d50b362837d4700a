"""The systemd units: what each must not do without, that systemd can read them, and that our libraries run so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, needs

UNITS = sorted((ROOT / "systemd").glob("*.service"))
WHERE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").replace("\\\n  ", "")

SANDBOX = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateIPC": "yes",
    "PrivateDevices": "yes",
    "UMask": "0077",
    "LimitCORE": "0",
    "MemorySwapMax": "0",
    "MemoryDenyWriteExecute": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "SystemCallArchitectures": "native",
    "SystemCallErrorNumber": "EPERM",
    "ProtectControlGroups": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "KeyringMode": "private",
    "LockPersonality": "yes",
    "RemoveIPC": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
}
MOST_EXPOSED = 25  # tenths, as `systemd-analyze security` counts

each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)


def settings_of(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^([A-Z]\w+)=(.*)$", unit, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def missing(unit: str) -> dict[str, str]:
    found = settings_of(unit)
    lacking = {key: value for key, value in SANDBOX.items() if found.get(key) != [value]}
    if found.get("SystemCallFilter", [])[:2] != ["@system-service", "~@privileged"]:
        lacking["SystemCallFilter"] = "@system-service"
    capabilities = "CAP_NET_BIND_SERVICE" if " serve " in found["ExecStart"][0] else ""
    if found.get("CapabilityBoundingSet") != [capabilities]:
        lacking["CapabilityBoundingSet"] = capabilities
    return lacking


@each_unit
def test_a_unit_has_the_whole_sandbox(unit: Path) -> None:
    assert missing(unit.read_text("utf-8")) == {}


@pytest.mark.parametrize("key", [*SANDBOX, "SystemCallFilter", "CapabilityBoundingSet"])
def test_a_hole_in_the_sandbox_is_found(key: str) -> None:
    text = (ROOT / "systemd" / "mailer.service").read_text("utf-8")
    assert set(missing(re.sub(rf"^{key}=.*\n", "", text, flags=re.MULTILINE))) == {key}


def paths_of(unit: str) -> set[str]:
    found = settings_of(unit)
    named = " ".join(found.get("ReadWritePaths", []) + found.get("InaccessiblePaths", []) + found["ExecStart"])
    return {word.lstrip("-") for word in named.split() if re.match(r"-?/", word)}


@each_unit
def test_each_path_and_user_of_a_unit_is_made_by_the_page(unit: Path) -> None:
    text = unit.read_text("utf-8")
    assert [path for path in paths_of(text) if path not in WHERE] == []
    for user in settings_of(text)["User"]:
        assert f"useradd --system --user-group --home-dir /var/lib/{user} " in WHERE


@each_unit
def test_each_credential_of_a_unit_is_sealed_and_made_by_the_page(unit: Path) -> None:
    found = settings_of(unit.read_text("utf-8"))
    assert "LoadCredential" not in found and "SetCredential" not in found
    for one in found.get("LoadCredentialEncrypted", []):
        name, _, file = one.partition(":")
        assert f"--name={name} - /etc/credstore.encrypted/{file}" in WHERE


def test_the_intake_is_given_no_passphrase_of_the_roster() -> None:
    text = (ROOT / "systemd" / "mailer.service").read_text("utf-8")
    assert "roster-passphrase" not in text
    assert "/var/lib/mailer-deliver" in settings_of(text)["InaccessiblePaths"][0]


@each_unit
def test_systemd_can_read_a_unit(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text("utf-8").replace("/opt/mailer/bin/mailer", "/bin/true")
    copy = tmp_path / unit.name
    copy.write_text(re.sub(r"^(User|Group)=.*$", r"\1=root", text, flags=re.MULTILINE))
    verify = [needs("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", str(copy)]
    assert subprocess.run(verify, capture_output=True, text=True, check=False).stderr == ""


def test_a_slip_of_the_pen_in_a_unit_is_found(tmp_path: Path) -> None:
    copy = tmp_path / "planted.service"
    copy.write_text("[Service]\nExecStart=/bin/true\nProtectSystm=strict\n")
    verify = [needs("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", str(copy)]
    assert "ProtectSystm" in subprocess.run(verify, capture_output=True, text=True, check=False).stderr


@each_unit
def test_systemd_finds_little_that_a_unit_leaves_open(unit: Path) -> None:
    command = [needs("systemd-analyze"), "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", str(unit)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout


UNDER_MDWE = """
import asyncio, ctypes, mmap, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0:  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN: as systemd's setting
    sys.exit(77)
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    pass
else:
    sys.exit("nothing is denied")
import mailer.app
from mailer.crypto import openpgp
from mailer.inward.reader import Reader
from mailer.letters import typeset
from mailer.model.address import Address
from mailer.model.certificate import Certificate
from mailer.model.language import Language
key = openpgp.generate_plain_key(Address.parse("news@lists.example"))
async def read():
    async with Reader() as reader:
        return await reader.examine(key.public)
assert isinstance(asyncio.run(read())[0], Certificate)
if not typeset.missing():
    assert typeset.typeset_letter("Hello", "Text.\\n", Language.EN).startswith(b"%PDF")
"""


def test_our_libraries_and_the_confined_child_work_where_no_memory_is_written_and_run() -> None:
    done = subprocess.run([sys.executable, "-c", UNDER_MDWE], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel cannot deny it (Linux 6.3)")
    assert done.returncode == 0, done.stderr
