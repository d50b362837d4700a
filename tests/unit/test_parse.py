from __future__ import annotations

import resource
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailer.errors import Unreadable
from mailer.inward.confined import parse
from mailer.model.letter import Letter

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def read(raw: bytes) -> Letter:
    return parse.read_letter(raw, [], None, NOW)


def refusal(raw: bytes) -> str:
    with pytest.raises(Unreadable) as refused:
        read(raw)
    return refused.value.reason


# --- From -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"Subject: x", "no-sender"),
        (b"From:", "no-sender"),
        (b"From: Bob", "no-sender"),
        (b"From: <>", "no-sender"),
        (b"From: Bob <bob>", "no-sender"),
        (b'From: "bob@example.org"', "no-sender"),
        (b'From: "b c"@example.org', "no-sender"),
        (b"From: <@relay.example:bob@example.org>", "no-sender"),
        (b"From: bob@example.org (never closed", "no-sender"),
        (b"From: =?utf-8?q?bob=40example=2Eorg?=", "no-sender"),
        (b"From: bob@example.org\r\nFrom: bob@example.org", "several-senders"),
        (b"From: bob@example.org\r\nfrom : eve@example.org", "several-senders"),
        (b"From: bob@example.org, eve@example.org", "several-senders"),
        (b"From: B <bob@example.org>, E <eve@example.org>", "several-senders"),
        (b"From: B <bob@example.org> <eve@example.org>", "several-senders"),
        (b"From: B <bob@example.org> eve@example.org", "several-senders"),
        (b"From: eve@example.org, B <bob@example.org>", "several-senders"),
        (b"From: friends: bob@example.org, eve@example.org;", "several-senders"),
        (b"From: friends: B <bob@example.org>;", "several-senders"),
    ],
)
def test_a_letter_without_exactly_one_sender_is_refused(header: bytes, reason: str) -> None:
    assert refusal(header + b"\r\n\r\nsubscribe\r\n") == reason


@pytest.mark.parametrize(
    "value",
    [
        "bob@example.org",
        "<bob@example.org>",
        "Bob <bob@example.org>",
        "bob@example.org (Bob, (the first) eve@example.net)",
        '"eve@example.net, Eve" <bob@example.org>',
        r'"Eve \" <eve@example.net>" <bob@example.org>',
        "eve@example.net <bob@example.org>",
        "Builder, Bob <bob@example.org>",
        "=?utf-8?q?eve=40example=2Enet=2C?= <bob@example.org>",
        "読者\r\n <bob@example.org>",
    ],
)
def test_the_sender_is_the_mailbox_and_never_the_name(value: str) -> None:
    assert str(read(f"From: {value}\r\n\r\n".encode()).sender) == "bob@example.org"


def test_a_name_in_raw_big5_with_an_at_sign_for_a_trail_byte_is_no_address() -> None:
    raw = b"From: \xa4\x40\xa5\x40\xb4\x40 <bob@example.org>\r\nContent-Type: text/plain; charset=big5\r\n\r\n"
    assert str(read(raw).sender) == "bob@example.org"


# --- Words ----------------------------------------------------------------------------------------------------------


def letter(subject: bytes = b"x", content_type: bytes = b"text/plain", body: bytes = b"x") -> bytes:
    return b"From: bob@example.org\r\nSubject: %b\r\nContent-Type: %b\r\n\r\n%b" % (subject, content_type, body)


@pytest.mark.parametrize("charset", ["utf-8", "gb18030", "big5hkscs", "cp950", "gb2312"])
@pytest.mark.parametrize(
    "words", ["訂閱", "退訂", "取消訂閱", "确认订阅", "退订", "幫助", "帮助", "你好，請問怎麼訂閱？"]
)
def test_an_unlabelled_subject_is_read_as_what_makes_sense(charset: str, words: str) -> None:
    try:
        raw = words.encode(charset)
    except UnicodeEncodeError:
        return  # this standard lacks these characters
    assert read(letter(raw)).subject == words


def test_an_unlabelled_western_subject_is_read_as_western() -> None:
    assert read(letter("Müller möchte die Sprache ändern".encode("latin-1"))).subject.startswith("Müller möchte")


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("gb2312", "gbk"),
        ("GB_2312-80", "gb2312"),
        ("x-gbk", "gbk"),
        ("cp936", "gb18030"),
        ("big5", "big5hkscs"),
        ("x-x-big5", "big5"),
        ("iso-8859-1", "gb18030"),
        ("us-ascii", "utf-8"),
        ("unknown-8bit", "gb18030"),
        ("utf-8", "big5"),
        ("gb2312", "utf-8"),
        ("big5", "gb18030"),
        ("rot13", "utf-8"),
        ("idna", "utf-8"),
        ("hz-gb-2312", "hz"),
        ("iso-2022-jp", "iso2022_jp"),
        ("utf-16", "utf-16"),
        ("a" * 300, "utf-8"),
    ],
)
def test_labels_are_believed_only_where_they_fit(label: str, codec: str) -> None:
    words = "中国新新人\n" if codec != "big5" and "big5" not in codec else "我要訂閱新聞\n"
    body = words.encode(codec)
    assert read(letter(content_type=f"text/plain; charset={label}".encode(), body=body)).text == words


