"""The words of a notice: what a program says about a letter that it could not deliver, above the letter itself.

Not every server knows RFC 3464. Here the words are parted from the letter they came with, and into one piece for each
reply that they quote; whether they are a notice at all is judged by how they begin and who signs them.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from functools import cached_property

from flufl.bounce import all_failures

from mailer.model import failure
from mailer.model.failure import Failure, Reading

NOTICE_CHARACTERS = 20_000
REPLY_CHARACTERS = 1_000
REPLIES = 50
LINE_CHARACTERS = 120
BEGINNING_CHARACTERS = 300

# Where the letter itself begins.
_ORIGINAL = re.compile(
    r"^[>|\t *]{0,20}-{2,} ?(?:this is a copy|below this line|enclosed is|returned message|original (?:message"
    r"|mail)|message (?:non|header)"
    r"|the header of|contents of|the following is|body of|undelivered message|unsent message|copy of|start of"
    r"|forwarded).*$"
    r"|^[ \t]{0,20}(?:original (?:message|mail)(?: (?:follows|headers|as received).*)?:?|message headers follow\.?"
    r"|original message headers:"
    r"|(?:included|below|here|following) is (?:a|the) (?:copy|header).*|the (?:original|returned"
    r"|undelivered) message .{0,30}follows.*"
    r"|(?:your|the) (?:original )?(?:message|mail|letter) (?:was|is|reads|began).{0,20}:|\*+ *(?:original"
    r"|returned) message.*)[ \t]*$"
    r"|^(?:received|return-path|x-received|delivered-to|dkim-signature|message-id): ",
    re.IGNORECASE | re.MULTILINE,
)
_BLANK_LINES = re.compile(r"\n[ \t]{0,80}(?:\n[ \t]{0,80})+\n")
_REPLY = re.compile(
    r"(?<![\w.:/-])(?:([45]\d\d)[-: ]\s{0,10})?#?\b([45]\.\d{1,3}\.\d{1,3})(?![\w.])"
    r"|(?<![\w.:/-])([45]\d\d)[-: ](?=\s{0,10}[\w<\"'(*:\[#@])"
)
_STAGE_IS_DATA = re.compile(
    r"in\s+reply\s+to\s+end\s+of\s+data|after\s+(?:end\s+of\s+)?data\b|after\s+i\s+sent\s+the\s+message"
    r"|our\s+final\s+data"
    r"|\[(?:data|body|eod)\]",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"(?:error|failed|attempting|problem|trouble)[^.]{0,30} deliver(?:ing)?\b|delivery status notification"
    r"|group you tried to contact"
    r"|(?:could|can|was|were|has|have|did|is|are)(?: ?not|n't)(?: be| been"
    r"| able to)?(?: successfully)? (?:deliver\w*|sent|reach\w*|relayed|send)"
    r"|un(?:able|successful)[^.]{0,30}deliver|undeliver(?:able|ed)|deliver\w+ (?:[^.]{0,60} )?(?:has )?fail\w*"
    r"|fail\w* (?:to )?(?:deliver|recipient|address)"
    r"|returned (?:to sender|mail|message)|permanent (?:fatal )?error|non-?deliver\w*|delivery (?:error|problem"
    r"|notification)|rejected by"
    r"|(?:following|these|one or more) (?:\w+ )?(?:address|recipient)|mailbox is full|unknown user|failure reasons"
    r"|not a member of this"
    r"|已退回|退信|投递失败|投遞失敗|无法(?:投递|送达|发送)|無法(?:投遞|送達|傳送)|未能(?:送达|送達|投递)|被退回|送信できませんでした|配信できま|配送できま|エラー"
    r"|не (?:может быть|было|доставлен)|недоставлен|nicht (?:zugestellt|übermittelt)|unzustellbar|non remis"
    r"|pas pu [eê]tre|no (?:se )?(?:pudo|ha podido) entreg"
    r"|não (?:foi|pôde)|impossibile recapitare|não entregue|technical details of",
    re.IGNORECASE,
)
_MEMBERS_ONLY = re.compile(r"you are not a member of (?:this|the) (?:mailing )?list", re.IGNORECASE)
_SUCCESS = re.compile(
    r"success\w+ (?:mail )?(?:deliver|relay)|(?:was|has been) success\w* deliver|delivered to the (?:destination"
    r"|recipient)",
    re.IGNORECASE,
)
_DELAYED = re.compile(
    r"this is a warning (?:message )?only|you do not need to resend|will (?:be|continue to be|keep)[^.]{0,20} ?retr"
    r"|notification \(delay|still being retried"
    r"|no action is required|will continue (?:trying|to)|delayed mail|has not yet been delivered"
    r"|delivery (?:\w+ )?(?:is )?delayed",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Notice:
    """The words above the returned letter, and the subject that they stood under."""

    text: str
    subject: str = ""

    @cached_property
    def _words(self) -> str:
        return " ".join(f"{self.subject}. {self.text}".split())

    @property
    def is_after_data(self) -> bool:
        """Whether the letter was refused once it had been read: then "user unknown" is a filter's excuse.

        KDDI's filters say so of readers who are very much alive.
        """
        return bool(_STAGE_IS_DATA.search(self._words))

    @property
    def is_delayed(self) -> bool:
        """Whether it says that the letter may still arrive."""
        return bool(_DELAYED.search(self._words))

    @property
    def is_success(self) -> bool:
        """Whether it says that the letter did arrive."""
        return bool(_SUCCESS.search(self._words))

    @property
    def is_of_a_list(self) -> bool:
        """Whether a mailing list says that only its members may write: its robots write under people's names."""
        return bool(_MEMBERS_ONLY.search(self._words))

    @property
    def opens_like_one(self) -> bool:
        """Whether it says that something was not delivered, or quotes a reply that does."""
        return bool(_OPENING.search(self._words)) or any(
            failure.read(*reply).certainty >= 2 for reply in self._replies()
        )

    @property
    def begins_like_one(self) -> bool:
        """Whether it says so in its subject or its first words, as nobody does who quotes a notice."""
        return bool(_OPENING.search(self._words[:BEGINNING_CHARACTERS]))

    def readings(self) -> list[Reading]:
        """Return what the quoted replies mean, final ones first; where there are none that say much, of the whole."""
        replies = [(code, failure.read(code, status, text)) for code, status, text in self._replies()]
        sure = [reading for code, reading in sorted(replies, key=_is_passing) if reading.certainty >= 2]
        whole = failure.read(0, "", self.text)
        if sure:
            return _different(sure)
        best = max([whole, *(reading for _, reading in replies)], key=lambda reading: reading.certainty)
        return [best if best.certainty else failure.read(0, "", self.subject)]

    def _replies(self) -> Iterator[tuple[int, str, str]]:
        """Yield code, enhanced code and words of every reply that is quoted; the lines of one reply stay together."""
        pieces: list[list[re.Match[str]]] = []
        for match in itertools.islice(_REPLY.finditer(self.text), REPLIES):
            if pieces and _continues(pieces[-1][-1], match):
                pieces[-1].append(match)
            else:
                pieces.append([match])
        ends = [piece[0].start() for piece in pieces[1:]] + [len(self.text)]
        for piece, end in zip(pieces, ends, strict=False):
            begin = piece[0].start()
            words = self.text[begin : min(end, begin + REPLY_CHARACTERS)].partition("\n\n")[0]
            code, status = (next((one for match in piece if (one := pick(match))), "") for pick in (_code, _status))
            yield int(code or 0), status, words


