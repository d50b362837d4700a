"""DKIM signatures as another program reads them: dkimpy's verifier, with a DNS that is a dictionary."""

from __future__ import annotations

import base64
import re
from functools import cache

import dkim  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from mailer.crypto.dkim import CLOSED, Algorithm, DkimKey, generate
from mailer.errors import DkimKeyUnusable, LetterUnusable

DOMAIN = "lists.example"
HEAD = (
    b"From: News <news@lists.example>\r\n"
    b"To: news@lists.example\r\n"
    b"Subject: [...]\r\n"
    b"Date: Sun, 22 Nov 2026 17:00:00 +0000\r\n"
    b"Message-ID: <a1@lists.example>\r\n"
    b"List-Unsubscribe: <mailto:news+unsubscribe-abc@lists.example>\r\n"
    b"List-Id: <news.lists.example>\r\n"
    b"Autocrypt: addr=news@lists.example; keydata=\r\n mDMEZ\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/encrypted;\r\n boundary="b"\r\n'
)
LETTER = HEAD + b"\r\n--b\r\n\r\nVersion: 1\r\n\r\n--b--\r\n"
BOTH = pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])


@cache
def key(algorithm: Algorithm) -> DkimKey:
    return DkimKey.load(generate(algorithm), "mailer2026")


def verifies(message: bytes, own: DkimKey, domain: str = DOMAIN) -> bool:
    """Whether the first signature holds, looked up where the key says that its record stands."""
    records = {f"{own.record_name(domain)}.".encode(): own.record.encode()}
    try:
        return bool(dkim.DKIM(message).verify(dnsfunc=lambda name, timeout=5: records.get(name)))
    except dkim.DKIMException:
        return False


def sign(algorithm: Algorithm = "ed25519", letter: bytes = LETTER) -> bytes:
    return key(algorithm).field(letter, DOMAIN) + letter


def tags(field: bytes) -> dict[bytes, bytes]:
    value = re.sub(rb"\s", b"", field.partition(b":")[2])
    return dict(tag.split(b"=", 1) for tag in value.split(b";"))


@BOTH
def test_a_signed_letter_verifies(algorithm: Algorithm) -> None:
    assert verifies(sign(algorithm), key(algorithm))


@BOTH
def test_a_signature_does_not_verify_with_another_key(algorithm: Algorithm) -> None:
    assert not verifies(sign(algorithm), DkimKey.load(generate(algorithm), "mailer2026"))


@pytest.mark.parametrize("name", CLOSED)
def test_nobody_on_the_way_can_add_a_field_that_is_closed(name: str) -> None:
    field = name.encode() + b": news@lists.example\r\n"
    signed = sign()
    assert not verifies(field + signed, key("ed25519"))
    assert not verifies(signed.replace(b"\r\n\r\n", b"\r\n" + field + b"\r\n", 1), key("ed25519"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"From: News", b"From: Views"),
        (b"unsubscribe-abc", b"unsubscribe-abd"),
        (b"[...]", b"Hello"),
        (b"17:00:00", b"18:00:00"),
        (b"mDMEZ", b"mDMEY"),
        (b"Version: 1", b"Version: 2"),
        (b"\r\n--b--\r\n", b"\r\n--b--\r\nmore\r\n"),
        (b"List-Id: <news.lists.example>\r\n", b""),
    ],
)
@BOTH
def test_a_changed_letter_does_not_verify(algorithm: Algorithm, old: bytes, new: bytes) -> None:
    signed = sign(algorithm)
    assert old in signed
    assert not verifies(signed.replace(old, new, 1), key(algorithm))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"multipart/encrypted;\r\n boundary", b"multipart/encrypted; boundary"),
        (b"Subject: [...]", b"SUBJECT:  [...] "),
        (b"Version: 1\r\n", b"Version:  1 \r\n"),
        (b"--b--\r\n", b"--b--\r\n\r\n\r\n"),
        (b"MIME-Version", b"Received: from a.example\r\nMIME-Version"),
        (b"MIME-Version", b"Content-Transfer-Encoding: 7bit\r\nMIME-Version"),
    ],
)
def test_what_mail_servers_do_to_blanks_and_their_own_fields_does_no_harm(old: bytes, new: bytes) -> None:
    signed = sign()
    assert old in signed
    assert verifies(signed.replace(old, new, 1), key("ed25519"))


