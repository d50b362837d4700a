"""mailer store: the database that holds everything."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mailer import config, control
from mailer.cli import options
from mailer.cli.recorded import recorded
from mailer.errors import ConfigError
from mailer.instance import Instance
from mailer.store import copying
from mailer.store.database import Database

commands = typer.Typer(no_args_is_help=True, help="The database: move everything to another one.")


@commands.callback()
def _store() -> None:
    """The callback makes `copy` a command of `store`, though it is the only one."""


@commands.command()
@recorded("store copy")
def copy(
    from_url: Annotated[str, typer.Argument(help="Where everything is now, as in config.toml.")],
    to_url: Annotated[str, typer.Argument(help="An empty database, as it will stand in config.toml.")],
    instance_folder: options.InstanceFolder = Path(),
) -> None:
    """Copy everything to another database, of the same kind or the other. The one that it comes from is not changed.

    Stop `mailer serve` and every `mailer work` first.
    Example: mailer store copy sqlite:///mailer.db postgresql+asyncpg://mailer@db.example.org/mailer
    """
    instance = Instance.open(instance_folder)
    urls = [_url(text, instance.folder) for text in (from_url, to_url)]
    with control.claim(instance.control_path), instance.roster_in_use(alone=True):
        number = asyncio.run(_copy(*urls))
    print(f"Copied, and counted again: {number:,} rows. Now write into config.toml, under [store]:")
    print(f'url = "{to_url}"')
    print("Then start the service again. Keep the former database as a backup only, and erase it when all is well.")


def _url(text: str, folder: Path) -> str:
    try:
        return config.database_url(text, folder)
    except ValueError:
        raise ConfigError(f"Expected {config.DATABASE_URL}.") from None


async def _copy(from_url: str, to_url: str) -> int:
    source, target = Database(from_url), Database(to_url)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        try:
            return await copying.copy(
                source, target, lambda table, at, of: bar.update(task, description=table, completed=at, total=of)
            )
        finally:
            await target.close()
            await source.close()
