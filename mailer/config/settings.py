"""Every setting there is: its type, its bounds and its default. What each is for stands in config.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from mailer.config.section import (
    A_FILE,
    A_FOLDER,
    A_NAME,
    AN_ADDRESS,
    LANGUAGES,
    MIB,
    NAME,
    Section,
    contradiction,
    whole,
)
from mailer.config.sending import Delivery, Metrics, NamedRelay, Relay, Route, Seed
from mailer.config.upkeep import Admin, Alerts, Doctor, Retention
from mailer.config.values import (
    SQLITE,
    DatabaseUrl,
    Domain,
    Endpoint,
    FilePath,
    Line,
    ListAddress,
    Listener,
    Network,
    OptionalAddress,
    Proxy,
    Several,
    Tongue,
)
from mailer.model.language import Language
from mailer.model.policy import LOOPBACK

LEASE_TIMEOUTS = 10  # a letter may begin late in its lease, and each of its steps may take a whole timeout
DATABASE_URL = '"sqlite:///FILE" or "postgresql+asyncpg://USER@HOST/DATABASE"'
MAIN = "main"  # what routes call the relay of the section [relay]


class Door(Section):
    """Where letters come in."""

    listen: Several[Listener] = Field(
        default=(Endpoint("127.0.0.1", 2525),), description='a list such as ["127.0.0.1:2525"], [":25"] or ["[::1]:25"]'
    )
    lmtp_socket: FilePath = Field(default=None, description='the path of a socket in quotes, or ""')
    hostname: Domain = Field(default="localhost", description="this machine's name in the DNS, in quotes")
    tls_certificate: FilePath = Field(default=None, description=A_FILE)
    tls_key: FilePath = Field(default=None, description=A_FILE)
    max_letter_bytes: int = whole(10 * MIB, 65_536, 1024 * MIB)
    max_recipients: int = whole(50, 1, 1000)
    max_connections: int = whole(200, 1, 100_000)
    max_connections_per_host: int = whole(20, 1, 100_000)
    timeout_s: int = whole(60, 1, 3600)
    min_free_bytes: int = whole(256 * MIB, 0, 2**60)

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


class Reader(Section):
    """What the child process that reads strangers' letters is allowed."""

    memory_mib: int = whole(192, 128, 65_536)
    time_s: int = whole(10, 1, 600)
    processes: int = whole(1, 1, 64)


class Wkd(Section):
    """Whether the certificate of somebody who joins without one is looked for at their mail provider."""

    enabled: bool = Field(default=False, description="true or false")
    proxy: Proxy = Field(default="", repr=False, description='"socks5://HOST:PORT", or ""')
    timeout_s: int = whole(10, 1, 60)
    ca_file: FilePath = Field(default=None, description=A_FILE)


class Smime(Section):
    """Readers with X.509 certificates."""

    ca_file: FilePath = Field(default=None, description=A_FILE)


class Providers(Section):
    """Which mail providers the register tells apart."""

    large: Several[Domain] = Field(default=(), description='a list of domains such as ["gmail.com", "qq.com"]')
    buckets: int = whole(8, 1, 256)


class Limits(Section):
    """What one letter, address or network may cause."""

    confirmations_per_address_per_day: int = whole(1, 1, 10)
    replies_per_address_per_day: int = whole(20, 1, 1000)
    letters_per_sender_per_day: int = whole(50, 1, 100_000)
    letters_per_domain_per_day: int = whole(1000, 1, 10_000_000)
    letters_per_network_per_day: int = whole(2000, 1, 10_000_000)
    letters_per_day: int = whole(10_000, 1, 100_000_000)
    letters_to_contact_per_day: int = whole(500, 1, 1_000_000)
    front_servers: Several[Network] = Field(
        default=LOOPBACK, description='a list of networks such as ["127.0.0.0/8", "2001:db8::/64"]'
    )
    require_authenticated_sender: bool = Field(default=False, description="true or false")
    authentication_results_from: str = Field(
        default="", pattern=r"^[A-Za-z0-9._-]{0,255}\z", description='a name such as "mx.example.org", or ""'
    )
    pending_days: int = whole(7, 1, 90)


class Identity(Section):
    """Another address that a list sends from, over the relays that stand for it."""

    name: str = Field(pattern=NAME, description=A_NAME)
    address: ListAddress = Field(description=AN_ADDRESS)
    display_name: Line = Field(default="", description="one line of text in quotes")


class MailingList(Section):
    """One mailing list."""

    id: str = Field(pattern=NAME, description=A_NAME)
    address: ListAddress = Field(description=AN_ADDRESS)
    formerly: Several[ListAddress] = Field(default=(), description="a list of e-mail addresses without +")
    state: Literal["active", "retired"] = Field(default="active", description='"active" or "retired"')
    display_name: Line = Field(default="", description="one line of text in quotes")
    header_protection: Literal["hcp_baseline", "hcp_shy"] = Field(
        default="hcp_baseline", description='"hcp_baseline" or "hcp_shy"'
    )
    languages: Several[Tongue] = Field(default=tuple(Language), description=f"a list of {LANGUAGES}", min_length=1)
    default_language: Tongue = Field(default=Language.EN, description=LANGUAGES)
    contact: OptionalAddress = Field(default=None, description='an e-mail address in quotes, or ""')
    contact_key: FilePath = Field(default=None, description=A_FILE)
    templates: FilePath = Field(default=None, description=A_FOLDER)
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
    smime: Smime
    wkd: Wkd
    providers: Providers
    limits: Limits
    metrics: Metrics
    doctor: Doctor
    alerts: Alerts
    retention: Retention
    relays: Several[NamedRelay] = Field(default=(), description="[[relays]] sections")
    routes: Several[Route] = Field(default=(), description="[[routes]] sections")
    seeds: Several[Seed] = Field(default=(), description="[[seeds]] sections")
    admins: Several[Admin] = Field(default=(), description="[[admins]] sections")
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
