"""MIME entities: they come back as they went in, survive every relay, and name no program."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.errors import LetterUnusable
from mailer.letters import mime
from mailer.letters.write import Attachment
from tests.letters.reading import body, read

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=400)


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("plain\n", b"plain\r\n"),
        ("no end", b"no end\r\n"),
        ("", b"\r\n"),
        ("crlf\r\nlf\n", b"crlf\r\nlf\r\n"),
        ("狀態\n", b"=E7=8B=80=E6=85=8B\r\n"),
        ("trailing \n", b"trailing=20\r\n"),
        ("-- \nsignature\n", b"--=20\r\nsignature\r\n"),
        ("From me\n", b"=46rom=\r\n me\r\n"),
        ("x" * 77 + "\n", b"x" * 75 + b"=\r\nxx\r\n"),
    ],
)
def test_text_is_on_the_wire_as_frozen_here(text: str, wire: bytes) -> None:
    assert body(mime.text_part(text)) == wire


@given(TEXT)
def test_text_comes_back_and_fits_under_a_signature(text: str) -> None:
    entity = mime.text_part(text)
    mime.check_payload(entity)
    assert max(map(len, entity.split(b"\r\n"))) <= 76
    decoded = read(entity).get_payload(decode=True)
    assert isinstance(decoded, bytes)
    assert decoded.decode().replace("\r\n", "\n") == text.removesuffix("\n") + "\n"


@pytest.mark.parametrize("control", ["\0", "\x1b[2J", "\r", "\x0b", "\x7f", "\x85", "\ud800"])
def test_text_with_a_control_is_refused(control: str) -> None:
    with pytest.raises(LetterUnusable):
        mime.text_part(f"a{control}b")


def test_an_alternative_holds_text_then_html_with_its_pictures() -> None:
    picture = mime.InlineImage("p1@mail", "image/png", b"\x89PNG" * 100)
    message = read(mime.alternative("字", "<p>字</p>", [picture]))
    assert [part.get_content_type() for part in message.walk()] == [
        *("multipart/alternative", "text/plain"),
        *("multipart/related", "text/html", "image/png"),
    ]
    *_, image = message.walk()
    assert (image["Content-ID"], image.get_payload(decode=True)) == ("<p1@mail>", b"\x89PNG" * 100)


def test_text_is_never_in_base64() -> None:
    message = read(mime.mixed(mime.text_part("字" * 1000), [Attachment("a.txt", "text/plain", "字\n".encode() * 1000)]))
    parts = [part for part in message.walk() if not part.is_multipart()]
    assert [part["Content-Transfer-Encoding"] for part in parts] == ["quoted-printable"] * 2


def test_an_armored_key_goes_as_it_is() -> None:
    key = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
    entity = mime.attachment_part(Attachment("key.asc", "application/pgp-keys", key))
    assert body(entity) == key.replace(b"\n", b"\r\n")
    assert read(entity).get_filename() == "key.asc"


@pytest.mark.parametrize("filename", ["", 'a"b', "a/b", "..\\x", "a\r\nX: y", "字.pdf", ".hidden", "a b"])
def test_an_attachment_with_another_file_name_is_refused(filename: str) -> None:
    with pytest.raises(LetterUnusable):
        mime.attachment_part(Attachment(filename, "application/pdf", b""))


@pytest.mark.parametrize(
    "content_type", ["", "text", "text/plain; x=y", "multipart/mixed", "message/rfc822", "a/b\r\nX: y", "image/PNG\n"]
)
def test_an_attachment_with_another_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(LetterUnusable):
        mime.attachment_part(Attachment("a.pdf", content_type, b""))


@pytest.mark.parametrize(
    ("content_id", "content_type"), [("no-at", "image/png"), ("a@b>", "image/png"), ("a@b", "text/html")]
)
def test_an_inline_picture_that_is_none_is_refused(content_id: str, content_type: str) -> None:
    with pytest.raises(LetterUnusable):
        mime.alternative("a", "b", [mime.InlineImage(content_id, content_type, b"x")])


def test_protected_fields_stand_on_the_root_with_both_marks() -> None:
    payload = mime.mixed(mime.text_part("hello"))
    whole = mime.protected(payload, [("Subject", "Real")], [("Subject", "[...]")]).replace(b"\r\n ", b" ")
    boundary = re.search(rb'boundary="([0-9a-f]{32})"', whole)
    assert boundary is not None
    assert whole.partition(b"\r\n\r\n")[0].split(b"\r\n") == [
        b"Subject: Real",
        b"HP-Outer: Subject: [...]",
        b'Content-Type: multipart/mixed; boundary="' + boundary[1] + b'"; hp="cipher"; protected-headers="v1"',
    ]
    assert body(whole) == body(payload)


@pytest.mark.parametrize(
    "payload",
    [
        mime.text_part("a single part"),
        mime.multipart("signed", [mime.text_part("x")]),
        b"Subject: x\r\n" + mime.mixed(mime.text_part("x")),
        b'Content-Type: multipart/mixed; boundary="b"; hp="clear"\r\n\r\n--b--\r\n',
        b'Content-Type: multipart/mixed; boundary="b"\r\nX: y\r\n\r\n--b--\r\n',
        b'Content-Type: multipart/mixed; boundary="b"\n\n--b--\n',
        b"",
    ],
)
def test_a_root_that_cannot_carry_protected_fields_is_refused(payload: bytes) -> None:
    with pytest.raises(LetterUnusable):
        mime.protected(payload, [("Subject", "Real")], [])


@pytest.mark.parametrize(
    "line",
    [b"\xe5\xad\x97", b"a\nb", b"a\rb", b"a\0b", b"x" * 999, b"space ", b"tab\t", b"\r\nFrom here"],
)
def test_a_payload_that_a_relay_could_change_is_refused(line: bytes) -> None:
    with pytest.raises(LetterUnusable):
        mime.check_payload(b"X: y\r\n\r\n" + line + b"\r\n")


def test_a_payload_that_none_would_change_passes() -> None:
    mime.check_payload(b"X: y\r\n\r\n" + b"x" * 998 + b"\r\n\r\nThere: From\r\n")
    with pytest.raises(LetterUnusable):
        mime.check_payload(b"X: y\r\n\r\nno line end")


@pytest.mark.parametrize(
    ("length", "padded"), [(1, 1), (9, 10), (100, 104), (1000, 1024), (43_600, 45_056), (1_000_000, 1_015_808)]
)
def test_padme_gives_the_lengths_of_the_paper(length: int, padded: int) -> None:
    assert mime.padme(length) == padded


@given(st.integers(1, 10**8))
def test_padme_never_adds_more_than_an_eighth_and_is_stable(length: int) -> None:
    padded = mime.padme(length)
    assert length <= padded <= length * 1.12 + 1
    assert mime.padme(padded) == padded


@given(st.integers(2, 400))
def test_a_preamble_has_exactly_the_length_asked_for_and_short_lines_of_dots(missing: int) -> None:
    entity = mime.mixed(mime.text_part("hello"))
    padded = mime.with_preamble(entity, len(entity) + missing)
    head, _, rest = padded.partition(b"\r\n\r\n")
    preamble, _, _ = rest.partition(b"--")
    assert len(padded) == len(entity) + missing and padded.startswith(head) and len(preamble) == missing
    assert preamble.endswith(b"\r\n") and set(preamble) <= set(b".\r\n")
    assert max(map(len, preamble.split(b"\r\n"))) <= 76
    mime.check_payload(padded)


def test_a_preamble_of_no_room_is_refused() -> None:
    entity = mime.mixed(mime.text_part("hello"))
    assert mime.with_preamble(entity, len(entity)) == entity
    for length in (len(entity) + 1, len(entity) - 1):
        with pytest.raises(LetterUnusable):
            mime.with_preamble(entity, length)


@pytest.mark.parametrize(
    "armored",
    [
        b"hello",
        b"-----BEGIN PGP MESSAGE-----\r\nVersion: X\r\n\r\nabcd\r\n-----END PGP MESSAGE-----\r\n",
        b"-----BEGIN PGP MESSAGE-----\n\nabcd\n-----END PGP MESSAGE-----\n",
        b"-----BEGIN PGP MESSAGE-----\r\n\r\nabcd\r\n",
        b"\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nabcd\r\n-----END PGP MESSAGE-----\r\n",
    ],
)
def test_what_is_no_bare_armored_message_is_never_wrapped_as_one(armored: bytes) -> None:
    with pytest.raises(LetterUnusable):
        mime.encrypted(b"", armored)
