"""config.toml, read into frozen settings and edited without losing a comment."""

from mailer.config.editing import add_list, rename_list, retire_list
from mailer.config.reading import load, read
from mailer.config.settings import Config, MailingList
from mailer.config.shipped import shipped_config
from mailer.config.values import Endpoint

__all__ = [
    "Config",
    "Endpoint",
    "MailingList",
    "add_list",
    "load",
    "read",
    "rename_list",
    "retire_list",
    "shipped_config",
]
