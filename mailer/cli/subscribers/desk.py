"""An admin's place: the instance and a list; and what the commands of this noun share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from mailer.cli import lists
from mailer.cli.opened import run
from mailer.crypto.vault import RosterKey
from mailer.errors import FileUnusable, NotEnrolled
from mailer.instance import Instance
from mailer.inward.reader import Reader
from mailer.model.address import Address
from mailer.model.certificate import Certificate
from mailer.model.mailing_list import MailingList
from mailer.registrar import vetting
from mailer.registrar.enrolment import Register
from mailer.registrar.faults import SENTENCES
from mailer.registrar.vetting import Faulty
from mailer.store.database import Database

T = TypeVar("T")
AddressArgument = Annotated[str, typer.Argument(help="The address.")]
ConsentRecorded = Annotated[
    bool,
    typer.Option("--consent-recorded", help="They agreed, and you can show it: do not ask them by mail to confirm."),
]
WIDTH = os.cpu_count() or 1


@dataclass(frozen=True)
class Desk:
    """An admin's place: an instance and one of its lists."""

    instance: Instance
    list: MailingList

    @classmethod
    def open(cls, folder: Path, list_id: str | None) -> Desk:
        """Return the desk of one list. Raises InstanceError, ListUnknown."""
        instance = Instance.open(folder)
        return cls(instance, lists.find(instance, list_id))

    def register(self, database: Database, passphrase: str) -> Register:
        """Return the register, for adding to it. passphrase: the service passphrase. Raises WrongPassphrase."""
        _, secrets = self.instance.open_service(passphrase)
        return Register(database, secrets, self.list, self.instance.roster_public(), self.instance.providers)

    def roster(self, passphrase: str) -> RosterKey:
        """Return what opens the whole register. Raises WrongPassphrase."""
        return self.instance.open_roster(passphrase)

    def read_address(self, text: str) -> Address:
        """Return an address that may be on a list. Raises NotEnrolled."""
        try:
            return vetting.parse_address(text, self.instance.directory())
        except Faulty as faulty:
            raise NotEnrolled(f"{SENTENCES[faulty.fault]}.") from None

    def run(self, do: Callable[[Database], Awaitable[T]], *, uses_roster_key: bool = True) -> T:
        """Do something with the database open, and while either half of the roster key is used, no rotation running."""
        with self.instance.roster_in_use() if uses_roster_key else nullcontext():
            return run(self.instance, do)


@asynccontextmanager
async def opened_reader(instance: Instance, *, is_needed: bool = True) -> AsyncIterator[Reader]:
    """Give the confined reader, for strangers' keys; its children are started only if needed."""
    settings = instance.config.reader
    reader = Reader(settings.memory_mib * 1024 * 1024, settings.time_s, WIDTH, authorities=instance.authorities())
    if is_needed:
        await reader.start()
    try:
        yield reader
    finally:
        await reader.close()


async def examine_file(instance: Instance, path: Path) -> Certificate:
    """Return the one usable certificate in a file. Raises FileUnusable, NotEnrolled."""
    try:
        blob = vetting.read_key_file(path)
    except OSError as error:
        raise FileUnusable(f"{path.name} is no file that can be read.") from error
    async with opened_reader(instance) as reader:
        found = await vetting.examine(reader.examine, blob)
    if isinstance(found, Certificate):
        return found
    raise NotEnrolled(f"{SENTENCES[found]}.")


def write_new(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; one that is there is left alone. Raises FileUnusable."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FileUnusable(f"{path.name}: {error.strerror}.") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise FileUnusable(f"{path.name}: {error.strerror}.") from error


def today() -> date:
    """Return the day, in UTC."""
    return datetime.now(UTC).date()


def complain_of(unopened: tuple[str, ...]) -> None:
    """Name the rows that do not open, and end with exit code 1 if there are any."""
    if unopened:
        names = ", ".join(unopened)
        print(f"{len(unopened)} rows of the register do not open (docs/operations.md): {names}", file=sys.stderr)
        raise typer.Exit(1)


def day(moment: datetime | None) -> str | None:
    """Return the day of a moment, as text."""
    return moment.date().isoformat() if moment else None


def print_json(facts: dict[str, object]) -> None:
    """Print facts for a program."""
    print(json.dumps(facts, ensure_ascii=False, indent=2))
