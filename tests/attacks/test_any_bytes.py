"""Letters as programs and ill will make them: the command is found, what is none never acts, nothing falls over."""

from __future__ import annotations

import base64
import quopri
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.errors import Unreadable
from mailer.inward.confined import parse
from mailer.inward.quoting import read_own
from mailer.inward.understand import understand
from mailer.model.address import Address
from mailer.model.command import Verb
from mailer.model.letter import Letter, Unreadability

NOW = datetime(2026, 11, 22, tzinfo=UTC)
OWN = Address("news", "list.example")
FROM = b"From: Ada <ada@reader.example>\r\n"
TNEF = bytes.fromhex("789f3e22") + b"\x00" * 200
CUT = 3


def read(header: bytes, body: bytes) -> Letter:
    return parse.read_letter(FROM + header + b"\r\n\r\n" + body.replace(b"\n", b"\r\n"), [], None, NOW)


def read_or_refuse(raw: bytes) -> Letter | None:
    """The letter, or None where it is refused by one of the names that there are."""
    try:
        return parse.read_letter(raw, [], None, NOW)
    except Unreadable as refused:
        Unreadability(refused.reason)
        return None


def verb(header: bytes, body: bytes) -> Verb:
    return understand(read(header, body), "", OWN).command.verb


def mixed(*parts: bytes, kind: bytes = b"mixed") -> tuple[bytes, bytes]:
    return b"Content-Type: multipart/" + kind + b'; boundary="b"', b"".join(
        b"--b\n" + part + b"\n" for part in parts
    ) + b"--b--\n"


def part(content_type: bytes, body: bytes, *more: bytes) -> bytes:
    return b"\n".join([b"Content-Type: " + content_type, *more]) + b"\n\n" + body


UUENCODED = b"begin 644 a.txt\n,=6YS=6)S8W)I8F4*\n`\nend\n"
YENC = b"=ybegin line=128 size=12 name=a.txt\n\x9f\x98\x9d\x9f\x8c\x9d\x8d\x9c\x93\x8c\x8f4\n=yend size=12\n"
TEXT = part(b"text/plain", b"subscribe\n")

# --- Encodings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "codec", "words", "expected"),
    [
        ("gb2312", "gb2312", "我要订阅", Verb.SUBSCRIBE),
        ("gb2312", "gb18030", "请帮我订阅邮件，谢谢", Verb.SUBSCRIBE),
        ("gb18030", "gb18030", "退订", Verb.UNSUBSCRIBE),
        ("big5", "big5", "我想取消訂閱", Verb.UNSUBSCRIBE),
        ("big5", "big5hkscs", "唔該幫我訂閱", Verb.SUBSCRIBE),
        ("big5-hkscs", "big5hkscs", "唔該幫我訂閱", Verb.SUBSCRIBE),
        ("hz-gb-2312", "hz", "订阅", Verb.SUBSCRIBE),
        ("utf-7", "utf-7", "退訂", Verb.UNSUBSCRIBE),
        ("utf-16", "utf-16", "訂閱", Verb.SUBSCRIBE),
        ("us-ascii", "utf-8", "訂閱", Verb.SUBSCRIBE),
        ("us-ascii", "gb18030", "取消订阅", Verb.UNSUBSCRIBE),
        ("iso-8859-1", "big5", "取消訂閱", Verb.UNSUBSCRIBE),
        ("x-unknown", "gb18030", "取消订阅", Verb.UNSUBSCRIBE),
        ("iso-2022-cn", "", "", Verb.SUBSCRIBE),
    ],
)
def test_a_command_is_read_in_every_encoding_and_under_wrong_labels(
    label: str, codec: str, words: str, expected: Verb
) -> None:
    raw = words.encode(codec) if codec else b"\x1b$)A\x0e6)TD\x0f"
    for encoding, body in ((b"base64", base64.encodebytes(raw)), (b"quoted-printable", quopri.encodestring(raw))):
        header = f"Content-Type: text/plain; charset={label}\r\nContent-Transfer-Encoding: ".encode() + encoding
        assert verb(header, body) is expected


