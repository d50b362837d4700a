"""How much is done for one address, and how long things wait."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits from config.toml. A stranger gets one confirmation and one reply of each other kind a day at most."""

    confirmations_per_day: int = 1
    replies_per_day: int = 20
    pending_days: int = 7
    aside_days: int = 30
