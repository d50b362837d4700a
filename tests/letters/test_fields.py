"""Header fields: what people wrote comes back as they wrote it, and nothing begins a line of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email import policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.parser import BytesParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.errors import LetterUnusable
from mailer.letters import fields
from mailer.model.address import Address

# What ends a line somewhere: SMTP, CPython's splitlines, a terminal, a browser
BREAKS = ["\r\nBcc: x@y.example", "\n", "\r", "\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\ud800"]
LIST = Address.parse("news@list.example")


def read(field: bytes) -> list[tuple[str, str]]:
    message = BytesParser(EmailMessage, policy=policy.default).parsebytes(field + b"\r\nbody")
    assert not message.defects
    return [(name, str(value)) for name, value in message.items()]


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("Your settings", "Your settings"),
        ("第十二期", "=?utf-8?B?56ys5Y2B5LqM5pyf?="),
        ("第十二期：大家一起來", "=?utf-8?B?56ys5Y2B5LqM5pyf77ya5aSn5a625LiA6LW35L6G?="),
        (
            "第十二期：大家一起来，请告诉所有人",
            "=?utf-8?B?56ys5Y2B5LqM5pyf77ya5aSn5a625LiA6LW35p2l77yM?= =?utf-8?B?6K+35ZGK6K+J5omA5pyJ5Lq6?=",
        ),
        ("Digest 第 2 期", "=?utf-8?B?RGlnZXN0IOesrCAyIOacnw==?="),
        ("=?utf-8?Q?a?=", "=?utf-8?B?PT91dGYtOD9RP2E/PQ==?="),
        (" two  spaces ", "=?utf-8?B?IHR3byAgc3BhY2VzIA==?="),
        ("x" * 61, "=?utf-8?B?" + "eHh4" * 11 + "?= =?utf-8?B?" + "eHh4" * 9 + "eA==?="),
    ],
)
def test_a_subject_is_on_the_wire_as_frozen_here(text: str, wire: str) -> None:
    assert fields.from_text(text) == wire
    assert str(make_header(decode_header(wire))) == text


@given(st.text(min_size=1, max_size=300))
def test_any_text_is_refused_or_comes_back_whole_in_lines_of_at_most_76(text: str) -> None:
    try:
        field = fields.write_field("Subject", fields.from_text(text))
    except LetterUnusable:
        return
    assert max(map(len, field.split(b"\r\n"))) <= 78
    if b"=?" in field:
        assert max(map(len, field.split(b"\r\n"))) <= 76  # RFC 2047 §2
    ((name, value),) = read(field)
    assert (name, value) == ("Subject", text)


@pytest.mark.parametrize("line_break", BREAKS)
def test_a_line_break_in_a_subject_or_a_name_is_refused(line_break: str) -> None:
    for text in (f"a{line_break}b", f"中文{line_break}", line_break):
        with pytest.raises(LetterUnusable):
            fields.from_text(text)
        with pytest.raises(LetterUnusable):
            fields.from_mailbox(LIST, text)


@pytest.mark.parametrize("value", ["", " a", "a ", "a  b", "a\r\n b", "a\nb", "a\tb", "ä", "a\0"])
def test_a_value_that_is_not_wire_text_is_never_written(value: str) -> None:
    with pytest.raises(LetterUnusable):
        fields.write_field("Subject", value)


@pytest.mark.parametrize("name", ["", "Sub ject", "Subject:", "Subject\r\nBcc", "主旨", "-X"])
def test_a_name_that_is_no_field_name_is_never_written(name: str) -> None:
    with pytest.raises(LetterUnusable):
        fields.write_field(name, "x")


def test_a_line_that_cannot_be_folded_and_exceeds_998_octets_is_refused() -> None:
    assert fields.write_field("X", "y" * 995) == b"X: " + b"y" * 995 + b"\r\n"
    with pytest.raises(LetterUnusable):
        fields.write_field("X", "y" * 996)


@pytest.mark.parametrize(
    "name", ["News", "The News", "News, daily", 'The "News"', "a\\b", "新聞", "=?utf-8?Q?a?=", "J. Doe"]
)
def test_a_display_name_comes_back_as_given(name: str) -> None:
    message = BytesParser(EmailMessage, policy=policy.default).parsebytes(
        fields.write_field("From", fields.from_mailbox(LIST, name)) + b"\r\n"
    )
    (mailbox,) = message["From"].addresses
    assert (mailbox.display_name, mailbox.addr_spec) == (name, "news@list.example")


@pytest.mark.parametrize(
    "address",
    [
        Address("a>\r\nBcc: <b", "list.example"),
        Address("a, b", "list.example"),
        Address("a", "list.example>, <x@y.example"),
        Address("Ä", "list.example"),
        Address("新聞", "list.example"),
    ],
)
def test_an_address_that_was_not_parsed_or_is_not_ascii_has_no_form_in_a_header(address: Address) -> None:
    with pytest.raises(LetterUnusable):
        fields.from_mailbox(address)


def test_a_reader_with_a_local_part_above_ascii_is_not_named() -> None:
    assert fields.from_recipient(Address.parse("讀者@provider.example")) == "undisclosed-recipients:;"


def test_dates_are_in_utc_whatever_zone_they_come_in() -> None:
    moment = datetime(2026, 11, 22, 8, 30, tzinfo=timezone(timedelta(hours=8)))
    assert fields.from_moment(moment) == "Sun, 22 Nov 2026 00:30:00 +0000"
    with pytest.raises(LetterUnusable):
        fields.from_moment(datetime(2026, 11, 22))  # noqa: DTZ001 - that it has no zone is the point


@pytest.mark.parametrize("text", ["<a@b>", "<a.b+c@d.example>", "<a@[127.0.0.1]>"])
def test_a_strict_message_id_is_repeated(text: str) -> None:
    assert fields.is_message_id(text) and fields.from_message_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a@b",
        "<a@b",
        "<a b@c>",
        "<a@b>\r\nBcc: x",
        "<a@b> <c@d>",
        '<"a b"@c>',
        "<ä@b>",
        f"<{'a' * 250}@b>",
        "<a@b>\n",
    ],
)
def test_any_other_message_id_is_not(text: str) -> None:
    assert not fields.is_message_id(text)
    with pytest.raises(LetterUnusable):
        fields.from_message_id(text)


def test_list_fields_hold_the_address_and_nothing_else() -> None:
    assert fields.from_list_address(LIST) == "<news.list.example>"
    token = Address.parse("news+unsubscribe-abc@list.example")
    assert fields.from_mailto(token) == "<mailto:news+unsubscribe-abc@list.example>"
    assert fields.from_mailto(Address("a>,<b?c", "x.example")) == "<mailto:a%3E%2C%3Cb%3Fc@x.example>"


def test_autocrypt_is_folded_and_refuses_a_certificate_that_would_be_ignored() -> None:
    field = fields.write_field("Autocrypt", fields.from_certificate(LIST, bytes(500)))
    assert field.startswith(b"Autocrypt: addr=news@list.example; prefer-encrypt=mutual; keydata=\r\n AAAA")
    assert max(map(len, field.split(b"\r\n"))) <= 78
    with pytest.raises(LetterUnusable):
        fields.from_certificate(LIST, bytes(8_000))


def test_a_date_is_one_that_other_programs_read() -> None:
    (((_, value),)) = read(fields.write_field("Date", fields.from_moment(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))))
    assert value == "Fri, 02 Jan 2026 03:04:05 +0000"
