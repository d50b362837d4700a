"""A digest's copies: signed once, sealed for each subscriber alone, and alike in all that is not theirs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from email.message import EmailMessage

import pytest

from mailer.crypto import openpgp
from mailer.errors import LetterUnusable, SealBroken
from mailer.letters import mime, seal
from mailer.model.address import Address
from mailer.model.digest import Edition
from mailer.model.language import Language
from tests.letters.conftest import READER
from tests.letters.reading import body, chatmail_accepts, outside, read, read_fields

MakeCopy = Callable[..., seal.Sealed]
WAIT = timedelta(hours=1)


@pytest.fixture
def signed(edition: Edition, identity: seal.Identity, now: datetime) -> seal.SignedEdition:
    return seal.sign_edition(edition, identity, now)


@pytest.fixture
def plaintexts(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What went into the encryption, in order."""
    seen: list[bytes] = []
    encrypt = openpgp.encrypt

    def listen(plaintext: bytes, *arguments: object, **named: object) -> bytes:
        seen.append(plaintext)
        return encrypt(plaintext, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(openpgp, "encrypt", listen)
    return seen


def payload_of(entity: bytes) -> bytes:
    """Return the signed bytes of multipart/signed: first part, less the line end before the delimiter (RFC 1847)."""
    boundary = re.search(rb'boundary="([0-9a-f]+)"', entity)
    assert boundary
    return entity.split(b"--" + boundary[1])[1][2:-2]


def test_the_outer_header_of_a_copy_holds_these_fields_and_no_other(make_copy: MakeCopy, now: datetime) -> None:
    letter = make_copy()
    fields = read_fields(letter.content)
    assert [name for name, _ in fields] == [
        *("From", "To", "Subject", "Date", "Message-ID", "List-Unsubscribe", "List-Id", "Autocrypt"),
        *("MIME-Version", "Content-Type"),
    ]
    values = dict(fields)
    assert values["From"] == values["To"] == "news@list.example"
    assert values["Subject"] == "[...]"
    assert values["Date"] == f"{now:%a, %d %b %Y %H:%M:%S} +0000"
    assert values["Message-ID"] == "<z9y8x7@list.example>"
    assert values["List-Id"] == "<news.list.example>"
    assert values["List-Unsubscribe"] == "<mailto:news+unsubscribe-gggghhhhiiiijjjjkkkkllll@list.example>"
    assert values["Autocrypt"].startswith("addr=news@list.example; prefer-encrypt=mutual; keydata= ")
    assert str(letter.envelope_sender).startswith("news+bounce-")


def test_the_subscriber_is_named_in_the_envelope_alone(make_copy: MakeCopy, plaintexts: list[bytes]) -> None:
    letter = make_copy()
    assert str(letter.recipient) == READER
    for content in (letter.content, *plaintexts):
        assert b"reader" not in content.lower()
        assert b"provider.example" not in content.lower()


def test_the_signed_part_has_its_fields_on_the_payload_root(signed: seal.SignedEdition, edition: Edition) -> None:
    payload = payload_of(signed.entity)
    fields = read_fields(payload)
    assert [name for name, _ in fields] == ["From", "To", "Subject", "Date", *["HP-Outer"] * 4, "Content-Type"]
    date = dict(fields)["Date"]
    assert [value for name, value in fields if name == "HP-Outer"] == [
        *("From: news@list.example", "To: news@list.example", "Subject: [...]", f"Date: {date}"),
    ]
    root = read(payload)
    assert root["Subject"] == edition.subject
    assert root.get_content_type() in ("multipart/mixed", "multipart/alternative")
    assert (root.get_param("hp"), root.get_param("protected-headers")) == ("cipher", "v1")
    assert body(payload) == body(edition.payload)


def test_the_subject_in_chinese_is_on_the_wire_as_frozen_here(signed: seal.SignedEdition) -> None:
    header = payload_of(signed.entity).partition(b"\r\nDate:")[0]
    assert header.split(b"\r\n")[2:] == [
        b"Subject: =?utf-8?B?5paR6aas57235bel56ys5Y2B5LqM5pyf77ya5aSn5a62?=",
        b" =?utf-8?B?5LiA6LW35L6G77yM5oqK6YCZ5YCL5raI5oGv5ZGK6Ki0?=",
        b" =?utf-8?B?5omA5pyJ5Lq6?=",
    ]


def test_nothing_stands_beside_the_signed_part(signed: seal.SignedEdition) -> None:
    message = read(signed.entity)
    assert [name for name, _ in read_fields(signed.entity)] == ["Content-Type"]
    assert message.get_content_type() == "multipart/signed"
    assert (message.get_param("micalg"), message.get_param("protocol")) == ("pgp-sha512", "application/pgp-signature")
    assert message.get_param("hp") is None
    assert [part.get_content_type() for part in message.iter_parts()] == [
        "multipart/mixed",
        "application/pgp-signature",
    ]


def test_every_copy_is_dated_when_it_was_signed_however_late_it_is_made(
    make_copy: MakeCopy, edition: Edition, identity: seal.Identity, now: datetime
) -> None:
    signed = seal.sign_edition(edition, identity, now - timedelta(minutes=40))
    dates = [dict(read_fields(make_copy(signed, now=now + wait).content))["Date"] for wait in (WAIT, 9 * WAIT)]
    assert dates == [f"{now - timedelta(minutes=40):%a, %d %b %Y %H:%M:%S} +0000"] * 2
    assert dict(read_fields(payload_of(signed.entity)))["Date"] == dates[0]


def test_a_chatmail_server_takes_a_copy_however_long(
    make_copy: MakeCopy, edition: Edition, identity: seal.Identity, now: datetime
) -> None:
    assert chatmail_accepts(make_copy().content)
    payload = mime.alternative("a line of text\n" * 100_000, "<p>x</p>")
    long = seal.sign_edition(dataclasses.replace(edition, payload=payload), identity, now)
    assert chatmail_accepts(make_copy(long).content)


def test_a_copy_is_padded_into_a_bucket_by_dots_outside_the_signature(
    make_copy: MakeCopy, signed: seal.SignedEdition, plaintexts: list[bytes]
) -> None:
    for chance in (0.0, 0.3, 0.6, 0.999):
        make_copy(signed, padding_chance=chance)
    for entity in plaintexts:
        assert len(entity) == mime.padme(len(entity))
        assert len(entity) <= len(signed.entity) * 1.27
        assert payload_of(entity) == payload_of(signed.entity)
        preamble = read(entity).preamble
        assert preamble
        assert set(preamble) <= set(".\r\n")
    assert len({len(entity) for entity in plaintexts}) > 1


def test_editions_of_nearly_one_length_are_of_one_size(
    make_copy: MakeCopy, edition: Edition, identity: seal.Identity, now: datetime
) -> None:
    sizes = set()
    for words in (1, 5, 9):
        payload = mime.alternative("word " * words, "<p>" + "much the same " * 1000 + "</p>")
        copy = make_copy(seal.sign_edition(dataclasses.replace(edition, payload=payload), identity, now))
        sizes.add(len(copy.content))
    assert len(sizes) == 1


def test_two_copies_share_no_boundary_and_no_ciphertext(make_copy: MakeCopy, signed: seal.SignedEdition) -> None:
    one, other = (set(make_copy(signed).content.split(b"\r\n")) for _ in range(2))
    shared = b"\r\n".join(one & other)
    assert b"boundary" not in shared
    armor = [line for line in one & other if re.fullmatch(rb"[A-Za-z0-9+/=]{64}", line)]
    assert not armor


def test_no_word_of_a_digest_is_outside_the_ciphertext(make_copy: MakeCopy, signed: seal.SignedEdition) -> None:
    planted = ["斑馬罷工".encode(), b"zebra", b"5paR6aas", b"=E6=96=91", b"python", b"sequoia", b"mailer"]
    content = outside(make_copy(signed).content)
    assert not found(content, planted)
    assert found(signed.entity, planted) == [b"zebra", b"5paR6aas", b"=E6=96=91"]  # the search does find them
    assert found(content.replace(b"[...]", b"The Zebra"), planted) == [b"zebra"]


def found(content: bytes, words: list[bytes]) -> list[bytes]:
    return [word for word in words if word.lower() in content.lower()]


def test_every_line_of_a_copy_is_short_ascii_with_crlf(make_copy: MakeCopy) -> None:
    content = make_copy().content
    mime.check_payload(content)
    for line in content.split(b"\r\n"):
        assert len(line) <= 78 or b" " not in line.partition(b": ")[2]  # nowhere to fold it


def test_a_copy_is_made_for_the_identity_that_signed(make_copy: MakeCopy, identity: seal.Identity) -> None:
    other = dataclasses.replace(identity, address=Address.parse("other@list.example"))
    with pytest.raises(LetterUnusable):
        make_copy(identity=other)


@pytest.mark.parametrize("message_id", ["", "a@b", "<a@b>\r\nBcc: x@y.example", "<a@b> <c@d>"])
def test_a_copy_with_another_message_id_is_refused(make_copy: MakeCopy, message_id: str) -> None:
    with pytest.raises(LetterUnusable):
        make_copy(message_id=message_id)


def test_a_token_address_cannot_break_out_of_its_field(make_copy: MakeCopy) -> None:
    letter = make_copy(unsubscribe=Address("a>\r\nBcc: <x", "y.example"))
    assert "Bcc" not in [name for name, _ in read_fields(letter.content)]


@pytest.mark.parametrize("subject", ["", "a\r\nBcc: x@y.example", "a\nb", "中\u2028文"])
def test_an_edition_with_an_unfit_subject_is_not_signed(
    edition: Edition, identity: seal.Identity, now: datetime, subject: str
) -> None:
    with pytest.raises(LetterUnusable):
        seal.sign_edition(dataclasses.replace(edition, subject=subject), identity, now)


@pytest.mark.parametrize(
    "change",
    [
        lambda payload: payload.replace(b"\r\n", b"\n"),
        lambda payload: payload.replace(b"zebra", "斑馬".encode()),
        lambda payload: payload.replace(b"strike goes", b"x" * 999),
        lambda payload: payload.replace(b"strike goes", b"strike\ngoes"),
        lambda payload: payload.replace(b"strike goes", b"strike\rgoes"),
        lambda payload: payload.replace(b"strike goes", b"strike\0goes"),
        lambda payload: b"Subject: my own\r\n" + payload,
        lambda payload: mime.text_part("a single part"),
    ],
)
def test_an_edition_whose_signature_could_break_is_not_signed(
    edition: Edition, identity: seal.Identity, now: datetime, change: Callable[[bytes], bytes]
) -> None:
    changed = dataclasses.replace(edition, payload=change(edition.payload))
    assert changed.payload != edition.payload
    with pytest.raises(LetterUnusable):
        seal.sign_edition(changed, identity, now)


def test_a_signed_edition_comes_back_from_the_store_as_it_was(signed: seal.SignedEdition) -> None:
    blob = signed.to_bytes()
    assert seal.SignedEdition.from_bytes(blob) == signed
    assert repr(signed) == "SignedEdition(zh-Hant, full)"
    damaged = [b"", blob[:-1], blob + b"x", blob.replace(b"zh-Hant", b"zz-Zzzz"), blob.replace(b"edition", b"zdition")]
    for other in [*damaged, blob.replace(b"news@list", b"newsX@@@x")]:
        with pytest.raises(SealBroken):
            seal.SignedEdition.from_bytes(other)


def test_an_edition_is_read_with_all_its_parts(signed: seal.SignedEdition, edition: Edition) -> None:
    parts = [part for part in read(payload_of(signed.entity)).walk() if not part.is_multipart()]
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html", "image/png", "application/pdf"]
    text = parts[0]
    assert isinstance(text, EmailMessage)
    assert text.get_content().replace("\r\n", "\n") == edition.text
    assert signed.language is Language.ZH_HANT
