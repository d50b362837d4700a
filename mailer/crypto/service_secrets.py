"""What the intake must know to work: the content of keys/service.key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Self

from mailer.crypto.aead import KEY_BYTES, new_key
from mailer.crypto.payload import Malformed, decode, encode, mapping, naming
from mailer.crypto.transit import TransitKey

_SYMMETRIC = ("index_key", "suppression_key", "token_key", "rest_key")
_NAMES = frozenset((*_SYMMETRIC, "transit_private", "list_keys", "former_keys", "smime_keys", "smime_requests"))


def key_name(list_id: str, identity: str = "") -> str:
    """Return under which name the OpenPGP key of a list, or of one of its identities, is kept; ids have no slash."""
    return f"{list_id}/{identity}" if identity else list_id


@dataclass(frozen=True, slots=True)
class FormerKey:
    """A list's OpenPGP key that another has replaced.

    secret: b"" where somebody else may have it: nothing is opened or signed with it then. certificate: binary, revoked
    in that case. introduction: the certificate of the key in its place, certified by this one; b"" if there is none.
    until: the end of the overlap, UTC, whole seconds.
    """

    secret: bytes
    certificate: bytes
    introduction: bytes
    until: datetime

    @property
    def is_compromised(self) -> bool:
        """Whether it was given up at once."""
        return not self.secret

    def __repr__(self) -> str:
        return "FormerKey(…)"


@dataclass(frozen=True, slots=True)
class ServiceSecrets:
    """The service secrets (DESIGN §5). Keys have 32 bytes.

    list_keys: OpenPGP secret keys, binary, by `key_name`: of each list, and of each of its identities.
    former_keys: by the same names, those that were replaced and are still known, at most one for each.
    smime_keys: by the same names, for S/MIME: PEM of secret key, certificate and chain. smime_requests: PEM of secret
    keys for which a certificate authority was asked for a certificate.
    """

    index_key: bytes
    suppression_key: bytes
    token_key: bytes
    rest_key: bytes
    transit_private: TransitKey
    list_keys: Mapping[str, bytes] = field(default_factory=dict)
    former_keys: Mapping[str, FormerKey] = field(default_factory=dict)
    smime_keys: Mapping[str, bytes] = field(default_factory=dict)
    smime_requests: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def generate(cls) -> Self:
        """Return new secrets, without a list."""
        return cls(new_key(), new_key(), new_key(), new_key(), TransitKey.generate())

    @classmethod
    def from_payload(cls, payload: Mapping[str, object]) -> Self:
        """Return what to_payload gave. Raises VaultError."""
        with naming("service secrets"):
            values = mapping({"former_keys": {}, "smime_keys": {}, "smime_requests": {}, **payload}, _NAMES)
            keys = {name: decode(values[name], KEY_BYTES) for name in _SYMMETRIC}
            transit = TransitKey.from_payload({"transit_private": values["transit_private"]})
            list_keys = {list_id: decode(value) for list_id, value in mapping(values["list_keys"]).items()}
            former = {name: _read_former(value) for name, value in mapping(values["former_keys"]).items()}
            return cls(
                **keys,
                transit_private=transit,
                list_keys=MappingProxyType(list_keys),
                former_keys=MappingProxyType(former),
                smime_keys=_read_named(values["smime_keys"]),
                smime_requests=_read_named(values["smime_requests"]),
            )

    def to_payload(self) -> dict[str, object]:
        """Return what the key file holds: JSON values."""
        symmetric: dict[str, object] = {name: encode(getattr(self, name)) for name in _SYMMETRIC}
        list_keys = {list_id: encode(secret) for list_id, secret in self.list_keys.items()}
        former = {name: _write_former(key) for name, key in self.former_keys.items()}
        smime = {"smime_keys": _write_named(self.smime_keys), "smime_requests": _write_named(self.smime_requests)}
        named = {"list_keys": list_keys, "former_keys": former, **smime}
        return symmetric | self.transit_private.to_payload() | named

    def keys_of(self, list_id: str, now: datetime | None = None) -> tuple[bytes, ...]:
        """Return the keys that letters to a list may be encrypted to: its own first, then its identities'.

        now: then also those in whose place others have come, until the end of their overlap.
        """
        own = [name for name in self.list_keys if name.partition("/")[0] == list_id]
        current = tuple(self.list_keys[name] for name in sorted(own))
        found = (self.former_key(name, now) for name in sorted(own)) if now else ()
        return (*current, *(one.secret for one in found if one and one.secret))

    def former_key(self, name: str, now: datetime) -> FormerKey | None:
        """Return the key that the one with this `key_name` has replaced, while their overlap lasts."""
        former = self.former_keys.get(name)
        return former if former is not None and now < former.until else None

    def with_former_key(self, name: str, former: FormerKey | None) -> Self:
        """Return the secrets with this former key in its place, or without one."""
        others = {one: key for one, key in self.former_keys.items() if one != name}
        added = {name: former} if former is not None else {}
        return replace(self, former_keys=MappingProxyType(others | added))

    def smime_keys_of(self, list_id: str) -> tuple[bytes, ...]:
        """Return the same for S/MIME: PEM."""
        return tuple(key for name, key in sorted(self.smime_keys.items()) if name.partition("/")[0] == list_id)

    def with_smime_key(self, name: str, pem: bytes) -> Self:
        """Return the secrets with this S/MIME key under a `key_name`; a request that waited there is over."""
        waiting = {one: key for one, key in self.smime_requests.items() if one != name}
        keys = MappingProxyType({**self.smime_keys, name: pem})
        return replace(self, smime_keys=keys, smime_requests=MappingProxyType(waiting))

    def with_smime_request(self, name: str, pem: bytes) -> Self:
        """Return the secrets with a secret key that waits for its certificate; one in use goes on meanwhile."""
        return replace(self, smime_requests=MappingProxyType({**self.smime_requests, name: pem}))

    def with_list_key(self, list_id: str, secret: bytes, identity: str = "") -> Self:
        """Return the secrets with this list's key, or that of one of its identities, added or replaced."""
        return replace(self, list_keys=MappingProxyType({**self.list_keys, key_name(list_id, identity): secret}))

    def without_past_keys(self, now: datetime) -> Self:
        """Return the secrets without the former keys whose overlap is over; the same ones where there is none."""
        kept = {name: key for name, key in self.former_keys.items() if now < key.until}
        return self if len(kept) == len(self.former_keys) else replace(self, former_keys=MappingProxyType(kept))

    def __repr__(self) -> str:
        return "ServiceSecrets(…)"


_FORMER_NAMES = frozenset({"secret", "certificate", "introduction", "until"})


def _read_named(value: object) -> Mapping[str, bytes]:
    return MappingProxyType({name: decode(one) for name, one in mapping(value).items()})


def _write_named(keys: Mapping[str, bytes]) -> dict[str, str]:
    return {name: encode(key) for name, key in keys.items()}


def _read_former(value: object) -> FormerKey:
    fields = mapping(value, _FORMER_NAMES)
    secret, certificate, introduction = (decode(fields[name]) for name in ("secret", "certificate", "introduction"))
    until = fields["until"]
    if type(until) is not int or not 0 <= until < _YEAR_9999:
        raise Malformed("the end of an overlap is no moment")
    return FormerKey(secret, certificate, introduction, datetime.fromtimestamp(until, UTC))


def _write_former(key: FormerKey) -> dict[str, object]:
    return {
        "secret": encode(key.secret),
        "certificate": encode(key.certificate),
        "introduction": encode(key.introduction),
        "until": int(key.until.timestamp()),
    }


_YEAR_9999 = 253_370_764_800  # in seconds since 1970
