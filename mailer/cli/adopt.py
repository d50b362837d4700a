"""mailer adopt: this is the installation that delivers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import options
from mailer.cli.opened import run
from mailer.cli.recorded import recorded
from mailer.instance import Instance
from mailer.store import home

DANGER = (
    "From now on digests are delivered from here. If another copy of this installation still delivers, everybody gets "
    "everything twice, and who left here gets mail from there: that copy must be stopped for good."
)


@recorded("adopt")
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
    run(instance, home.adopt)
    print("This installation delivers. Start `mailer work` again, or run `mailer unlock --deliver`.")
