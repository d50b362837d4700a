"""What leaves `encrypt`: packets that the reader's own program knows, or nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pysequoia
import pytest

from mailer.crypto import openpgp
from mailer.crypto.openpgp import armor, claims, packets
from mailer.crypto.openpgp.packets import Tag
from mailer.errors import CertificateUnusable
from mailer.model.address import Address
from mailer.model.certificate import Certificate
from tests.certificates.forge import CV25519, FEATURES, FLAGS, Forge, Key, subpacket
from tests.conftest import Gnupg

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
MADE = NOW - 100 * DAY
FILES = Path(__file__).parent / "files"
PAYLOAD = b"Content-Type: text/plain\r\n\r\nHello.\r\n"
ENCRYPTS, CERTIFIES = subpacket(FLAGS, b"\x0c"), subpacket(FLAGS, b"\x03")
V1, V2 = [(1, 3), (18, 1)], [(1, 6), (18, 2)]


def minimal(blob: bytes) -> bytes:
    (verdict,) = openpgp.examine(blob, NOW)
    assert isinstance(verdict, Certificate)
    return verdict.blob


def outside(message: bytes) -> list[tuple[int, int]]:
    """Tag and version of each packet."""
    (block,) = armor.find_blocks(message, 2)
    assert block.content
    return [(packet.tag, packet.body[0]) for packet in packets.walk(block.content)]


def forged(*features: bytes) -> bytes:
    key = Key(MADE, CV25519)
    forge = Forge(MADE).user_id("<reader@example.org>", CERTIFIES, *features).subkey(key)
    return minimal(bytes(forge.bind(key, ENCRYPTS)))


def test_a_message_is_as_the_strictest_receiver_wants_it(gnupg: Gnupg) -> None:
    certificate = minimal(gnupg.certificate(gnupg.make_key("reader@example.org")))
    message = openpgp.encrypt(PAYLOAD * 1000, certificate, NOW)
    assert message.startswith(b"-----BEGIN PGP MESSAGE-----\r\n\r\n")  # no Version, no Comment
    assert message.endswith(b"\r\n-----END PGP MESSAGE-----\r\n")
    assert message.count(b"\n") == message.count(b"\r\n") == message.count(b"\r")
    assert max(map(len, message.split(b"\r\n"))) <= 64
    assert outside(message) == V1
    assert gnupg.decrypt(message).plaintext == PAYLOAD * 1000


def test_two_messages_have_nothing_in_common(gnupg: Gnupg) -> None:
    certificate = minimal(gnupg.certificate(gnupg.make_key("reader@example.org")))
    one, two = (openpgp.encrypt(PAYLOAD, certificate, NOW).split(b"\r\n") for _ in range(2))
    assert not set(one[3:-2]) & set(two[3:-2])


@pytest.mark.parametrize(
    ("features", "expected"),
    [((), V1), ((b"",), V1), ((b"\x00",), V1), ((b"\x01",), V1), ((b"\x07",), V1), ((b"\x08",), V2), ((b"\x09",), V2)],
)
def test_what_the_certificate_advertises_decides_the_version(
    features: tuple[bytes, ...], expected: list[tuple[int, int]]
) -> None:
    certificate = forged(*(subpacket(FEATURES, octets) for octets in features))
    assert outside(openpgp.encrypt(PAYLOAD, certificate, NOW)) == expected


def test_certificates_of_version_6_get_version_2() -> None:
    certificate = minimal((FILES / "usable-sequoia-v6.asc").read_bytes())
    assert outside(openpgp.encrypt(PAYLOAD, certificate, NOW)) == V2


def test_without_features_the_message_names_nobody_but_the_reader() -> None:
    certificate = forged()
    (block,) = armor.find_blocks(openpgp.encrypt(PAYLOAD, certificate, NOW), 2)
    assert block.content
    session_keys = [packet for packet in packets.walk(block.content) if packet.tag == Tag.PKESK]
    (subkey,) = [packet for packet in packets.walk(certificate) if packet.tag == Tag.PUBLIC_SUBKEY]
    assert [packet.body[1:9] for packet in session_keys] == [claims.read_key(subkey).key_id]


def test_rnp_makes_certificates_without_features_and_rnp_and_gnupg_read_our_messages(
    needs: Callable[[str], str], tmp_path: Path, gnupg: Gnupg
) -> None:
    """Thunderbird's keys are made by RNP."""

    def rnpkeys(*arguments: str) -> bytes:
        command = [needs("rnpkeys"), "--homedir", str(tmp_path), "--password", "", *arguments]
        return subprocess.run(command, check=True, capture_output=True).stdout

    rnpkeys("--generate-key", "--userid", "reader@example.org")
    certificate = minimal(rnpkeys("--export-key", "reader@example.org"))
    assert b"\x02\x1e" not in certificate  # no Features subpacket (30)
    message = openpgp.encrypt(PAYLOAD, certificate, NOW)
    assert outside(message) == V1
    gnupg.import_key(rnpkeys("--export-key", "--secret", "reader@example.org"))
    assert gnupg.decrypt(message).plaintext == PAYLOAD
    rnp = [needs("rnp"), "--homedir", str(tmp_path), "--password", "", "--decrypt", "--output", "-"]
    assert subprocess.run(rnp, input=message, check=True, capture_output=True).stdout == PAYLOAD


