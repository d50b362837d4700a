"""A letter that a program wrote → what it reports: a bounce (RFC 3464, or in words), or a complaint (RFC 5965).

Nothing here decides what is done about it, and nothing but classes, codes and tokens leaves: see model/report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mailer.errors import Unreadable
from mailer.inward import guard
from mailer.inward.confined import charsets, fields, notices, visible
from mailer.inward.confined.notices import Notice
from mailer.inward.confined.parts import Part
from mailer.model import failure
from mailer.model.address import Address
from mailer.model.failure import Failure, Reading
from mailer.model.letter import Automatic
from mailer.model.report import Kind, Report

STATUS_CHARACTERS = 60_000
RECIPIENTS = 50
TOKENS = 8
HEADER_FIELDS = 200
NOBODY = Address("mailer-daemon", "nobody.invalid")  # RFC 2606 §2; nothing is ever sent to what writes as it
SOMEBODY = Address("somebody", "nobody.invalid")

_TOKEN = re.compile(r"\+(?:bounce|probe|unsubscribe)-([a-z2-7]{24})@", re.IGNORECASE)
_FIELD = re.compile(r"^([A-Za-z][\w-]{1,60})[ \t]*:(.*(?:\n[ \t].*)*)", re.MULTILINE)
_STATUS = re.compile(r"(?<![\w.])[245]\.\d{1,3}\.\d{1,3}(?![\w.])")
_CODE = re.compile(r"(?<![\w.])[45]\d\d(?=[-\s#])")
_MDN = re.compile(r"disposition-notification", re.IGNORECASE)
_DAEMON = re.compile(r"mailer-daemon|postmaster|mail deliver|<>", re.IGNORECASE)  # where it names no mailbox
_RECEIPT = re.compile(r"\s*(?:read|not read|gelesen|已读|已讀|未读|未讀)\s?[:：]", re.IGNORECASE)
_DOMAIN_IS_GONE = re.compile(r"\bnxdomain\b", re.IGNORECASE)
_CHALLENGE = re.compile(r"guest list|not pre-approved|challenge", re.IGNORECASE)
_UNWELCOME = frozenset({"abuse", "fraud", "virus", "other", "opt-out", "opt-out-list", "miscategorized"})
_ACTIONS_THAT_ARRIVE = ("deliver", "relay", "expand", "success")  # RFC 3464 §2.3.3
_EVENT = re.compile(r'"notificationType"\s*:\s*"(\w+)"')  # Amazon SES tells by letters that hold JSON
_EVENT_VALUE = re.compile(r'"(?:diagnosticCode|bounceSubType|complaintFeedbackType)"\s*:\s*"([^"]{0,500})"')
_EVENT_STATUS = re.compile(r'"status"\s*:\s*"([45]\.\d{1,3}\.\d{1,3})"')


@dataclass(frozen=True, slots=True)
class _Recipient:
    """What a delivery-status part says of one recipient (RFC 3464 §2.3)."""

    action: str
    status: str
    diagnostic: str

    @property
    def is_delayed(self) -> bool:
        return self.action.startswith("delay")

    @property
    def has_failed(self) -> bool:
        if self.action.startswith(_ACTIONS_THAT_ARRIVE) or self.status.startswith("2."):
            return False
        return bool(self.action or self.status or self.diagnostic)


def read(root: Part) -> Report | None:
    """Return what a letter reports, or None: an ordinary letter, a receipt, an autoresponder, good news."""
    event = _event_in(root)
    if event:
        return _event(event)
    feedback = next((part for part in root.walk() if part.type == "message/feedback-report"), None)
    if feedback or _is_outlooks(root):
        return _complaint(root, _text(feedback) if feedback else "Feedback-Type: abuse")
    notice = notices.cut(visible.text_of(root), fields.decode_value(root.first("subject")))
    recipients = _recipients_of(root, notice)
    return _delivery_status(recipients, notice) if recipients else _in_words(root, notice)


# --- Complaints -----------------------------------------------------------------------------------------------------


def _complaint(root: Part, told: str) -> Report | None:
    is_one = _said(_fields(told), "feedback-type").lower() in _UNWELCOME
    return Report(Kind.COMPLAINT, tokens=_tokens(root, told)) if is_one else None


def _is_outlooks(root: Part) -> bool:
    """Whether it is one of Outlook.com's junk reports, older than RFC 5965: the letter itself, with one field more."""
    return any("x-hmxmroriginalrecipient:" in header.lower() for header in _headers(root))


