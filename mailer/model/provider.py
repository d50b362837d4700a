"""Mail providers, as far as the register may know them: the large ones by name, the rest in a few buckets."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from mailer.model.address import Address


@dataclass(frozen=True, slots=True)
class Providers:
    """large: domains that are named in config.toml; they are so large that the name tells nobody apart."""

    large: frozenset[str] = frozenset()
    buckets: int = 8

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that `name_of` gives."""
        return (*sorted(self.large), *(f"other-{number}" for number in range(self.buckets)))

    def name_of(self, address: Address) -> str:
        """Return the provider's domain if it is a large one, else a bucket such as "other-3"."""
        if address.domain in self.large:
            return address.domain
        digest = hashlib.sha256(b"mailer/1/provider" + address.domain.encode()).digest()
        return f"other-{int.from_bytes(digest[:4], 'big') % self.buckets}"
