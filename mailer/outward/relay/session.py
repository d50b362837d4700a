"""One SMTP session on an open wire: letter after letter with MAIL, RCPT and DATA (RFC 5321 §3.3).

Where the relay offers PIPELINING the three travel together (RFC 2920), and the letter follows in one piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mailer.model.failure import Failure
from mailer.model.retry import Answer, Outcome
from mailer.outward.relay.parcel import Parcel, with_dots
from mailer.outward.relay.reply import GO_AHEAD, OutOfStep, Reply, read_outcome
from mailer.outward.relay.wire import Wire

FINAL_WAIT = 2  # times timeout_s: RFC 5321 §4.5.3.2 grants the reply to the final dot twice as long as others
GOODBYE_S = 2.0  # nothing hangs on the reply to QUIT, but whoever stops the program waits for it

_DATA = b"DATA\r\n"
_RESET = b"RSET\r\n"


class TooLate(ConnectionError):
    """The letter's time ran out before its end was sent; only a dropped connection is sure to deliver nothing."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What the relay's last EHLO offers. size: octets of the largest letter (RFC 1870), 0 if it does not say."""

    has_pipelining: bool = False
    has_size: bool = False
    size: int = 0
    has_8bit: bool = False
    has_utf8: bool = False


class Session:
    """A session after EHLO and login. timeout_s: for each reply."""

    def __init__(self, wire: Wire, offer: Offer, timeout_s: float) -> None:
        self._wire = wire
        self._offer = offer
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._needs_reset = False
        self.has_begun = False  # the relay took the last letter's MAIL
        self.is_in_doubt = False  # where the last letter raised: behind its final dot

    @property
    def is_open(self) -> bool:
        """Whether a letter can be tried."""
        return self._wire.is_open

    def abort(self) -> None:
        """Drop the connection at once."""
        self._wire.abort()

    async def close(self) -> None:
        """Say goodbye and hang up. Raises OSError where the relay does not answer."""
        self._wire.write(b"QUIT\r\n")
        await self._wire.reply(self._loop.time() + min(GOODBYE_S, self._timeout_s))
        self._wire.abort()

    async def give(self, parcel: Parcel, may_finish: Callable[[], bool]) -> Outcome:
        """As Connection.send. Raises OSError when the connection is broken or must not be used any more."""
        self.has_begun = self.is_in_doubt = False
        outcome = self._lack(parcel) or await self._transact(parcel, may_finish)
        if outcome.is_connection_lost:
            self._wire.abort()
        return outcome

    def _lack(self, parcel: Parcel) -> Outcome | None:
        """What this relay cannot carry, as RFC 1870 §6.1, RFC 6531 §3.5 and RFC 6152 §3 have it; None if it can."""
        offer = self._offer
        if 0 < offer.size < len(parcel.content):
            return Outcome(Answer.REFUSED, 552, "5.3.4", failure=Failure.POLICY)
        if not offer.has_utf8 and not parcel.has_plain_recipient():
            return Outcome(Answer.REFUSED, 550, "5.6.7", failure=Failure.POLICY)
        if not offer.has_utf8 and not parcel.has_plain_sender():
            return Outcome(Answer.LATER, 550, "5.6.7", failure=Failure.POLICY)
        if not offer.has_8bit and parcel.has_8bit:
            return Outcome(Answer.LATER, 550, "5.6.3", failure=Failure.POLICY)
        return None

    async def _transact(self, parcel: Parcel, may_finish: Callable[[], bool]) -> Outcome:
        mail, rcpt = self._mail(parcel), b"RCPT TO:%b\r\n" % parcel.recipient
        await self._begin(mail, rcpt)
        reply = await self._ask(mail)
        if not reply.is_yes:
            return await self._decline(read_outcome(reply, is_about_letter=False), replies_left=2)
        self.has_begun = True
        reply = await self._ask(rcpt)
        if not reply.is_yes:
            return await self._decline(read_outcome(reply), replies_left=1)
        reply = await self._ask(_DATA)
        if reply.is_yes:
            raise OutOfStep  # a yes before the letter
        if reply.code != GO_AHEAD:
            return read_outcome(reply)
        if not may_finish():
            raise TooLate
        return await self._finish(parcel.content)

    async def _begin(self, mail: bytes, rcpt: bytes) -> None:
        """Send what can go together; after a refusal RSET goes first, so that nobody waits for it in between."""
        is_reset, self._needs_reset = self._needs_reset, True
        commands = [_RESET] * is_reset + [mail, rcpt, _DATA]
        if self._offer.has_pipelining:
            self._wire.write(b"".join(commands), len(commands))
        if is_reset and not (await self._ask(_RESET)).is_yes:
            raise OutOfStep

    async def _ask(self, command: bytes) -> Reply:
        if not self._offer.has_pipelining:
            self._wire.write(command)
        return await self._reply()

    async def _reply(self) -> Reply:
        return await self._wire.reply(self._loop.time() + self._timeout_s)

    async def _finish(self, content: bytes) -> Outcome:
        until = self._loop.time() + FINAL_WAIT * self._timeout_s
        self._wire.write(with_dots(content) + b".\r\n")
        self.is_in_doubt = True
        reply = await self._wire.reply(until)
        outcome = read_outcome(reply)
        if self._wire.has_unsent:  # it answered before it had the letter
            self._wire.abort()
            if reply.is_yes:
                raise OutOfStep
        self._needs_reset = outcome.answer is not Answer.ACCEPTED
        return outcome

    async def _decline(self, refusal: Outcome, replies_left: int) -> Outcome:
        """Read what the rest of the group was answered. The refusal stands, whatever that is and whether it comes."""
        if not self._offer.has_pipelining or refusal.is_connection_lost:
            return refusal
        try:
            replies = [await self._reply() for _ in range(replies_left)]
            if replies[-1].code == GO_AHEAD:
                await self._end_nothing(is_recipient_taken=replies_left == 2 and replies[0].is_yes)
            elif replies[-1].is_yes:
                raise OutOfStep
        except OSError:
            self._wire.abort()
        return refusal

    async def _end_nothing(self, *, is_recipient_taken: bool) -> None:
        """RFC 2920 §3.1: who is told to go ahead without a recipient sends a lone dot, whose answer means nothing."""
        if is_recipient_taken:
            raise OutOfStep  # a dot could bring somebody an empty letter
        self._wire.write(b".\r\n")
        await self._reply()

    def _mail(self, parcel: Parcel) -> bytes:
        options = b" SIZE=%d" % len(parcel.content) if self._offer.has_size else b""
        if parcel.has_8bit:
            options += b" BODY=8BITMIME"
        if not (parcel.has_plain_sender() and parcel.has_plain_recipient()):
            options += b" SMTPUTF8"
        return b"MAIL FROM:%b%b\r\n" % (parcel.sender, options)
