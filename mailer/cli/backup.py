"""mailer backup, restore: everything in one sealed file, and out of it again."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mailer.cli import options, passphrases
from mailer.cli.recorded import recorded, write_entry
from mailer.custody import backup as backups
from mailer.custody import departures
from mailer.custody import restore as restoring
from mailer.instance import Instance


@recorded("backup")
def backup(
    file: Annotated[Path, typer.Argument(help="The file to make.")],
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Write everything into one sealed file: settings, key files, register, queues. The service may go on running.

    The service passphrase opens it, as it is now or the recovery phrase; the register in it needs the roster passphrase
    as before. Who leaves from now on is written beside it, into FILE.left: carry that away too, again and again.
    Example: mailer backup ../mailer-2026-11-22
    """
    instance = Instance.open(instance_folder)
    _, secrets = instance.open_service(passphrases.read("service", service_file))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        made = backups.make(
            instance,
            secrets,
            file,
            datetime.now(UTC),
            lambda table, at, of: bar.update(task, description=table, completed=at, total=of),
        )
    if as_json:
        print(json.dumps({"file": str(file), **asdict(made)}))
        return
    print(f"Wrote {made.octets:,} octets to {file}: {made.rows:,} rows and {made.files} files.")
    _say_outside(made.outside)
    print(f"Who leaves from now on is written to {departures.path_of(file).name} beside it while the service runs.")


def restore(
    file: Annotated[Path, typer.Argument(help="What `mailer backup` wrote.")],
    folder: Annotated[Path, typer.Argument(help="The instance to make; it must be new or empty.")],
    left: Annotated[
        Path | None, typer.Option("--left", help="The newest FILE.left, if it is not beside the backup.")
    ] = None,
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Make an instance out of a backup, here or on a bare machine. Nothing is delivered until `mailer adopt`.

    Example: mailer restore mailer-2026-11-22 /srv/mailer
    """
    passphrase = passphrases.read("service", service_file)
    found = restoring.restore(file, folder, passphrase, left)
    write_entry(Instance.open(folder), "restore")
    if as_json:
        print(json.dumps({"folder": str(folder), **asdict(found), "made": found.made.isoformat()}))
        return
    print(f"{folder} is the instance as it was on {found.made:%Y-%m-%d %H:%M} UTC.")
    if found.left is None:
        print("Who left since then is not known (there is no FILE.left), so they are on the list again.")
    else:
        print(f"Who left since then stays out: {found.left} were still in the backup.")
    if found.former_store:
        print("The database is an SQLite file now; `mailer store copy` moves it to PostgreSQL again.")
    _say_outside(found.outside)
    print(f"Digests that were on their way are held: {found.held}. `mailer digest list` shows them.")
    print("Next: mend [door] and [relay] in config.toml; for another domain, `mailer lists rename`. When nothing runs")
    print("any more where the backup was made: `mailer adopt`, then `mailer serve --deliver`.")


def _say_outside(names: tuple[str, ...]) -> None:
    if names:
        print(f"Not in the backup, for it lies outside the instance's folder: {', '.join(names)}.")
