"""What the DNS says. One of the doors to dnspython."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dns.exception
import dns.name
import dns.resolver
import dns.reversename

LOOK_UP_S = 2.5


class Unanswered(Exception):
    """No name server answers; nothing follows from that."""


@dataclass(frozen=True)
class Names:
    """Asks a name server, or those of the operating system. server: (IP address, port), or None.

    What is not there is an empty answer. Everything may raise Unanswered.
    """

    server: tuple[str, int] | None = None

    def text(self, name: str) -> list[str]:
        """Return the TXT records of a name, each in one piece (RFC 6376 §3.6.2.2, RFC 7208 §3.3)."""
        return [b"".join(each.strings).decode("utf-8", "replace") for each in self.ask(name, "TXT")]

    def mail_exchangers(self, domain: str) -> list[str]:
        """Return where a domain's mail goes, the best first; [""] says that it takes none (RFC 7505)."""
        found = sorted(self.ask(domain, "MX"), key=lambda each: each.preference)
        return [each.exchange.to_text(omit_final_dot=True).rstrip(".").lower() for each in found]

    def addresses(self, host: str) -> set[str]:
        """Return the IP addresses of a host, both kinds; of an address that very one."""
        try:
            return {str(ipaddress.ip_address(host))}
        except ValueError:
            return {each.address for kind in ("A", "AAAA") for each in self.ask(host, kind)}

    def pointers(self, address: str) -> list[str]:
        """Return the names that an IP address has (RFC 1035 §3.5)."""
        name = dns.reversename.from_address(address).to_text()
        return [each.target.to_text(omit_final_dot=True).lower() for each in self.ask(name, "PTR")]

    def ask(self, name: str, kind: str) -> list[Any]:
        """Return the records of one kind."""
        try:
            return list(self._resolver.resolve(dns.name.from_text(name), kind, lifetime=LOOK_UP_S, search=False))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.name.LabelTooLong, dns.name.EmptyLabel):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise Unanswered from error

    @cached_property
    def _resolver(self) -> dns.resolver.Resolver:
        if self.server is None:
            return dns.resolver.Resolver()
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = [self.server[0]], self.server[1]
        return resolver
