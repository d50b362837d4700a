from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailer.errors import Unreadable
from mailer.inward.confined import parse
from mailer.inward.guard import why_automatic, why_automatic_envelope
from mailer.model.address import Address
from mailer.model.letter import Automatic, Unopened

NOW = datetime(2026, 11, 22, tzinfo=UTC)
BOB = Address("bob", "example.org")


def why(name: str, value: str) -> Automatic | None:
    return why_automatic([("from", "bob@example.org"), (name, value)], BOB)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("auto-submitted", "auto-replied", Automatic.AUTO_SUBMITTED),
        ("auto-submitted", "Auto-Generated (vacation)", Automatic.AUTO_SUBMITTED),
        ("auto-submitted", "auto-notified; owner-email=x", Automatic.AUTO_SUBMITTED),
        ("auto-submitted", "no-such-word", Automatic.AUTO_SUBMITTED),
        ("auto-submitted", "", Automatic.AUTO_SUBMITTED),
        ("precedence", "bulk", Automatic.PRECEDENCE),
        ("precedence", " JUNK", Automatic.PRECEDENCE),
        ("precedence", "list", Automatic.PRECEDENCE),
        ("precedence", "auto_reply", Automatic.PRECEDENCE),
        ("list-id", "<news.example.org>", Automatic.LIST),
        ("list-post", "NO", Automatic.LIST),
        ("list-unsubscribe", "<mailto:x@example.org>", Automatic.LIST),
        ("x-mailing-list", "x", Automatic.LIST),
        ("x-autoreply", "yes", Automatic.AUTORESPONDER),
        ("x-autoreply-from", "x", Automatic.AUTORESPONDER),
        ("x-autorespond", "x", Automatic.AUTORESPONDER),
        ("x-autoresponder", "x", Automatic.AUTORESPONDER),
        ("x-auto-response-suppress", "All", Automatic.AUTORESPONDER),
        ("x-post-messageclass", "9; Autoresponder", Automatic.AUTORESPONDER),
        ("delivered-to", "Autoresponder", Automatic.AUTORESPONDER),
        ("content-type", 'multipart/report; report-type="delivery-status"', Automatic.REPORT),
        ("content-type", "Message/Disposition-Notification", Automatic.REPORT),
        ("x-failed-recipients", "x@example.org", Automatic.REPORT),
        ("return-path", "<>", Automatic.NULL_SENDER),
    ],
)
def test_a_field_that_only_programs_write_marks_a_letter(name: str, value: str, reason: Automatic) -> None:
    assert why(name, value) is reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auto-submitted", "no"),
        ("auto-submitted", "No (a person)"),
        ("precedence", "first-class"),
        ("precedence", "special-delivery"),
        ("x-auto-response-suppress", "DR, OOF, AutoReply"),  # Exchange puts it on letters of people
        ("x-auto-response-suppress", "None"),
        ("x-autoreply", "no"),
        ("list-id", ""),
        ("content-type", "multipart/mixed; boundary=report"),
        ("return-path", "<bob@example.org>"),
        ("delivered-to", "bob@example.org"),
    ],
)
def test_a_field_that_people_send_too_does_not(name: str, value: str) -> None:
    assert why(name, value) is None


@pytest.mark.parametrize(
    "subject",
    [
        *("Out of Office", "Out of office: Re: your letter", "Re: Out-of-Office reply", "Automatic reply: subscribe"),
        *(
            "Auto-Reply: subscribe",
            "AutoReply",
            "Automated response",
            "Re: blah (Automatic Response)",
            "[Auto-Reply] confirm",
        ),
        *(
            "Away from my desk until Monday",
            "Vacation reply",
            "I am out of the office until Monday",
            "[External] Automatic reply: x",
        ),
        *(
            "自动回复：确认订阅",
            "自動回覆: 確認訂閱",
            "自動回復：Re: 你好",
            "系统自动回复",
            "回复：自动回复：x",
            "Re：自動答覆",
            "你好（自动回复）",
        ),
        *(
            "外出",
            "休假中",
            "休假：下周回来",
            "不在办公室",
            "不在辦公室，請聯絡同事",
            "我外出中",
            "假期自动回复",
            "离开办公室通知",
        ),
        *("Automatische Antwort: x", "Réponse automatique : x", "Abwesenheitsnotiz", "Respuesta automática: x"),
    ],
)
def test_the_subject_of_an_autoresponder_marks_a_letter(subject: str) -> None:
    assert why("subject", subject) is Automatic.AUTORESPONDER