@pytest.mark.parametrize("codec", ["utf-8", "gb18030", "big5", "big5hkscs"])
def test_a_subject_of_unlabelled_octets_is_read(codec: str) -> None:
    words = "取消订阅" if codec == "gb18030" else "取消訂閱"
    assert verb(b"Subject: " + words.encode(codec), b"") is Verb.UNSUBSCRIBE


@pytest.mark.parametrize("codec", ["iso2022_jp", "iso2022_kr", "euc_jp", "euc_kr", "shift_jis"])
def test_what_is_japanese_or_korean_is_read_and_is_no_command(codec: str) -> None:
    words = "안녕하세요" if "kr" in codec else "こんにちは"
    letter = read(f"Content-Type: text/plain; charset={codec.replace('2022_', '-2022-')}".encode(), words.encode(codec))
    assert understand(letter, "", OWN).command.verb is Verb.CONTACT


# --- Forms ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letter", "expected"),
    [
        ((b"Content-Type: text/html; charset=utf-8", "<div>請<b>訂閱</b></div>".encode()), Verb.SUBSCRIBE),
        ((b"Content-Type: text/html", b"<style>unsubscribe</style><p>subscribe</p><!-- leave -->"), Verb.SUBSCRIBE),
        ((b"Content-Type: text/html", b'<p style="display:none">unsubscribe</p><p>Hello there all</p>'), Verb.CONTACT),
        ((b"Content-Type: text/plain; format=flowed", b"please sub\n"), Verb.CONTACT),
        (
            (b"Content-Type: text/plain; format=flowed; delsp=yes", b"please take me off  \nthe list\n"),
            Verb.UNSUBSCRIBE,
        ),
        ((b"Content-Type: text/plain; format=flowed", b"take me off \nthe list\n"), Verb.UNSUBSCRIBE),
        ((b"Content-Type: text/plain; format=flowed", b"> leave\n\nsubscribe\n\n-- \nleave\n"), Verb.SUBSCRIBE),
        ((b"X: y", b"subscribe\n\nAda Lovelace\nLondon\n"), Verb.SUBSCRIBE),
        ((b"X: y", b"subscribe\n-- \nunsubscribe\n"), Verb.SUBSCRIBE),
        ((b"X: y", b"subscribe\n\nSent from my iPhone\n"), Verb.SUBSCRIBE),
        ((b"X: y", b"subscribe\n" + UUENCODED), Verb.SUBSCRIBE),
        ((b"X: y", UUENCODED), Verb.CONTACT),
        ((b"X: y", b"subscribe\n" + YENC), Verb.SUBSCRIBE),
        ((b"X: y", YENC), Verb.CONTACT),
        (mixed(TEXT, part(b"application/ms-tnef; name=winmail.dat", TNEF)), Verb.SUBSCRIBE),
        (mixed(part(b"application/ms-tnef; name=winmail.dat", TNEF)), Verb.CONTACT),
        (mixed(TEXT, part(b"application/pgp-keys", b"no key\n"), part(b"text/plain", b"\n")), Verb.SUBSCRIBE),
        (mixed(part(b"text/plain; name=a.txt", b"leave\n", b"Content-Disposition: attachment")), Verb.CONTACT),
        (mixed(part(b"message/rfc822", b"From: a@b.example\n\nunsubscribe\n")), Verb.CONTACT),
        (mixed(part(b"message/rfc822", b"Subject: leave\n\nleave\n"), TEXT), Verb.SUBSCRIBE),
        (mixed(TEXT, part(b"text/html", b"<p>unsubscribe</p>"), kind=b"alternative"), Verb.SUBSCRIBE),
        (mixed(part(b"text/plain", b"\n"), part(b"text/html", b"<p>leave</p>"), kind=b"alternative"), Verb.UNSUBSCRIBE),
        (mixed(part(b"text/calendar", b"BEGIN:VCALENDAR\n")), Verb.CONTACT),
        ((b"Content-Type: multipart/mixed", b"subscribe\n"), Verb.SUBSCRIBE),
        ((b'Content-Type: multipart/mixed; boundary="x"', b"no such boundary\n"), Verb.CONTACT),
        ((b"Content-Type: nonsense", b"subscribe\n"), Verb.SUBSCRIBE),
        ((b"Content-Transfer-Encoding: x-uuencode", b"subscribe\n"), Verb.SUBSCRIBE),
        ((b"Content-Transfer-Encoding: base64", b"c3Vi\n\x00!c2NyaWJl====junk\n"), Verb.SUBSCRIBE),
        (
            (b"Subject: Fwd: subscribe", b"Look at this.\n\n---------- Forwarded message ----------\nsubscribe\n"),
            Verb.CONTACT,
        ),
        ((b"X: y", b"Look at this.\n\n-----Original Message-----\njoin 7k3m-9pqr-2tvw-4xyz\n"), Verb.CONTACT),
        ((b"X: y", b"join 7k3m-9pqr-2tvw-4xyz\n"), Verb.JOIN_BY_CARD),
        ((b"Subject: Fwd: Fwd", b"Begin forwarded message:\n\nSubject: leave\n\nleave\n"), Verb.CONTACT),
    ],
)
def test_the_writers_own_command_is_found_and_no_other(letter: tuple[bytes, bytes], expected: Verb) -> None:
    assert verb(*letter) is expected


