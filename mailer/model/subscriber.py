"""A subscriber, in the three layers in which the register holds one: plain columns, drawer, record (DESIGN §5)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from mailer.model.address import Address
from mailer.model.language import Language


class State(StrEnum):
    """Where somebody stands with a list. UNKNOWN and BANNED have no row among the subscribers.

    INVITED was imported and has not confirmed: not on the list. SUSPENDED has no usable key, or a mailbox that is gone.
    """

    UNKNOWN = "unknown"
    INVITED = "invited"
    ACTIVE = "active"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    BANNED = "banned"


class Method(StrEnum):
    """How a subscriber's digests are sealed."""

    OPENPGP = "openpgp"


@dataclass(frozen=True, slots=True)
class Subscriber:
    """The plain columns: no more than what steers work. The ids are random and tell nothing."""

    id: bytes
    list_id: str
    state: State
    method: Method
    language: Language
    joined: date
    provider: str


@dataclass(frozen=True, slots=True)
class Drawer:
    """What a letter to this subscriber needs. certificate: binary OpenPGP, minimal; b"" if there is none."""

    certificate: bytes = b""
    fingerprint: str = ""

    def __repr__(self) -> str:
        return "Drawer(…)"


@dataclass(frozen=True, slots=True)
class Record:
    """Who it is: the address as given, and the key to the drawer."""

    address: Address
    drawer_key: bytes

    def __repr__(self) -> str:
        return "Record(…)"
