"""mailer subscribers: list, show, add, remove, import, export, stats."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mailer.cli import lists, options, passphrases
from mailer.crypto.openpgp import armor_certificate, encrypt
from mailer.crypto.openpgp.expiry import expiry
from mailer.crypto.vault import RosterKey
from mailer.errors import FileUnusable, NotEnrolled, SheetUnusable
from mailer.instance import Instance, read_certificate
from mailer.inward.reader import Reader
from mailer.model.address import Address
from mailer.model.certificate import Certificate, grouped
from mailer.model.language import Language
from mailer.model.mailing_list import MailingList
from mailer.model.subscriber import State
from mailer.registrar import enrolment, reading, sheet, vetting
from mailer.registrar.enrolment import Enrolled, Register, Terms
from mailer.registrar.faults import SENTENCES
from mailer.registrar.vetting import Applicant, Faulty, Vetting
from mailer.store.database import Database
from mailer.store.holdings import Holdings

commands = typer.Typer(no_args_is_help=True, help="The subscribers of a list: who is on it, who comes and goes.")

T = TypeVar("T")
AddressArgument = Annotated[str, typer.Argument(help="The address.")]
ConsentRecorded = Annotated[
    bool,
    typer.Option("--consent-recorded", help="They agreed, and you can show it: do not ask them by mail to confirm."),
]


@commands.command("list")
def list_all(
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    roster_file: options.RosterFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show who is on a list: address, state, language, day of joining, fingerprint and expiry of the key.

    Example: mailer subscribers list --state suspended
    """
    desk = _Desk.open(instance_folder, list_id)
    passphrase = passphrases.read("roster", roster_file)
    found = desk.run(lambda database: reading.list_all(database, desk.roster(passphrase), desk.list.id, state))
    if as_json:
        _print_json(
            {
                "list": desk.list.id,
                "subscribers": [_listed_to_json(one) for one in found.subscribers],
                "unopened": list(found.unopened),
            }
        )
    else:
        for one in found.subscribers:
            expires = _day(one.expires) or "never"
            key_facts = (grouped(one.fingerprint), expires) if one.fingerprint else ("no key", "")
            print("\t".join((str(one.address), one.state, one.language, one.joined.isoformat(), *key_facts)))
    _complain_of(found.unopened)


