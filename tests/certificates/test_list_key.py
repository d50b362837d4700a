"""The list's own key: every program reads its certificate, encrypts to it, and verifies with its primary key."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailer.cli import lists
from mailer.crypto import openpgp
from mailer.crypto.openpgp import armor, packets
from mailer.crypto.openpgp import gnupg as gnupg_keys
from mailer.crypto.openpgp.packets import Tag
from mailer.errors import KeyNotMade, VaultError
from mailer.model.address import Address
from mailer.model.certificate import Certificate
from tests.conftest import Gnupg, needs

NOW = datetime.now(UTC)
NEWS = Address.parse("news@example.org")


@pytest.fixture(scope="module")
def key() -> openpgp.ListKey:
    needs("gpg")
    return openpgp.generate_list_key(NEWS)


@pytest.fixture
def without_gnupg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gnupg_keys, "is_installed", lambda: False)


def test_the_certificate_is_five_packets_and_small_enough_for_autocrypt(key: openpgp.ListKey) -> None:
    tags = [packet.tag for packet in packets.walk(key.public)]
    assert tags == [Tag.PUBLIC_KEY, Tag.USER_ID, Tag.SIGNATURE, Tag.PUBLIC_SUBKEY, Tag.SIGNATURE]
    assert len(key.public) < 600


def test_it_is_a_certificate_that_we_would_accept_ourselves(key: openpgp.ListKey) -> None:
    (verdict,) = openpgp.examine(key.public, NOW)
    assert isinstance(verdict, Certificate)
    assert (verdict.fingerprint, verdict.algorithms) == (key.fingerprint, ("ed25519", "cv25519"))
    assert (verdict.version, verdict.expires) == (4, None)


def test_the_user_id_is_the_address_alone(key: openpgp.ListKey) -> None:
    names = [packet.body for packet in packets.walk(key.public) if packet.tag == Tag.USER_ID]
    assert names == [b"<news@example.org>"]


def test_an_address_beyond_ascii_is_possible(gnupg: Gnupg) -> None:
    key = openpgp.generate_list_key(Address.parse("新聞@例子.tw"))
    (verdict,) = openpgp.examine(key.public, NOW)
    assert isinstance(verdict, Certificate)
    assert user_ids(key) == ["<新聞@xn--fsqu00a.tw>"]


def test_its_day_of_making_tells_no_hour(key: openpgp.ListKey) -> None:
    created = int.from_bytes(next(packets.walk(key.public)).body[1:5], "big")
    assert created % 86400 == 0
    assert 0 <= NOW.timestamp() - created < 2 * 86400


def test_the_primary_key_itself_signs(key: openpgp.ListKey) -> None:
    assert key.can_primary_sign
    (block,) = armor.find_blocks(key.sign_detached(b"hello"), 2)
    assert block.content
    assert bytes.fromhex(key.fingerprint) in block.content


def test_without_gnupg_a_key_is_made_that_works_but_whose_primary_does_not_sign(
    gnupg: Gnupg, without_gnupg: None
) -> None:
    other = openpgp.generate_list_key(NEWS)
    assert not other.can_primary_sign
    (verdict,) = openpgp.examine(other.public, NOW)
    assert isinstance(verdict, Certificate)
    assert (verdict.version, verdict.expires) == (4, None)
    assert openpgp.decrypt(openpgp.encrypt(b"hello", verdict.blob, NOW), [other], []).plaintext == b"hello"
    gnupg.import_key(other.public)
    signer = gnupg.make_key("reader@example.org")
    message = gnupg.encrypt(b"hello", other.fingerprint, signer=signer)
    assert openpgp.decrypt(message, [other], [gnupg.certificate(signer)]).plaintext == b"hello"
    assert gnupg.verify(b"hello", other.sign_detached(b"hello")).has("GOODSIG")


def test_a_signature_is_armored_with_crlf_and_its_hash_is_the_one_named(key: openpgp.ListKey) -> None:
    signature = key.sign_detached(b"hello\r\n")
    assert signature.startswith(b"-----BEGIN PGP SIGNATURE-----\r\n\r\n")
    assert signature.endswith(b"-----END PGP SIGNATURE-----\r\n")
    assert signature.count(b"\n") == signature.count(b"\r\n")
    (block,) = armor.find_blocks(signature, 2)
    assert block.content
    (packet,) = packets.walk(block.content)
    assert (packet.body[0], packet.body[1], packet.body[3]) == (4, 0x00, 10)  # binary document, SHA-512
    assert key.micalg == "pgp-sha512"


def test_gnupg_takes_it_as_sc_and_e_and_finds_it_by_address(gnupg: Gnupg, key: openpgp.ListKey) -> None:
    gnupg.import_key(key.public)
    listing = gnupg.run("--with-colons", "--check-sigs", "<news@example.org>").decode()
    fields = [line.split(":") for line in listing.splitlines()]
    capabilities = {field[0]: field[11] for field in fields if field[0] in {"pub", "sub"}}
    assert capabilities["sub"] == "e"
    assert {"s", "c"} <= set(capabilities["pub"])
    assert [field[1] for field in fields if field[0] == "sig"] == ["!", "!"]  # both good
    assert not [field for field in fields if field[0] == "pub" and field[6]]  # no expiry


def test_gnupg_takes_the_secret_half_and_reads_with_it(gnupg: Gnupg, key: openpgp.ListKey) -> None:
    gnupg.import_key(key.secret)
    assert gnupg.decrypt(openpgp.encrypt(b"hello", key.public, NOW)).plaintext == b"hello"
    signature = gnupg.sign_detached(b"hello", key.fingerprint)
    assert openpgp.verify_detached(b"hello", signature, [key.public])


def test_gnupg_encrypts_to_it_in_the_old_form_and_uncompressed(gnupg: Gnupg, key: openpgp.ListKey) -> None:
    gnupg.import_key(key.public)
    reader = gnupg.make_key("reader@example.org")
    message = gnupg.encrypt(b"hello " * 1000, key.fingerprint, signer=reader)
    assert len(message) > 6000  # what compresses well did not
    outside = gnupg.list_packets(message)
    assert "mdc_method: 2" in outside
    assert "aead" not in outside
    assert openpgp.decrypt(message, [key], []).plaintext == b"hello " * 1000


def test_sqop_and_rnp_encrypt_to_it_and_verify_with_it(tmp_path: Path, key: openpgp.ListKey) -> None:
    certificate, signature = tmp_path / "certificate", tmp_path / "payload.sig"
    certificate.write_bytes(key.public)
    signature.write_bytes(key.sign_detached(b"hello"))
    sqop = needs("sqop")
    message = subprocess.run([sqop, "encrypt", str(certificate)], input=b"hello", check=True, capture_output=True)
    assert openpgp.decrypt(message.stdout, [key], []).plaintext == b"hello"
    subprocess.run([sqop, "verify", str(signature), str(certificate)], input=b"hello", check=True, capture_output=True)
    home = ["--homedir", str(tmp_path)]
    (tmp_path / "payload").write_bytes(b"hello")
    subprocess.run([needs("rnpkeys"), *home, "--import-keys", str(certificate)], check=True, capture_output=True)
    subprocess.run([needs("rnp"), *home, "--verify", str(signature)], check=True, capture_output=True)
    message = subprocess.run(
        [needs("rnp"), *home, "--encrypt", "-r", "news@example.org", "--output", "-"],
        input=b"hello",
        check=True,
        capture_output=True,
    )
    assert openpgp.decrypt(message.stdout, [key], []).plaintext == b"hello"


def user_ids(key: openpgp.ListKey) -> list[str]:
    return [packet.body.decode() for packet in packets.walk(key.public) if packet.tag == Tag.USER_ID]


def assert_renamed(gnupg: Gnupg, key: openpgp.ListKey) -> None:
    renamed = openpgp.rename_list_key(key, Address.parse("bulletin@example.net"))
    assert renamed.fingerprint == key.fingerprint
    assert user_ids(renamed) == ["<bulletin@example.net>"]
    assert renamed.can_primary_sign == key.can_primary_sign
    (verdict,) = openpgp.examine(renamed.public, NOW)
    assert isinstance(verdict, Certificate)
    assert openpgp.decrypt(openpgp.encrypt(b"hello", key.public, NOW), [renamed], []).plaintext == b"hello"
    assert openpgp.verify_detached(b"hello", renamed.sign_detached(b"hello"), [key.public])
    gnupg.import_key(renamed.public)
    assert b"sig:!" in gnupg.run("--with-colons", "--check-sigs", "<bulletin@example.net>")
    assert gnupg.verify(b"hello", renamed.sign_detached(b"hello")).has("GOODSIG")
    message = gnupg.encrypt(b"hello " * 100, "bulletin@example.net")
    assert openpgp.decrypt(message, [renamed], []).plaintext == b"hello " * 100
    assert len(message) > 600  # not compressed
    assert user_ids(openpgp.rename_list_key(renamed, NEWS)) == ["<news@example.org>"]
    assert openpgp.rename_list_key(renamed, Address.parse("bulletin@example.net")).secret == renamed.secret


def test_a_renamed_key_has_the_new_name_alone_and_opens_old_letters(gnupg: Gnupg, key: openpgp.ListKey) -> None:
    assert_renamed(gnupg, key)


def test_so_has_a_key_that_was_made_without_gnupg(gnupg: Gnupg) -> None:
    assert_renamed(gnupg, openpgp.generate_plain_key(NEWS))


def test_without_gnupg_no_key_is_renamed(key: openpgp.ListKey, without_gnupg: None) -> None:
    for each in (key, openpgp.generate_plain_key(NEWS)):
        with pytest.raises(KeyNotMade, match="gnupg"):
            openpgp.rename_list_key(each, Address.parse("bulletin@example.net"))


def test_gnupg_leaves_nothing_behind_and_its_failure_is_an_error_of_ours(
    key: openpgp.ListKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes: list[Path] = []
    run = gnupg_keys._run

    def watched(home: Path, *arguments: str, **options: Any) -> bytes:
        homes.append(home)
        assert home.stat().st_mode & 0o777 == 0o700
        return run(home, *arguments, **options)

    monkeypatch.setattr(gnupg_keys, "_run", watched)
    openpgp.generate_list_key(NEWS)
    with pytest.raises(KeyNotMade) as failed:
        gnupg_keys.add_user_id(key.secret[:100], "<news@example.org>")
    assert "news" not in str(failed.value)
    assert homes
    assert not [home for home in homes if home.exists()]


@pytest.mark.parametrize("secret", [b"", b"rubbish"])
def test_what_is_no_secret_key_is_refused(secret: bytes) -> None:
    with pytest.raises(VaultError):
        openpgp.ListKey.from_secret(secret)


def test_a_public_key_in_the_place_of_a_secret_one_is_refused(key: openpgp.ListKey) -> None:
    with pytest.raises(VaultError):
        openpgp.ListKey.from_secret(key.public)


def test_nothing_of_a_key_stands_in_a_traceback(key: openpgp.ListKey) -> None:
    assert repr(key) == "ListKey(…)"
    assert key.fingerprint not in repr(key)


def test_whoever_makes_a_list_without_gnupg_is_told_what_that_means(key: openpgp.ListKey) -> None:
    wanted = lists.read_wanted("news@example.org", None, None, None)
    assert "gnupg" not in lists.describe(wanted, key)
    assert "Delta Chat" in lists.describe(wanted, openpgp.generate_plain_key(NEWS))