@pytest.mark.parametrize("algorithm", ["ed25519", "rsa3072", "nistp384"])
def test_gnupg_decrypts_and_verifies_what_the_list_signs(gnupg: Gnupg, algorithm: str) -> None:
    certificate = minimal(gnupg.certificate(gnupg.make_key("reader@example.org", algorithm=algorithm)))
    signer = openpgp.generate_list_key(Address.parse("news@example.org"))
    gnupg.import_key(signer.public)
    message = openpgp.encrypt(PAYLOAD, certificate, NOW, signer)
    plaintext = gnupg.run("--decrypt", "--trust-model", "always", "--status-fd", "2", stdin=message)
    assert plaintext == PAYLOAD
    assert outside(message) == V1


def test_sqop_decrypts(needs: Callable[[str], str], tmp_path: Path) -> None:
    secret = subprocess.run([needs("sqop"), "generate-key"], check=True, capture_output=True).stdout
    public = subprocess.run([needs("sqop"), "extract-cert"], input=secret, check=True, capture_output=True).stdout
    (tmp_path / "key").write_bytes(secret)
    message = openpgp.encrypt(PAYLOAD, minimal(public), NOW)
    opened = subprocess.run(
        [needs("sqop"), "decrypt", str(tmp_path / "key")], input=message, check=True, capture_output=True
    )
    assert opened.stdout == PAYLOAD


@pytest.mark.parametrize("profile", [pysequoia.Profile.RFC4880, pysequoia.Profile.RFC9580])
def test_sequoias_own_keys_of_both_versions_decrypt(profile: pysequoia.Profile) -> None:
    key = pysequoia.Tsk.generate("<reader@example.org>", profile=profile)
    message = openpgp.encrypt(PAYLOAD, minimal(bytes(key.extract_certificate())), NOW)
    assert pysequoia.decrypt(message, key.decryptor()).bytes == PAYLOAD


# --- Refusals -------------------------------------------------------------------------------------------------------


def test_a_certificate_that_expired_since_is_refused(gnupg: Gnupg) -> None:
    certificate = minimal(gnupg.certificate(gnupg.make_key("reader@example.org", expires=NOW + 10 * DAY)))
    openpgp.encrypt(PAYLOAD, certificate, NOW + 9 * DAY)
    with pytest.raises(CertificateUnusable):
        openpgp.encrypt(PAYLOAD, certificate, NOW + 11 * DAY)


@pytest.mark.parametrize(
    "name",
    [
        "expired",
        "expired-subkey",
        "revoked",
        "sign-only",
        "weak-rsa1024",
        "unsupported-brainpool",
        "weak-sha1",
        "secret",
    ],
)
def test_even_a_certificate_that_was_never_examined_is_refused(name: str) -> None:
    (block,) = armor.find_blocks((FILES / f"{name}.asc").read_bytes(), 2)
    assert block.content
    with pytest.raises(CertificateUnusable) as caught:
        openpgp.encrypt(PAYLOAD, block.content, NOW)
    assert caught.value.__cause__ is None
    assert "acktrace" not in str(caught.value)


def test_sequoia_alone_would_encrypt_to_expired_and_revoked_ones() -> None:
    """The positive control of the test above."""
    for name in ("expired", "expired-subkey", "revoked"):
        certificate = pysequoia.Cert.from_file(str(FILES / f"{name}.asc"))
        assert pysequoia.encrypt(PAYLOAD, [certificate])


def test_a_revoked_subkey_in_an_unexamined_certificate_is_refused() -> None:
    key = Key(MADE, CV25519)
    forge = Forge(MADE).user_id("<reader@example.org>", CERTIFIES).subkey(key).bind(key, ENCRYPTS)
    openpgp.encrypt(PAYLOAD, bytes(forge), NOW)
    with pytest.raises(CertificateUnusable):
        openpgp.encrypt(PAYLOAD, bytes(forge.bind(key, subpacket(29, b"\x00"), kind=0x28)), NOW)


@pytest.mark.parametrize("certificate", [b"", b"rubbish", b"\x99\x00\x00", b"\xc6\x02\x04\x00"])
def test_what_is_no_certificate_is_refused(certificate: bytes) -> None:
    with pytest.raises(CertificateUnusable):
        openpgp.encrypt(PAYLOAD, certificate, NOW)


def answer(monkeypatch: pytest.MonkeyPatch, message: bytes) -> None:
    """Make the library's encryption return this message, whatever it is asked."""

    def encrypt(*_args: object, armor: bool = True, **_options: object) -> bytes:
        return pysequoia.armor(message, pysequoia.ArmorKind.Message).encode() if armor else message

    monkeypatch.setattr(pysequoia, "encrypt", encrypt)


