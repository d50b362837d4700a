"""What the intake must know to work: the content of keys/service.key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Self

from mailer.crypto.aead import KEY_BYTES, new_key
from mailer.crypto.payload import decode, encode, mapping, naming
from mailer.crypto.transit import TransitKey

_SYMMETRIC = ("index_key", "suppression_key", "token_key", "rest_key")
_NAMES = frozenset((*_SYMMETRIC, "transit_private", "list_keys"))


def key_name(list_id: str, identity: str = "") -> str:
    """Return under which name the OpenPGP key of a list, or of one of its identities, is kept; ids have no slash."""
    return f"{list_id}/{identity}" if identity else list_id


@dataclass(frozen=True, slots=True)
class ServiceSecrets:
    """The service secrets (DESIGN §5). Keys have 32 bytes.

    list_keys: OpenPGP secret keys, binary, by `key_name`: of each list, and of each of its identities.
    """

    index_key: bytes
    suppression_key: bytes
    token_key: bytes
    rest_key: bytes
    transit_private: TransitKey
    list_keys: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def generate(cls) -> Self:
        """Return new secrets, without a list."""
        return cls(new_key(), new_key(), new_key(), new_key(), TransitKey.generate())

    @classmethod
    def from_payload(cls, payload: Mapping[str, object]) -> Self:
        """Return what to_payload gave. Raises VaultError."""
        with naming("service secrets"):
            values = mapping(payload, _NAMES)
            keys = {name: decode(values[name], KEY_BYTES) for name in _SYMMETRIC}
            transit = TransitKey.from_payload({"transit_private": values["transit_private"]})
            list_keys = {list_id: decode(value) for list_id, value in mapping(values["list_keys"]).items()}
            return cls(**keys, transit_private=transit, list_keys=MappingProxyType(list_keys))

    def to_payload(self) -> dict[str, object]:
        """Return what the key file holds: JSON values."""
        symmetric: dict[str, object] = {name: encode(getattr(self, name)) for name in _SYMMETRIC}
        list_keys = {list_id: encode(secret) for list_id, secret in self.list_keys.items()}
        return symmetric | self.transit_private.to_payload() | {"list_keys": list_keys}

    def keys_of(self, list_id: str) -> tuple[bytes, ...]:
        """Return the keys that letters to a list may be encrypted to: its own first, then its identities'."""
        own = [name for name in self.list_keys if name.partition("/")[0] == list_id]
        return tuple(self.list_keys[name] for name in sorted(own))

    def with_list_key(self, list_id: str, secret: bytes, identity: str = "") -> Self:
        """Return the secrets with this list's key, or that of one of its identities, added or replaced."""
        return replace(self, list_keys=MappingProxyType({**self.list_keys, key_name(list_id, identity): secret}))

    def __repr__(self) -> str:
        return "ServiceSecrets(…)"