@pytest.mark.parametrize(
    "subject",
    [
        *(
            "Undelivered Mail Returned to Sender",
            "Delivery Status Notification (Failure)",
            "failure notice",
            "Returned mail: x",
        ),
        *(
            "Mail delivery failed: returning message to sender",
            "Undeliverable: confirm",
            "系统退信",
            "退信通知",
            "已读: 确认",
            "Read: x",
        ),
    ],
)
def test_the_subject_of_a_report_marks_a_letter(subject: str) -> None:
    assert why("subject", subject) is Automatic.REPORT


@pytest.mark.parametrize(
    "subject",
    [
        *("subscribe", "Re: confirm abc", "", "Re: your automatic confirmation", "I have been out of work", "help"),
        *("Out of office hours support?", "How do I stop autoreplies", "The office is closed", "My vacation photos"),
        *(
            "外出採訪的訂閱問題",
            "外出打工的人怎么订阅",
            "休假的時候可以暫停嗎",
            "请问怎么自动收到回复",
            "怎样自动回复",
            "退信怎么办",
            "已读懂，谢谢",
        ),
        *("read this please", "auto parts", "Returning member"),
    ],
)
def test_people_may_write_about_offices_holidays_and_replies(subject: str) -> None:
    assert why("subject", subject) is None


@pytest.mark.parametrize(
    "local",
    [
        *(
            "MAILER-DAEMON",
            "mailer_daemon",
            "postmaster",
            "PostMaster",
            "noreply",
            "no-reply",
            "No_Reply",
            "donotreply",
        ),
        *(
            "do-not-reply",
            "noreply-dmarc-support",
            "news-noreply",
            "bounces",
            "bounce-123-x",
            "owner-news",
            "news-request",
        ),
        *("news-owner", "news-bounces", "bounces+x=y", "listserv", "majordomo", "autoreply", "noreply+123"),
    ],
)
def test_names_that_programs_write_as_mark_a_letter(local: str) -> None:
    sender = Address(local, "example.org")
    assert why_automatic([], sender) is Automatic.DAEMON
    assert why_automatic_envelope(sender, BOB, []) is Automatic.DAEMON


@pytest.mark.parametrize(
    "local", ["bob", "norbert.reply", "owner", "bouncer", "requests", "replyto", "noreen", "post.master", "daemonic"]
)
def test_people_may_have_names_like_programs(local: str) -> None:
    sender = Address(local, "example.org")
    assert why_automatic([], sender) is None
    assert why_automatic_envelope(sender, sender, []) is None


def test_the_null_sender_marks_a_letter() -> None:
    assert why_automatic_envelope(None, BOB, []) is Automatic.NULL_SENDER


def test_our_own_letters_that_come_back_are_ours() -> None:
    own = [Address("news", "lists.example")]
    assert why_automatic_envelope(BOB, Address("News", "lists.example"), own) is Automatic.OURS
    assert why_automatic_envelope(Address("news+bounce-x", "lists.example"), BOB, own) is Automatic.OURS
    assert why_automatic_envelope(None, Address("news+help", "lists.example"), own) is Automatic.OURS
    assert why_automatic_envelope(BOB, BOB, own) is None


def read(path: Path) -> Automatic | None:
    """What the reader says of a file; a letter that is refused is never answered either."""
    try:
        return parse.read_letter(path.read_bytes(), [], None, NOW).automatic
    except Unopened as unopened:
        return unopened.letter.automatic
    except Unreadable:
        return Automatic.REPORT


def test_every_autoreply_of_the_corpora_is_known_as_one(corpora: Path) -> None:
    for path in sorted((corpora / "autoreplies-real").rglob("*")):
        if path.suffix in {".eml", ".msg"}:
            assert read(path) is not None, path.name


def test_bounces_of_the_corpora_are_known_as_automatic(corpora: Path) -> None:
    paths = [
        path
        for folder in ("bounces-flufl", "bounces-schleuder/bounces", "bounces-sisimai/maildir")
        for path in sorted((corpora / folder).rglob("*"))
        if path.is_file() and path.suffix not in {".md", ".tsv"}
    ]
    assert sum(read(path) is None for path in paths) <= len(paths) // 50


def test_letters_of_people_in_the_corpora_are_not_flagged(corpora: Path) -> None:
    for folder in ("client-replies", "autocrypt", "protected-headers", "openpgp-mail/thunderbird", "openpgp-mail/rt"):
        for path in sorted((corpora / folder).rglob("*.eml")):
            try:
                assert parse.read_letter(path.read_bytes(), [], None, NOW).automatic is None, path.name
            except Unreadable:
                continue
