"""Certificates in the forms in which people keep and send them, and what is sent in their place."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from mailer.crypto import openpgp
from mailer.inward.confined import files, offered
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Found, Refusal, Refused
from tests.certificates.forge import CV25519, Forge, Key, mpi, packet, subpacket
from tests.conftest import Gnupg

NOW = datetime.now(UTC)
MADE = NOW - timedelta(days=10)
FOLDER = Path(__file__).parent / "files"
ARMORED = (FOLDER / "usable.asc").read_text()
[USABLE] = [one for one in openpgp.examine(ARMORED.encode(), NOW) if isinstance(one, Certificate)]


def only(content: bytes | str) -> Certificate | Refused:
    (verdict,) = files.examine(content if isinstance(content, bytes) else content.encode(), NOW)
    return verdict


def refusal(content: bytes | str) -> tuple[Refusal, Found | None]:
    verdict = only(content)
    assert isinstance(verdict, Refused)
    return verdict.reason, verdict.found


def letter() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "reader@example.org"
    return message


def attached(encoding: str, content: bytes = USABLE.blob, name: str = "key.pgp") -> bytes:
    message = letter()
    message.set_content("my key")
    message.add_attachment(content, "application", "octet-stream", filename=name, cte=encoding)
    return message.as_bytes()


def in_text(encoding: str, subtype: str = "plain") -> bytes:
    message = letter()
    words = ARMORED if subtype == "plain" else "<p>Hi</p><pre>" + ARMORED + "</pre>"
    message.set_content(f"Here it is:\n\n{words}\nBye\n", subtype=subtype, cte=encoding)
    return message.as_bytes()


KEYDATA = base64.b64encode(USABLE.blob).decode()


@pytest.mark.parametrize(
    "content",
    [
        ARMORED,
        ARMORED.replace("\n", "\r\n"),
        ARMORED.replace("\n", "\r"),
        "Dear list,\n\nthis is my key:\n\n" + ARMORED + "\n-- \nAda",
        ARMORED.replace("-----BEGIN PGP PUBLIC KEY BLOCK-----\n", "-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment:\n"),
        "\n".join("> " + line for line in ARMORED.splitlines()),
        ARMORED.replace("\n=", "\n=AAAA\n#"),  # another checksum
        "\n".join(line for line in ARMORED.splitlines() if not line.startswith("=")),
        " ".join(ARMORED.split("\n")),
        "<html><body>" + ARMORED.replace("\n", "<br>\r\n") + "</body></html>",
        "<div>" + "</div><div>".join(ARMORED.splitlines()) + "</div>",
        ARMORED.replace("=", "=3D"),
        ARMORED.replace("=", "=3D").replace("\nm", "\n=\nm").replace("\nE", "=\n\nE"),
        ARMORED.encode("utf-16"),
        USABLE.blob,
        USABLE.blob + b"\r\n",
        packet(12, b"\x02\x06") + USABLE.blob,  # what GnuPG notes for itself in pubring.gpg
        attached("base64"),
        attached("base64", ARMORED.encode(), "key.txt"),
        in_text("base64"),
        in_text("quoted-printable"),
        in_text("base64", "html"),
        f"From: ada@example.org\r\nAutocrypt: addr=reader@example.org; keydata={KEYDATA}\r\n\r\nhello\r\n",
        f"Autocrypt: addr=a@b.example; keydata={KEYDATA}",
        KEYDATA,
        "\n".join(KEYDATA[at : at + 64] for at in range(0, len(KEYDATA), 64)),
    ],
    ids=range(26),
)
def test_a_certificate_is_found_in_whatever_it_is_wrapped(content: bytes | str) -> None:
    found = only(content)
    assert isinstance(found, Certificate)
    assert found.fingerprint == USABLE.fingerprint


def test_gossip_about_others_is_no_key_of_anybody() -> None:
    gossip = f"From: ada@example.org\r\nAutocrypt-Gossip: addr=bob@example.org; keydata={KEYDATA}\r\n\r\nhello\r\n"
    assert refusal(gossip)[0] is Refusal.NOT_A_CERTIFICATE
    assert isinstance(only(gossip.replace("-Gossip", "")), Certificate)  # the positive control


def test_a_keybox_of_gnupg_gets_a_verdict_on_each_certificate(gnupg: Gnupg) -> None:
    one, two = gnupg.make_key("one@example.org"), gnupg.make_expired_key("two@example.org", now=NOW)
    verdicts = files.examine((gnupg.home / "pubring.kbx").read_bytes(), NOW)
    assert [verdict.fingerprint for verdict in verdicts] == [one.lower(), two.lower()]
    assert [isinstance(verdict, Certificate) for verdict in verdicts] == [True, False]
    cut = (gnupg.home / "pubring.kbx").read_bytes()[:-300]
    assert [verdict.fingerprint for verdict in files.examine(cut, NOW)] == [one.lower()]


def test_a_letter_with_one_key_twice_gets_one_verdict() -> None:
    header = f"Autocrypt: addr=reader@example.org; keydata={KEYDATA}\n"
    assert isinstance(only(header.encode() + attached("base64")), Certificate)


# --- What is sent by mistake ----------------------------------------------------------------------------------------

SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGmH ada@home\n"
PEM = "-----BEGIN {0}-----\nMIIB\n-----END {0}-----\n"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", Found.EMPTY),
        (b" \r\n", Found.EMPTY),
        ((FOLDER / "not-a-certificate-message.asc").read_bytes(), Found.MESSAGE),
        ((FOLDER / "not-a-certificate-signature.asc").read_bytes(), Found.SIGNATURE),
        (packet(2, b"\x04\x20\x16\x08"), Found.REVOCATION),
        (packet(2, b"\x04\x00\x16\x08"), Found.SIGNATURE),
        (packet(18, b"\x01abc"), Found.MESSAGE),
        (packet(13, b"<ada@example.org>"), Found.PART),
        (SSH, Found.SSH),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", Found.SSH),
        (USABLE.blob[:-20], Found.BROKEN),
        (ARMORED[:300], Found.BROKEN),
        (b"\x89PNG\r\n\x1a\n", None),
        ("hello", None),
    ],
)
def test_what_it_is_instead_is_said_where_that_is_plain(content: bytes | str, found: Found | None) -> None:
    assert refusal(content) == (Refusal.NOT_A_CERTIFICATE, found)


@pytest.mark.parametrize(
    "content",
    [
        *(PEM.format(f"{kind}PRIVATE KEY") for kind in ("", "RSA ", "EC ", "ENCRYPTED ", "OPENSSH ")),
        "PuTTY-User-Key-File-3: ssh-ed25519\n",
        b"(21:protected-private-key(3:ecc",
        b"Key: (private-key (ecc",
        packet(7, b"\x04\x60\x00\x00\x00\x10\x00\x00"),  # a secret subkey alone
        packet(5, b"\x04\x60\x00\x00\x00\x16")[:-3],
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlIYE\n-----END PGP PRIVATE KEY BLOCK-----",
        "-----BEGIN PGP SECRET KEY BLOCK-----\n\nlIYE\n-----END PGP SECRET KEY BLOCK-----",
    ],
    ids=range(12),
)
def test_a_secret_key_of_any_program_is_called_so(content: bytes | str) -> None:
    assert refusal(content)[0] is Refusal.SECRET


# --- What is to blame -----------------------------------------------------------------------------------------------


def named(blob: bytes) -> tuple[Refusal | None, tuple[str, ...]]:
    (verdict,) = openpgp.examine(blob, NOW)
    return (verdict.reason if isinstance(verdict, Refused) else None), verdict.algorithms


def test_the_algorithm_that_is_to_blame_is_named(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key("reader@example.org", can_encrypt=False)
    gnupg.run("--quick-add-key", fingerprint, "brainpoolP256r1", "encr", "0")
    assert named(gnupg.certificate(fingerprint)) == (Refusal.UNSUPPORTED, ("ed25519", "brainpoolP256r1"))
    key = Key(MADE, CV25519)
    sha1 = Forge(MADE).user_id("a", hash_id=2).subkey(key).bind(key, hash_id=2)
    assert named(bytes(sha1)) == (Refusal.WEAK, ("ed25519", "sha1"))
    half = Forge(MADE).user_id("a", subpacket(27, b"\x03")).subkey(key).bind(key, subpacket(27, b"\x0c"), hash_id=2)
    assert named(bytes(half)) == (Refusal.WEAK, ("ed25519", "cv25519", "sha1"))


def number(octets: int) -> bytes:
    return mpi(b"\xff" * octets) + mpi(b"\x01\x00\x01")


@pytest.mark.parametrize(
    ("body", "reason", "name"),
    [
        (b"\x03\x30\x00\x00\x00\x00\x00\x01" + number(128), Refusal.WEAK, "rsa1024 v3"),
        (b"\x03\x30\x00\x00\x00\x00\x00\x01" + number(256), Refusal.UNSUPPORTED, "rsa2048 v3"),
        (b"\x05\x60\x00\x00\x00\x01\x00\x00\x01\x05" + number(256), Refusal.UNSUPPORTED, "rsa2048 v5"),
        (b"\x05\x60\x00\x00\x00\x08\x00\x00\x00\x02\x05\x2b", Refusal.UNSUPPORTED, "kyber (LibrePGP) v5"),
        (b"\x04\x60\x00\x00\x00\x01" + number(1024), Refusal.UNSUPPORTED, "rsa8192"),
        (b"\x04\x60\x00\x00\x00\x01" + number(128), Refusal.WEAK, "rsa1024"),
        (b"\x04\x60\x00\x00\x00\x15\x00\x00", Refusal.UNSUPPORTED, "diffie-hellman"),
        (b"\x04\x60\x00\x00\x00\x63\x00\x00", Refusal.UNSUPPORTED, "algorithm 99"),
        (b"\x04\x60\x00\x00\x00\x13\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x0d", Refusal.UNSUPPORTED, "brainpoolP512r1"),
    ],
)
def test_old_new_and_foreign_keys_are_refused_by_name(body: bytes, reason: Refusal, name: str) -> None:
    assert named(packet(6, body) + packet(13, b"reader")) == (reason, (name,))


# --- Whose it is ----------------------------------------------------------------------------------------------------


def test_only_a_user_id_that_the_key_vouches_for_makes_it_somebodys() -> None:
    ada, own = Address.parse("ada@example.org"), Forge(MADE)
    own.user_id("Ada <Ada@Example.org>")
    assert openpgp.bearers(bytes(own), ada)
    assert not openpgp.bearers(bytes(own), Address.parse("bob@example.org"))
    bare = Forge(MADE).user_id("Bob <bob@example.org>")
    bare.packets += [packet(13, b"Ada <ada@example.org>")]
    assert not openpgp.bearers(bytes(bare), ada)
    liar = Key(MADE)
    liar.key_id = bare.primary.key_id
    assert not openpgp.bearers(bytes(Forge(MADE).user_id("<ada@example.org>", by=liar)), ada)


def test_the_form_of_letter_is_said_beforehand() -> None:
    assert openpgp.message_form(USABLE.blob, NOW) == "PKESK v3, SEIPD v1"
    modern = only((FOLDER / "usable-sequoia-v6.asc").read_bytes())
    assert isinstance(modern, Certificate)
    assert openpgp.message_form(modern.blob, NOW) == "PKESK v6, SEIPD v2"
    assert openpgp.message_form(b"", NOW) == ""


# --- Programs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", ["cv25519", "rsa3k"])
@pytest.mark.parametrize("names", [(), ("--userid", "<ada@example.org>", "--userid", "Ada")])
def test_sq_opens_letters_to_what_it_makes_with_user_ids_and_without(
    needs: Callable[[str], str], tmp_path: Path, suite: str, names: tuple[str, ...]
) -> None:
    key, public = tmp_path / "key.pgp", tmp_path / "cert.pgp"

    def sq(*arguments: str, stdin: bytes = b"") -> bytes:
        return subprocess.run([needs("sq"), *arguments], input=stdin, check=True, capture_output=True).stdout

    sq("key", "generate", "--cipher-suite", suite, *names, "--export", str(key))
    sq("key", "extract-cert", "--output", str(public), str(key))
    certificate = only(public.read_bytes())
    assert isinstance(certificate, Certificate)
    assert refusal(key.read_bytes())[0] is Refusal.SECRET
    assert (
        sq("decrypt", "--recipient-key", str(key), stdin=openpgp.encrypt(b"words", certificate.blob, NOW)) == b"words"
    )


def test_the_newest_eight_of_many_encryption_subkeys_are_all_written_to(gnupg: Gnupg) -> None:
    fingerprint = gnupg.make_key("reader@example.org")
    for algorithm in ("rsa2048", "nistp256", "cv25519"):
        gnupg.run("--quick-add-key", fingerprint, algorithm, "encr", "0")
    found = only(gnupg.certificate(fingerprint))
    assert isinstance(found, Certificate)
    assert found.algorithms == ("ed25519", "cv25519", "rsa2048", "nistp256", "cv25519")
    message = openpgp.encrypt(b"words", found.blob, NOW)
    assert gnupg.list_packets(message).count(":pubkey enc packet:") == 4
    assert gnupg.decrypt(message).plaintext == b"words"


# --- What a letter offers -------------------------------------------------------------------------------------------


def offers(text: str, sender: str = "ada@example.org") -> list[Certificate | Refused]:
    return list(offered.find(None, text, [], Address.parse(sender), set(), NOW))


def armored_of(address: str) -> tuple[str, str]:
    key, forge = Key(MADE, CV25519), Forge(MADE).user_id(f"<{address}>", subpacket(27, b"\x03"))
    blob = bytes(forge.subkey(key).bind(key, subpacket(27, b"\x0c")))
    return openpgp.armor_certificate(blob), next(iter(openpgp.bearers(blob, Address.parse(address))))


def test_of_several_keys_in_a_letter_the_one_with_the_writers_address_counts() -> None:
    (ada, fingerprint), (bob, _) = armored_of("ada@example.org"), armored_of("bob@example.org")
    for text in (ada + bob, bob + ada):
        assert [one.fingerprint for one in offers(text)] == [fingerprint]
    [several] = offers(ada + bob, "carol@example.org")
    assert isinstance(several, Refused)
    assert several.reason is Refusal.SEVERAL
    again, _ = armored_of("ada@example.org")
    [several] = offers(ada + again)  # two of hers: which of them nobody knows
    assert isinstance(several, Refused)
    assert several.reason is Refusal.SEVERAL


def test_beside_a_secret_key_nothing_else_in_a_letter_counts() -> None:
    ada, _ = armored_of("ada@example.org")
    secret = "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlIYE\n-----END PGP PRIVATE KEY BLOCK-----\n"
    for text in (ada + secret, secret + ada, ada + armored_of("bob@example.org")[0] + secret):
        [one] = offers(text)
        assert isinstance(one, Refused)
        assert one.reason is Refusal.SECRET