def _tokens(root: Part, told: str) -> tuple[str, ...]:
    """Return the tokens in what a complaint says of the envelope, and in the letter's own List-Unsubscribe and path."""
    said = [value for name, value in _fields(told) if name in ("original-mail-from", "original-rcpt-to")]
    wanted = ("list-unsubscribe", "return-path", "x-original-return-path")
    said += [value for header in _headers(root) for name, value in _fields(header) if name in wanted]
    return _tokens_in("\n".join(said))


def _tokens_in(text: str) -> tuple[str, ...]:
    found = (match[1].lower() for match in _TOKEN.finditer(text))
    return tuple(dict.fromkeys(found))[:TOKENS]


def _headers(root: Part) -> Iterator[str]:
    """Yield the headers of the letters that are attached, whole or not (RFC 3462 §2)."""
    for part in root.walk():
        if part.type in ("message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers"):
            yield re.split(r"\n[ \t]*\n", _text(part).lstrip(), maxsplit=1)[0]


# --- Bounces as RFC 3464 has them -----------------------------------------------------------------------------------


def _recipients_of(root: Part, notice: Notice) -> list[_Recipient]:
    texts = [_text(part) for part in root.walk() if "delivery-status" in part.type]
    if not texts and "final-recipient" in notice.text.lower():  # a gateway made text of it
        texts = [notice.text]
    return [one for text in texts for one in _recipients(text)]


def _delivery_status(recipients: list[_Recipient], notice: Notice) -> Report | None:
    if any(_CHALLENGE.search(one.diagnostic) for one in recipients):
        return None
    failed = [one for one in recipients if one.has_failed]
    if not failed:
        return Report(Kind.BOUNCE, is_delayed=True) if any(one.is_delayed for one in recipients) else None
    final = [one for one in failed if not one.is_delayed] or failed
    failures = tuple(_reading(one, notice, len(final) == 1).failure for one in final[:RECIPIENTS])
    return Report(Kind.BOUNCE, failures, final[0].status, is_delayed=all(one.is_delayed for one in failed))


def _recipients(text: str) -> Iterator[_Recipient]:
    for block in re.split(r"\n[ \t]*\n", text)[: RECIPIENTS + 1]:
        found = _fields(block)
        status = _STATUS.search(_said(found, "status"))
        action = _said(found, "action").lower()
        if status or action or _said(found, "diagnostic-code"):
            yield _Recipient(action, status[0] if status else "", _said(found, "diagnostic-code"))


def _reading(recipient: _Recipient, notice: Notice, is_only_one: bool) -> Reading:
    """Return what the server said, or the words above where it said little."""
    type_, _, words = recipient.diagnostic.partition(";")
    own = _read_reply(words.strip() or type_, recipient.status)
    if type_.strip().lower() == "x-unix" and own.failure is Failure.GONE:
        own = Reading(Failure.TEMPORARY, 3)  # a program at the receiver's said so, not its register of mailboxes
    if own.certainty < 2 and is_only_one:
        others = [reading for reading in notice.readings() if reading.certainty > own.certainty]
        own = next(iter(others), own)
    if recipient.action.startswith("fail") and _DOMAIN_IS_GONE.search(words or notice.text):
        return Reading(Failure.GONE, 3)  # Gmail gives up for good and says 4.0.0
    if recipient.status.startswith("4.") and own.failure in (Failure.GONE, Failure.UNKNOWN):
        own = Reading(Failure.TEMPORARY, own.certainty)
    return notices.after_data(own, recipient.status, notice)


