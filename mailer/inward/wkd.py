"""The Web Key Directory: asks somebody's mail provider for their certificate (draft-koch-openpgp-webkey-service).

The one door to httpcore. A look-up tells the provider that this service asks for that person's key, so it is off
unless config.toml says otherwise. What comes back is a stranger's bytes; nothing here reads them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpcore

from mailer.model import web_key
from mailer.model.address import Address

CERTIFICATE_OCTETS = 128 * 1024  # one key with one user ID; post-quantum signatures take up to 30 KB each
ASK_AGAIN = timedelta(hours=1)  # a server that did not answer
DOMAINS_MAX = 1000  # of which it is known that they did not
LOOK_UPS_PER_HOUR = 600  # at one domain: letters with forged senders must not make many of them
ADDRESSES_MAX = 4
PORT = 443

logging.getLogger("httpcore").setLevel(logging.WARNING)  # below, it names servers

# With a top-level domain, and not one that never leads out of a network (RFC 6761, RFC 6762, RFC 7686, RFC 8375).
_PUBLIC_NAME = re.compile(
    r"(?!.*\.(?:local|localhost|internal|home\.arpa|onion|invalid|test)\Z)[a-z0-9.-]+\.[a-z][a-z0-9-]*[a-z0-9]\Z"
)


def _is_global(address: str) -> bool:
    number = ipaddress.ip_address(address)
    mapped = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
    return (mapped or number).is_global and not number.is_multicast


@dataclass
class KeyDirectory:
    """Looks certificates up. Its calls never raise: whatever goes wrong, there is no certificate.

    proxy: "socks5://HOST:PORT" or "", then names are looked up here and only public places are connected to. tls: must
    verify. port, is_public: for tests alone.
    """

    tls: ssl.SSLContext
    proxy: str
    timeout_s: float
    clock: Callable[[], datetime]
    port: int = PORT
    is_public: Callable[[str], bool] = field(default=_is_global)
    _failed: dict[str, datetime] = field(default_factory=dict)
    _asked: Counter[str] = field(default_factory=Counter)
    _asked_since: datetime | None = None

    async def find(self, address: Address) -> bytes | None:
        """Return what the directory of this address's domain holds for it, of at most CERTIFICATE_OCTETS, or None."""
        if not _PUBLIC_NAME.match(address.domain) or self._has_failed(address.domain):
            return None
        if not self._may_ask(address.domain):
            return None
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._ask(address)
        except Exception:  # noqa: BLE001 - whatever a far server does, it is no key; its words are nobody's business
            self._note_failure(address.domain)
            return None

    async def _ask(self, address: Address) -> bytes | None:
        """The direct method is for where the name of the advanced one leads nowhere (§3.1)."""
        advanced, direct = places(address, self.port)
        try:
            return await self._get(advanced)
        except (httpcore.ConnectError, httpcore.ProxyError):
            return await self._get(direct)

    async def _get(self, url: str) -> bytes | None:
        """Redirects are not followed: they could lead anywhere, and no directory needs them."""
        connector = _Connector(None if self.proxy else self.is_public)
        try:
            async with self._pool(connector) as pool:
                return await _fetch(pool, url)
        finally:
            await connector.close()

    def _pool(self, connector: _Connector) -> httpcore.AsyncConnectionPool:
        if self.proxy:  # which looks the name up itself, so that no name server here learns it
            return httpcore.AsyncSOCKSProxy(self.proxy, ssl_context=self.tls, network_backend=connector)
        return httpcore.AsyncConnectionPool(ssl_context=self.tls, network_backend=connector)

    def _has_failed(self, domain: str) -> bool:
        return domain in self._failed and self.clock() < self._failed[domain] + ASK_AGAIN

    def _may_ask(self, domain: str) -> bool:
        now = self.clock()
        if self._asked_since is None or now >= self._asked_since + ASK_AGAIN:
            self._asked_since = now
            self._asked.clear()
        self._asked[domain] += 1
        return self._asked[domain] <= LOOK_UPS_PER_HOUR

    def _note_failure(self, domain: str) -> None:
        """So that a server that never answers holds up one letter and not each."""
        if len(self._failed) >= DOMAINS_MAX:
            del self._failed[next(iter(self._failed))]
        self._failed[domain] = self.clock()


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return what verifies the servers: by the system's authorities, or by those in a file. Raises OSError."""
    return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)


def places(address: Address, port: int = PORT) -> tuple[str, str]:
    """Return the addresses of the advanced and of the direct method (§3.1)."""
    host = address.domain if port == PORT else f"{address.domain}:{port}"
    path = f"hu/{web_key.hashed(address.local)}?l={quote(address.local, safe='')}"
    advanced = f"https://openpgpkey.{host}/.well-known/openpgpkey/{address.domain}/{path}"
    return advanced, f"https://{host}/.well-known/openpgpkey/{path}"


async def _fetch(pool: httpcore.AsyncConnectionPool, url: str) -> bytes | None:
    async with pool.stream("GET", url) as answer:
        if answer.status != 200:
            return None
        content = bytearray()
        async for piece in answer.aiter_stream():
            content += piece
            if len(content) > CERTIFICATE_OCTETS:
                return None
        return bytes(content) or None


class _Connector(httpcore.AsyncNetworkBackend):
    """Connects to public addresses alone: a stranger chooses the name, and must not reach what only we can reach.

    is_public: None for a proxy, which the admin chose. It closes what it opened: httpcore forgets the connection to a
    proxy that refuses.
    """

    def __init__(self, is_public: Callable[[str], bool] | None) -> None:
        self._backend = httpcore.AnyIOBackend()
        self._is_public = is_public
        self._opened: list[httpcore.AsyncNetworkStream] = []

    async def close(self) -> None:
        """Close every connection."""
        for stream in self._opened:
            with suppress(OSError, httpcore.NetworkError):
                await stream.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the addresses that were looked at, and to none of the name's own choosing. Raises ConnectError."""
        for address in [host] if self._is_public is None else await _look_up(host, port, self._is_public):
            with suppress(httpcore.ConnectError):
                stream = await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
                self._opened.append(stream)
                return stream
        raise httpcore.ConnectError


async def _look_up(host: str, port: int, is_public: Callable[[str], bool]) -> list[str]:
    """Return where a name leads; nowhere if it does not lead to the public internet alone."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    addresses = [str(one[4][0]) for one in found][:ADDRESSES_MAX]
    return addresses if all(map(is_public, addresses)) else []
