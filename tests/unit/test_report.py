"""Letters in which programs report, as programs write them; and letters that only look so."""

from __future__ import annotations

import pytest

from mailer.inward.confined import parse, parts, report
from mailer.model.failure import Failure
from mailer.model.letter import Automatic
from mailer.model.report import Kind, Report
from tests.unit.test_frames import NOW

TOKEN, OTHER = "abcdefghijklmnopqrstuvwx", "bcdefghijklmnopqrstuvwxy"
DAEMON = "Mail Delivery System <MAILER-DAEMON@relay.example>"
ORIGINAL = f"""\
Return-Path: <news+bounce-{TOKEN}@lists.example>
From: news@lists.example
List-Unsubscribe: <mailto:news+unsubscribe-{OTHER.upper()}@lists.example>
Subject: [...]

The mailbox is full, the user is unknown, and this is spam.
"""


def dsn(status: str, diagnostic: str = "", action: str = "failed", words: str = "It was not delivered.") -> str:
    """A report as RFC 3464 has it, about one recipient."""
    said = f"Diagnostic-Code: {diagnostic}\n" if diagnostic else ""
    return multipart(
        "delivery-status",
        ("text/plain", words),
        (
            "message/delivery-status",
            f"Reporting-MTA: dns; relay.example\n\nFinal-Recipient: rfc822; reader@far.example\nAction: {action}\n"
            f"Status: {status}\n{said}",
        ),
        ("message/rfc822", ORIGINAL),
    )


def multipart(kind: str, *contents: tuple[str, str], sender: str = DAEMON, subject: str = "Report") -> str:
    body = "".join(f"--b\nContent-Type: {content_type}\n\n{text}\n" for content_type, text in contents)
    head = f"From: {sender}\nSubject: {subject}\nMIME-Version: 1.0\n"
    return f'{head}Content-Type: multipart/report; report-type={kind}; boundary="b"\n\n{body}--b--\n'


def notice(text: str, sender: str = DAEMON, subject: str = "failure notice", more: str = "") -> str:
    return f"From: {sender}\nSubject: {subject}\n{more}\n{text}"


def complaint(kind: str = "abuse", fields: str = "") -> str:
    told = f"Feedback-Type: {kind}\nUser-Agent: Feedback/1\nVersion: 1\n{fields}"
    plain = ("text/plain", "Somebody does not like this letter.")
    return multipart("feedback-report", plain, ("message/feedback-report", told), ("message/rfc822", ORIGINAL))


def read(letter: str) -> Report | None:
    return report.read(parts.read(letter.replace("\n", "\r\n").encode()))


# --- RFC 3464 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "diagnostic", "failure"),
    [
        ("5.1.1", "smtp; 550 5.1.1 <reader@far.example>: user unknown", Failure.GONE),
        ("5.1.1", "", Failure.GONE),
        ("5.0.0", "smtp; 550 #5.1.1 x", Failure.GONE),
        ("5.2.2", "", Failure.FULL),
        ("5.1.1", "smtp; 552 mailbox full", Failure.FULL),
        ("5.1.1", "smtp; 550 Mail content denied. http://service.mail.qq.example/help", Failure.CENSORED),
        ("5.7.1", "smtp; 550 5.7.1 rejected, see\n    https://www.spamhaus.org/query/ip/192.0.2.1", Failure.POLICY),
        ("5.7.26", "smtp; 550-5.7.26 no\n  550 5.7.26 SPF", Failure.AUTHENTICATION),
        ("4.4.1", "smtp; connection timed out", Failure.TEMPORARY),
        ("4.1.1", "smtp; 450 4.1.1 user unknown", Failure.TEMPORARY),
        ("4.0.0", "smtp; DNS type 'mx' lookup of far.example responded with code NXDOMAIN", Failure.GONE),
        ("5.1.1", "x-unix; procmail: no such user", Failure.TEMPORARY),
        ("5.4.6", "x-postfix; mail for far.example loops back to myself", Failure.TEMPORARY),
        ("5.0.0", "", Failure.UNKNOWN),
    ],
)
def test_a_report_says_why_a_letter_did_not_arrive(status: str, diagnostic: str, failure: Failure) -> None:
    assert read(dsn(status, diagnostic)) == Report(Kind.BOUNCE, (failure,), status)


