"""The three languages in which Mailer speaks; each is an equal, none a translation of another."""

from enum import StrEnum


class Language(StrEnum):
    """A language tag (RFC 5646)."""

    EN = "en"
    ZH_HANT = "zh-Hant"
    ZH_HANS = "zh-Hans"
