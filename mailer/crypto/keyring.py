"""The service secrets of a running process: given by `unlock`, taken by `lock`, never on disk in clear."""

from __future__ import annotations

import asyncio
from datetime import datetime

from mailer.crypto.openpgp import ListKey
from mailer.crypto.service_secrets import FormerKey, ServiceSecrets, key_name
from mailer.crypto.smime import SmimeKey
from mailer.errors import ListUnknown, Locked


class Keyring:
    """Holds the secrets while unlocked. Python cannot wipe what it drops; docs/threats.md says what that means."""

    def __init__(self, secrets: ServiceSecrets | None = None) -> None:
        self._secrets: ServiceSecrets | None = None
        self._list_keys: dict[str, ListKey] = {}
        self._smime_keys: dict[str, SmimeKey] = {}
        self._is_unlocked = asyncio.Event()
        if secrets is not None:
            self.unlock(secrets)

    @property
    def is_locked(self) -> bool:
        """Whether the secrets are away."""
        return self._secrets is None

    @property
    def secrets(self) -> ServiceSecrets:
        """The secrets. Raises Locked."""
        if self._secrets is None:
            raise Locked
        return self._secrets

    def list_key(self, list_id: str, identity: str = "") -> ListKey:
        """Return the OpenPGP key of a list, or of one of its identities. Raises Locked, ListUnknown."""
        name = key_name(list_id, identity)
        if name not in self._list_keys:
            if name not in self.secrets.list_keys:
                raise ListUnknown("(This identity has no key.)" if identity else "")
            self._list_keys[name] = ListKey.from_secret(self.secrets.list_keys[name])
        return self._list_keys[name]

    def has_list_key(self, list_id: str, identity: str = "") -> bool:
        """Return whether a list, or one of its identities, has an OpenPGP key. Raises Locked."""
        return key_name(list_id, identity) in self.secrets.list_keys

    def keys_of(self, list_id: str, now: datetime) -> tuple[bytes, ...]:
        """Return the keys that a letter to a list may be encrypted to, those of an overlap too. Raises Locked.

        OpenPGP in binary, and S/MIME in PEM.
        """
        return (*self.secrets.keys_of(list_id, now), *self.secrets.smime_keys_of(list_id))

    def former_key(self, list_id: str, identity: str, now: datetime) -> FormerKey | None:
        """Return the key before the current one, while their overlap lasts. Raises Locked."""
        return self.secrets.former_key(key_name(list_id, identity), now)

    def smime_key(self, list_id: str, identity: str = "") -> SmimeKey | None:
        """Return the X.509 key of a list, or of one of its identities; None where it has none. Raises Locked.

        An identity without one has the list's: a letter that names another address in its signature is read all the
        same, and readers can leave.
        """
        keys, own = self.secrets.smime_keys, key_name(list_id, identity)
        name = own if own in keys else list_id
        if name in keys and name not in self._smime_keys:
            self._smime_keys[name] = SmimeKey.from_pem(keys[name])
        return self._smime_keys.get(name)

    def unlock(self, secrets: ServiceSecrets) -> None:
        """Take the secrets into use."""
        self._secrets = secrets
        self._list_keys, self._smime_keys = {}, {}
        self._is_unlocked.set()

    def lock(self) -> None:
        """Drop the secrets; whoever needs them waits or gets Locked."""
        self._secrets = None
        self._list_keys, self._smime_keys = {}, {}
        self._is_unlocked.clear()

    async def wait_until_unlocked(self) -> None:
        """Return as soon as the secrets are there."""
        await self._is_unlocked.wait()
