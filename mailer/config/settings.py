"""Every setting there is: its type, its bounds and its default. What each is for stands in config.toml.

A field's `description` ends the sentence "expected …" that the operator reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from mailer.config.values import (
    SQLITE,
    DatabaseUrl,
    Domain,
    Endpoint,
    FilePath,
    Line,
    ListAddress,
    Listener,
    OptionalAddress,
    OptionalHost,
    OptionalListener,
    Proxy,
    Several,
    Tongue,
    is_loopback,
)
from mailer.model.language import Language

MIB = 1024 * 1024
LEASE_TIMEOUTS = 10  # a letter may begin late in its lease, and each of its steps may take a whole timeout
A_FILE = 'the path of a file in quotes, or ""'
DATABASE_URL = '"sqlite:///FILE" or "postgresql+asyncpg://USER@HOST/DATABASE"'
A_NAME = "1 to 32 of a-z, 0-9 and - in quotes"
A_SELECTOR = 'the name of a DKIM selector in quotes, or ""'
NAME = r"^[a-z0-9][a-z0-9-]{0,31}\z"
NAME_OR_NOTHING = r"^([a-z0-9][a-z0-9-]{0,31})?\z"
MAIN = "main"  # what routes call the relay of the section [relay]
LANGUAGES = '"en", "zh-Hant" or "zh-Hans"'


def contradiction(sentence: str, *at: str | int) -> PydanticCustomError:
    """Return the error for settings that are each right but not together; `at` leads to the one to mend."""
    return PydanticCustomError("contradiction", "{sentence}", {"sentence": sentence, "at": at})


def _whole(default: int, low: int, high: int) -> Any:
    return Field(default=default, ge=low, le=high, description=f"a whole number from {low} to {high}")


class Section(BaseModel):
    """A part of config.toml: frozen, strict about types, and without room for a key that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Door(Section):
    """Where letters come in."""

    listen: Several[Listener] = Field(
        default=(Endpoint("127.0.0.1", 2525),), description='a list such as ["127.0.0.1:2525"], [":25"] or ["[::1]:25"]'
    )
    lmtp_socket: FilePath = Field(default=None, description='the path of a socket in quotes, or ""')
    hostname: Domain = Field(default="localhost", description="this machine's name in the DNS, in quotes")
    tls_certificate: FilePath = Field(default=None, description=A_FILE)
    tls_key: FilePath = Field(default=None, description=A_FILE)
    max_letter_bytes: int = _whole(10 * MIB, 65_536, 1024 * MIB)
    max_recipients: int = _whole(50, 1, 1000)
    max_connections: int = _whole(200, 1, 100_000)
    max_connections_per_host: int = _whole(20, 1, 100_000)
    timeout_s: int = _whole(60, 1, 3600)
    min_free_bytes: int = _whole(256 * MIB, 0, 2**60)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tls_certificate and not self.tls_key:
            raise contradiction("tls_certificate needs its tls_key", "tls_certificate")
        if self.tls_key and not self.tls_certificate:
            raise contradiction("tls_key needs its tls_certificate", "tls_key")
        return self


class Store(Section):
    """Where everything is kept."""

    url: DatabaseUrl = Field(
        default=f"{SQLITE}mailer.db",
        validate_default=True,
        repr=False,  # PostgreSQL's may hold a password
        description=DATABASE_URL,
    )


