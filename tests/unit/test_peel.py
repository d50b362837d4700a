from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailer.crypto import openpgp
from mailer.errors import Unreadable
from mailer.inward.confined import parse
from mailer.model.certificate import Certificate
from mailer.model.letter import Letter, Unopened

LETTERS = Path(__file__).parent / "letters"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
SIGNED_AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
LIST_SECRET = (LETTERS / "keys" / "list-secret.pgp").read_bytes()


def usable(name: str) -> Certificate:
    (found,) = openpgp.examine((LETTERS / "keys" / f"{name}.asc").read_bytes(), NOW)
    assert isinstance(found, Certificate)
    return found


ALICE = usable("alice")


def read(raw: bytes, *, keys: tuple[bytes, ...] = (LIST_SECRET,), certificate: bytes | None = ALICE.blob) -> Letter:
    return parse.read_letter(raw, keys, certificate, NOW)


def read_file(name: str) -> Letter:
    return read((LETTERS / f"{name}.eml").read_bytes())


# --- Signatures -----------------------------------------------------------------------------------------------------

PROVEN = ["signed", "signed-protected-subject", "signed-twice", "signed-in-one-part-mixed", "inline-signed"]
SEALED = ["sealed", "sealed-signed-inside", "sealed-legacy-part", "sealed-legacy-lines", "sealed-torn-by-exchange"]
SEALED += ["sealed-unmarked-subject", "inline-sealed"]
UNDATED = ["sealed-legacy-part", "sealed-legacy-lines", "sealed-unmarked-subject", "inline-sealed"]  # no Date inside
SPOOFED = sorted(
    path.stem
    for path in LETTERS.glob("*.eml")
    if path.stem.startswith(("signed", "sealed", "inline")) and path.stem not in {*PROVEN, *SEALED}
)


@pytest.mark.parametrize("name", [*PROVEN, *SEALED])
def test_a_signature_over_the_whole_text_proves_who_wrote_it(name: str) -> None:
    found = read_file(name)
    assert found.signed_by == ALICE.fingerprint
    assert found.signed_digest is not None
    assert (found.signed_at is None) == (name in UNDATED)
    assert found.signed_at is None or 0 <= (found.signed_at - SIGNED_AT).total_seconds() < 60
    assert found.text.startswith("unsubscribe")
    assert found.was_encrypted == (name in SEALED)


@pytest.mark.parametrize("name", SPOOFED)
def test_no_other_signature_proves_anything(name: str) -> None:
    try:
        found = read_file(name)
    except Unopened as unopened:
        found = unopened.letter
    assert found.signed_by is None
    assert (found.signed_at, found.signed_digest) == (None, None)
    assert not found.subject_is_signed


def test_every_signed_letter_has_a_digest_of_its_own_which_its_outside_does_not_change() -> None:
    sealed = {name: read_file(name).signed_digest for name in SEALED}
    assert len(set(sealed.values())) == len(sealed)
    for name in (*PROVEN, *SEALED):
        raw = (LETTERS / f"{name}.eml").read_bytes()
        again = b"Received: from elsewhere\r\n" + raw.replace(b"...", b"again").replace(
            b"Message-ID: <", b"Message-ID: <2"
        )
        assert read(again).signed_digest == read(raw).signed_digest is not None


@pytest.mark.parametrize("name", [*PROVEN, *SEALED])
def test_without_the_certificate_nothing_is_proven(name: str) -> None:
    raw = (LETTERS / f"{name}.eml").read_bytes()
    for certificate in (None, usable("mallory").blob):
        found = read(raw, certificate=certificate)
        assert found.is_signed
        if name != "signed-twice" or certificate is None:
            assert found.signed_by is None


def test_any_change_to_a_signed_letter_unproves_it() -> None:
    raw = (LETTERS / "signed.eml").read_bytes()
    begin = raw.index(b"--signed\r\n") + len(b"--signed\r\n")
    end = raw.index(b"--signed", begin)
    for at in range(begin, end - 2):
        altered = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        assert read(altered).signed_by is None, at