def test_the_words_above_help_where_the_fields_say_little() -> None:
    words = "<reader@far.example>: host mx.far.example said: 550 5.2.2 over quota (in reply to RCPT TO command)"
    assert read(dsn("5.0.0", words=words)) == Report(Kind.BOUNCE, (Failure.FULL,), "5.0.0")
    assert read(dsn("5.1.1", words=words)) == Report(Kind.BOUNCE, (Failure.GONE,), "5.1.1")


def test_nobody_is_unknown_to_a_filter_that_had_the_whole_letter() -> None:
    said = "<reader@far.example>: host mx.far.example said: 550 : User unknown"
    after = dsn("5.0.0", "smtp; 550 : User unknown", words=f"{said} (in reply to end of\n    DATA command)")
    before = dsn("5.0.0", "smtp; 550 : User unknown", words=f"{said} (in reply to RCPT TO command)")
    assert read(after) == Report(Kind.BOUNCE, (Failure.POLICY,), "5.0.0")
    assert read(before) == Report(Kind.BOUNCE, (Failure.GONE,), "5.0.0")


@pytest.mark.parametrize("action", ["delivered", "relayed", "expanded"])
def test_good_news_is_no_report_of_a_failure(action: str) -> None:
    assert read(dsn("2.0.0", "smtp; 250 ok", action)) is None


def test_a_letter_that_is_late_has_not_failed() -> None:
    found = read(dsn("4.4.1", "smtp; connection timed out", "delayed"))
    assert found == Report(Kind.BOUNCE, (Failure.TEMPORARY,), "4.4.1", is_delayed=True)


def test_of_several_mailboxes_behind_an_address_all_must_be_gone() -> None:
    one = dsn("5.1.1")
    block = one[one.index("Final-Recipient") : one.index("--b\nContent-Type: message/rfc822")]
    found = read(one.replace(block, block + block.replace("5.1.1", "5.2.2")))
    assert found == Report(Kind.BOUNCE, (Failure.GONE, Failure.FULL), "5.1.1")
    assert (found.failure, found.counted) == (Failure.GONE, Failure.FULL)
    assert Report(Kind.BOUNCE, (Failure.GONE, Failure.GONE)).counted is Failure.GONE


# --- In words ---------------------------------------------------------------------------------------------------------

QMAIL = """\
Hi. This is the qmail-send program at relay.example.
I'm afraid I wasn't able to deliver your message to the following addresses.

<reader@far.example>:
Sorry, no mailbox here by that name. (#5.1.1)

--- Below this line is a copy of the message.

"""
EXIM = """\
A message that you sent could not be delivered to one or more of its
recipients. The following address(es) failed:

  reader@far.example
    SMTP error from remote mail server after RCPT TO:<reader@far.example>:
    host mx.far.example [192.0.2.1]: 552 5.2.2 <reader@far.example>: over quota

------ This is a copy of the message, including all the headers. ------

"""
SENDMAIL = """\
   ----- The following addresses had permanent fatal errors -----
<reader@far.example>

   ----- Transcript of session follows -----
451 4.4.1 reply: read error from mx1.far.example.
... while talking to mx2.far.example.:
>>> DATA
<<< 550 5.7.1 blocked, your host is on a blocklist

   ----- Original message follows -----

"""
CHINESE = """\
您的邮件被退回。
收件人：reader@far.example
退信原因：该用户不存在
"""


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (QMAIL, Failure.GONE),
        (EXIM, Failure.FULL),
        (SENDMAIL, Failure.POLICY),
        (CHINESE, Failure.GONE),
        ("The message could not be delivered.\n", Failure.UNKNOWN),
        ("Could not be delivered:\n\n550 Mail content denied\n", Failure.CENSORED),
    ],
)
def test_a_notice_in_words_is_read_without_the_letter_below_it(text: str, failure: Failure) -> None:
    assert read(notice(text + ORIGINAL)) == Report(Kind.BOUNCE, (failure,))


