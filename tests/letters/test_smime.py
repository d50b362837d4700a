"""S/MIME letters as readers have them: OpenSSL, gpgsm and NeoMutt open them, find the signature good, and show all."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA1

from mailer.crypto import smime
from mailer.crypto.smime import SmimeKey
from mailer.errors import CertificateUnusable, LetterUnusable, SmimeKeyMissing
from mailer.letters import seal
from mailer.letters.write import Draft
from mailer.model.address import Address
from mailer.model.digest import Edition, Form
from mailer.model.language import Language
from mailer.model.means import OpenPgp, Smime
from tests.authority import PASSPHRASE, Authority, rsa_key, to_pkcs12
from tests.conftest import SOCKET_PATH_OCTETS, Gnupg, needs
from tests.letters.conftest import LIST, READER, Keys
from tests.letters.reading import body, read
from tests.letters.test_programs import show_in_neomutt

AUTHORITY = Authority.root()
DRAFT = Draft("Your settings 斑馬", "Zebras are weekly.\n", Language.EN, may_be_open=False)


@pytest.fixture(scope="module")
def own() -> SmimeKey:
    return AUTHORITY.issue(address=LIST, key=rsa_key(5))


@pytest.fixture(scope="module")
def theirs() -> SmimeKey:
    return AUTHORITY.issue(address=READER, key=rsa_key(6))


@pytest.fixture
def signing(identity: seal.Identity, own: SmimeKey) -> seal.Identity:
    return replace(identity, smime=own)


@pytest.fixture
def letters(
    make_reply: Callable[..., seal.Sealed],
    make_copy: Callable[..., seal.Sealed],
    signing: seal.Identity,
    theirs: SmimeKey,
    edition: Edition,
    now: datetime,
) -> dict[str, seal.Sealed]:
    """A reply and a copy of a digest, both to the reader."""
    given = {"means": Smime(theirs.der), "identity": signing}
    signed = seal.sign_edition(edition, signing, now, Form.SMIME)
    return {"reply": make_reply(DRAFT, **given), "copy": make_copy(signed, padding_chance=0.5, **given)}


SUBJECTS = {"reply": DRAFT.subject, "copy": "斑馬罷工第十二期：大家一起來，把這個消息告訴所有人"}
WORDS = {"reply": "Zebras are weekly.", "copy": "The zebra strike goes on."}
both = pytest.mark.parametrize("kind", ["reply", "copy"])


# --- What leaves -----------------------------------------------------------------------------------------------------


@both
def test_outside_stands_nothing_but_what_mail_needs(kind: str, letters: dict[str, seal.Sealed]) -> None:
    content = letters[kind].content
    outer = read(content)
    assert outer["Subject"] == "[...]"
    assert b'application/pkcs7-mime; smime-type=enveloped-data;\r\n name="smime.p7m"\r\n' in content
    own = {"reply": {"Auto-Submitted"}, "copy": {"List-Id", "List-Unsubscribe"}}[kind]
    content_fields = {"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition"}
    assert set(outer.keys()) == {"From", "To", "Subject", "Date", "Message-ID", *content_fields, *own}
    assert b"\n" not in content.replace(b"\r\n", b"") and content.isascii()
    assert max(map(len, body(content).split(b"\r\n"))) <= 76


@both
def test_what_is_inside_is_padded_and_the_signature_stays_good(
    kind: str, letters: dict[str, seal.Sealed], theirs: SmimeKey
) -> None:
    inside = smime.decrypt(body_octets(letters[kind]), [theirs])
    step = {"reply": 4096, "copy": 1024}[kind]
    assert len(inside) % step == 0
    payload, signature = split_signed(inside)
    assert openssl_verifies(payload, signature)
    assert not openssl_verifies(payload.replace(b"ebra", b"abra"), signature)


def test_two_copies_of_one_edition_are_signed_once_and_differ_in_all_that_is_sealed(
    make_copy: Callable[..., seal.Sealed], signing: seal.Identity, theirs: SmimeKey, edition: Edition, now: datetime
) -> None:
    signed = seal.sign_edition(edition, signing, now, Form.SMIME)
    given = {"means": Smime(theirs.der), "identity": signing}
    first, second = make_copy(signed, **given), make_copy(signed, padding_chance=0.99, **given)
    assert len(first.content) < len(second.content)
    opened = [split_signed(smime.decrypt(body_octets(one), [theirs])) for one in (first, second)]
    assert opened[0] == opened[1]
    assert body_octets(first)[-4000:] != body_octets(second)[-4000:]


def test_a_list_without_an_x509_key_sends_nothing_to_such_readers(
    make_reply: Callable[..., seal.Sealed], identity: seal.Identity, theirs: SmimeKey, edition: Edition, now: datetime
) -> None:
    with pytest.raises(SmimeKeyMissing):
        make_reply(DRAFT, means=Smime(theirs.der))
    with pytest.raises(SmimeKeyMissing):
        seal.sign_edition(edition, identity, now, Form.SMIME)


def test_no_letter_is_made_for_a_certificate_that_has_expired(
    make_reply: Callable[..., seal.Sealed],
    make_copy: Callable[..., seal.Sealed],
    signing: seal.Identity,
    theirs: SmimeKey,
    edition: Edition,
    now: datetime,
) -> None:
    given = {"means": Smime(theirs.der), "identity": signing, "now": theirs.expires + timedelta(seconds=1)}
    with pytest.raises(CertificateUnusable):
        make_reply(DRAFT, **given)
    with pytest.raises(CertificateUnusable):
        make_copy(seal.sign_edition(edition, signing, now, Form.SMIME), **given)


def test_an_edition_signed_for_openpgp_is_never_enveloped_nor_the_other_way_round(
    make_copy: Callable[..., seal.Sealed],
    signing: seal.Identity,
    theirs: SmimeKey,
    keys: Keys,
    edition: Edition,
    now: datetime,
) -> None:
    for form, means in ((Form.FULL, Smime(theirs.der)), (Form.SMIME, OpenPgp(keys.reader_public))):
        with pytest.raises(LetterUnusable):
            make_copy(seal.sign_edition(edition, signing, now, form), means=means, identity=signing)


# --- Other people's programs -----------------------------------------------------------------------------------------


@both
def test_openssl_opens_a_letter_and_finds_it_signed_by_the_list(
    kind: str, letters: dict[str, seal.Sealed], theirs: SmimeKey, tmp_path: Path
) -> None:
    letter, key, root = (tmp_path / name for name in ("letter", "key", "root"))
    letter.write_bytes(letters[kind].content)
    key.write_bytes(theirs.to_pem())
    root.write_bytes(AUTHORITY.pem)
    inside = openssl("cms", "-decrypt", "-in", str(letter), "-recip", str(key)).stdout
    verified = openssl("cms", "-verify", "-CAfile", str(root), "-purpose", "smimesign", stdin=inside)
    assert b"successful" in verified.stderr.lower()
    check_payload(verified.stdout, kind)


@both
def test_gpgsm_opens_a_letter_and_finds_a_good_signature(
    kind: str, letters: dict[str, seal.Sealed], reader_x509: Gpgsm
) -> None:
    inside, status = reader_x509.run("--decrypt", stdin=body_octets(letters[kind]))
    assert "DECRYPTION_OKAY" in status
    payload, signature = split_signed(inside)
    path = reader_x509.home / "signature"
    path.write_bytes(signature)
    _, status = reader_x509.run("--verify", str(path), "-", stdin=payload)
    assert any(line.startswith("GOODSIG ") and line.endswith(f"/CN={LIST}") for line in status)
    assert any(line.startswith("TRUST_FULLY") for line in status)
    check_payload(payload, kind)


@both
def test_neomutt_shows_subject_text_and_a_good_signature_of_smime(
    kind: str, letters: dict[str, seal.Sealed], theirs: SmimeKey, gnupg: Gnupg, tmp_path: Path
) -> None:
    shown = show_in_neomutt(letters[kind], gnupg, tmp_path, passphrase="x", more=smime_settings(tmp_path, theirs))
    assert "Verification successful" in shown
    assert WORDS[kind] in shown
    assert SUBJECTS[kind][:8] in shown  # in the text, whatever the program makes of protected fields


def smime_settings(folder: Path, theirs: SmimeKey) -> str:
    """Return NeoMutt's settings for one key, as its smime.rc has them."""
    (folder / "key.pem").write_bytes(theirs.to_pem())
    (folder / "root.pem").write_bytes(AUTHORITY.pem)
    program = needs("openssl")
    return f"""
set crypt_use_gpgme=no
set smime_is_default=yes
set smime_decrypt_use_default_key=yes
set smime_default_key="key.pem"
set smime_ca_location="{folder}/root.pem"
set smime_certificates="{folder}"
set smime_keys="{folder}"
set smime_ask_cert_label=no
set smime_decrypt_command="{program} cms -decrypt -inform DER -in %f -recip {folder}/key.pem"
set smime_verify_command="{program} cms -verify -inform DER -in %s -CAfile {folder}/root.pem -content %f -out /dev/null"
set smime_verify_opaque_command="{program} cms -verify -inform DER -in %s -CAfile {folder}/root.pem"
set smime_pk7out_command="{program} pkcs7 -in %f"
set smime_get_cert_command="{program} pkcs7 -print_certs -in %f"
"""


