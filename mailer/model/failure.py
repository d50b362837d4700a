"""Why a letter was not taken, in the few classes that lead to different things being done about it.

Pure, and total: every reply has a class. Words that can mean one thing only come first: providers say 550 5.1.1 of
letters and senders that they do not like. Then comes what a precise code says (RFC 3463), then vaguer words, then the
reply code. When in doubt nobody is GONE: that class alone can end with somebody getting no more letters.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from mailer.model import phrases

TEXT_CHARACTERS = 4_000

_ADDRESS = re.compile(r"[^\s<>\"',;:()\[\]]{1,200}@[^\s<>\"',;()\[\]]{1,255}")  # its words are its owner's
_LINK = re.compile(r"(https?://[^\s/?#<>]{1,255})[^\s<>]*")  # of a link the host tells something
_STATUS = re.compile(r"(?<![\w.])[45]\.\d{1,3}\.\d{1,3}(?![\w.])")
_CODES = re.compile(
    r"(?<![\w.])[245]\d\d(?:[- ]#?[245]\.\d{1,3}\.\d{1,3})?(?=[-\s])-?|(?<![\w.])#?[245]\.\d{1,3}\.\d{1,3}(?![\w.])"
)


class Failure(StrEnum):
    """What a refusal means for us. Only GONE counts against a subscriber.

    GONE: there is no such mailbox. FULL: there is one, without room. POLICY: the receiver does not want this letter, or
    mail from us. CENSORED: it does not want this content, as providers say that censor. AUTHENTICATION: SPF, DKIM,
    DMARC, login or TLS did not satisfy it. TEMPORARY: later. UNKNOWN: nothing that we understand.
    """

    GONE = "gone"
    FULL = "full"
    POLICY = "policy"
    CENSORED = "censored"
    AUTHENTICATION = "authentication"
    TEMPORARY = "temporary"
    UNKNOWN = "unknown"


# The order matters: "sender unknown" is not "user unknown", and a blocklist says "user" and "full" as well.
_CLEAR = (
    (Failure.CENSORED, phrases.CENSORED),
    (Failure.AUTHENTICATION, phrases.AUTHENTICATION),
    (Failure.TEMPORARY, phrases.PACE),
    (Failure.POLICY, phrases.SENDER),
    (Failure.FULL, phrases.FULL),
    (Failure.POLICY, phrases.POLICY),
    (Failure.GONE, phrases.HOST_GONE),
    (Failure.GONE, phrases.GONE),
    (Failure.TEMPORARY, phrases.TEMPORARY),
)
_VAGUE = (
    (Failure.POLICY, phrases.REFUSED_BY_RULE),
    (Failure.GONE, phrases.NOT_TAKEN),
    (Failure.POLICY, phrases.REFUSED),
)
# RFC 3463, RFC 4954, RFC 7372, RFC 7504, RFC 7505 and the IANA registry; the class digit is left out.
_PRECISE = {
    **dict.fromkeys(("1.1", "1.2", "1.3", "1.6", "1.10", "2.1", "7.17", "7.18"), Failure.GONE),
    **dict.fromkeys(("2.2",), Failure.FULL),
    **dict.fromkeys(("1.7", "1.8", "2.3", "3.4", "7.1", "7.2"), Failure.POLICY),
    **dict.fromkeys(
        ("7.8", "7.20", "7.21", "7.22", "7.23", "7.24", "7.25", "7.26", "7.27", "7.29"), Failure.AUTHENTICATION
    ),
    **dict.fromkeys(("7.10", "7.11", "7.30"), Failure.AUTHENTICATION),
    **dict.fromkeys(("3.1", "3.2", "4.5", "4.6", "4.7", "5.3", "7.28"), Failure.TEMPORARY),
}
_BY_SUBJECT = {"3": Failure.TEMPORARY, "4": Failure.TEMPORARY, "6": Failure.POLICY, "7": Failure.POLICY}
_BY_CODE = {
    **dict.fromkeys((511, 551, 556), Failure.GONE),
    **dict.fromkeys((521, 541, 571), Failure.POLICY),
    **dict.fromkeys((523, 530, 534, 535, 538), Failure.AUTHENTICATION),
    552: Failure.FULL,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply means, and how sure that is.

    certainty: 3 for words that mean one thing only, 2 for a precise code, 1 for less, 0 for nothing understood.
    """

    failure: Failure
    certainty: int


def classify(code: int, status: str, text: str) -> Failure:
    """Return what a refusal means. code: SMTP reply code or 0. status: enhanced code (RFC 3463) or "". text: the reply.

    The text is a peer's and quotes addresses: it is read here and goes no further.
    """
    precise = _STATUS.search(text[:TEXT_CHARACTERS]) if not status else None
    return read(code, precise[0] if precise else status, text).failure


def read(code: int, status: str, text: str) -> Reading:
    """Return what a refusal means, and how sure that is; arguments as in `classify`."""
    words = plain(text)
    is_transient = 400 <= code < 500 or status.startswith("4.")
    found = _read(code, status.partition(".")[2], words)
    if is_transient and found.failure in (Failure.GONE, Failure.UNKNOWN):  # it may be taken later
        return Reading(Failure.TEMPORARY, max(found.certainty, 1))
    return found


def plain(text: str) -> str:
    """Return the words of a reply in lower case, without addresses, reply codes and what follows a link's host."""
    text = unicodedata.normalize("NFKC", text[:TEXT_CHARACTERS]).casefold().replace("’", "'").replace("`", "'")
    text = _LINK.sub(r"\1", _ADDRESS.sub("@", text))
    return " ".join(_CODES.sub(" ", text).replace("_", " ").split())


def _read(code: int, detail: str, words: str) -> Reading:
    if detail == "4.1" and phrases.NOT_IN_DIRECTORY.search(words):
        return Reading(Failure.GONE, 3)
    clear = next((failure for failure, pattern in _CLEAR if pattern.search(words)), None)
    if clear:
        return Reading(clear, 3)
    if detail in _PRECISE:
        return Reading(_PRECISE[detail], 2)
    vague = next((failure for failure, pattern in _VAGUE if pattern.search(words)), None)
    if vague:
        return Reading(vague, 1)
    by_code = _BY_SUBJECT.get(detail.partition(".")[0]) or _BY_CODE.get(code)
    return Reading(by_code, 1) if by_code else Reading(Failure.UNKNOWN, 0)
