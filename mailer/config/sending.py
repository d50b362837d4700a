"""The settings of the way out: relays, routes, seed mailboxes, deliveries and the figures about them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from mailer.config.section import (
    A_FILE,
    A_FOLDER,
    A_HOST,
    A_NAME,
    AN_ADDRESS,
    LANGUAGES,
    MIB,
    NAME,
    NAME_OR_NOTHING,
    Section,
    contradiction,
    whole,
)
from mailer.config.values import (
    FilePath,
    ListAddress,
    OptionalHost,
    OptionalListener,
    Proxy,
    Several,
    Tongue,
    is_loopback,
)
from mailer.model.language import Language

A_SELECTOR = 'the name of a DKIM selector in quotes, or ""'


class Relay(Section):
    """The server that takes our mail onward."""

    host: OptionalHost = Field(default=None, description=A_HOST)
    port: int = whole(465, 1, 65535)
    security: Literal["implicit", "starttls"] = Field(default="implicit", description='"implicit" or "starttls"')
    tls: Literal["verify", "none"] = Field(default="verify", description='"verify" or "none"')
    ca_file: FilePath = Field(default=None, description=A_FILE)
    username: str = Field(default="", repr=False, description='a name in quotes, or ""')
    password_file: FilePath = Field(default=None, description=A_FILE)
    proxy: Proxy = Field(default="", repr=False, description='"socks5://HOST:PORT", or ""')
    connections: int = whole(8, 1, 1000)
    timeout_s: int = whole(60, 1, 3600)
    folder: FilePath = Field(default=None, description=A_FOLDER)
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
    connections: int = whole(0, 0, 1000)
    per_minute: int = whole(0, 0, 1_000_000)
    max_letter_bytes: int = whole(0, 0, 1024 * MIB)


class Seed(Section):
    """A mailbox of the organisers' own, in which a copy of each digest must arrive."""

    address: ListAddress = Field(description=AN_ADDRESS)
    key: FilePath = Field(description="the path of a file in quotes")
    language: Tongue = Field(default=Language.EN, description=LANGUAGES)
    lists: Several[str] = Field(default=(), description="a list of ids of lists")
    imap_host: OptionalHost = Field(default=None, description=A_HOST)
    imap_port: int = whole(993, 1, 65535)
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


class Delivery(Section):
    """How digests and replies leave."""

    batch: int = whole(200, 1, 10_000)
    lease_s: int = whole(600, 30, 86_400)
    give_up_after_h: int = whole(120, 1, 720)
    send_before_h: int = whole(48, 1, 8760)


class Metrics(Section):
    """Figures for Prometheus."""

    listen: OptionalListener = Field(default=None, description='an address such as "127.0.0.1:9464", or ""')

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.listen and not is_loopback(self.listen.host):
            raise contradiction("figures are shown on this machine only, as at 127.0.0.1:9464", "listen")
        return self