def check_payload(payload: bytes, kind: str) -> None:
    root = read(payload)
    assert root["Subject"] == SUBJECTS[kind]
    text = root.get_body(("plain",))
    assert text is not None
    shown = text.get_content()
    assert WORDS[kind] in shown
    assert shown.lstrip().startswith(SUBJECTS[kind][:4])  # RFC 9788 is rarely obeyed for S/MIME


def body_octets(letter: seal.Sealed) -> bytes:
    content = read(letter.content).get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


def split_signed(entity: bytes) -> tuple[bytes, bytes]:
    """Return the signed octets and the signature, DER, of multipart/signed."""
    boundary = re.search(rb'boundary="([0-9a-f]+)"', entity)
    assert boundary
    _, payload, signature, _ = body(entity).split(b"--" + boundary[1])
    found = read(signature[2:]).get_payload(decode=True)
    assert isinstance(found, bytes)
    return payload[2:-2], found


def openssl(*arguments: str, stdin: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([needs("openssl"), *arguments], input=stdin, capture_output=True, check=check)


def openssl_verifies(payload: bytes, signature: bytes) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("payload", "signature", "root")]
        for path, content in zip(paths, (payload, signature, AUTHORITY.pem), strict=True):
            path.write_bytes(content)
        given = ["-content", str(paths[0]), "-inform", "DER", "-in", str(paths[1]), "-CAfile", str(paths[2])]
        return openssl("cms", "-verify", "-binary", *given, check=False).returncode == 0


