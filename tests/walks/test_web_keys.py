"""The certificates of lists as a Web Key Directory: named as GnuPG names them, both methods, readable by everybody."""

from __future__ import annotations

import shutil
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailer.crypto import openpgp
from mailer.model.web_key import hashed
from tests.conftest import Gnupg, needs
from tests.house import make_instance
from tests.walks.test_list_key import current, do, run, secrets_in

ROOT = Path(".well-known") / "openpgpkey"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    needs("gpg")
    (tmp_path / "s").write_text("service passphrase of the tests")
    make_instance(tmp_path / "instance", None)
    return tmp_path / "instance"


def test_a_name_is_written_as_the_draft_has_it() -> None:
    """The example of draft-koch-openpgp-webkey-service §3.1."""
    assert hashed("Joe.Doe") == "iy9q119eutrkn8s1mk4r39qejnbu3n5q"
    assert hashed("É") != hashed("é")  # ASCII letters alone are made small


@pytest.mark.parametrize("address", ["news@lists.example", "Letters+x@other.example", "新聞@lists.example"])
def test_gnupg_gives_an_address_the_same_name(address: str) -> None:
    client = shutil.which("gpg-wks-client", path="/usr/lib/gnupg:/usr/libexec:/usr/bin")
    if client is None:
        pytest.skip("gpg-wks-client is missing; install Debian's gpg-wks-client")
    said = subprocess.run([client, "--print-wkd-hash", address], capture_output=True, check=True).stdout.decode()
    assert said.split()[0] == hashed(address.partition("@")[0])


def test_both_layouts_are_written_for_all_addresses_and_both_keys(folder: Path, gnupg: Gnupg, tmp_path: Path) -> None:
    do(folder, "lists", "identity", "news", "abroad", "letters@other.example")
    old = current(secrets_in(folder))
    do(folder, "keys", "rotate")
    new = current(secrets_in(folder))
    said = do(folder, "keys", "export", "--wkd", str(tmp_path / "web"))
    assert "https://openpgpkey.lists.example/.well-known/openpgpkey/lists.example/" in said
    web, name, abroad = tmp_path / "web", hashed("news"), hashed("letters")
    files = {str(path.relative_to(web)) for path in web.rglob("*") if path.is_file()}
    assert files == {
        *(f"{ROOT}/lists.example/{one}" for one in ("policy", f"hu/{name}")),
        *(f"{ROOT}/{one}" for one in ("policy", f"hu/{name}")),
        *(f"{ROOT}/other.example/{one}" for one in ("policy", f"hu/{abroad}")),
        *(f"other.example/{ROOT}/{one}" for one in ("policy", f"hu/{abroad}")),
    }
    found = (web / ROOT / "hu" / name).read_bytes()
    assert found == new.public + old.public
    gnupg.import_key(found)
    assert {one.lower() for one in gnupg.fingerprints("news@lists.example")} >= {new.fingerprint, old.fingerprint}
    assert (web / ROOT / "policy").read_bytes() == b""
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [web, *web.rglob("*")]}
    assert modes == {0o755, 0o644}


def test_it_is_written_anew_and_nothing_of_others_is_touched(folder: Path, tmp_path: Path) -> None:
    web = tmp_path / "web"
    (web / ROOT / "hu").mkdir(parents=True)
    (web / ROOT / "hu" / "others").write_bytes(b"theirs")
    do(folder, "keys", "export", "--wkd", str(web))
    do(folder, "keys", "rotate")
    do(folder, "keys", "rotate", "--finish")
    do(folder, "keys", "export", "--wkd", str(web))
    own = web / ROOT / "hu" / hashed("news")
    assert own.read_bytes() == current(secrets_in(folder)).public
    assert (web / ROOT / "hu" / "others").read_bytes() == b"theirs"
    assert sorted(path.name for path in own.parent.iterdir()) == sorted([own.name, "others"])


def test_what_was_given_up_is_published_revoked(folder: Path, tmp_path: Path) -> None:
    old = current(secrets_in(folder)).fingerprint
    do(folder, "keys", "rotate", "--compromised")
    do(folder, "keys", "export", "--output", str(tmp_path / "keys.asc"))
    blocks = (tmp_path / "keys.asc").read_bytes()
    new, former = openpgp.examine(blocks, datetime.now(UTC))
    assert new.fingerprint == current(secrets_in(folder)).fingerprint
    assert (former.fingerprint, getattr(former, "reason", None)) == (old, "revoked")
    shown = do(folder, "keys", "show")
    assert "revoked, published until" in shown


def test_a_folder_and_a_file_at_once_make_no_sense(folder: Path, tmp_path: Path) -> None:
    assert run(folder, "keys", "export", "--wkd", str(tmp_path / "w"), "--output", str(tmp_path / "f")).exit_code == 2