@pytest.mark.parametrize("reader", ["with features", "without features", "version 6"])
def test_a_message_of_another_shape_than_expected_is_refused(monkeypatch: pytest.MonkeyPatch, reader: str) -> None:
    plain, modern = forged(subpacket(FEATURES, b"\x01")), minimal((FILES / "usable-sequoia-v6.asc").read_bytes())
    v1, v2 = (pysequoia.encrypt(PAYLOAD, [pysequoia.Cert.from_bytes(one)], armor=False) for one in (plain, modern))
    certificate = {"with features": plain, "without features": forged(), "version 6": modern}[reader]
    good, others = (v2, []) if reader == "version 6" else (v1, [v2])
    openpgp.encrypt(PAYLOAD, forged(), NOW)  # it learns what the witness's part looks like
    answer(monkeypatch, good)
    openpgp.encrypt(PAYLOAD, certificate, NOW)
    marker, sealed = packets.frame(10, b"PGP"), list(packets.walk(good))[-1].raw
    for wrong in [*others, marker + good, good + marker, good + good, good[: -len(sealed)], sealed, good[:-1], b""]:
        answer(monkeypatch, wrong)
        with pytest.raises(CertificateUnusable):
            openpgp.encrypt(PAYLOAD, certificate, NOW)


@pytest.mark.parametrize("features", [b"\x01", b"\x09", None])
@pytest.mark.parametrize("octets", [0, 1, 2, 3, 40_000, 40_001, 40_002, 9_000_000])
def test_letters_of_every_length_are_encrypted(octets: int, features: bytes | None) -> None:
    """Of long ones Sequoia makes a packet in several pieces."""
    said = [] if features is None else [subpacket(FEATURES, features)]
    message = openpgp.encrypt(bytes(octets), forged(*said), NOW)
    assert outside(message) == (V2 if features == b"\x09" else V1)
    assert message.count(b"\r\n") == message.count(b"\n")


def test_a_certificate_with_eight_keys_gets_eight_session_keys() -> None:
    forge = Forge(MADE).user_id("<reader@example.org>", CERTIFIES, subpacket(FEATURES, b"\x01"))
    for _ in range(8):
        key = Key(MADE, CV25519)
        forge.subkey(key).bind(key, ENCRYPTS)
    assert outside(openpgp.encrypt(PAYLOAD, minimal(bytes(forge)), NOW)) == [(1, 3)] * 8 + [(18, 1)]


_PAGES_PER_MESSAGE = """
import resource, sys
from datetime import UTC, datetime
from mailer.crypto import openpgp

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        openpgp.encrypt(bytes(40_000), certificate, datetime.now(UTC))
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 50

certificate = sys.stdin.buffer.read()
pages()
print(pages())
openpgp.keep_heap()
pages()
print(pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can keep its heap")
def test_a_process_that_keeps_its_heap_takes_no_new_memory_for_each_message() -> None:
    certificate = forged(subpacket(FEATURES, b"\x01"))
    command = [sys.executable, "-c", _PAGES_PER_MESSAGE]
    output = subprocess.run(command, input=certificate, check=True, capture_output=True).stdout
    before, after = map(float, output.split())
    assert before > 4  # the positive control: a page for each of its buffers, and more
    assert after < 1


def test_a_panic_or_an_error_of_the_library_shows_none_of_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        """Like PyO3's PanicException, no Exception."""

    certificate = forged()
    for failure in (Panic("reader@example.org"), RuntimeError("reader@example.org")):

        def fail(*_args: object, failure: BaseException = failure, **_options: object) -> bytes:
            raise failure

        monkeypatch.setattr(pysequoia, "encrypt", fail)
        with pytest.raises(CertificateUnusable) as caught:
            openpgp.encrypt(PAYLOAD, certificate, NOW)
        assert "example.org" not in str(caught.value)
        assert caught.value.__suppress_context__


@pytest.mark.parametrize(("imported", "is_traced"), [("sys", True), ("mailer.crypto.openpgp", False)])
def test_its_errors_carry_no_stack_trace_whatever_the_environment_says(imported: str, is_traced: bool) -> None:
    program = f"""
import pysequoia, {imported}
try:
    pysequoia.Cert.from_bytes(b"rubbish")
except Exception as error:
    print(error)
"""
    environment = {name: value for name, value in os.environ.items() if name != "RUST_LIB_BACKTRACE"}
    environment |= {"RUST_BACKTRACE": "1"}
    output = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True).stdout
    assert (b"backtrace" in output) == is_traced


def test_a_break_by_the_keyboard_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_args: object, **_options: object) -> bytes:
        raise KeyboardInterrupt

    certificate = forged()
    monkeypatch.setattr(pysequoia, "encrypt", interrupt)
    with pytest.raises(KeyboardInterrupt):
        openpgp.encrypt(PAYLOAD, certificate, NOW)
