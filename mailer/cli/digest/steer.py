"""mailer digest pause, resume, cancel, retry: change what becomes of a digest that was sent or scheduled."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import typer

from mailer.cli import options
from mailer.cli.digest.desk import DigestId, say, utc_now
from mailer.cli.digest.send import Over, SendBefore, read_durations
from mailer.cli.opened import run
from mailer.cli.recorded import recorded
from mailer.errors import DigestUnusable
from mailer.instance import Instance
from mailer.model import rate
from mailer.model.digest import DigestState, DigestStatus
from mailer.outward import publish
from mailer.store import digests, queue
from mailer.store.database import Database


@recorded("digest pause", "digest_id")
def pause(
    digest_id: DigestId, instance_folder: options.InstanceFolder = Path(), as_json: options.AsJson = False
) -> None:
    """Let nothing more of a digest leave for now. Letters that a deliverer has begun are finished.

    Example: mailer digest pause 4k7qj2xw5t
    """
    instance = Instance.open(instance_folder)

    async def stop(database: Database) -> DigestStatus:
        found = await publish.status(database, digest_id)
        async with database.write() as tx:
            if not await digests.pause(tx, digest_id):
                raise DigestUnusable(f"It is {found.state}, and only what is being sent can be paused.")
        return found

    left = rate.waiting(run(instance, stop))
    facts = {"id": digest_id, "state": DigestState.PAUSED, "waiting": left}
    say(facts, as_json, f"Paused; {left} deliveries wait. `mailer digest resume {digest_id}` goes on.")


@recorded("digest resume", "digest_id")
def resume(
    digest_id: DigestId,
    over: Over = None,
    send_before: SendBefore = None,
    instance_folder: options.InstanceFolder = Path(),
    as_json: options.AsJson = False,
) -> None:
    """Go on with a digest that was paused, or held because it was late. --over spreads what is left anew.

    Example: mailer digest resume 4k7qj2xw5t --send-before 48h
    """
    spread_over, until = read_durations(over, send_before)
    instance = Instance.open(instance_folder)
    until = until or timedelta(hours=instance.config.delivery.send_before_h)

    async def go_on(database: Database) -> DigestStatus:
        found, now = await publish.status(database, digest_id), utc_now()
        last_due = (found.started or now) + timedelta(seconds=found.over_s)
        async with database.write() as tx:
            if spread_over:
                await queue.spread(tx, digest_id, now, int(spread_over.total_seconds()))
            if not await digests.resume(tx, digest_id, now, max(now + spread_over, last_due) + until):
                raise DigestUnusable(f"It is {found.state}, and only what was paused or held can go on.")
        return found

    left = rate.waiting(run(instance, go_on))
    facts = {"id": digest_id, "state": DigestState.SENDING, "waiting": left}
    say(facts, as_json, f"It goes on; {left} deliveries wait.")


@recorded("digest cancel", "digest_id")
def cancel(
    digest_id: DigestId,
    yes: options.Yes = False,
    instance_folder: options.InstanceFolder = Path(),
    as_json: options.AsJson = False,
) -> None:
    """End a digest: what has not left never will. One that has not begun is a draft again.

    Example: mailer digest cancel 4k7qj2xw5t
    """
    instance = Instance.open(instance_folder)
    found = run(instance, lambda database: publish.status(database, digest_id))
    if not yes:
        typer.confirm(f"Never send the {rate.waiting(found)} copies that wait?", abort=True)

    async def end(database: Database) -> int:
        async with database.write() as tx:
            dropped = await digests.cancel(tx, digest_id)
        if dropped is None:
            raise DigestUnusable(f"It is {found.state}, and only what is under way or scheduled can be cancelled.")
        return dropped

    dropped = run(instance, end)
    now = run(instance, lambda database: publish.status(database, digest_id))
    sentence = f"Cancelled; {dropped} copies will not leave." if now.started else "It is a draft again."
    say({"id": digest_id, "state": now.state, "dropped": dropped}, as_json, sentence)


@recorded("digest retry", "digest_id")
def retry(
    digest_id: DigestId, instance_folder: options.InstanceFolder = Path(), as_json: options.AsJson = False
) -> None:
    """Try the deliveries again that were set aside, once what the log says is mended.

    Example: mailer digest retry 4k7qj2xw5t
    """
    instance = Instance.open(instance_folder)
    until = timedelta(hours=instance.config.delivery.send_before_h)

    async def again(database: Database) -> int:
        found, now = await publish.status(database, digest_id), utc_now()
        async with database.write() as tx:
            number = await digests.retry(tx, digest_id, now, now + until)
        if number is None:
            raise DigestUnusable(f"It is {found.state}: nothing of it is tried again.")
        return number

    number = run(instance, again)
    say({"id": digest_id, "retried": number}, as_json, f"{number} deliveries are tried again.")