class Relay(Section):
    """The server that takes our mail onward."""

    host: OptionalHost = Field(default=None, description='the name of a server in quotes, or ""')
    port: int = _whole(465, 1, 65535)
    security: Literal["implicit", "starttls"] = Field(default="implicit", description='"implicit" or "starttls"')
    tls: Literal["verify", "none"] = Field(default="verify", description='"verify" or "none"')
    ca_file: FilePath = Field(default=None, description=A_FILE)
    username: str = Field(default="", repr=False, description='a name in quotes, or ""')
    password_file: FilePath = Field(default=None, description=A_FILE)
    proxy: Proxy = Field(default="", repr=False, description='"socks5://HOST:PORT", or ""')
    connections: int = _whole(8, 1, 1000)
    timeout_s: int = _whole(60, 1, 3600)
    folder: FilePath = Field(default=None, description='the path of a folder in quotes, or ""')
    folder_format: Literal["maildir", "eml"] = Field(default="maildir", description='"maildir" or "eml"')
    identity: str = Field(default="", pattern=NAME_OR_NOTHING, description=f'{A_NAME}, or ""')
    dkim_selector: str = Field(default="", pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?\z", description=A_SELECTOR)
    dkim_key: FilePath = Field(default=None, description=A_FILE)

    @property
    def is_set(self) -> bool:
        """Whether there is anywhere to send mail to."""
        return self.host is not None or self.folder is not None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.host and self.folder:
            raise contradiction("a relay is a server or a folder, not both", "folder")
        if self.tls == "none" and not (self.folder or (self.host and is_loopback(self.host))):
            raise contradiction('"none" is only for a relay on this machine, as in host = "127.0.0.1"', "tls")
        if self.tls == "none" and self.proxy:
            raise contradiction("what goes through a proxy leaves this machine, so TLS must be verified", "tls")
        if self.username and not self.password_file:
            raise contradiction("username needs a password_file", "username")
        if self.password_file and not self.username:
            raise contradiction("password_file needs a username", "password_file")
        if bool(self.dkim_selector) != bool(self.dkim_key):
            raise contradiction("dkim_selector and dkim_key need each other", "dkim_selector")
        return self


class NamedRelay(Relay):
    """A further relay."""

    name: str = Field(pattern=NAME, description=A_NAME)


class Route(Section):
    """Which relays are tried for some providers, in which order, and how much at once."""

    providers: Several[str] = Field(min_length=1, description='a list such as ["qq.com", "163.com"], or ["*"]')
    relays: Several[str] = Field(default=(), description='a list of names of relays such as ["main", "second"]')
    connections: int = _whole(0, 0, 1000)
    per_minute: int = _whole(0, 0, 1_000_000)
    max_letter_bytes: int = _whole(0, 0, 1024 * MIB)


class Seed(Section):
    """A mailbox of the organisers' own, in which a copy of each digest must arrive."""

    address: ListAddress = Field(description="an e-mail address without + in quotes")
    key: FilePath = Field(description="the path of a file in quotes")
    language: Tongue = Field(default=Language.EN, description=LANGUAGES)
    lists: Several[str] = Field(default=(), description="a list of ids of lists")
    imap_host: OptionalHost = Field(default=None, description='the name of a server in quotes, or ""')
    imap_port: int = _whole(993, 1, 65535)
    imap_tls: Literal["verify", "none"] = Field(default="verify", description='"verify" or "none"')
    imap_ca_file: FilePath = Field(default=None, description=A_FILE)
    imap_username: str = Field(default="", repr=False, description='a name in quotes, or ""')
    imap_password_file: FilePath = Field(default=None, description=A_FILE)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.imap_host and not (self.imap_username and self.imap_password_file):
            raise contradiction("imap_host needs imap_username and imap_password_file", "imap_host")
        if self.imap_tls == "none" and not (self.imap_host and is_loopback(self.imap_host)):
            raise contradiction('"none" is only for a server on this machine', "imap_tls")
        return self


class Metrics(Section):
    """Figures for Prometheus."""

    listen: OptionalListener = Field(default=None, description='an address such as "127.0.0.1:9464", or ""')

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.listen and not is_loopback(self.listen.host):
            raise contradiction("figures are shown on this machine only, as at 127.0.0.1:9464", "listen")
        return self


class Delivery(Section):
    """How digests and replies leave."""

    batch: int = _whole(200, 1, 10_000)
    lease_s: int = _whole(600, 30, 86_400)
    give_up_after_h: int = _whole(120, 1, 720)
    send_before_h: int = _whole(48, 1, 8760)


class Reader(Section):
    """What the child process that reads strangers' letters is allowed."""

    memory_mib: int = _whole(512, 128, 65_536)
    time_s: int = _whole(10, 1, 600)
    processes: int = _whole(1, 1, 64)


class Providers(Section):
    """Which mail providers the register tells apart."""

    large: Several[Domain] = Field(default=(), description='a list of domains such as ["gmail.com", "qq.com"]')
    buckets: int = _whole(8, 1, 256)


class Limits(Section):
    """What one address may cause."""

    confirmations_per_address_per_day: int = _whole(1, 1, 10)
    replies_per_address_per_day: int = _whole(20, 1, 1000)
    pending_days: int = _whole(7, 1, 90)


class Identity(Section):
    """Another address that a list sends from, over the relays that stand for it."""

    name: str = Field(pattern=NAME, description=A_NAME)
    address: ListAddress = Field(description="an e-mail address without + in quotes")
    display_name: Line = Field(default="", description="one line of text in quotes")


class MailingList(Section):
    """One mailing list."""

    id: str = Field(pattern=NAME, description=A_NAME)
    address: ListAddress = Field(description="an e-mail address without + in quotes")
    formerly: Several[ListAddress] = Field(default=(), description="a list of e-mail addresses without +")
    state: Literal["active", "retired"] = Field(default="active", description='"active" or "retired"')
    display_name: Line = Field(default="", description="one line of text in quotes")
    languages: Several[Tongue] = Field(default=tuple(Language), description=f"a list of {LANGUAGES}", min_length=1)
    default_language: Tongue = Field(default=Language.EN, description=LANGUAGES)
    contact: OptionalAddress = Field(default=None, description='an e-mail address in quotes, or ""')
    contact_key: FilePath = Field(default=None, description=A_FILE)
    templates: FilePath = Field(default=None, description='the path of a folder in quotes, or ""')
    identities: Several[Identity] = Field(default=(), description="[[lists.identities]] sections")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.default_language not in self.languages:
            raise contradiction("the default language is not among the languages", "default_language")
        if self.contact_key and not self.contact:
            raise contradiction("contact_key needs the contact that it belongs to", "contact_key")
        return self


class Config(Section):
    """All settings. Every path in it is resolved against `folder`."""

    door: Door
    store: Store
    relay: Relay
    delivery: Delivery
    reader: Reader
    providers: Providers
    limits: Limits
    metrics: Metrics
    relays: Several[NamedRelay] = Field(default=(), description="[[relays]] sections")
    routes: Several[Route] = Field(default=(), description="[[routes]] sections")
    seeds: Several[Seed] = Field(default=(), description="[[seeds]] sections")
    lists: Several[MailingList] = Field(default=(), description="[[lists]] sections")
    _folder: Path = PrivateAttr(default_factory=Path)

    @property
    def folder(self) -> Path:
        """The folder of the instance: the one that config.toml lies in."""
        return self._folder

    @property
    def all_relays(self) -> dict[str, Relay]:
        """Every relay by its name, in the order of the file: [relay] first."""
        return {MAIN: self.relay, **{one.name: one for one in self.relays}}

    def model_post_init(self, context: Any, /) -> None:
        """Keep the folder that the settings were read from."""
        self._folder = context["folder"]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.delivery.lease_s < LEASE_TIMEOUTS * max(one.timeout_s for one in self.all_relays.values()):
            # A lease that ends while the relay still thinks lets a second worker send the same letter.
            raise contradiction(f"must be at least {LEASE_TIMEOUTS} times a relay's timeout_s", "delivery", "lease_s")
        _check_lists_differ(self.lists)
        _check_relays(self)
        _check_routes(self)
        _check_seeds(self)
        return self


def _check_lists_differ(lists: tuple[MailingList, ...]) -> None:
    taken: set[str] = set()
    for position, one in enumerate(lists):
        own = [("address", one.address.normalised), *(("formerly", each.normalised) for each in one.formerly)]
        others = [("identities", each.address.normalised) for each in one.identities]
        for key, name in [("id", one.id), *own, *others]:
            if name in taken:
                raise contradiction("another list has it already", "lists", position, key)
            taken.add(name)
        if len({each.name for each in one.identities}) < len(one.identities):
            raise contradiction("two identities have one name", "lists", position, "identities")


def _check_relays(config: Config) -> None:
    if len(config.all_relays) <= len(config.relays):
        raise contradiction(f'two relays have one name; "{MAIN}" is that of [relay]', "relays")
    identities = {each.name for one in config.lists for each in one.identities}
    for position, one in enumerate(config.relays):
        if one.identity and one.identity not in identities:
            raise contradiction("no list has an identity of this name", "relays", position, "identity")
    if config.relay.identity and config.relay.identity not in identities:
        raise contradiction("no list has an identity of this name", "relay", "identity")


def _check_routes(config: Config) -> None:
    known = set(config.providers.large) | {"*"}
    taken: set[str] = set()
    for position, route in enumerate(config.routes):
        if not set(route.relays) <= set(config.all_relays):
            raise contradiction("no relay has this name", "routes", position, "relays")
        if not set(route.providers) <= known:
            raise contradiction('name domains that are in [providers] large, or "*"', "routes", position, "providers")
        if taken & set(route.providers):
            raise contradiction("another route has this provider already", "routes", position, "providers")
        taken |= set(route.providers)


def _check_seeds(config: Config) -> None:
    lists = {one.id for one in config.lists}
    for position, seed in enumerate(config.seeds):
        if not set(seed.lists) <= lists:
            raise contradiction("no list has this id", "seeds", position, "lists")
