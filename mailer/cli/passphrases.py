"""Where a passphrase comes from: a file that is named, a systemd credential, or a person at the prompt."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Literal

from mailer.errors import PassphraseMissing

Which = Literal["service", "roster"]


def read(which: Which, file: Path | None, *, may_ask: bool = True) -> str:
    """Return the passphrase. Raises PassphraseMissing where none of the three sources has one."""
    path = file or credential(which)
    if path is not None:
        try:
            return path.read_text(encoding="utf-8").split("\n", 1)[0]
        except (OSError, UnicodeError) as error:
            raise PassphraseMissing(f"({path.name} cannot be read.)") from error
    if may_ask and sys.stdin.isatty():
        return getpass.getpass(f"{which.capitalize()} passphrase: ")
    raise PassphraseMissing(f"(--{which}-passphrase-file)")


def choose(which: Which, file: Path | None) -> str:
    """Return a new passphrase, asked for twice. Raises PassphraseMissing."""
    if file is not None or not sys.stdin.isatty():
        return read(which, file, may_ask=False)
    print(_WHAT_FOR[which], file=sys.stderr)
    while True:
        first = getpass.getpass(f"New {which} passphrase: ")
        if getpass.getpass("The same again: ") == first:
            return first
        print("The two differ.", file=sys.stderr)


def credential(which: Which) -> Path | None:
    """Return the systemd credential `which-passphrase` (systemd.exec(5), LoadCredential=), if there is one."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / f"{which}-passphrase" if folder else None
    return path if path is not None and path.is_file() else None


_WHAT_FOR: dict[Which, str] = {
    "service": "The service passphrase unlocks the service: it reads letters and answers them.",
    "roster": "The roster passphrase opens the register of subscribers, and is needed to send digests.",
}