def test_what_is_opaque_is_named_and_not_read() -> None:
    for header in (
        b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m",
        b"Content-Type: application/x-pkcs7-mime; name=smime.p7m",
    ):
        with pytest.raises(Unreadable) as refused:
            verb(header + b"\r\nContent-Transfer-Encoding: base64", base64.encodebytes(b"\x30\x80unsubscribe"))
        assert refused.value.reason in (Unreadability.CANNOT_DECRYPT, Unreadability.MALFORMED)


def test_what_is_compressed_or_nested_for_harm_is_refused_by_name_or_left_alone() -> None:
    bomb = b"-----BEGIN PGP MESSAGE-----\n\n" + base64.encodebytes(
        b"\xc8\xff\x00\x00\x10\x00\x02" + zlib.compress(b"\0" * 10**6)
    )
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (one, one) for one in range(50))
    nested = b"\xc8\xff" * 5000
    for header, body in (
        (b"Subject: x", bomb + b"-----END PGP MESSAGE-----\n"),
        (
            b"Subject: x",
            b"-----BEGIN PGP MESSAGE-----\n\n" + base64.encodebytes(nested) + b"-----END PGP MESSAGE-----\n",
        ),
        mixed(deep),
        mixed(*[TEXT] * 2000),
        (b"\r\n".join([b"X: y"] * 2000), b""),
        (b"Subject: " + b"x" * 70_000, b""),
    ):
        letter = read_or_refuse(FROM + header + b"\r\n\r\n" + body.replace(b"\n", b"\r\n"))
        asked = understand(letter, "", OWN).command.verb if letter else Verb.CONTACT
        assert asked in (Verb.CONTACT, Verb.SUBSCRIBE)


@given(st.data())
def test_a_letter_with_octets_changed_is_read_or_refused_by_name(data: st.DataObject) -> None:
    header, body = mixed(TEXT, part(b"text/html; charset=gb2312", "<p>订阅</p>".encode("gb2312")), kind=b"alternative")
    raw = bytearray(FROM + b"Subject: =?gbk?b?tqnUxA==?=\r\n" + header + b"\r\n\r\n" + body.replace(b"\n", b"\r\n"))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, CUT))] = data.draw(st.binary(max_size=CUT))
    letter = read_or_refuse(bytes(raw))
    if letter:
        assert "\n" not in letter.subject
        understand(letter, "", OWN)


@given(st.text())
def test_the_lines_of_any_text_are_read(text: str) -> None:
    own = read_own(text)
    assert all(line.strip() == line and line for line in own.lines)
    assert all(0 <= number <= len(own.lines) for number in own.breaks)
