"""What an unlocked service keeps true: the seal of the audit log, and beside each backup who left since."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path

from mailer.crypto.keyring import Keyring
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.custody import departures
from mailer.errors import AuditBroken, StoreError
from mailer.store import audit
from mailer.store.audit import Head
from mailer.store.database import Database
from mailer.store.marks import Mark

EVERY_S = 60.0

log = logging.getLogger("mailer")


@dataclass
class Upkeep:
    """Looks once a minute, and writes only what has changed."""

    database: Database
    keyring: Keyring
    folder: Path  # of the instance
    _told: set[str] = field(default_factory=set)
    _written: dict[Path, tuple[Mark, ...]] = field(default_factory=dict)

    async def run(self) -> None:
        """Look until cancelled. Nothing that goes wrong here ends the service: it is said once, and tried again."""
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - as it says
                self._tell(type(error).__name__, f"upkeep failed ({type(error).__name__}); report it")
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Do what is to be done now; nothing while the service is locked."""
        if self.keyring.is_locked:
            return
        secrets = self.keyring.secrets
        try:
            await self._vouch(secrets)
            if await departures.refresh(self.database, secrets, self._written):
                self._tell("left", "who left cannot be written beside a backup: let the service's user write there")
        except StoreError as error:
            log.warning("upkeep waits: %s", error)

    async def _vouch(self, secrets: ServiceSecrets) -> None:
        """Seal the audit log where it has grown, and note its head outside of the database."""
        try:
            noted = await asyncio.to_thread(read_head, self.folder)
            if noted is not None and await audit.ends_with(self.database, noted):
                return
            head = await audit.vouch(self.database, audit.seal_key(secrets.rest_key), noted)
            await asyncio.to_thread(_note, self.folder, head)
        except AuditBroken as error:
            self._tell("audit", f"{error} (`mailer audit verify`)")
        except OSError as error:
            self._tell("head", f"the head of the audit log cannot be noted in run/ ({error.strerror}): mend its owner")

    def _tell(self, what: str, sentence: str) -> None:
        if what not in self._told:
            self._told.add(what)
            log.error("%s", sentence)


def read_head(folder: Path) -> Head | None:
    """Return the head of the audit log that the service noted, None where it never did. Raises AuditBroken, OSError."""
    try:
        text = (folder / _HEAD).read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    return Head.read(text.strip())


def _note(folder: Path, head: Head) -> None:
    path = folder / _HEAD
    path.parent.mkdir(mode=0o700, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(f"{head}\n", encoding="ascii")
    part.replace(path)


_HEAD = Path("run") / "audit.head"
