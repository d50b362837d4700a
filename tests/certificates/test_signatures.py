"""Decrypting and verifying: which signatures count, and when they say that they were made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pysequoia
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.crypto import openpgp
from mailer.crypto.openpgp import armor, packets
from mailer.crypto.openpgp.packets import Tag
from mailer.errors import DecryptionFailed
from mailer.model.address import Address
from mailer.model.certificate import Certificate
from tests.conftest import Gnupg

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
LIST = openpgp.ListKey.from_secret((Path(__file__).parent / "files" / "list-secret.pgp").read_bytes())
OTHER_LIST = openpgp.generate_plain_key(Address.parse("other@example.org"))
TEXT = b"unsubscribe\r\n"


def minimal(blob: bytes) -> bytes:
    (verdict,) = openpgp.examine(blob, datetime.now(UTC))
    assert isinstance(verdict, Certificate)
    return verdict.blob


@pytest.fixture
def reader(gnupg: Gnupg) -> str:
    gnupg.import_key(LIST.public)
    return gnupg.make_key("reader@example.org", made=NOW - 100 * DAY)


def signed_and_encrypted(gnupg: Gnupg, signer: str, *options: str, text: bytes = TEXT) -> bytes:
    to = ["--recipient", LIST.fingerprint, "--encrypt"]
    start = ["--armor", "--trust-model", "always", "--sign", "--local-user", signer]
    return gnupg.run(*start, *options, *to, stdin=text)


# --- Messages -------------------------------------------------------------------------------------------------------


def test_a_plain_message_opens_and_has_no_signature_that_counts(gnupg: Gnupg, reader: str) -> None:
    message = gnupg.encrypt(TEXT, LIST.fingerprint)
    for certificates in ([], [minimal(gnupg.certificate(reader))]):
        opened = openpgp.decrypt(message, [OTHER_LIST, LIST], certificates)
        assert (opened.plaintext, opened.signature) == (TEXT, None)


def test_without_the_certificate_a_message_may_be_signed(gnupg: Gnupg, reader: str) -> None:
    for message in (gnupg.encrypt(TEXT, LIST.fingerprint), signed_and_encrypted(gnupg, reader)):
        assert openpgp.decrypt(message, [LIST], []).is_signed


def test_a_signature_inside_a_message_counts_and_when_it_was_made_is_not_known(gnupg: Gnupg, reader: str) -> None:
    opened = openpgp.decrypt(signed_and_encrypted(gnupg, reader), [LIST], [minimal(gnupg.certificate(reader))])
    assert opened.plaintext == TEXT
    assert opened.signature
    assert (opened.signature.fingerprint, opened.signature.created) == (reader.lower(), None)


@pytest.mark.parametrize("compression", ["zip", "zlib"])
def test_a_compressed_message_opens_but_its_signature_is_not_seen(gnupg: Gnupg, reader: str, compression: str) -> None:
    message = signed_and_encrypted(gnupg, reader, "--compress-algo", compression)
    opened = openpgp.decrypt(message, [LIST], [minimal(gnupg.certificate(reader))])
    assert (opened.plaintext, opened.signature) == (TEXT, None)


def test_gnupg_does_not_compress_for_the_list_unless_told_so(gnupg: Gnupg, reader: str) -> None:
    assert len(gnupg.encrypt(TEXT * 1000, LIST.fingerprint)) > len(TEXT) * 1000


def test_a_message_compressed_with_bzip2_is_refused_by_name(gnupg: Gnupg, reader: str) -> None:
    with pytest.raises(DecryptionFailed):
        openpgp.decrypt(signed_and_encrypted(gnupg, reader, "--compress-algo", "bzip2"), [LIST], [])


def test_binary_messages_and_hidden_recipients_open_too(gnupg: Gnupg, reader: str) -> None:
    message = gnupg.run(
        *("--trust-model", "always", "--sign", "--local-user", reader, "--encrypt"),
        *("--hidden-recipient", LIST.fingerprint, "--recipient", reader),
        stdin=TEXT,
    )
    assert openpgp.decrypt(message, [LIST], [minimal(gnupg.certificate(reader))]).signature


def test_what_sequoia_signs_and_encrypts_opens(gnupg: Gnupg, reader: str) -> None:
    message = openpgp.encrypt(TEXT, minimal(LIST.public), NOW, OTHER_LIST)
    opened = openpgp.decrypt(message, [LIST], [OTHER_LIST.public])
    assert opened.signature
    assert opened.signature.fingerprint == OTHER_LIST.fingerprint


def test_a_signature_by_nobody_we_know_does_not_count(gnupg: Gnupg, reader: str) -> None:
    stranger = gnupg.make_key("stranger@example.org")
    message = signed_and_encrypted(gnupg, stranger)
    for certificates in ([], [minimal(gnupg.certificate(reader))]):
        opened = openpgp.decrypt(message, [LIST], certificates)
        assert (opened.plaintext, opened.signature, opened.is_signed) == (TEXT, None, True)


def test_a_message_for_somebody_else_does_not_open(gnupg: Gnupg, reader: str) -> None:
    message = gnupg.encrypt(TEXT, reader)
    with pytest.raises(DecryptionFailed) as caught:
        openpgp.decrypt(message, [LIST, OTHER_LIST], [])
    assert caught.value.__context__ is None
    with pytest.raises(DecryptionFailed):
        openpgp.decrypt(gnupg.encrypt(TEXT, LIST.fingerprint), [], [])


def test_a_damaged_message_does_not_open(gnupg: Gnupg, reader: str) -> None:
    (block,) = armor.find_blocks(signed_and_encrypted(gnupg, reader), 2)
    assert block.content
    for at in (20, 60, 100, len(block.content) - 30, len(block.content) - 1):
        damaged = bytearray(block.content)
        damaged[at] ^= 1
        with pytest.raises(DecryptionFailed):
            openpgp.decrypt(bytes(damaged), [LIST], [])


@pytest.mark.parametrize(
    "message", [b"", b"hello", b"-----BEGIN PGP MESSAGE-----\n\nAAAA\n", b"\xd2\x01\x01", b"\xc1\x01\x03"]
)
def test_what_is_no_message_does_not_open(message: bytes) -> None:
    with pytest.raises(DecryptionFailed):
        openpgp.decrypt(message, [LIST], [])


def test_a_symmetric_message_and_one_without_integrity_do_not_open(gnupg: Gnupg, reader: str) -> None:
    with pytest.raises(DecryptionFailed):
        openpgp.decrypt(gnupg.run("--passphrase", "secret", "--symmetric", stdin=TEXT), [LIST], [])
    legacy = gnupg.run(
        "--rfc2440", "--trust-model", "always", "--cipher-algo", "3DES", "--encrypt", "-r", LIST.fingerprint, stdin=TEXT
    )
    assert [packet.tag for packet in packets.walk(legacy)][-1] == Tag.SED
    with pytest.raises(DecryptionFailed):
        openpgp.decrypt(legacy, [LIST], [])


# --- The same signature again ---------------------------------------------------------------------------------------


def digest(message: bytes, certificate: bytes) -> bytes:
    signature = openpgp.decrypt(message, [LIST], [certificate]).signature
    assert signature
    assert len(signature.digest) == 32
    return signature.digest


def test_a_message_that_comes_again_has_the_same_digest_whatever_was_done_to_its_outside(
    gnupg: Gnupg, reader: str
) -> None:
    certificate = minimal(gnupg.certificate(reader))
    message = signed_and_encrypted(gnupg, reader, text=TEXT * 100)
    (block,) = armor.find_blocks(message, 2)
    session_key, sealed = packets.walk(block.content or b"")
    in_pieces = b"\xd2\xe9" + sealed.body[:512] + packets.frame(Tag.SEIPD, sealed.body[512:])[1:]  # partial length
    marker, padding, unknown = (packets.frame(tag, b"PGP") for tag in (10, 21, 60))
    again = [
        message.replace(b"-----\n\n", b"-----\nComment: again\n\n", 1).replace(b"\n", b"\r\n"),
        session_key.raw + in_pieces,
        marker + block.content + marker if block.content else b"",
        session_key.raw + sealed.raw + padding,
        session_key.raw + sealed.raw + unknown,
        session_key.raw + session_key.raw + sealed.raw,
    ]
    assert {digest(each, certificate) for each in again} == {digest(message, certificate)}
    assert digest(signed_and_encrypted(gnupg, reader), certificate) != digest(message, certificate)


def test_a_detached_signature_that_comes_again_has_the_same_digest_and_a_new_one_another(
    gnupg: Gnupg, reader: str
) -> None:
    certificate = minimal(gnupg.certificate(reader))

    def found(payload: bytes, signature: bytes) -> bytes:
        verified = openpgp.verify_detached(payload, signature, [certificate])
        assert verified
        return verified.digest

    def signed(at: datetime) -> bytes:
        return gnupg.run("--local-user", reader, "--detach-sign", stdin=TEXT, at=at)

    old, new = signed(NOW - DAY), signed(NOW - timedelta(hours=1))
    assert found(TEXT, old) == found(TEXT, b"\xc2\x01\x04" + old) == found(TEXT, old + new)
    assert found(TEXT, old) != found(TEXT, new)


def test_a_cleartext_signature_that_comes_again_has_the_same_digest(gnupg: Gnupg, reader: str) -> None:
    certificate = minimal(gnupg.certificate(reader))
    message = clearsign(gnupg, reader, b"pause\n\nAda\n")
    changed = [message, message.replace(b"\n", b"\r\n"), message.replace(b"pause\n", b"pause  \t\n"), b"x\n" + message]
    found = {opened.signature.digest for opened in cleartexts(changed, certificate) if opened.signature}
    assert len(found) == 1


def cleartexts(messages: list[bytes], certificate: bytes) -> list[openpgp.Opened]:
    return [openpgp.verify_cleartext(message, [certificate]) for message in messages]


def test_an_old_cleartext_signature_does_not_look_new_beside_a_forged_one(gnupg: Gnupg, reader: str) -> None:
    certificate = minimal(gnupg.certificate(reader))
    old = gnupg.run("--clearsign", "--local-user", reader, stdin=b"pause\n", at=NOW - 50 * DAY)
    other = gnupg.run("--clearsign", "--local-user", reader, stdin=b"other\n")
    (one,), (two,) = ([block.content or b"" for block in armor.find_blocks(text, 9)][1:] for text in (old, other))
    head = old[: old.index(b"-----BEGIN PGP SIGNATURE-----")]
    for both in (one + two, two + one):
        forged = head + pysequoia.armor(both, pysequoia.ArmorKind.Signature).encode()
        opened = openpgp.verify_cleartext(forged, [certificate])
        assert (opened.plaintext.strip(), opened.signature) == (b"pause", None)


# --- Whose signature counts -----------------------------------------------------------------------------------------


def test_a_signature_counts_for_the_certificate_whose_signing_subkey_made_it(gnupg: Gnupg, reader: str) -> None:
    gnupg.run("--quick-add-key", reader, "ed25519", "sign", "0", at=NOW - 50 * DAY)
    certificate = minimal(gnupg.certificate(reader))
    signature = gnupg.sign_detached(TEXT, reader)
    assert reader.lower() not in str(pysequoia.Sig.from_bytes(signature).issuer_fingerprint)
    found = openpgp.verify_detached(TEXT, signature, [certificate])
    assert found
    assert found.fingerprint == reader.lower()


def test_a_signature_by_a_revoked_signing_subkey_does_not_count(gnupg: Gnupg, reader: str) -> None:
    gnupg.run("--quick-add-key", reader, "ed25519", "sign", "0", at=NOW - 50 * DAY)
    signature = gnupg.sign_detached(TEXT, reader)
    gnupg.run("--command-fd", "0", "--edit-key", reader, stdin=b"key 2\nrevkey\ny\n3\n\ny\nsave\n")
    certificate = minimal(gnupg.certificate(reader))
    assert openpgp.verify_detached(TEXT, signature, [certificate]) is None


def test_a_signature_by_an_expired_key_does_not_count_though_it_was_alive_then(gnupg: Gnupg) -> None:
    signer = gnupg.make_key("reader@example.org", made=NOW - 30 * DAY, expires=NOW + 10 * DAY)
    certificate = minimal(gnupg.certificate(signer))
    signature = gnupg.sign_detached(TEXT, signer)
    assert openpgp.verify_detached(TEXT, signature, [certificate], NOW + DAY)
    assert openpgp.verify_detached(TEXT, signature, [certificate], NOW + 11 * DAY) is None


def test_a_signature_by_an_expired_signing_subkey_does_not_count(gnupg: Gnupg, reader: str) -> None:
    gnupg.run("--quick-add-key", reader, "ed25519", "sign", "30d")
    certificate = minimal(gnupg.certificate(reader))
    signature = gnupg.sign_detached(TEXT, reader)
    assert openpgp.verify_detached(TEXT, signature, [certificate], NOW + 29 * DAY)
    assert openpgp.verify_detached(TEXT, signature, [certificate], NOW + 31 * DAY) is None


def test_a_signature_by_a_revoked_key_does_not_count(gnupg: Gnupg, reader: str) -> None:
    signature = gnupg.sign_detached(TEXT, reader)
    before = minimal(gnupg.certificate(reader))
    assert openpgp.verify_detached(TEXT, signature, [before])
    gnupg.revoke(reader)
    assert openpgp.verify_detached(TEXT, signature, [gnupg.certificate(reader)]) is None


def test_a_signature_from_the_future_does_not_count(gnupg: Gnupg, reader: str) -> None:
    certificate = minimal(gnupg.certificate(reader))
    for ahead in (timedelta(minutes=10), DAY, 300 * DAY):
        path = gnupg.home / "future"
        path.write_bytes(TEXT)
        signature = gnupg.run("--local-user", reader, "--detach-sign", "--output", "-", str(path), at=NOW + ahead)
        assert openpgp.verify_detached(TEXT, signature, [certificate], NOW) is None


def test_a_signature_made_with_sha1_does_not_count(gnupg: Gnupg, reader: str) -> None:
    certificate = minimal(gnupg.certificate(reader))
    for digest, counts in (("SHA1", False), ("SHA256", True)):
        signature = gnupg.run("--digest-algo", digest, "--local-user", reader, "--detach-sign", stdin=TEXT)
        assert bool(openpgp.verify_detached(TEXT, signature, [certificate])) is counts


def test_a_signature_with_an_encryption_subkey_expired_still_counts(gnupg: Gnupg) -> None:
    """So that somebody can sign the letter that brings the new key."""
    signer = gnupg.make_key("reader@example.org", made=NOW - 30 * DAY, can_encrypt=False)
    gnupg.run("--quick-add-key", signer, "cv25519", "encr", "10d")
    certificate = minimal(gnupg.certificate(signer))
    signature = gnupg.sign_detached(TEXT, signer)
    then = NOW + 11 * DAY
    assert openpgp.is_usable(certificate, then)
    assert openpgp.verify_detached(TEXT, signature, [certificate], then)


# --- Detached and cleartext -----------------------------------------------------------------------------------------


def test_a_detached_signature_covers_the_very_bytes(gnupg: Gnupg, reader: str) -> None:
    certificate = minimal(gnupg.certificate(reader))
    signature = gnupg.sign_detached(TEXT, reader)
    found = openpgp.verify_detached(TEXT, signature, [certificate])
    assert found
    assert found.created
    assert abs(found.created - NOW) < timedelta(hours=2)
    assert openpgp.verify_detached(TEXT.replace(b"\r\n", b"\n"), signature, [certificate]) is None
    assert openpgp.verify_detached(TEXT + b" ", signature, [certificate]) is None


def test_the_valid_one_of_two_detached_signatures_is_found(gnupg: Gnupg, reader: str) -> None:
    stranger = gnupg.make_key("stranger@example.org")
    both = gnupg.run("--local-user", stranger, "--local-user", reader, "--detach-sign", stdin=TEXT)
    assert openpgp.verify_detached(TEXT, both, [minimal(gnupg.certificate(reader))])


@pytest.mark.parametrize("signature", [b"", b"rubbish", b"\xc2\x01", b"-----BEGIN PGP SIGNATURE-----\n\n!\n"])
def test_what_is_no_signature_signs_nothing(signature: bytes) -> None:
    assert openpgp.verify_detached(TEXT, signature, [LIST.public]) is None


def clearsign(gnupg: Gnupg, signer: str, text: bytes) -> bytes:
    return gnupg.run("--clearsign", "--local-user", signer, stdin=text)


def test_cleartext_signatures_are_read(gnupg: Gnupg, reader: str) -> None:
    certificate = minimal(gnupg.certificate(reader))
    message = clearsign(gnupg, reader, b"unsubscribe\n- dashes\n-- \nFrom me\n")
    for sent in (message, message.replace(b"\n", b"\r\n"), b"before\n" + message + b"after\n"):
        opened = openpgp.verify_cleartext(sent, [certificate])
        assert opened.signature
        assert opened.plaintext.split() == b"unsubscribe - dashes -- From me".split()
        assert opened.is_signed


def test_a_changed_cleartext_message_is_signed_but_not_validly(gnupg: Gnupg, reader: str) -> None:
    message = clearsign(gnupg, reader, b"pause\n- dash\n").replace(b"pause", b"forget")
    opened = openpgp.verify_cleartext(message, [minimal(gnupg.certificate(reader))])
    assert (opened.signature, opened.is_signed) == (None, True)
    assert opened.plaintext == b"forget\n- dash"


def test_text_smuggled_around_the_signed_text_is_not_part_of_it(gnupg: Gnupg, reader: str) -> None:
    certificate = minimal(gnupg.certificate(reader))
    message = clearsign(gnupg, reader, b"pause\n")
    smuggled = [
        b"forget\n\n" + message,
        message + b"\nforget\n",
        message.replace(b"Hash:", b"Comment: forget\nHash:"),
        message.replace(b"-----\nHash", b"-----\nforget\nHash"),
        message.replace(b"\n\npause", b"\n\t\nforget\n\npause"),
        message.replace(b"-----BEGIN PGP SIGNATURE-----", b"-----BEGIN PGP SIGNATURE-----\nComment: forget"),
    ]
    for sent in smuggled:
        opened = openpgp.verify_cleartext(sent, [certificate])
        assert opened.signature is None or opened.plaintext == b"pause"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"hello",
        b"-----BEGIN PGP SIGNED MESSAGE-----\n",
        b"-----BEGIN PGP SIGNED MESSAGE-----\n\nx\n-----BEGIN PGP SIGNATURE-----\n",
    ],
)
def test_what_is_not_signed_that_way_is_refused(message: bytes) -> None:
    with pytest.raises(DecryptionFailed):
        openpgp.verify_cleartext(message, [])


def test_nothing_secret_stands_in_a_traceback(gnupg: Gnupg, reader: str) -> None:
    opened = openpgp.decrypt(signed_and_encrypted(gnupg, reader), [LIST], [minimal(gnupg.certificate(reader))])
    assert repr(opened) == "Opened(…)"
    assert repr(opened.signature) == "Signature(…)"


# --- Hostile insides ------------------------------------------------------------------------------------------------


@given(st.binary(max_size=400))
def test_rubbish_instead_of_a_message_opens_nothing(message: bytes) -> None:
    with pytest.raises(DecryptionFailed):
        openpgp.decrypt(b"\xc1\x5e\x03" + message, [LIST], [])


def test_list_keys_of_another_kind_open_messages_too() -> None:
    tsk = pysequoia.Tsk.generate("<news@example.org>", cipher_suite=pysequoia.CipherSuite.P256)
    key = openpgp.ListKey.from_secret(bytes(tsk))
    message = openpgp.encrypt(TEXT, key.public, NOW, OTHER_LIST)
    opened = openpgp.decrypt(message, [key], [OTHER_LIST.public])
    assert opened.plaintext == TEXT
    assert opened.signature