def test_an_encoding_that_is_there_is_signed() -> None:
    signed = sign(letter=LETTER.replace(b"MIME-Version", b"Content-Transfer-Encoding: base64\r\nMIME-Version"))
    assert verifies(signed, key("ed25519"))
    assert not verifies(signed.replace(b"base64", b"7bit", 1), key("ed25519"))


@given(st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b".", b"\r\n\r\n"]), max_size=12).map(b"".join))
def test_every_body_verifies_whatever_its_blanks_and_empty_lines(body: bytes) -> None:
    assert verifies(sign(letter=HEAD + b"\r\n" + body), key("ed25519"))


@BOTH
def test_a_signature_says_no_more_than_it_must(algorithm: Algorithm) -> None:
    found = tags(key(algorithm).field(LETTER, DOMAIN))
    assert found.keys() == {b"v", b"a", b"c", b"d", b"s", b"h", b"bh", b"b"}  # no t=, x=, i=, l=
    assert (found[b"a"], found[b"c"]) == (f"{algorithm}-sha256".encode(), b"relaxed/relaxed")
    assert (found[b"d"], found[b"s"]) == (b"lists.example", b"mailer2026")


def test_both_unsubscribe_fields_are_covered_where_they_are() -> None:
    post = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    found = tags(key("rsa").field(LETTER.replace(b"MIME", post + b"MIME"), DOMAIN))[b"h"].split(b":")
    assert found.count(b"list-unsubscribe") == found.count(b"list-unsubscribe-post") == 2
    assert found.count(b"from") == 2


@pytest.mark.parametrize("length", [20, 70, 76, 150, 240])
@BOTH
def test_a_signature_of_a_domain_of_any_length_is_short_lines_and_verifies(algorithm: Algorithm, length: int) -> None:
    domain = (".".join(["abcdefghi"] * 30))[: length - 2].rstrip(".") + ".ex"
    letter = LETTER.replace(b"lists.example", domain.encode())
    field = key(algorithm).field(letter, domain)
    assert verifies(field + letter, key(algorithm), domain)
    assert field.endswith(b"\r\n")
    assert all(len(line) <= max(78, len(domain) + 4) for line in field.split(b"\r\n"))
    assert all(line.startswith(b" ") and line.strip() for line in field.split(b"\r\n")[1:-1])


def test_a_letter_from_another_domain_is_not_signed() -> None:
    for domain in ("other.example", "example", "s.example", "xlists.example"):
        with pytest.raises(LetterUnusable):
            key("rsa").field(LETTER, domain)


def test_a_letter_with_no_sender_or_two_is_not_signed() -> None:
    for letter in (LETTER.partition(b"\r\n")[2], b"From: b@lists.example\r\n" + LETTER, b"no header\r\n\r\n"):
        with pytest.raises(LetterUnusable):
            key("rsa").field(letter, DOMAIN)


def test_the_dns_record_holds_the_public_key_alone() -> None:
    assert re.fullmatch(r"v=DKIM1; k=ed25519; p=[A-Za-z0-9+/]{43}=", key("ed25519").record)
    record = key("rsa").record
    assert base64.b64decode(record.removeprefix("v=DKIM1; k=rsa; p="), validate=True)
    assert key("rsa").record_name(DOMAIN) == "mailer2026._domainkey.lists.example"


def test_keys_of_other_programs_are_read() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())  # opendkim-genkey's
    own = DkimKey.load(pem, "s")
    assert verifies(own.field(LETTER, DOMAIN) + LETTER, own)


def test_a_key_that_receivers_would_not_trust_is_refused() -> None:
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(DkimKeyUnusable, match="2048 to 4096 bits"):
        DkimKey.load(small.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "s")


def test_what_is_no_dkim_key_is_refused_and_not_shown() -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(DkimKeyUnusable, match="neither RSA nor Ed25519"):
        DkimKey.load(curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "s")
    locked = curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    for pem in (locked, b"", b"secret words", generate("rsa")[:300]):
        with pytest.raises(DkimKeyUnusable, match="no private key") as caught:
            DkimKey.load(pem, "s")
        assert "secret words" not in str(caught.value)


def test_a_key_does_not_show_itself() -> None:
    assert repr(key("rsa")) == "DkimKey(…)"
