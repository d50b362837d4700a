"""mailer subscribers import, export: the register from a file, and into one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mailer.cli import options, passphrases
from mailer.cli.recorded import recorded
from mailer.cli.subscribers.desk import (
    WIDTH,
    ConsentRecorded,
    Desk,
    complain_of,
    opened_reader,
    print_json,
    today,
    write_new,
)
from mailer.crypto.openpgp import encrypt
from mailer.errors import FileUnusable, SheetUnusable
from mailer.instance import read_certificate
from mailer.registrar import enrolment, foreign, reading
from mailer.registrar.enrolment import Enrolled, Terms
from mailer.registrar.foreign import Dialect
from mailer.registrar.keyring_file import give_keys
from mailer.registrar.vetting import Vetting
from mailer.store.database import Database


@recorded("subscribers import", "list_id")
def import_file(
    file: Annotated[Path, typer.Argument(help="A CSV file, or another list manager's export.")],
    dialect: Annotated[
        Dialect | None, typer.Option("--from", help="Whose export it is; seen by itself if left out.")
    ] = None,
    keys: Annotated[Path | None, typer.Option("--keys", help="A key ring in which their keys are.")] = None,
    consent_recorded: ConsentRecorded = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out lines with a problem.")] = False,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Take in the people of a CSV file: all of them, or with a bad line none. They are asked by mail to confirm.

    The first line names the columns: address, and if you like language and key (an armored certificate, or the name
    of a file beside the CSV file). What `mailer subscribers export` wrote is understood whole; and exports of Mailman,
    Schleuder (with --keys), Sympa and listmonk.

    Example: mailer subscribers import people.csv
    """
    desk = Desk.open(instance_folder, list_id)
    found, ring = foreign.read(_read(file), dialect), _read(keys) if keys else b""
    rows = found.rows
    if found.left_out and not as_json:
        print(f"{found.left_out} are left out: they had left or were barred there.", file=sys.stderr)
    service = passphrases.read("service", service_file)
    terms = Terms(has_consent=consent_recorded, skip_bad=skip_bad)

    async def do(database: Database) -> Enrolled:
        register = desk.register(database, service)
        is_needed = bool(ring) or any(row.cells.get("key") for row in rows)
        async with opened_reader(desk.instance, is_needed=is_needed) as reader:
            people = await give_keys(rows, ring, reader.examine, reader.find) if ring else rows
            listed = desk.instance.directory(), desk.list.default_language
            vetted = Vetting(*listed, file.parent, reader.examine, today())
            with _bars() as watch:
                return await enrolment.import_rows(register, vetted, people, terms, WIDTH, watch)

    _report(desk.run(do), len(rows), terms, as_json)


@recorded("subscribers export", "list_id")
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
    desk = Desk.open(instance_folder, list_id)
    passphrase = passphrases.read("roster", roster_file)
    found = desk.run(lambda database: reading.export(database, desk.roster(passphrase), desk.list.id))
    content = found.text.encode()
    if certificate is not None:
        content = encrypt(content, certificate.blob, datetime.now(UTC))
    if output is None:
        sys.stdout.buffer.write(content)
    else:
        write_new(output, content)
        print(f"Wrote {found.subscribers} subscribers to {output}.", file=sys.stderr)
    complain_of(found.unopened)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileUnusable(f"{path.name}: {error.strerror}.") from error


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
        print_json({"lines": lines, "imported": total, "states": enrolled.counts, "bad": bad})
    else:
        for one in problems:
            print(f"line {one.line}: {one.sentence}", file=sys.stderr)
    if problems and not terms.skip_bad:
        raise SheetUnusable(f"({len(problems)} of {lines} lines have a problem; --skip-bad leaves them out.)")
    if not as_json:
        states = ", ".join(f"{number} {state}" for state, number in sorted(enrolled.counts.items()))
        print(f"Imported {total} of {lines}" + (f" ({states})." if states else "."))