def cut(text: str, subject: str = "") -> Notice:
    """Return the words of a notice without the letter that they came with."""
    text = _BLANK_LINES.sub("\n\n", text[:NOTICE_CHARACTERS])
    original = _ORIGINAL.search(text, 1)
    return Notice(text[: original.start()] if original else text, subject)


def names_failures(sender: str, notice: Notice) -> bool:
    """Return whether flufl.bounce, which knows old and odd servers, finds a recipient whom a letter did not reach.

    It gets no stranger's MIME, but the words of the notice in a message of our own.
    """
    logging.getLogger("flufl.bounce").disabled = True  # it would print what strangers wrote
    message = Message()
    message["From"], message["Subject"] = sender, notice.subject
    message.set_payload(notice.text.encode("ascii", "replace").decode())
    try:
        return any(all_failures(message))
    except Exception:  # noqa: BLE001 - a detector that falls over has found nothing
        return False


def after_data(reading: Reading, status: str, notice: Notice) -> Reading:
    """Return what a reply means that came after the whole letter: without a precise code nobody is gone by it."""
    if reading.failure is Failure.GONE and notice.is_after_data and not status.startswith("5.1."):
        return Reading(Failure.POLICY, reading.certainty)
    return reading


def _continues(before: re.Match[str], match: re.Match[str]) -> bool:
    """Whether a code stands in another line of the reply that began before (RFC 5321 §4.2.1)."""
    is_near = match.start() - before.end() < LINE_CHARACTERS
    return is_near and _agree(_code(before), _code(match)) and _agree(_status(before), _status(match))


def _agree(one: str, other: str) -> bool:
    return not one or not other or one == other


def _code(match: re.Match[str]) -> str:
    return match[1] or match[3] or ""


def _status(match: re.Match[str]) -> str:
    return match[2] or ""


def _is_passing(reply: tuple[int, Reading]) -> bool:
    return 400 <= reply[0] < 500


def _different(readings: list[Reading]) -> list[Reading]:
    """Return each reading once, in their order: a transcript says the same several times."""
    return list(dict.fromkeys(readings))
