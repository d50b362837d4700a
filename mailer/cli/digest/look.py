"""mailer digest list, status: how far it has come, what went wrong, and what providers think of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from mailer.cli import options
from mailer.cli.digest.desk import DigestId, utc_now
from mailer.cli.opened import run
from mailer.instance import Instance
from mailer.model import rate, times
from mailer.model import weather as forecasts
from mailer.model.digest import DeliveryState, DigestState, DigestStatus
from mailer.model.failure import Failure
from mailer.model.weather import Climate
from mailer.outward import publish
from mailer.registrar.reading import short_id
from mailer.store import bounces, digests, queue
from mailer.store.database import Database
from mailer.store.ledger import Poisoned

ASIDE_SHOWN = 20
_SHOWN = (Failure.CENSORED, Failure.POLICY, Failure.AUTHENTICATION)


@dataclass(frozen=True, slots=True)
class _Found:
    """All that `status` shows. aside: short ids. climates: of the providers, over the last week."""

    status: DigestStatus
    aside: list[str]
    climates: list[Climate]
    now: datetime

    @property
    def per_s(self) -> float | None:
        return rate.average_per_s(self.status, self.now)

    @property
    def left(self) -> timedelta | None:
        return rate.time_left(self.status, self.per_s, self.now)


def list_all(instance_folder: options.InstanceFolder = Path(), as_json: options.AsJson = False) -> None:
    """Show all digests, newest first.

    Example: mailer digest list
    """
    found = run(Instance.open(instance_folder), _statuses)
    if as_json:
        print(json.dumps([_to_json(one) for one in found], indent=2))
        return
    for one in found:
        begins = f"\tbegins {one.begins:%Y-%m-%d %H:%M} UTC" if one.state is DigestState.SCHEDULED else ""
        print(f"{one.id}\t{one.created:%Y-%m-%d %H:%M}\t{one.list_id}\t{one.state}\t{one.planned} planned{begins}")


def status(
    digest_id: DigestId, instance_folder: options.InstanceFolder = Path(), as_json: options.AsJson = False
) -> None:
    """Show how far a digest has come, how fast, what failed and why, and the censorship weather of the last week.

    Example: mailer digest status 4k7qj2xw5t
    """
    found = run(Instance.open(instance_folder), lambda database: _look(database, digest_id))
    if as_json:
        print(json.dumps(_to_json(found.status) | _more_to_json(found)))
        return
    for line in (*_state_lines(found), *_count_lines(found), *_weather_lines(found.climates)):
        print(line)


# --- Looking --------------------------------------------------------------------------------------------------------


async def _look(database: Database, digest_id: str) -> _Found:
    now, found = utc_now(), await publish.status(database, digest_id)
    async with database.read() as tx:
        aside = [short_id(Poisoned(one)) for one in await queue.set_aside(tx, digest_id, ASIDE_SHOWN)]
        seen = await bounces.weather(tx, now.date() - timedelta(days=forecasts.DAYS))
    return _Found(found, aside, forecasts.forecast(seen, now.date()), now)


async def _statuses(database: Database) -> list[DigestStatus]:
    async with database.read() as tx:
        return [one for digest_id in await digests.ids(tx) if (one := await digests.status(tx, digest_id))]


# --- For people -----------------------------------------------------------------------------------------------------


def _state_lines(found: _Found) -> Iterator[str]:
    one = found.status
    counts = ", ".join(f"{number} {state}" for state, number in sorted(one.counts.items())) or "no delivery planned"
    yield f"{one.id}\t{one.state}\t{', '.join(one.languages)}\t{counts} (of {one.planned})"
    if one.corrects:
        yield f"It corrects {one.corrects}."
    yield _meaning(one)
    if found.per_s is not None:
        left = f", {times.in_words(found.left)} left" if found.left else ""
        yield f"{rate.in_words(found.per_s)}{left}"


def _meaning(one: DigestStatus) -> str:
    go_on = f"`mailer digest resume {one.id}` sends the rest"
    end = f"`mailer digest cancel {one.id}` ends it"
    begins, late = _minute(one.begins), _minute(one.send_before)
    return {
        DigestState.DRAFT: f"A draft: `mailer digest send {one.id}` sends it.",
        DigestState.SCHEDULED: f"It begins {begins} UTC, if a deliverer runs then; {end}.",
        DigestState.SENDING: f"It is being sent; what has not left by {late} UTC is held.",
        DigestState.PAUSED: f"An organiser stopped it: {go_on}, {end}.",
        DigestState.HELD: f"Held: what had not left by {late} UTC is late news. {go_on} all the same, {end}.",
        DigestState.CANCELLED: "An organiser ended it: what had not left never will.",
        DigestState.SENT: "Nothing is left to do.",
    }[one.state]


def _count_lines(found: _Found) -> Iterator[str]:
    for one in found.status.tallies:
        yield "\t".join(("", one.relay or "no relay", one.state, one.failure or "", str(one.number)))
    aside = found.status.counts.get(DeliveryState.ASIDE, 0)
    if aside:
        more = " …" if aside > len(found.aside) else ""
        yield (
            f"{aside} set aside: {', '.join(found.aside)}{more}. The deliverer's log says why, and `mailer subscribers "
            f"list` which rows do not open; `mailer digest retry {found.status.id}` tries them again."
        )


def _weather_lines(climates: list[Climate]) -> Iterator[str]:
    if climates:
        yield f"Censorship weather, {forecasts.DAYS} days:"
    for one in climates:
        shares = "\t".join(f"{one.share(outcome):.1%} {outcome}" for outcome in _SHOWN)
        yield f"\t{one.provider}\t{one.answers} answers\t{shares}"
    for one in climates:
        if one.is_worse:
            yield f"{one.provider} refuses letters for their content noticeably more often than in the days before."


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "-"


# --- For programs ---------------------------------------------------------------------------------------------------


def _to_json(one: DigestStatus) -> dict[str, object]:
    return {
        "id": one.id,
        "list": one.list_id,
        "state": one.state,
        "created": one.created.isoformat(),
        "languages": list(one.languages),
        "planned": one.planned,
        "counts": {str(state): number for state, number in one.counts.items()},
        "corrects": one.corrects,
        "begins": one.begins.isoformat() if one.begins else None,
        "over_s": one.over_s,
        "send_before": one.send_before.isoformat() if one.send_before else None,
        "started": one.started.isoformat() if one.started else None,
    }


def _more_to_json(found: _Found) -> dict[str, object]:
    ended = [
        {"relay": one.relay, "state": one.state, "failure": one.failure, "number": one.number}
        for one in found.status.tallies
    ]
    weather = [
        {"provider": one.provider, "answers": one.answers, "counts": one.counts, "is_worse": one.is_worse}
        for one in found.climates
    ]
    return {
        "ended": ended,
        "per_s": found.per_s,
        "left_s": found.left.total_seconds() if found.left else None,
        "aside": found.aside,
        "weather": weather,
    }