def test_iso_2022_cn_is_read() -> None:
    body = b"\x1b$)A\x0e" + bytes(octet & 0x7F for octet in "退订".encode("gb2312")) + b"\x0f ok"
    assert read(letter(content_type=b"text/plain; charset=iso-2022-cn", body=body)).text == "退订 ok"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"=?gb2312?B?zcu2qQ==?=", "退订"),
        (b"=?utf-8?B?6YCA6A==?=\r\n =?utf-8?B?qII=?= x", "退訂 x"),  # a character cut in two
        (b"a =?utf-8?q?b?= =?utf-8?q?_c?= d", "a b c d"),
        (b"=?utf-8*zh?q?b?=", "b"),
        (b"=?nonsense?q?=D0?= =?utf-8?x?b?=", "Ð =?utf-8?x?b?="),
        (b"=?utf-8?q?a=0D=0ABcc:_eve=40example=2Enet?=", "a Bcc: eve@example.net"),
        (b"=?utf-8?q?a=00b=E2=80=A8c?=", "a b c"),
        (b"=?utf-16?b?AAA=?=", ""),
        (b"a\rBcc: b", "a Bcc: b"),
    ],
)
def test_a_subject_is_one_line_whatever_its_encoded_words_hold(raw: bytes, words: str) -> None:
    assert read(letter(raw)).subject == words


def test_only_the_first_of_two_subjects_counts() -> None:
    assert read(b"From: a@example.org\r\nSubject: one\r\nSubject: two\r\n\r\n").subject == "one"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<p>sub</p>scribe", "sub\n\nscribe\n"),
        ("subscribe<style>p {}</style><script>alert('<p>no</p>')</script>", "subscribe\n"),
        ("<!-- no --><b>sub</b>scribe", "subscribe\n"),
        ("<p style='display : none'>no<p>no</p></p>subscribe", "subscribe\n"),
        ("<div hidden>no</div>subscribe", "subscribe\n"),
        ("<title>no</title>訂閱&nbsp;&amp;<br/>x", "訂閱 &\nx\n"),
        ("<a title='>'>subscribe</a>", "subscribe\n"),
        (
            "yes<blockquote>one<br>two<blockquote>three</blockquote></blockquote>four",
            "yes\n\n> one\n> two\n\n> > three\n\nfour\n",
        ),
        ("<pre>a\n b</pre>", "a\nb\n"),
        ("2 < 3", "2 < 3\n"),
        ("&#99999999999999999999;&#xd800;", "\ufffd\ufffd\n"),
    ],
)
def test_a_letter_of_html_alone_is_read_as_seen(page: str, words: str) -> None:
    text = read(letter(content_type=b"text/html; charset=utf-8", body=page.encode())).text
    assert [line for line in text.split("\n") if line] == [line for line in words.split("\n") if line]


def test_plain_text_is_preferred_unless_it_is_empty() -> None:
    def alternative(plain: bytes) -> bytes:
        body = b"--b\r\n\r\n%b\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--b--\r\n" % plain
        return letter(content_type=b"multipart/alternative; boundary=b", body=body)

    assert read(alternative(b"plain")).text == "plain"
    assert read(alternative(b" \r\n")).text == "html\n"


def test_flowed_text_is_unwrapped_within_its_depth() -> None:
    body = b"one \r\ntwo\r\n>quoted \r\n>more \r\nthree\r\n-- \r\nBob\r\n  stuffed\r\n"
    flowed = read(letter(content_type=b"text/plain; format=flowed", body=body)).text
    assert flowed == "one two\n> quoted more \nthree\n-- \nBob\n stuffed\n"
    body = "我要訂 \r\n閱\r\n".encode()
    assert (
        read(letter(content_type=b"text/plain; charset=utf-8; format=flowed; delsp=yes", body=body)).text
        == "我要訂閱\n"
    )


def test_attachments_and_forwarded_letters_are_no_text() -> None:
    body = (
        b"--b\r\n\r\nmine\r\n--b\r\nContent-Disposition: attachment\r\n\r\nnot mine\r\n"
        b"--b\r\nContent-Type: text/plain; name=a.txt\r\n\r\nnot mine\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nnot mine\r\n--b--\r\n"
    )
    assert read(letter(content_type=b"multipart/mixed; boundary=b", body=body)).text == "mine"


# --- Letters of others ----------------------------------------------------------------------------------------------


def test_every_letter_of_the_corpora_is_read_or_refused(corpora: Path) -> None:
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slowest_s = 0.0
    for path in sorted(corpora.rglob("*")):
        if path.is_file():
            begun_s = time.process_time()
            try:
                found = read(path.read_bytes())
                assert len(found.subject.splitlines()) <= 1
            except Unreadable:
                pass
            slowest_s = max(slowest_s, time.process_time() - begun_s)
    assert slowest_s < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 200_000


def test_chinese_letters_of_the_corpora_are_legible(corpora: Path) -> None:
    commands = {"退订", "退訂", "订阅", "訂閱", "取消订阅", "取消訂閱", "確認 訂閱", "确认 订阅", "subscribe 新闻"}
    for path in sorted((corpora / "zh-mail" / "generated").glob("*.eml")):
        found = read(path.read_bytes())
        assert found.subject in commands, path.name
        assert found.text.startswith(found.subject)
        assert "\ufffd" not in found.text