@dataclass(frozen=True)
class Gpgsm:
    """A gpgsm of its own, with its own home folder."""

    home: Path

    def run(self, *arguments: str, stdin: bytes = b"") -> tuple[bytes, list[str]]:
        """Run gpgsm and return its output and its status lines."""
        path, secret = self.home / "status", self.home / "passphrase"
        secret.write_bytes(PASSPHRASE)
        fixed = ["--homedir", str(self.home), "--batch", "--no-tty", "--pinentry-mode", "loopback"]
        with secret.open("rb") as passphrase, path.open("wb") as status:
            streams = ["--passphrase-fd", str(passphrase.fileno()), "--status-fd", str(status.fileno())]
            done = subprocess.run(
                [needs("gpgsm"), *fixed, *streams, *arguments],
                input=stdin,
                capture_output=True,
                check=True,
                pass_fds=(passphrase.fileno(), status.fileno()),
            )
        lines = path.read_text(errors="replace").splitlines()
        return done.stdout, [line.removeprefix("[GNUPG:] ") for line in lines]


@pytest.fixture(scope="module")
def reader_x509(theirs: SmimeKey) -> Iterator[Gpgsm]:
    """The reader's gpgsm: their key, and trust in the authority."""
    home = Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))  # a path short enough for the agent's sockets
    assert len(bytes(home / "S.gpg-agent.browser")) <= SOCKET_PATH_OCTETS
    (home / "gpgsm.conf").write_text("disable-crl-checks\n")
    (home / "gpg-agent.conf").write_text("allow-loopback-pinentry\n")
    (home / "trustlist.txt").write_text(f"{AUTHORITY.certificate.fingerprint(SHA1()).hex().upper()} S relax\n")
    gpgsm = Gpgsm(home)
    subprocess.run([needs("gpgconf"), "--homedir", str(home), "--launch", "gpg-agent"], check=True)
    gpgsm.run("--import", stdin=AUTHORITY.pem)
    gpgsm.run("--import", stdin=to_pkcs12(theirs))
    yield gpgsm
    subprocess.run([needs("gpgconf"), "--homedir", str(home), "--kill", "all"], check=True)
    shutil.rmtree(home, ignore_errors=True)


def test_addresses_stand_in_the_lists_own_certificate() -> None:
    private, now = rsa_key(5), AUTHORITY.certificate.not_valid_before_utc + timedelta(days=2)
    made = smime.self_signed(private, Address.parse(LIST), now)
    text = openssl("x509", "-noout", "-text", stdin=made.public_pem).stdout.decode()
    for expected in (f"email:{LIST}", "E-mail Protection", "Digital Signature, Key Encipherment", "CA:FALSE"):
        assert expected in text
