"""mailer adopt: this is the installation that delivers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import options
from mailer.instance import Instance
from mailer.store import home

DANGER = (
    "From now on digests are delivered from here. If another copy of this installation still delivers, everybody gets "
    "everything twice, and who left here gets mail from there: that copy must be stopped for good."
)


def adopt(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether the other copy is stopped.")] = False,
    instance_folder: options.InstanceFolder = Path(),
) -> None:
    """Say that this installation, which was copied, moved or restored, is the one that delivers.

    Example: mailer adopt --instance /srv/mailer
    """
    instance = Instance.open(instance_folder)
    if not yes:
        print(DANGER)
        typer.confirm("Is every other copy stopped?", abort=True)
    asyncio.run(_adopt(instance))
    print("This installation delivers. Start `mailer work` again, or run `mailer unlock --deliver`.")


async def _adopt(instance: Instance) -> None:
    database = instance.database()
    try:
        await database.open()
        await home.adopt(database)
    finally:
        await database.close()
