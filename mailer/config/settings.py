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
    Several,
    Tongue,
    is_loopback,
)
from mailer.model.language import Language

MIB = 1024 * 1024
LEASE_TIMEOUTS = 10  # a letter may begin late in its lease, and each of its steps may take a whole timeout
A_FILE = 'the path of a file in quotes, or ""'
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
        description='"sqlite:///FILE" or "postgresql://USER@HOST/DATABASE"',
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
    connections: int = _whole(4, 1, 100)
    timeout_s: int = _whole(60, 1, 3600)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tls == "none" and not (self.host and is_loopback(self.host)):
            raise contradiction('"none" is only for a relay on this machine, as in host = "127.0.0.1"', "tls")
        if self.username and not self.password_file:
            raise contradiction("username needs a password_file", "username")
        if self.password_file and not self.username:
            raise contradiction("password_file needs a username", "password_file")
        return self


class Delivery(Section):
    """How digests and replies leave."""

    batch: int = _whole(50, 1, 10_000)
    lease_s: int = _whole(600, 30, 86_400)
    give_up_after_h: int = _whole(120, 1, 720)


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


class MailingList(Section):
    """One mailing list."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\z", description="1 to 32 of a-z, 0-9 and - in quotes")
    address: ListAddress = Field(description="an e-mail address without + in quotes")
    formerly: Several[ListAddress] = Field(default=(), description="a list of e-mail addresses without +")
    state: Literal["active", "retired"] = Field(default="active", description='"active" or "retired"')
    display_name: Line = Field(default="", description="one line of text in quotes")
    languages: Several[Tongue] = Field(default=tuple(Language), description=f"a list of {LANGUAGES}", min_length=1)
    default_language: Tongue = Field(default=Language.EN, description=LANGUAGES)
    contact: OptionalAddress = Field(default=None, description='an e-mail address in quotes, or ""')
    contact_key: FilePath = Field(default=None, description=A_FILE)
    templates: FilePath = Field(default=None, description='the path of a folder in quotes, or ""')

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
    lists: Several[MailingList] = Field(default=(), description="[[lists]] sections")
    _folder: Path = PrivateAttr(default_factory=Path)

    @property
    def folder(self) -> Path:
        """The folder of the instance: the one that config.toml lies in."""
        return self._folder

    def model_post_init(self, context: Any, /) -> None:
        """Keep the folder that the settings were read from."""
        self._folder = context["folder"]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.delivery.lease_s < LEASE_TIMEOUTS * self.relay.timeout_s:
            # A lease that ends while the relay still thinks lets a second worker send the same letter.
            raise contradiction(f"must be at least {LEASE_TIMEOUTS} times [relay] timeout_s", "delivery", "lease_s")
        _check_lists_differ(self.lists)
        return self


def _check_lists_differ(lists: tuple[MailingList, ...]) -> None:
    taken: set[str] = set()
    for position, one in enumerate(lists):
        for key, values in (("id", [one.id]), ("address", [one.address]), ("formerly", one.formerly)):
            for value in values:
                name = value if isinstance(value, str) else value.normalised
                if name in taken:
                    raise contradiction("another list has it already", "lists", position, key)
                taken.add(name)
