"""Which commands stand in the audit log, and what of their arguments: ids of digests, lists and keys, nobody's address.

An entry is written before the command begins; where none can be written the command is not run.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import typer

from mailer.cli.opened import run
from mailer.errors import StoreError
from mailer.instance import Instance
from mailer.store import audit

P = ParamSpec("P")

FAILED = "failed: "  # before the action, in a second entry


def recorded(action: str, *names: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Return what makes a command of `action` stand in the log. names: of its parameters whose values stand there too.

    The command has a parameter `instance_folder`. One that ends in an error has a second entry that says so.
    """

    def around(command: Callable[P, None]) -> Callable[P, None]:
        @wraps(command)
        def begin(*args: P.args, **kwargs: P.kwargs) -> None:
            instance = Instance.open(Path(str(kwargs["instance_folder"])))
            about = " ".join(f"{name}={_plain(kwargs[name])}" for name in names if kwargs.get(name))
            write_entry(instance, action, about)
            try:
                command(*args, **kwargs)
            except BaseException as error:
                if not (isinstance(error, typer.Exit) and error.exit_code == 0):
                    with suppress(StoreError):  # the first entry is there, and this error is the one to see
                        write_entry(instance, FAILED + action, about)
                raise

        return begin

    return around


def write_entry(instance: Instance, action: str, about: str = "") -> None:
    """Write an entry of now. Raises StoreError."""
    run(instance, lambda database: audit.record(database, _actor(), action, about, datetime.now(UTC)))


def _plain(value: object) -> str:
    """Return an id as it may stand in the log for ever; what was typed there by mistake may be anything."""
    text = str(value)
    return text if _ID.fullmatch(text) else "?"


def _actor() -> str:
    """Return who logged in to the machine, behind `sudo` and `runuser` too; else the user who runs this."""
    login = _login()
    uid = os.getuid() if login is None else login
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _login() -> int | None:
    """Return the user of the login session (proc(5), loginuid), or of `sudo` where the kernel keeps none."""
    try:
        uid = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        uid = _NOBODY
    sudo = os.environ.get("SUDO_UID", "")
    if uid == _NOBODY:
        return int(sudo) if sudo.isdecimal() and os.getuid() == 0 else None
    return uid


_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NOBODY = 2**32 - 1  # nobody logged in: a service, a timer, a container