def test_a_protected_subject_counts_and_an_unmarked_one_does_not() -> None:
    for name in ("sealed", "sealed-signed-inside", "signed-protected-subject", "sealed-legacy-part"):
        assert (read_file(name).subject, read_file(name).subject_is_signed) == ("unsubscribe", True)
    assert (read_file("sealed-unsigned").subject, read_file("sealed-unsigned").subject_is_signed) == (
        "unsubscribe",
        False,
    )
    assert read_file("sealed-unmarked-subject").subject == "..."
    assert read_file("signed").subject == "a letter"


def test_legacy_display_is_not_taken_for_the_text() -> None:
    assert read_file("sealed-legacy-part").text == "unsubscribe\n"
    assert read_file("sealed-legacy-lines").text == "unsubscribe\n"


def test_what_stands_around_a_ciphertext_is_not_mixed_with_it() -> None:
    for name in ("sealed-above-footer", "inline-sealed-below-text"):
        assert (read_file(name).text, read_file(name).was_encrypted) == ("unsubscribe\n", True)
    assert (read_file("sealed-below-html").text, read_file("sealed-below-html").was_encrypted) == ("subscribe\n", False)


@pytest.mark.parametrize("name", ["sealed-to-others", "inline-sealed-to-others", "sealed", "inline-sealed"])
def test_a_letter_that_no_key_opens_can_still_be_answered(name: str) -> None:
    keys = (LIST_SECRET,) if "others" in name else ()
    with pytest.raises(Unopened) as unopened:
        read((LETTERS / f"{name}.eml").read_bytes(), keys=keys)
    assert unopened.value.reason == "cannot-decrypt"
    assert str(unopened.value.letter.sender) == "alice@example.org"
    assert unopened.value.letter.automatic is None
    assert not unopened.value.letter.was_encrypted


def test_an_smime_letter_is_unopened() -> None:
    for content_type in (
        b"application/pkcs7-mime; smime-type=enveloped-data",
        b"application/octet-stream; name=smime.p7m",
    ):
        with pytest.raises(Unopened):
            read(b"From: bob@example.org\r\nContent-Type: %b\r\n\r\nMIAG" % content_type)


def test_a_damaged_autocrypt_header_is_passed_over() -> None:
    assert read(b"From: bob@example.org\r\nAutocrypt: addr=bob@example.org; keydata=AAAA\r\n\r\n").offered == ()


# --- Keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("key-attached", "key-attached-binary", "key-in-text", "key-in-text-damaged", "key-in-text-indented"),
        *("key-in-html", "key-autocrypt", "key-twice"),
    ],
)
def test_a_key_is_found_however_it_is_sent(name: str) -> None:
    (found,) = read_file(name).offered
    assert isinstance(found, Certificate)
    assert found.fingerprint == ALICE.fingerprint


@pytest.mark.parametrize(
    "name",
    [
        *("key-quoted", "key-of-the-list", "key-autocrypt-other-address", "key-autocrypt-twice"),
        *("key-autocrypt-unknown-attribute", "signed", "sealed"),
    ],
)
def test_what_is_not_offered_is_not_taken(name: str) -> None:
    assert read_file(name).offered == ()


def test_of_the_keys_of_two_people_the_one_with_the_writers_address_counts() -> None:
    letter = read_file("keys-of-two")
    [offer] = letter.offered
    assert isinstance(offer, Certificate)
    raw = (LETTERS / "keys-of-two.eml").read_bytes()
    assert offer.fingerprint in openpgp.bearers(raw, letter.sender)
    assert len([one for one in openpgp.examine(raw, NOW) if isinstance(one, Certificate)]) == 2


def test_no_spoofed_letter_of_the_corpora_is_proven(corpora: Path) -> None:
    folder = corpora / "signature-spoofing"
    blobs = [path.read_bytes() for path in sorted(folder.rglob("*.asc"))]
    signers = [found for blob in blobs for found in openpgp.examine(blob, NOW) if isinstance(found, Certificate)]
    for path in sorted(folder.rglob("*.eml")):
        for signer in signers:
            try:
                found = parse.read_letter(path.read_bytes(), [], signer.blob, NOW)
            except Unreadable:
                continue
            assert found.signed_by is None or str(found.sender).startswith("eve@")
