"""What a relay answers, octets to Reply, and Reply to Outcome. Pure; the text of a reply ends here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mailer.model.failure import Failure, classify
from mailer.model.retry import Answer, Outcome

REPLY_OCTETS = 64 * 1024  # RFC 5321 §4.5.3.1.5 asks for 512 a line; nobody needs this many
TEXT_OCTETS = 4096  # as much of a refusal as is read for its meaning
GO_AHEAD = 354
CLOSING = 421  # RFC 5321 §3.8: may be said at any time

# Said of the session, not of a recipient: 502 and 503 commands, 530 to 538 login and TLS (RFC 4954 §6, RFC 3207 §4).
_ABOUT_US = frozenset({500, 502, 503, 530, 534, 535, 538})
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)  # RFC 5321 §4.2
_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?=\s|\Z)", re.ASCII)  # RFC 3463 §2


class OutOfStep(ConnectionError):
    """The relay said what no server says at this point, so nothing more that it says can be believed."""


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """One reply, all its lines. text: what stands behind the codes, the lines parted by CRLF."""

    code: int
    text: bytes

    @property
    def is_yes(self) -> bool:
        """Whether it is 2xx."""
        return 200 <= self.code < 300


class ReplyReader:
    """Makes replies of octets, however they are cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # so much of the buffer holds no line end
        self._code = 0  # of the lines before, 0 if there are none
        self._lines: list[bytes] = []
        self._octets = 0

    @property
    def is_within_reply(self) -> bool:
        """Whether a reply has begun and not ended."""
        return bool(self._buffer or self._lines)

    def feed(self, octets: bytes) -> Iterator[Reply]:
        """Yield the replies that are complete now. Raises OutOfStep for what is none, or has no end."""
        self._buffer += octets
        while (end := self._buffer.find(b"\n", self._searched)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            if reply := self._take(line.removesuffix(b"\r")):
                yield reply
        self._searched = len(self._buffer)
        if self._octets + len(self._buffer) > REPLY_OCTETS:
            raise OutOfStep

    def _take(self, line: bytes) -> Reply | None:
        match = _LINE.fullmatch(line)
        self._octets += len(line) + 2
        if not match or self._octets > REPLY_OCTETS or self._code not in (0, int(match[1])):
            raise OutOfStep
        self._lines.append(match[3] or b"")
        if match[2] == b"-":
            self._code = int(match[1])
            return None
        reply = Reply(int(match[1]), b"\r\n".join(self._lines))
        self._code, self._lines, self._octets = 0, [], 0
        return reply


def read_outcome(reply: Reply, *, is_about_letter: bool = True) -> Outcome:
    """Return code, status and meaning of a reply. is_about_letter: of its recipient or content. Raises OutOfStep."""
    text = reply.text[:TEXT_OCTETS].decode(errors="replace")
    code, status = reply.code, _status(reply.code, text)
    if reply.is_yes:
        return Outcome(Answer.ACCEPTED, code, status)
    if code < 400:
        raise OutOfStep
    if code >= 500 and is_about_letter and code not in _ABOUT_US:
        return Outcome(Answer.REFUSED, code, status, failure=classify(code, status, text))
    failure = _failure(code, status, text, is_about_letter=is_about_letter)
    return Outcome(Answer.LATER, code, status, is_connection_lost=code == CLOSING, failure=failure)


def read_lost(code: int = 0, text: str = "") -> Outcome:
    """Return what it means that a connection was lost, or did not come about, with the relay's last words if any."""
    if not 400 <= code < 600:
        return Outcome(Answer.LATER, is_connection_lost=True)
    text = text[:TEXT_OCTETS]
    status = _status(code, text)
    failure = _failure(code, status, text, is_about_letter=False)
    return Outcome(Answer.LATER, code, status, is_connection_lost=True, failure=failure)


def _failure(code: int, status: str, text: str, *, is_about_letter: bool) -> Failure:
    """What is said of the session or of the sender says nothing of a mailbox, whatever it sounds like."""
    failure = classify(code, status, text)
    is_about_mailbox = failure in (Failure.GONE, Failure.FULL)
    if is_about_mailbox and (not is_about_letter or code in _ABOUT_US):
        return Failure.POLICY if code >= 500 else Failure.TEMPORARY
    return failure


def _status(code: int, text: str) -> str:
    status = _STATUS.match(text)
    return status[0] if status and status[1] == str(code)[0] else ""