@commands.command()
def show(
    address: AddressArgument,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show all that is held on one address. Exit code 1 if that is nothing.

    Example: mailer subscribers show someone@example.org
    """
    desk, wanted = _Desk.open(instance_folder, list_id), Address.parse(address)
    _, secrets = desk.instance.open_service(passphrases.read("service", service_file))
    held = desk.run(lambda database: reading.show(database, secrets, desk.list.id, wanted), uses_roster_key=False)
    facts = _holdings_to_json(held)
    if as_json:
        _print_json({"list": desk.list.id, **facts})
    elif held:
        for name, value in facts.items():
            print(f"{name}\t{_to_cell(value)}")
    else:
        print("Nothing held.")
    if not held:
        raise typer.Exit(1)


@commands.command()
def add(
    address: AddressArgument,
    key: Annotated[Path | None, typer.Option(help="The file of their OpenPGP certificate.")] = None,
    language: Annotated[Language | None, typer.Option(help="Theirs; the list's default if left out.")] = None,
    consent_recorded: ConsentRecorded = False,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Ask somebody by mail to join; with --consent-recorded, put them on the list at once.

    Without --key, whoever confirms has to send one, and whoever is on the list at once is asked for it.
    Example: mailer subscribers add someone@example.org --key someone.asc --language zh-Hant
    """
    desk = _Desk.open(instance_folder, list_id)
    wanted = desk.read_address(address)
    certificate = asyncio.run(_examine_file(desk.instance, key)) if key else None
    applicant = Applicant(1, wanted, language or desk.list.default_language, certificate)
    terms = Terms(has_consent=consent_recorded, may_return=True)
    service = passphrases.read("service", service_file)
    state = desk.run(lambda database: enrolment.add(desk.register(database, service), applicant, terms))
    print(_ADDED[state])


@commands.command()
def remove(
    address: AddressArgument,
    ban: Annotated[bool, typer.Option("--ban", help="Keep the address off the list from now on.")] = False,
    yes: options.Yes = False,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Erase a subscriber. No letter is sent; no import brings them back. Exit code 1 if nobody was there.

    Example: mailer subscribers remove someone@example.org --yes
    """
    desk, wanted = _Desk.open(instance_folder, list_id), Address.parse(address)
    service = passphrases.read("service", service_file)
    if not yes:
        typer.confirm("Erase what is held on this address" + (" and ban it?" if ban else "?"), abort=True)
    if desk.run(lambda database: enrolment.remove(desk.register(database, service), wanted, ban=ban)):
        print("Banned. Nothing else is held on the address." if ban else "Erased.")
    else:
        print("Nothing held.")
        raise typer.Exit(1)


@commands.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A CSV file.")],
    consent_recorded: ConsentRecorded = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out lines with a problem.")] = False,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Take in the people of a CSV file: all of them, or with a bad line none. They are asked by mail to confirm.

    The first line names the columns: address, and if you like language and key (an armored certificate, or the name
    of a file beside the CSV file). What `mailer subscribers export` wrote is understood whole.
    Example: mailer subscribers import people.csv
    """
    desk = _Desk.open(instance_folder, list_id)
    rows = sheet.read(_read(file))
    service = passphrases.read("service", service_file)
    terms = Terms(has_consent=consent_recorded, skip_bad=skip_bad)

    async def do(database: Database) -> Enrolled:
        register = desk.register(database, service)
        async with _examiner(desk.instance, is_needed=any(row.cells.get("key") for row in rows)) as examine:
            vetted = Vetting(desk.instance.directory(), desk.list.default_language, file.parent, examine, _today())
            with _bars() as watch:
                return await enrolment.import_rows(register, vetted, rows, terms, _WIDTH, watch)

    _report(desk.run(do), len(rows), terms, as_json)


@commands.command()
def export(
    key: Annotated[Path | None, typer.Option(help="Encrypt to the OpenPGP certificate in this file.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Do not encrypt: everybody's address in the clear.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file, mode 0600; standard output if left out.")
    ] = None,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    roster_file: options.RosterFile = None,
) -> None:
    """Write all subscribers with their keys as CSV, encrypted to a certificate; `import` takes it, once decrypted.

    Example: mailer subscribers export --key me.asc --output people.csv.asc
    """
    if plain == (key is not None):
        raise typer.BadParameter("give either --key CERTIFICATE, to encrypt, or --plain")
    certificate = read_certificate(key) if key else None
    desk = _Desk.open(instance_folder, list_id)
    passphrase = passphrases.read("roster", roster_file)
    found = desk.run(lambda database: reading.export(database, desk.roster(passphrase), desk.list.id))
    content = found.text.encode()
    if certificate is not None:
        content = encrypt(content, certificate.blob, datetime.now(UTC))
    if output is None:
        sys.stdout.buffer.write(content)
    else:
        _write_new(output, content)
        print(f"Wrote {found.subscribers} subscribers to {output}.", file=sys.stderr)
    _complain_of(found.unopened)


@commands.command()
def stats(
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    as_json: options.AsJson = False,
) -> None:
    """Show how many subscribers there are, by state and language. Needs no passphrase.

    Example: mailer subscribers stats --json
    """
    desk = _Desk.open(instance_folder, list_id)
    counts = desk.run(lambda database: reading.count(database, desk.list.id), uses_roster_key=False)
    if as_json:
        groups = [{"state": state, "language": tag, "count": number} for (state, tag), number in sorted(counts.items())]
        _print_json({"list": desk.list.id, "total": sum(counts.values()), "groups": groups})
        return
    for (state, tag), number in sorted(counts.items()):
        print(f"{state}\t{tag}\t{number}")
    print(f"total\t\t{sum(counts.values())}")


# --- Opening what a command needs -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Desk:
    """An admin's place: an instance and one of its lists."""

    instance: Instance
    list: MailingList

    @classmethod
    def open(cls, folder: Path, list_id: str | None) -> _Desk:
        instance = Instance.open(folder)
        return cls(instance, lists.find(instance, list_id))

    def register(self, database: Database, passphrase: str) -> Register:
        _, secrets = self.instance.open_service(passphrase)
        return Register(database, secrets, self.list, self.instance.roster_public(), self.instance.providers)

    def roster(self, passphrase: str) -> RosterKey:
        return self.instance.open_roster(passphrase)

    def read_address(self, text: str) -> Address:
        try:
            return vetting.parse_address(text, self.instance.directory())
        except Faulty as faulty:
            raise NotEnrolled(f"{SENTENCES[faulty.fault]}.") from None

    def run(self, do: Callable[[Database], Awaitable[T]], *, uses_roster_key: bool = True) -> T:
        """Do something with the database open, and while either half of the roster key is used, no rotation running."""

        async def with_database() -> T:
            database = self.instance.database()
            try:
                await database.open()
                return await do(database)
            finally:
                await database.close()

        with self.instance.roster_in_use() if uses_roster_key else nullcontext():
            return asyncio.run(with_database())


@asynccontextmanager
async def _examiner(instance: Instance, *, is_needed: bool = True) -> AsyncIterator[vetting.Examine]:
    """Give the confined reader's way to look at strangers' keys; its children are started only if needed."""
    settings = instance.config.reader
    reader = Reader(settings.memory_mib * 1024 * 1024, settings.time_s, _WIDTH)
    if is_needed:
        await reader.start()
    try:
        yield reader.examine
    finally:
        await reader.close()


async def _examine_file(instance: Instance, path: Path) -> Certificate:
    """Return the one usable certificate in a file. Raises FileUnusable, NotEnrolled."""
    try:
        blob = vetting.read_key_file(path)
    except OSError as error:
        raise FileUnusable(f"{path.name} is no file that can be read.") from error
    async with _examiner(instance) as examine:
        found = await vetting.examine(examine, blob)
    if isinstance(found, Certificate):
        return found
    raise NotEnrolled(f"{SENTENCES[found]}.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileUnusable(f"{path.name}: {error.strerror}.") from error


def _write_new(path: Path, content: bytes) -> None:
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


def _today() -> date:
    return datetime.now(UTC).date()


# --- Telling what came of it ----------------------------------------------------------------------------------------


@contextmanager
def _bars() -> Iterator[enrolment.Watch]:
    """Give what shows the stages of an import to whoever watches; nothing where nobody does."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def watch(stage: str, steps: int) -> Callable[[], None]:
            task = progress.add_task(stage, total=steps)
            return lambda: progress.advance(task)

        yield watch


def _report(enrolled: Enrolled, lines: int, terms: Terms, as_json: bool) -> None:
    """Say how many came in and which lines did not. Raises SheetUnusable if that is why nobody did."""
    problems, total = enrolled.problems, sum(enrolled.counts.values())
    if as_json:
        bad = [{"line": one.line, "reason": one.fault, "sentence": one.sentence} for one in problems]
        _print_json({"lines": lines, "imported": total, "states": enrolled.counts, "bad": bad})
    else:
        for one in problems:
            print(f"line {one.line}: {one.sentence}", file=sys.stderr)
    if problems and not terms.skip_bad:
        raise SheetUnusable(f"({len(problems)} of {lines} lines have a problem; --skip-bad leaves them out.)")
    if not as_json:
        states = ", ".join(f"{number} {state}" for state, number in sorted(enrolled.counts.items()))
        print(f"Imported {total} of {lines}" + (f" ({states})." if states else "."))


def _complain_of(unopened: tuple[str, ...]) -> None:
    """Name the rows that do not open, and end with exit code 1 if there are any."""
    if unopened:
        names = ", ".join(unopened)
        print(f"{len(unopened)} rows of the register do not open (docs/operations.md): {names}", file=sys.stderr)
        raise typer.Exit(1)


def _listed_to_json(one: reading.Listed) -> dict[str, object]:
    return {
        "address": str(one.address),
        "state": one.state,
        "language": one.language,
        "joined": one.joined.isoformat(),
        "fingerprint": one.fingerprint or None,
        "expires": _day(one.expires),
    }


def _holdings_to_json(held: Holdings) -> dict[str, object]:
    """Return what is held, name by name; what there is none of is left out."""
    facts: dict[str, object] = {}
    if held.found is not None:
        subscriber, drawer = held.found.subscriber, held.found.drawer
        facts = {
            "state": subscriber.state,
            "language": subscriber.language,
            "joined": subscriber.joined.isoformat(),
            "provider": subscriber.provider,
            "method": subscriber.method,
            "bounce_score": held.bounce_score,
            "fingerprint": grouped(drawer.fingerprint),
            "expires": _day(expiry(drawer.certificate)),
            "notices": list(held.notices),
            "digests": held.digests,
            "certificate": armor_certificate(drawer.certificate) if drawer.certificate else None,
        }
    if held.mark is not None:
        facts |= {"mark": held.mark[0], "mark_since": held.mark[1].isoformat()}
    facts["waiting_for_confirmation"] = list(held.requests)
    return {name: value for name, value in facts.items() if value not in (None, "", [], {})}


def _to_cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{number} {state}" for state, number in sorted(value.items()))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _day(moment: datetime | None) -> str | None:
    return moment.date().isoformat() if moment else None


def _print_json(facts: dict[str, object]) -> None:
    print(json.dumps(facts, ensure_ascii=False, indent=2))


_WIDTH = os.cpu_count() or 1
_ADDED = {
    State.INVITED: "Invited: they are asked by mail to confirm, once deliveries run.",
    State.ACTIVE: "On the list from now on.",
    State.SUSPENDED: "On the list, but without a key: they are asked for one, and get nothing until it is here.",
}
