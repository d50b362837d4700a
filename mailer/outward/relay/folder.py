"""A folder in place of a server: letters are laid there, to be carried by hand, or to be looked at.

Each file begins with two fields that a server would have been told in MAIL and RCPT: `Return-Path` (envelope sender)
and `X-Envelope-To` (recipient). They are not part of the letter: whoever carries it takes these two lines off. The
recipient stands in clear in the file, as it must for a carrier; `Delivered-To`, the usual name, would make the
recipient's own server take the letter for a loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mailer.errors import RelayUnusable
from mailer.letters.seal import Open, Sealed
from mailer.model.retry import Answer, Outcome
from mailer.outward.relay.parcel import Parcel, pack
from mailer.outward.relay.settings import FolderFormat

_log = logging.getLogger(__name__)


class FolderConnection:
    """A Connection. ACCEPTED: the letter is on disk, whole and under its name. LATER: it could not be written."""

    def __init__(self, name: str, folder: Path, folder_format: FolderFormat) -> None:
        self._name = name
        self._folder = folder
        self._format = folder_format

    async def send(self, letter: Sealed | Open, may_finish: Callable[[], bool] = lambda: True) -> Outcome:
        """As Connection.send; may_finish is asked before the file gets the name under which it is found."""
        parcel = pack(letter)
        beginning, final = self._new_paths()
        try:
            await asyncio.to_thread(_write, beginning, parcel)
            if not may_finish():
                return Outcome(Answer.LATER, is_connection_lost=True)
            await asyncio.to_thread(_publish, beginning, final)
        except OSError as error:
            _log.warning("relay %s failed: %s; what waits is tried again", self._name, type(error).__name__)
            return Outcome(Answer.LATER, is_connection_lost=True, is_in_doubt=await asyncio.to_thread(final.exists))
        finally:
            with suppress(OSError):
                beginning.unlink(missing_ok=True)
        return Outcome(Answer.ACCEPTED)

    def _new_paths(self) -> tuple[Path, Path]:
        """Under which name a file is written, and under which it is found. Names tell nothing of whom it is for."""
        unique = secrets.token_hex(16)
        if self._format == "eml":
            return self._folder / f".{unique}.tmp", self._folder / f"{unique}.eml"
        name = f"{int(time.time())}.{unique}.mailer"  # as cr.yp.to/proto/maildir.html has it
        return self._folder / "tmp" / name, self._folder / "new" / name

    def abort(self) -> None:
        """Nothing is held open."""

    async def close(self) -> None:
        """Nothing is held open."""


def make_folder(folder: Path, folder_format: FolderFormat) -> None:
    """Make the folder where it is missing, mode 0700. Raises RelayUnusable."""
    parts = [folder / part for part in ("tmp", "new", "cur")] if folder_format == "maildir" else []
    try:
        for path in (folder, *parts):
            path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise RelayUnusable("Its folder cannot be made.") from error


def _write(path: Path, parcel: Parcel) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(b"Return-Path: %b\r\nX-Envelope-To: %b\r\n" % (parcel.sender, parcel.recipient))
        file.write(parcel.content)
        file.flush()
        os.fsync(descriptor)


def _publish(beginning: Path, final: Path) -> None:
    """After this the letter is found under its name, even if the machine stops now."""
    beginning.rename(final)
    folder = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
