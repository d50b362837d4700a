"""The service secrets of a running process: given by `unlock`, taken by `lock`, never on disk in clear."""

from __future__ import annotations

import asyncio

from mailer.crypto.openpgp import ListKey
from mailer.crypto.service_secrets import ServiceSecrets, key_name
from mailer.errors import ListUnknown, Locked


class Keyring:
    """Holds the secrets while unlocked. Python cannot wipe what it drops; docs/threats.md says what that means."""

    def __init__(self, secrets: ServiceSecrets | None = None) -> None:
        self._secrets: ServiceSecrets | None = None
        self._list_keys: dict[str, ListKey] = {}
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

    def unlock(self, secrets: ServiceSecrets) -> None:
        """Take the secrets into use."""
        self._secrets = secrets
        self._list_keys = {}
        self._is_unlocked.set()

    def lock(self) -> None:
        """Drop the secrets; whoever needs them waits or gets Locked."""
        self._secrets = None
        self._list_keys = {}
        self._is_unlocked.clear()

    async def wait_until_unlocked(self) -> None:
        """Return as soon as the secrets are there."""
        await self._is_unlocked.wait()