def test_a_server_that_names_no_mailbox_as_its_sender_is_read_all_the_same() -> None:
    for sender in ("MAILER-DAEMON <>", "Mail Delivery Subsystem <MAILER-DAEMON>", "<>"):
        raw = notice(QMAIL + ORIGINAL, sender).replace("\n", "\r\n").encode()
        letter = parse.read_letter(raw, [], None, NOW)
        assert letter.report == Report(Kind.BOUNCE, (Failure.GONE,))
        assert letter.automatic in (Automatic.REPORT, Automatic.DAEMON)


def test_an_old_program_is_known_to_flufl_bounce() -> None:
    text = "Your message\n\n  To: a\n\ndid not reach the following recipient(s):\n\nreader@far.example on Mon\n"
    text += "    The recipient name is not recognized\n"
    assert read(notice(text, "System Administrator <admin@far.example>", "Your letter")) is not None


def test_a_notice_of_amazon_is_read() -> None:
    told = (
        '{"notificationType":"Bounce","bounce":{"bounceSubType":"General","bouncedRecipients":[{"status":"5.1.1",'
        '"action":"failed","diagnosticCode":"smtp; 550 5.1.1 user unknown"}]}}'
    )
    sender = "no-reply@notices.example"
    assert read(notice(told, sender, "Notification")) == Report(Kind.BOUNCE, (Failure.GONE,), "5.1.1")
    assert read(notice(told.replace("Bounce", "Delivery"), sender, "Notification")) is None


@pytest.mark.parametrize(
    "letter",
    [
        notice(
            "My letter to Bob could not be delivered: 550 5.1.1 user unknown. Why?", "alice@far.example", "A question"
        ),
        notice("> " + QMAIL.replace("\n", "\n> "), "alice@far.example", "Re: what is this?"),
        notice("I left the company; this mailbox is no longer in use.", "bob@far.example", "Automatic reply: news"),
        notice("Could not be delivered in time, I am away.", "bob@far.example", "news", "X-Autoreply: yes\n"),
        notice("We looked into it. All is well.", "postmaster@far.example", "Your question"),
        multipart(
            "disposition-notification", ("text/plain", "It was deleted."), ("message/disposition-notification", "")
        ),
        dsn("4.7.0", "x-challenge; sender not pre-approved, follow the challenge"),
        notice("It was successfully delivered to the destination.", DAEMON, "Successful Mail Delivery Report"),
    ],
)
def test_what_only_looks_like_a_bounce_is_none(letter: str) -> None:
    assert read(letter) is None


# --- Complaints -------------------------------------------------------------------------------------------------------


def test_a_complaint_names_the_tokens_of_the_letter_that_it_is_about() -> None:
    third = "cdefghijklmnopqrstuvwxyz"
    found = read(complaint(fields=f"Original-Mail-From: <news+probe-{third}@lists.example>\n"))
    assert found == Report(Kind.COMPLAINT, tokens=(third, TOKEN, OTHER))


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure", "dmarc", "unheard-of", ""])
def test_other_feedback_is_no_complaint(kind: str) -> None:
    assert read(complaint(kind)) is None


@pytest.mark.parametrize("kind", ["abuse", "fraud", "virus", "other", "Opt-Out"])
def test_every_kind_of_complaint_counts(kind: str) -> None:
    assert read(complaint(kind)) is not None


def test_a_token_in_other_words_is_not_taken() -> None:
    letter = complaint(fields=f"Comment: news+bounce-{'z' * 24}@lists.example\n")
    found = read(letter.replace("Somebody", f"news+unsubscribe-{'y' * 24}@lists.example"))
    assert found is not None
    assert found.tokens == (TOKEN, OTHER)


def test_a_report_holds_no_word_of_a_letter() -> None:
    found = read(complaint())
    assert repr(found) == "Report(complaint)"


def test_outlooks_own_form_of_a_complaint_is_one() -> None:
    original = ORIGINAL.replace("From:", "X-HmXmrOriginalRecipient: <reader@far.example>\nFrom:")
    told = notice("", "staff@far.example", "complaint about message", "Content-Type: message/rfc822\n")
    letter = multipart("x", ("text/plain", "A complaint."), ("message/rfc822", original), sender="staff@far.example")
    assert read(letter) == Report(Kind.COMPLAINT, tokens=(TOKEN, OTHER))
    assert read(told) is None
