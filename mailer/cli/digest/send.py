"""mailer digest send, schedule: on its way, now or later."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import options
from mailer.cli.digest.desk import Desk, DigestId, say, utc_now
from mailer.cli.progress import watch
from mailer.cli.recorded import recorded
from mailer.errors import DigestUnusable
from mailer.model import times
from mailer.model.digest import DigestState
from mailer.outward import proof, publish
from mailer.store.digests import Plan

Over = Annotated[
    str | None, typer.Option("--over", help="Spread it over so long, in random order, as in 2h; at once if left out.")
]
SendBefore = Annotated[
    str | None,
    typer.Option("--send-before", help="Hold what has not left so long after that, as in 48h.", show_default="config"),
]
Force = Annotated[bool, typer.Option("--force", help="Even where a provider takes no letter so large.")]


@recorded("digest send", "digest_id")
def send(
    digest_id: DigestId,
    over: Over = None,
    send_before: SendBefore = None,
    force: Force = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Show progress until it is all sent.")] = True,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Sign a digest and plan a delivery to each subscriber. `serve --deliver` or `work` then delivers it.

    Example: mailer digest send 4k7qj2xw5t --over 2h
    """
    spread_over, until = read_durations(over, send_before)
    desk = Desk.open_for(digest_id, instance_folder, service_file)
    now = utc_now()
    plan = make_plan(desk, now, spread_over, until)
    _check_sizes(desk, digest_id, force=force)
    wrong, seeds = _on_its_way(desk, digest_id), desk.instance.seeds()
    providers = desk.instance.providers
    planned = desk.run(
        lambda database: publish.send(
            database, desk.keyring, desk.list, digest_id, now, providers=providers, seeds=seeds, plan=plan
        )
    )
    own = sum(not one.lists or desk.list.id in one.lists for one in seeds)
    to = f"{planned - own} subscribers" + (f" and {own} seed mailboxes" if own else "")
    facts = {"id": digest_id, "planned": planned, "seeds": own, "over_s": plan.over_s, "paused": wrong}
    say(facts, as_json, f"Digest {digest_id} goes to {to}{_spread(plan)}.", _say_stopped(wrong))
    if wait and planned and sys.stderr.isatty():
        desk.run(lambda database: watch(database, digest_id))


@recorded("digest schedule", "digest_id")
def schedule(
    digest_id: DigestId,
    at: Annotated[str, typer.Option("--at", help='What the clock shows then, as in "2026-12-01 09:00".')],
    zone: Annotated[str | None, typer.Option("--zone", help="Whose clock, as in Asia/Hong_Kong.")] = None,
    over: Over = None,
    send_before: SendBefore = None,
    force: Force = False,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Have a digest sent at a time: a deliverer that runs then signs it and begins. Scheduled again, it moves.

    Example: mailer digest schedule 4k7qj2xw5t --at "2026-12-01 09:00" --zone Asia/Hong_Kong
    """
    begins = times.read_moment(at, zone, utc_now())
    spread_over, until = read_durations(over, send_before)
    desk = Desk.open_for(digest_id, instance_folder, service_file)
    plan = make_plan(desk, begins, spread_over, until)
    _check_sizes(desk, digest_id, force=force)
    wrong = _on_its_way(desk, digest_id)
    desk.run(lambda database: publish.schedule(database, desk.keyring, desk.list, digest_id, plan))
    facts = {"id": digest_id, "begins": begins.isoformat(), "over_s": plan.over_s, "paused": wrong}
    left = times.in_words(begins - utc_now())
    sentence = f"Digest {digest_id} begins {begins:%Y-%m-%d %H:%M} UTC, in {left}{_spread(plan)}."
    say(facts, as_json, sentence, _say_stopped(wrong))


def read_durations(over: str | None, send_before: str | None) -> tuple[timedelta, timedelta | None]:
    """Return what was typed. Raises TimeUnusable."""
    spread_over = times.read_duration(over) if over else timedelta(0)
    return spread_over, times.read_duration(send_before) if send_before else None


def make_plan(desk: Desk, begins: datetime, over: timedelta, until: timedelta | None) -> Plan:
    """Return when a digest leaves. until: from the time on when all of it should have left."""
    until = until or timedelta(hours=desk.instance.config.delivery.send_before_h)
    return Plan(begins, int(over.total_seconds()), begins + over + until)


def _check_sizes(desk: Desk, digest_id: str, *, force: bool) -> None:
    """Raise DigestUnusable where an edition may be too large for a provider, even without its pictures."""
    editions = desk.editions(digest_id)
    for route in desk.instance.config.routes:
        for one in [] if force else proof.too_large(editions, route.max_letter_bytes):
            raise DigestUnusable(
                f"{', '.join(route.providers)} takes letters of {route.max_letter_bytes:,} bytes at most; the edition "
                f"in {one.language} makes up to {one.octets:,}, even without pictures, so nobody there may get it. "
                "Shorten it, or send it all the same with --force."
            )


def _on_its_way(desk: Desk, digest_id: str) -> str | None:
    """Return the digest that this one corrects, if it is being sent and will be paused."""
    corrects = desk.run(lambda database: publish.status(database, digest_id)).corrects
    if corrects is None:
        return None
    is_sending = desk.run(lambda database: publish.status(database, corrects)).state is DigestState.SENDING
    return corrects if is_sending else None


def _say_stopped(wrong: str | None) -> str:
    if wrong is None:
        return ""
    end = f"`mailer digest cancel {wrong}` ends it, `mailer digest resume {wrong}` sends the rest all the same"
    return f"{wrong}, which this one corrects, was still on its way and is paused: {end}."


def _spread(plan: Plan) -> str:
    return f", spread over {times.in_words(timedelta(seconds=plan.over_s))}" if plan.over_s else ""
