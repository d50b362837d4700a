"""What a report does, which is the one automatic letter that does anything: it counts, or ends a subscription.

It must show a token that we gave to one subscriber's letters alone; without one it is dropped like all that programs
write. Nothing is ever answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from mailer.crypto import tokens
from mailer.model.failure import Failure
from mailer.model.mailing_list import MailingList
from mailer.model.report import Kind, Report
from mailer.model.subscriber import Subscriber
from mailer.store import bounces, pending, roster
from mailer.store.database import Transaction

_DETAILS = ("bounce-", "probe-")  # of envelope senders: RFC 5321 §4.5.5 has reports go there


@dataclass(frozen=True, slots=True)
class Returned:
    """A report about a letter to one subscriber. is_probe: the letter was the one that asks whether they are there."""

    subscriber: Subscriber
    report: Report
    is_probe: bool = False

    def __repr__(self) -> str:
        return f"Returned({self.report.kind})"


async def find(
    tx: Transaction, token_key: bytes, mailing_list: MailingList, detail: str, report: Report
) -> Returned | None:
    """Return whom a report is about, or None where no token of ours says so. detail: behind `+` in its recipient."""
    is_probe = detail.startswith("probe-")
    for purpose, token in _tokens(detail, report):
        subscriber = await roster.find_by_token(tx, token_key, purpose, mailing_list.id, token)
        if subscriber is not None:
            return Returned(subscriber, report, is_probe)
    return None


def _tokens(detail: str, report: Report) -> Iterator[tuple[tokens.Purpose, str]]:
    """Yield what may name the subscriber: of a bounce the address it came to, of a complaint what it quotes, too."""
    given = next((tokens.read_token(detail.removeprefix(one)) for one in _DETAILS if detail.startswith(one)), None)
    if given is not None:
        yield tokens.Purpose.BOUNCE, given
    if report.kind is Kind.COMPLAINT:
        for token in report.tokens:
            yield tokens.Purpose.BOUNCE, token
            yield tokens.Purpose.UNSUBSCRIBE, token


async def settle(tx: Transaction, returned: Returned, now: datetime) -> None:
    """Count a bounce, or end the subscription of who complained: a mark stays, and no letter goes out."""
    subscriber, report, today = returned.subscriber, returned.report, now.date()
    if report.kind is Kind.COMPLAINT:
        await roster.erase(tx, subscriber.id, today, leave_mark=True)
    elif not report.is_delayed:
        failure = report.counted
        await bounces.count_failure(tx, subscriber.id, failure, today, is_probe=returned.is_probe)
        await _count_weather(tx, subscriber, failure, now)


async def _count_weather(tx: Transaction, subscriber: Subscriber, failure: Failure, now: datetime) -> None:
    """Count once a day for each subscriber: whoever has one token must not make the weather."""
    if await pending.take(tx, subscriber.id, "report", now.date().isoformat(), 1, now + timedelta(days=1)):
        await bounces.count_weather(tx, {(subscriber.provider, failure): 1}, now.date())
