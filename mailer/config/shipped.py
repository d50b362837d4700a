"""Where the config.toml that comes with Mailer lies: the manual of settings, and what a new instance begins with."""

from __future__ import annotations

from pathlib import Path


def shipped_config() -> Path:
    """Return its path: inside the installed package, or at the root of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "config.toml"
    return installed if installed.is_file() else package.parent / "config.toml"