def _read_reply(words: str, status: str) -> Reading:
    code = _CODE.search(words[:200])
    precise = _STATUS.search(words)
    is_general = not status or status.endswith(".0.0")
    return failure.read(int(code[0]) if code else 0, precise[0] if precise and is_general else status, words)


# --- Bounces in other words -----------------------------------------------------------------------------------------


def _event_in(root: Part) -> str:
    text = "" if root.children else _text(root)[:STATUS_CHARACTERS].replace("\\", "").replace("\n", "")
    return text if _EVENT.search(text) else ""


def _event(text: str) -> Report | None:
    kind = _EVENT.findall(text)[0]
    if kind == "Complaint":
        return Report(Kind.COMPLAINT, tokens=_tokens_in(text))
    if kind != "Bounce":
        return None
    found = _EVENT_STATUS.search(text)
    status = found[1] if found else ""
    words = " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", value) for value in _EVENT_VALUE.findall(text))
    return Report(Kind.BOUNCE, (_read_reply(words, status).failure,), status)


def _in_words(root: Part, notice: Notice) -> Report | None:
    """Read a notice in words, which must come from a program and say that something was not delivered."""
    content_type = root.first("content-type").decode("latin-1")
    if _MDN.search(content_type) or _RECEIPT.match(notice.subject) or _is_autoresponder(root):
        return None
    if notice.is_success or not _is_notice(root, notice):
        return None
    readings = [notices.after_data(one, "", notice) for one in notice.readings()]
    return Report(Kind.BOUNCE, tuple(one.failure for one in readings), is_delayed=notice.is_delayed)


def _is_notice(root: Part, notice: Notice) -> bool:
    """Whether a program wrote it, and says that something was not delivered; old programs sign with people's names."""
    if not (root.first("from") or root.first("subject")):
        return False  # a file, not a letter
    sender = fields.decode_value(root.first("from"))
    who = sender_of(root)
    why = guard.why_automatic([("subject", notice.subject)], who if who is not NOBODY else SOMEBODY)
    is_daemon = why is Automatic.DAEMON or (who is NOBODY and (not sender or _DAEMON.search(sender)))
    is_program = is_daemon or why is Automatic.REPORT or bool(root.first("x-failed-recipients"))
    if notice.is_of_a_list or (is_program and notice.opens_like_one):
        return True
    return (is_program or notice.begins_like_one) and notices.names_failures(sender, notice)


def _is_autoresponder(root: Part) -> bool:
    """Whether any field says that a program answers for a person."""
    for name, value in root.fields[:HEADER_FIELDS]:
        is_looked_at = name in guard.FIELDS or name.startswith(guard.PREFIXES)
        if name == "subject" and Notice("", fields.decode_value(value)).begins_like_one:
            continue  # "Your message awaits approval: delivery failed" is about that message
        field = [(name, fields.decode_value(value))] if is_looked_at and name != "x-autogenerated" else []
        if guard.why_automatic(field, SOMEBODY) is Automatic.AUTORESPONDER:
            return True
    return False


def sender_of(root: Part) -> Address:
    """Return the mailbox of From; for one that is none, as many programs have it, an address that is nobody's."""
    try:
        return fields.mailbox(root.first("from"))
    except Unreadable:
        return NOBODY


# --- Fields ---------------------------------------------------------------------------------------------------------


def _text(part: Part) -> str:
    return charsets.clean_text(charsets.guess(part.decoded()[:STATUS_CHARACTERS]))


def _fields(text: str) -> list[tuple[str, str]]:
    return [(match[1].lower(), " ".join(match[2].split())) for match in _FIELD.finditer(text)]


def _said(found: list[tuple[str, str]], name: str) -> str:
    return next((value for key, value in found if key == name), "")
