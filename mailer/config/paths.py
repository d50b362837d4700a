"""Every file and folder that config.toml names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from mailer.config.settings import Config


def named_paths(config: Config) -> dict[str, Path]:
    """Return the paths by the setting that names each, as in `relay.password_file` or `lists.2.contact_key`."""
    return dict(_walk(config, ""))


def _walk(value: object, name: str) -> Iterator[tuple[str, Path]]:
    if isinstance(value, Path):
        yield name, value
    elif isinstance(value, BaseModel):
        for key, one in value:
            yield from _walk(one, f"{name}.{key}".removeprefix("."))
    elif isinstance(value, tuple):
        for number, one in enumerate(value, 1):
            yield from _walk(one, f"{name}.{number}")
