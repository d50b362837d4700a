"""What a relay is: where it stands, how it is reached, how much it is given. Settings that are unsafe are refused."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from mailer.errors import RelayUnusable

Security = Literal["starttls", "implicit", "none"]
FolderFormat = Literal["maildir", "eml"]


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """One relay. security "none" is for a server on this machine. ca_file: trust these authorities, no others.

    connections: at most so many at once. timeout_s: for each reply. local_hostname: said in EHLO. proxy: ""
    or "socks5://[user:password@]host:port"; the relay's name is then looked up by the proxy, not here.
    folder: letters are laid there instead of being sent, and host, port and all about connections mean nothing.
    """

    host: str
    port: int
    security: Security = "starttls"
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    connections: int = 4
    timeout_s: float = 300.0
    local_hostname: str = "localhost"
    name: str = "main"
    proxy: str = field(default="", repr=False)
    folder: Path | None = None
    folder_format: FolderFormat = "maildir"


@dataclass(frozen=True, slots=True, repr=False)
class Proxy:
    """A SOCKS5 proxy (RFC 1928). username and password: "" for none (RFC 1929); Tor isolates streams by them."""

    host: str
    port: int
    username: str
    password: str


def tls_context(settings: RelaySettings) -> ssl.SSLContext | None:
    """Return what verifies certificate and name; None for a relay without TLS on this machine. Raises RelayUnusable."""
    if settings.security == "none":
        if settings.proxy:
            raise RelayUnusable("Through a proxy mail goes with TLS only.")
        if not is_loopback(settings.host):
            raise RelayUnusable("Without TLS mail goes to this machine only.")
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise RelayUnusable("ca_file cannot be read.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def read_proxy(text: str) -> Proxy | None:
    """Return the proxy that "socks5://[user:password@]host:port" names; None for "". Raises RelayUnusable."""
    if not text:
        return None
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        host, port, url = None, None, urlsplit("")
    login = (unquote(url.username or ""), unquote(url.password or ""))
    is_login_whole = all(login) or not any(login)
    is_fitting = all(len(part.encode()) <= 255 for part in login)  # RFC 1929 §2: lengths are one octet
    if url.scheme != "socks5" or not host or not port or url.path or url.query or url.fragment:
        raise RelayUnusable('proxy must be "socks5://host:port" or "socks5://user:password@host:port".')
    if not (is_login_whole and is_fitting):
        raise RelayUnusable("proxy needs a user name and a password of at most 255 octets each, or neither.")
    return Proxy(host, port, *login)


def is_loopback(host: str) -> bool:
    """Return whether an address, or the name `localhost`, is this machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
