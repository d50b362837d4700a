"""How many letters of ours a letter may cause: what is counted for whom, and what is done where it is enough.

What an attacker spends is counted, and so is what a victim gets: the address that a letter of ours would go to, its
domain, the envelope sender and the network that the letter came from, and all together. Each counter is a keyed hash
(crypto/index.py), so that a seized database names nobody. Letters that act with a proof are not counted: a token and a
signature each work once, and leaving must always work.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum

from mailer import metrics
from mailer.crypto import index
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.inward.case import Heard
from mailer.inward.decide import Decision, Reply, To
from mailer.inward.states import ON_LIST, Act
from mailer.model.address import Address
from mailer.model.letter import Peer
from mailer.model.policy import Policy
from mailer.store import pending
from mailer.store.database import Transaction
from mailer.store.pending import Use

IPV4_PREFIX, IPV6_PREFIX = 24, 64  # what one customer has at once, and what one subscriber line has

log = logging.getLogger("mailer.inward")


class Limit(StrEnum):
    """Why a letter of ours was not sent. Each is a setting in [limits]."""

    ADDRESS = "address"
    SENDER = "sender"
    DOMAIN = "domain"
    NETWORK = "network"
    CONTACT = "contact"
    OVERALL = "overall"
    UNAUTHENTICATED = "unauthenticated"


@dataclass(frozen=True, slots=True)
class Bill:
    """What a letter's answers cost: counted together or not at all, before midnight UTC.

    is_true: False where they may not be sent because nothing shows that the sender is who the letter says.
    """

    uses: tuple[Use, ...]
    day: str
    expires: datetime
    is_true: bool = True

    def __repr__(self) -> str:
        return "Bill(…)"


async def bill(heard: Heard, decision: Decision, secrets: ServiceSecrets, policy: Policy, now: datetime) -> Bill:
    """Return what the replies of a decision cost; nothing where a proof is given. Slow by intent: hashes addresses."""
    uses = await asyncio.to_thread(lambda: tuple(_uses(heard, decision, secrets, policy)))
    return Bill(uses, now.astimezone(UTC).date().isoformat(), end_of_day(now))


def end_of_day(now: datetime) -> datetime:
    """Return when the counters of today are over."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)


async def pay(tx: Transaction, due: Bill) -> Limit | None:
    """Count what an answer costs. Return the limit that forbids it, having counted nothing."""
    if not due.is_true and any(use.limit == Limit.OVERALL for use in due.uses):
        limit = Limit.UNAUTHENTICATED
    else:
        spent = await pending.take_all(tx, due.uses, due.day, due.expires)
        if spent is None:
            return None
        limit = Limit(spent.limit)
    metrics.count_withheld(limit)
    await _tell(tx, limit, due)
    return limit


async def _tell(tx: Transaction, limit: Limit, due: Bill) -> None:
    """Tell the operator once a day. A letter that is set aside is told of by itself (inward/worker)."""
    if limit is not Limit.CONTACT and await pending.take(tx, b"", f"told/{limit}", due.day, 1, due.expires):
        level = logging.INFO if limit is Limit.ADDRESS else logging.WARNING
        log.log(level, "%s", _SENTENCES[limit])


_SENTENCES = {
    Limit.ADDRESS: "an address has had its letters for today and gets no more (limits, per address)",
    Limit.SENDER: "an envelope sender has caused its letters for today and causes no more (letters_per_sender_per_day)",
    Limit.DOMAIN: "a domain has had its letters for today and gets no more (letters_per_domain_per_day)",
    Limit.NETWORK: "a network has caused its letters for today and causes no more (letters_per_network_per_day)",
    Limit.OVERALL: "no more questions and answers are sent today (letters_per_day); somebody may be flooding us",
    Limit.UNAUTHENTICATED: "letters whose sender nothing shows to be true get no answer (require_authenticated_sender)",
}


def _uses(heard: Heard, decision: Decision, secrets: ServiceSecrets, policy: Policy) -> Iterator[Use]:
    answers = [reply for reply in decision.replies if reply.to is not To.CONTACT]
    if not is_counted(decision):
        return
    counting = _Counting(secrets, heard.standing.person.list_id)
    target, uses = _per_address(heard, decision, answers, policy)
    look_up = counting.look_up(target, heard)
    for what, most in uses:
        yield Use(Limit.ADDRESS, look_up, what, most)
    if len(answers) < len(decision.replies):
        yield Use(Limit.CONTACT, look_up, "contact", policy.replies_per_day)
        yield Use(Limit.CONTACT, counting.mark("contact", counting.list_id), "", policy.contact_letters_per_day)
    if answers:
        yield from _wider(heard, target, look_up, counting, policy)


def is_counted(decision: Decision) -> bool:
    """Whether the letters of a decision count: those that anybody can cause who writes in somebody's name."""
    return decision.act in (Act.NOTHING, Act.ASK, Act.FORGET_MARK)


def _per_address(
    heard: Heard, decision: Decision, answers: Sequence[Reply], policy: Policy
) -> tuple[Address, list[tuple[str, int]]]:
    """Return whom the letters are for, and what is counted for them. A stranger gets each kind once a day at most."""
    standing = heard.standing
    if decision.act is Act.ASK:
        is_to_new = any(reply.to is To.NEW_ADDRESS for reply in answers)
        who = heard.new if is_to_new and heard.new else standing.person
        is_known = standing.state in ON_LIST and not is_to_new
        what = f"confirm/{decision.request}" if is_known else "confirm"
        return who.address, [(what, policy.confirmations_per_day)]
    if standing.state in ON_LIST:
        return standing.person.address, [("reply", policy.replies_per_day) for _ in answers]
    return standing.person.address, [(f"reply/{reply.template}", 1) for reply in answers]


def _wider(heard: Heard, target: Address, look_up: bytes, counting: _Counting, policy: Policy) -> Iterator[Use]:
    mail_from, peer = heard.arrival.envelope.mail_from, heard.arrival.envelope.peer
    if mail_from is not None:
        is_same = mail_from.counted_as == target.counted_as
        sender = look_up if is_same else counting.look_up(mail_from, heard)
        yield Use(Limit.SENDER, sender, "sender", policy.letters_per_sender)
    domain = target.counted_as.domain
    if domain not in policy.large_domains:
        yield Use(Limit.DOMAIN, counting.mark("domain", domain), "", policy.letters_per_domain)
    if (network := network_of(peer, policy)) is not None:
        yield Use(Limit.NETWORK, counting.mark("network", network), "", policy.letters_per_network)
    yield Use(Limit.OVERALL, counting.mark("all"), "", policy.letters_per_day)


def network_of(peer: Peer | None, policy: Policy) -> str | None:
    """Return the network that a letter came from; None where a mail server of ours handed it on."""
    if peer is None:
        return None
    host = ipaddress.ip_address(peer.ip)
    if any(host in network for network in policy.front_servers if network.version == host.version):
        return None
    prefix = IPV4_PREFIX if host.version == 4 else IPV6_PREFIX
    return str(ipaddress.ip_network((host, prefix), strict=False))


@dataclass(frozen=True, slots=True)
class _Counting:
    secrets: ServiceSecrets
    list_id: str

    def look_up(self, address: Address, heard: Heard) -> bytes:
        """Return what stands for an address: the writer's own index where that is it, which was paid for already."""
        counted, person = address.counted_as, heard.standing.person
        if counted.normalised == person.address.normalised:
            return person.index.look_up
        return index.index(self.secrets.index_key, self.list_id, counted).look_up

    def mark(self, what: str, *parts: str) -> bytes:
        return index.count_mark(self.secrets.index_key, what, *parts)
