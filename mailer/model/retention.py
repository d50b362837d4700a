"""How long things are kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retention:
    """Days, from config.toml; nought is for ever, but for what is set aside, the weather and requests."""

    pending_days: int = 7
    aside_days: int = 30
    editions_days: int = 730
    tallies_days: int = 365
    sightings_days: int = 90
    weather_days: int = 90
    suppressions_days: int = 0
