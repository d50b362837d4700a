"""The settings of the admin's day: who is told when something is wrong, what `doctor` expects, what is kept."""

from __future__ import annotations

from pydantic import Field

from mailer.config.section import A_FILE, AN_ADDRESS, LANGUAGES, Section, whole
from mailer.config.values import FilePath, ListAddress, OptionalListener, Tongue
from mailer.model.language import Language


class Doctor(Section):
    """What `mailer doctor` and the alerts take for a fault."""

    resolver: OptionalListener = Field(default=None, description='an address such as "127.0.0.1:53", or ""')
    backup_days: int = whole(7, 1, 365)
    key_days: int = whole(30, 1, 365)
    certificate_days: int = whole(14, 1, 365)
    waiting_min: int = whole(60, 1, 10_080)


class Alerts(Section):
    """When admins get a letter."""

    after_min: int = whole(30, 1, 10_080)
    censored_percent: int = whole(20, 1, 100)


class Admin(Section):
    """Somebody who is told, encrypted, when the service needs a person."""

    address: ListAddress = Field(description=AN_ADDRESS)
    key: FilePath = Field(description=A_FILE.removesuffix(', or ""'))
    language: Tongue = Field(default=Language.EN, description=LANGUAGES)


class Retention(Section):
    """How many days things are kept; nought is for ever where that is said."""

    aside_days: int = whole(30, 1, 3650)
    editions_days: int = whole(730, 0, 36_500)
    tallies_days: int = whole(365, 0, 36_500)
    sightings_days: int = whole(90, 0, 36_500)
    weather_days: int = whole(90, 7, 3650)
    suppressions_days: int = whole(0, 0, 36_500)
