"""What waits too long, and what waits for a person."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from mailer.doctor.finding import Finding, fault, left_out, some
from mailer.doctor.scene import Scene
from mailer.model import times, weather
from mailer.model.failure import Failure
from mailer.store import bounces, condition

SEEN_WITHIN = timedelta(days=1)
SEEDS_SINCE = timedelta(days=7)
_MEND = {
    "no-contact-key": "set contact and contact_key of the list, or a new key where it has ended",
    "contact-limit": "somebody may be flooding the contact; if not, raise letters_to_contact_per_day in [limits]",
    "seal-broken": "its transit.pub must be of this service.key, and its list in config.toml: see keys/README.md",
    "template": "mend the wording of your own that the log names",
    "reader-died": "they want more than [reader] allows: an attack as a rule, else raise that",
    "failed": "a fault of ours: report the lines of the log before it, and install what mends it",
}


async def inbox(scene: Scene) -> AsyncIterator[Finding]:
    """Are letters read?"""
    async with scene.database.read() as tx:
        found = await condition.waiting(tx, scene.now)
    if _is_late(scene, found.oldest_letter):
        yield fault(
            f"{some(found.letters, 'letter')} in the inbox, unread since {_since(scene, found.oldest_letter)}.",
            "See that the service runs, and unlock it: `mailer unlock`.",
        )


async def outbox(scene: Scene) -> AsyncIterator[Finding]:
    """Do replies leave?"""
    async with scene.database.read() as tx:
        found = await condition.waiting(tx, scene.now)
    if _is_late(scene, found.oldest_reply):
        number = some(found.replies, "reply", "replies")
        yield fault(
            f"{number} in the outbox, the oldest since {_since(scene, found.oldest_reply)}.",
            "Look in the log for `a reply was not taken` and `relay … failed`.",
        )


async def deliveries(scene: Scene) -> AsyncIterator[Finding]:
    """Do digests and notices leave?"""
    async with scene.database.read() as tx:
        found = await condition.waiting(tx, scene.now)
    if _is_late(scene, found.oldest_delivery) and not found.is_moving:
        who = "look in its log" if scene.has_deliverer else "start it: `mailer work`, or `mailer unlock --deliver`"
        number = some(found.deliveries, "delivery", "deliveries")
        yield fault(
            f"{number} not begun, overdue for {_since(scene, found.oldest_delivery)}.",
            f"See whether a deliverer runs; {who}.",
        )


def _is_late(scene: Scene, oldest: datetime | None) -> bool:
    return oldest is not None and oldest < scene.ago(minutes=scene.instance.config.doctor.waiting_min)


def _since(scene: Scene, oldest: datetime | None) -> str:
    return times.in_words(scene.now - (oldest or scene.now))


async def aside(scene: Scene) -> AsyncIterator[Finding]:
    """Were letters set aside?"""
    async with scene.database.read() as tx:
        found = await condition.aside(tx)
    for reason, number in sorted(found.items()):
        days = scene.instance.config.retention.aside_days
        yield fault(
            f"{some(number, 'letter')} set aside, sealed: {reason}.",
            f"{_what_to_do(reason)} They are erased after {days} days.",
        )


async def aside_lately(scene: Scene) -> AsyncIterator[Finding]:
    """Were letters set aside since yesterday that only a person can help on?"""
    async with scene.database.read() as tx:
        found = await condition.aside(tx, since=scene.ago(days=1))
    for reason in sorted(found.keys() & _MEND.keys()):
        yield fault(f"{some(found[reason], 'letter')} set aside, sealed: {reason}.", _what_to_do(reason))


def _what_to_do(reason: str) -> str:
    if reason not in _MEND:
        return "Nobody could read them; nothing is to be done."
    mend = _MEND[reason]
    return f"{mend[0].upper()}{mend[1:]}; then `mailer inbox retry {reason}`."


async def poisoned(scene: Scene) -> AsyncIterator[Finding]:
    """Were deliveries set aside?"""
    async with scene.database.read() as tx:
        number = await condition.poisoned(tx)
    if number:
        yield fault(
            f"{some(number, 'delivery', 'deliveries')} set aside: a row does not open, or a letter cannot be made.",
            "`mailer digest status ID` names them, the log says what was wrong; then `mailer digest retry ID`.",
        )


async def held(scene: Scene) -> AsyncIterator[Finding]:
    """Is a digest held because it is too late for it?"""
    async with scene.database.read() as tx:
        found = await condition.held(tx)
    for digest_id in found:
        yield fault(
            f"The digest {digest_id} is held: it is too late for what had not left.",
            f"Send it all the same with `mailer digest resume {digest_id}`, or end it with `mailer digest cancel`.",
        )


async def censored(scene: Scene) -> AsyncIterator[Finding]:
    """Does a provider refuse what we write?"""
    limit = scene.instance.config.alerts.censored_percent
    today = scene.now.date()
    async with scene.database.read() as tx:
        seen = await bounces.weather(tx, today - timedelta(days=weather.DAYS))
    for climate in weather.forecast(seen, today):
        share = round(100 * climate.share(Failure.CENSORED))
        if share >= limit:
            yield fault(
                f"{climate.provider} refused {share} % of our letters for their content in a week.",
                "Tell the organisers: other words, another relay or identity for it ([[routes]]).",
            )


async def seeds(scene: Scene) -> AsyncIterator[Finding]:
    """Do copies arrive in the organisers' own mailboxes?"""
    settings = scene.instance.config.seeds
    if not settings:
        yield left_out("There are no [[seeds]], so nobody sees whether digests arrive.")
        return
    async with scene.database.read() as tx:
        begun = await condition.unseen_copies(tx, scene.now - SEEN_WITHIN, scene.now - SEEDS_SINCE)
    for digest_id, (list_id, seen) in begun.items():
        for number, (seed, one) in enumerate(zip(scene.instance.seeds(), settings, strict=True), 1):
            if one.imap_host is not None and seed.id not in seen and (not seed.lists or list_id in seed.lists):
                yield fault(
                    f"The digest {digest_id} was not seen in seed mailbox {number}, a day after it began.",
                    f"`mailer digest seeds {digest_id}` looks; if it is not there, that provider drops it.",
                )
