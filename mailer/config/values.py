"""The kinds of value that settings have. Each parser raises ValueError; the sentence is the setting's description."""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo

from mailer.errors import BadAddress
from mailer.model.address import Address
from mailer.model.language import Language

SQLITE = "sqlite:///"
POSTGRESQL = {"postgresql", "postgresql+asyncpg"}
_SQLITE = {"sqlite", "sqlite+aiosqlite"}
LARGEST_PORT = 65535
HEADER_BREAKERS = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode categories: controls, formats, surrogates, separators

_T = TypeVar("_T")


class Endpoint(NamedTuple):
    """Where to listen. host: an IP address or a name, "" for every interface. port: 0 for any that is free."""

    host: str
    port: int


def is_loopback(host: str) -> bool:
    """Whether what is sent to this host stays on this machine. Names are not looked up, but for `localhost`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _endpoint(value: str) -> Endpoint:
    host, colon, port = value.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()) or int(port) > LARGEST_PORT:
        raise ValueError
    if host.startswith("["):  # RFC 3986 §3.2.2: brackets keep the colons of an IPv6 address apart from the port's
        return Endpoint(str(ipaddress.IPv6Address(host[1:].removesuffix("]"))), int(port))
    return Endpoint(_domain_or_ipv4(host) if host else "", int(port))


def _host(value: str) -> str:
    return str(ipaddress.IPv6Address(value)) if ":" in value else _domain_or_ipv4(value)


def _network(value: str) -> IPv4Network | IPv6Network:
    return ipaddress.ip_network(value)


def _domain_or_ipv4(value: str) -> str:
    try:
        return str(ipaddress.IPv4Address(value))
    except ValueError:
        return _domain(value)


def _domain(value: str) -> str:
    return _address(f"postmaster@{value}").domain


def _address(value: str) -> Address:
    try:
        return Address.parse(value)
    except BadAddress as error:
        raise ValueError from error


def _list_address(value: str) -> Address:
    address = _address(value)
    if "+" in address.local:  # what stands behind + says what a letter to the list is about
        raise ValueError
    return address


def _one_line(value: str) -> str:
    if any(unicodedata.category(char) in HEADER_BREAKERS for char in value):  # it may come to stand in a header field
        raise ValueError
    return value


def _path(value: str, folder: Path) -> Path:
    return folder / value


def database_url(value: str, folder: Path) -> str:
    """Return a URL with the path of an SQLite file made whole. Raises ValueError."""
    scheme, separator, rest = value.partition("://")
    if scheme in POSTGRESQL and rest:
        return value
    name = rest.removeprefix("/")
    if scheme not in _SQLITE or name in {rest, "", ":memory:"} or not separator:
        raise ValueError
    return f"{SQLITE}{folder / name}"


def _proxy(value: str) -> str:
    """RFC 1928; names are looked up at the far end, so that no name server here learns where mail goes."""
    if value:
        parts = urlsplit(value)
        if parts.scheme != "socks5" or not parts.hostname or not parts.port or parts.path:
            raise ValueError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004 -- pydantic reports a ValueError, a TypeError it lets through
    return value


def _reads(parse: Callable[[str], object]) -> PlainValidator:
    return PlainValidator(lambda value: parse(_text(value)))


def _reads_optional(parse: Callable[[str], object]) -> PlainValidator:
    return PlainValidator(lambda value: parse(_text(value)) if value != "" else None)


def _resolves(parse: Callable[[str, Path], object]) -> PlainValidator:
    def resolve(value: object, info: ValidationInfo) -> object:
        folder: Path = (info.context or {})["folder"]
        return parse(_text(value), folder) if value != "" else None

    return PlainValidator(resolve)


# TOML has lists and strings only. Strict all the same: what stands inside a tuple is checked by its own type.
Several = Annotated[tuple[_T, ...], Field(strict=False)]
Tongue = Annotated[Language, Field(strict=False)]
Listener = Annotated[Endpoint, _reads(_endpoint)]
OptionalListener = Annotated[Endpoint | None, _reads_optional(_endpoint)]
Proxy = Annotated[str, AfterValidator(_proxy)]
Domain = Annotated[str, _reads(_domain)]
Network = Annotated[IPv4Network | IPv6Network, _reads(_network)]
OptionalHost = Annotated[str | None, _reads_optional(_host)]
ListAddress = Annotated[Address, _reads(_list_address)]
OptionalAddress = Annotated[Address | None, _reads_optional(_address)]
Line = Annotated[str, AfterValidator(_one_line)]
FilePath = Annotated[Path | None, _resolves(_path)]
DatabaseUrl = Annotated[str, _resolves(database_url)]
