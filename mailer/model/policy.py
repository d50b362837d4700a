"""How much is done for one address, and how long things wait."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network

LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits from config.toml; all that are counted are per day.

    A stranger gets one confirmation and one reply of each other kind at most. letters_per_…: of ours, questions and
    answers alike, that letters without a proof may cause. large_domains: providers that have no limit of their own.
    front_servers: networks whose letters come from elsewhere. needs_authentication: letters in a name that neither
    DKIM nor SPF shows to be true are not answered; authserv_id: who checked that (RFC 8601 §2.5), "" for ourselves.
    """

    confirmations_per_day: int = 1
    replies_per_day: int = 20
    letters_per_sender: int = 50
    letters_per_domain: int = 1000
    letters_per_network: int = 2000
    letters_per_day: int = 10_000
    contact_letters_per_day: int = 500
    large_domains: frozenset[str] = frozenset()
    front_servers: tuple[Network, ...] = LOOPBACK
    needs_authentication: bool = False
    authserv_id: str = ""
    pending_days: int = 7
