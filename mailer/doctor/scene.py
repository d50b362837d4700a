"""What the checks look at: an instance, its database if that opens, the DNS, and the machine around it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from mailer.config import Relay, is_loopback
from mailer.control import is_held
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.doctor.names import Names
from mailer.errors import StoreError
from mailer.instance import Instance
from mailer.outward.relay import RelaySettings
from mailer.store.database import Database

# What a router translates (RFC 1918, RFC 6598, RFC 4193). Not is_private, which counts addresses of examples as such.
_INSIDE = tuple(
    ipaddress.ip_network(one) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)


@dataclass(frozen=True, eq=False)
class Scene:
    """root: of the file system, another one in tests. secrets: None where no passphrase was given.

    relay_settings: of the relay with this name; raises RelayUnusable. trouble: why the database does not open.
    """

    instance: Instance
    names: Names
    now: datetime
    relay_settings: Callable[[str], RelaySettings]
    secrets: ServiceSecrets | None = None
    root: Path = Path("/")
    trouble: StoreError | None = None
    opened: Database | None = field(default=None, repr=False)

    @property
    def database(self) -> Database:
        """The database, open. Raises StoreError."""
        if self.opened is None:
            raise self.trouble or StoreError
        return self.opened

    @property
    def database_file(self) -> Path | None:
        """The file of an SQLite database."""
        url = self.instance.config.store.url
        return Path(url.partition(":///")[2]) if url.startswith("sqlite") else None

    @property
    def has_service(self) -> bool:
        """Whether `mailer serve` runs on this folder."""
        return is_held(self.instance.control_path.with_suffix(".lock"))

    @property
    def has_deliverer(self) -> bool:
        """Whether `mailer work` runs on this folder."""
        return is_held(self.instance.folder / "run" / "roster.lock")

    @property
    def runs_elsewhere(self) -> bool:
        """Whether this is the deliverer's own folder, and the door's is another one (docs/operations.md §2)."""
        return self.has_deliverer and not self.has_service

    @cached_property
    def relays(self) -> dict[str, Relay]:
        """The relays that mail can leave over, by name."""
        return {name: relay for name, relay in self.instance.config.all_relays.items() if relay.is_set}

    @cached_property
    def senders(self) -> dict[str, set[str]]:
        """The domains that letters are from, each with the relays that stand for it.

        A list's own address is from every relay without an identity; an identity's from those that name it.
        """
        found: dict[str, set[str]] = {}
        for one in self.instance.config.lists:
            if one.state == "retired":
                continue
            for name, domain in [
                ("", one.address.domain),
                *((each.name, each.address.domain) for each in one.identities),
            ]:
                found.setdefault(domain, set()).update(
                    relay for relay, settings in self.relays.items() if settings.identity == name
                )
        return found

    @cached_property
    def public_addresses(self) -> set[str]:
        """The IP addresses at which the world reaches the door. Raises Unanswered."""
        listening = {one.host for one in self.instance.config.door.listen if is_public(one.host)}
        return listening or self.names.addresses(self.instance.config.door.hostname)

    @property
    def is_reached_from_outside(self) -> bool:
        """Whether the door listens for more than this machine."""
        return any(not is_loopback(one.host) for one in self.instance.config.door.listen)

    @property
    def has_systemd(self) -> bool:
        """Whether this is a machine of its own, not a container whose kernel is another's business (sd_booted(3))."""
        return (self.root / "run/systemd/system").is_dir()

    def read(self, path: str) -> str:
        """Return a file of the machine's, as in "/proc/swaps"; "" where there is none."""
        with suppress(OSError, UnicodeError):
            return self.at(path).read_text(encoding="utf-8", errors="replace")
        return ""

    def at(self, path: str | Path) -> Path:
        """Return where a file of the machine's is, given its whole path."""
        return self.root / str(path).lstrip("/")

    def is_in_memory(self, path: Path) -> bool:
        """Whether a file lies where a switched-off machine has nothing (tmpfs and its like)."""
        return self.file_system(path) in ("tmpfs", "ramfs", "devtmpfs")

    def file_system(self, path: Path) -> str:
        """Return the kind of file system that a path is on, as in "ext4"; "" where that is not known."""
        best, kind = Path(), ""
        for line in self.read("/proc/self/mountinfo").splitlines():  # proc(5)
            before, _, after = line.partition(" - ")
            mounted = Path(before.split(" ")[4].replace("\\040", " ")) if before.count(" ") >= 4 else None
            if mounted and path.is_relative_to(mounted) and len(mounted.parts) >= len(best.parts):
                best, kind = mounted, after.split(" ")[0]
        return kind

    def ago(self, **how_long: float) -> datetime:
        """Return the moment so long before now."""
        return self.now - timedelta(**how_long)


def is_public(host: str) -> bool:
    """Whether this is one IP address that may be the one that the world uses."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    is_inside = any(address in network for network in _INSIDE if network.version == address.version)
    return not (is_inside or address.is_loopback or address.is_unspecified or address.is_link_local)


def is_no_name(hostname: str) -> bool:
    """Whether this is no name that the DNS could have: one of this machine's alone, or an address."""
    try:
        ipaddress.ip_address(hostname)
    except ValueError:
        return "." not in hostname
    return True
