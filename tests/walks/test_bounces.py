"""What came back, through the whole house: refused at once, or later in a letter; and readers who complain."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from mailer.crypto import tokens
from mailer.crypto.tokens import Purpose
from mailer.model.failure import Failure
from mailer.model.score import PROBE_ANSWERED_WITHIN
from mailer.model.subscriber import State
from mailer.store import bounces
from mailer.store.tables import inbox, subscribers, suppressions
from tests.conversations import post
from tests.house import LIST, House, Person, open_house, open_text, reply_to
from tests.unit.test_report import DAEMON, QMAIL, dsn, multipart, notice
from tests.walks.crowd import publish_digest
from tests.walks.far_server import FarServer, Received
from tests.walks.test_deliver import fill

GONE = "550 5.1.1 <reader@far.example>: user unknown"
GONE_LATER = dsn("5.1.1", f"smtp; {GONE}")
DAYS = (0, 3, 8)  # enough to be probed


def address(house: House, who: bytes, kind: str = "bounce") -> str:
    purpose = Purpose.UNSUBSCRIBE if kind == "unsubscribe" else Purpose.BOUNCE
    return f"news+{kind}-{tokens.derive_token(house.secrets.token_key, purpose, 'news', who)}@lists.example"


def complaint(about: str) -> str:
    return multipart(
        "feedback-report",
        ("text/plain", "Somebody does not like this letter."),
        ("message/feedback-report", f"Feedback-Type: abuse\nVersion: 1\nOriginal-Mail-From: <{about}>\n"),
        ("message/rfc822", "Subject: [...]\n\nx\n"),
        sender="feedback@far.example",
    )


async def report(house: House, text: str, to: str) -> list[Received]:
    """Let a letter of a program come to the door; nothing may be left in the inbox."""
    came = await house.write(text.replace("\n", "\r\n").encode(), to=to, sender=None)
    async with house.database.read() as tx:
        assert (await tx.execute(select(inbox.c.id))).first() is None
    return came


async def fail_on(house: House, who: bytes, days: Sequence[int], text: str = GONE_LATER) -> None:
    begin = house.clock()
    for day in days:
        house.clock.moment = begin + timedelta(days=day)
        assert await report(house, text, address(house, who)) == []


async def row_of(house: House, who: bytes):  # type: ignore[no-untyped-def]
    async with house.database.read() as tx:
        return (await tx.execute(select(subscribers).where(subscribers.c.id == who))).one_or_none()


async def state_of(house: House, who: bytes) -> str | None:
    row = await row_of(house, who)
    return row.state if row else None


async def weather(house: House) -> dict[str, int]:
    since = house.clock().date() - timedelta(days=80)
    async with house.database.read() as tx:
        found = await bounces.weather(tx, since)
    return {one.outcome: sum(other.number for other in found if other.outcome == one.outcome) for one in found}


async def test_a_mailbox_that_is_gone_for_a_week_is_probed_and_then_gets_no_more_digests(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        [who] = await fill(house)
        await fail_on(house, who, DAYS)
        assert await state_of(house, who) == State.ACTIVE
        [probe] = await house.deliver()
        assert address(house, who, "probe") in probe.mail
        assert "you need do nothing" in open_text(probe)
        assert "sealed" not in open_text(probe)
        await report(house, GONE_LATER, address(house, who, "probe"))
        assert await state_of(house, who) == State.SUSPENDED
        assert await publish_digest(house, "after") == 0


async def test_a_digest_that_is_refused_at_once_counts_as_well_and_so_does_the_probe(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance", FarServer({"RCPT": [GONE] * 4})) as house:
        [who] = await fill(house)
        begin = house.clock()
        for number, day in enumerate(DAYS):
            house.clock.moment = begin + timedelta(days=day)
            assert await publish_digest(house, f"d{number}") == 1
            assert await house.deliver() == []
        assert await state_of(house, who) == State.SUSPENDED  # the probe left at the end of the last round
        assert await weather(house) == {"gone": 4}


async def test_who_got_the_probe_begins_anew(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        [who] = await fill(house)
        await fail_on(house, who, DAYS)
        [_] = await house.deliver()
        house.clock.moment += PROBE_ANSWERED_WITHIN
        async with house.database.write() as tx:
            await bounces.purge(tx, house.clock().date())
        await report(house, GONE_LATER, address(house, who, "probe"))  # far too late: an old report, sent again
        assert await state_of(house, who) == State.ACTIVE
        assert (await row_of(house, who)).bounce_score == 1


LIVING = {
    Failure.FULL: dsn("5.2.2", "smtp; 552 5.2.2 mailbox full"),
    Failure.CENSORED: dsn("5.1.1", "smtp; 550 Mail content denied"),
    Failure.POLICY: dsn("5.7.1", "smtp; 550 5.7.1 blocked, see https://www.spamhaus.org/"),
    Failure.AUTHENTICATION: dsn("5.7.26", "smtp; 550 5.7.26 DMARC"),
    Failure.TEMPORARY: dsn("4.1.1", "smtp; 450 4.1.1 user unknown"),
    Failure.UNKNOWN: dsn("5.0.0"),
}


@pytest.mark.parametrize("failure", LIVING)
async def test_a_living_mailbox_is_never_given_up(failure: Failure, tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        [who] = await fill(house)
        await fail_on(house, who, (0, 4, 8, 20, 40), LIVING[failure])
        await report(house, LIVING[failure], address(house, who, "probe"))
        assert await house.deliver() == []
        row = await row_of(house, who)
        assert (row.state, row.bounce_score, row.probed) == (State.ACTIVE, 0, None)
        assert await weather(house) == {failure: 5}  # the last two came on one day


@pytest.mark.parametrize(
    "text",
    [
        dsn("4.4.1", "smtp; connection timed out", "delayed"),
        dsn("2.0.0", "smtp; 250 ok", "delivered"),
        notice("I am away. This mailbox is no longer in use.", "reader@far.example", "Automatic reply: [...]"),
        multipart("disposition-notification", ("text/plain", "read"), ("message/disposition-notification", "")),
        notice("Hello, the user is unknown, is he not?", "reader@far.example", "Hello"),
    ],
)
async def test_what_is_no_failure_counts_nowhere_and_is_not_answered(text: str, tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        [who] = await fill(house)
        await fail_on(house, who, (*DAYS, 20), text)
        assert (await row_of(house, who)).bounce_score == 0
        assert await weather(house) == {}


async def test_a_forged_token_has_no_effect(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        [who] = await fill(house)
        unsubscribe = address(house, who, "unsubscribe").partition("-")[2]
        for to in (
            *(f"news+bounce-{'a' * 24}@lists.example", f"news+probe-{'a' * 24}@lists.example", LIST),
            *("news+bounce@lists.example", "news+bounce-@lists.example", f"news+bounce-{unsubscribe}"),
        ):
            assert await report(house, GONE_LATER, to) == []
        assert await report(house, complaint(f"news+bounce-{'a' * 24}@lists.example"), LIST) == []
        row = await row_of(house, who)
        assert (row.state, row.bounce_score) == (State.ACTIVE, 0)
        assert await weather(house) == {}


async def test_one_token_does_not_make_the_weather(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        [who] = await fill(house)
        for _ in range(5):
            await report(house, LIVING[Failure.CENSORED], address(house, who))
        assert await weather(house) == {"censored": 1}


async def test_a_report_in_words_counts_whoever_signs_it(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        [who] = await fill(house)
        for sender in (DAEMON, "MAILER-DAEMON <>", "<>"):
            house.clock.pass_(days=1)
            await report(house, notice(QMAIL, sender), address(house, who).upper())
        assert (await row_of(house, who)).bounce_score == 3


@pytest.mark.parametrize("kind", ["bounce", "probe", "unsubscribe"])
@pytest.mark.parametrize("to", [LIST, "postmaster@lists.example", ""])
async def test_who_complains_leaves_in_silence(kind: str, to: str, tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        who, other = await fill(house, 2)
        assert await report(house, complaint(address(house, who, kind)), to or address(house, who)) == []
        assert (await row_of(house, who), await state_of(house, other)) == (None, State.ACTIVE)
        async with house.database.read() as tx:
            assert (await tx.execute(select(suppressions.c.kind))).scalars().all() == ["left"]
        assert await house.deliver() == []


async def test_a_complaint_without_a_token_is_for_the_postmaster_to_read(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        letters = await report(house, complaint("somebody@elsewhere.example"), "postmaster@lists.example")
        assert [post.recipient(one) for one in letters] == [house.contact.address]


async def test_who_was_given_up_can_go_on(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        reader = Person.with_key("reader@far.example")
        await house.join(reader)
        async with house.database.read() as tx:
            who = (await tx.execute(select(subscribers.c.id))).scalar_one()
        await fail_on(house, who, DAYS)
        await house.deliver()
        await report(house, GONE_LATER, address(house, who, "probe"))
        assert await state_of(house, who) == State.SUSPENDED
        [question] = await house.write(reader.letter("resume"))
        await house.write(reader.letter("Re: [...]", "ok"), to=reply_to(question))
        assert await state_of(house, who) == State.ACTIVE
        await report(house, GONE_LATER, address(house, who, "probe"))
        assert await state_of(house, who) == State.ACTIVE  # the old probe is forgotten
