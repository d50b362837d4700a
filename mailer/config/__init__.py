"""config.toml, read into frozen settings and edited without losing a comment."""

from mailer.config.editing import add_identity, add_list, rename_list, retire_list, set_store
from mailer.config.paths import named_paths
from mailer.config.reading import load, read
from mailer.config.sending import NamedRelay, Relay, Route, Seed
from mailer.config.settings import DATABASE_URL, Config, MailingList
from mailer.config.shipped import shipped_config
from mailer.config.upkeep import Admin
from mailer.config.values import Endpoint, database_url, is_loopback

__all__ = [
    "DATABASE_URL",
    "Admin",
    "Config",
    "Endpoint",
    "MailingList",
    "NamedRelay",
    "Relay",
    "Route",
    "Seed",
    "add_identity",
    "add_list",
    "database_url",
    "is_loopback",
    "load",
    "named_paths",
    "read",
    "rename_list",
    "retire_list",
    "set_store",
    "shipped_config",
]
