"""The options that many commands share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

InstanceFolder = Annotated[
    Path,
    typer.Option("--instance", "-i", envvar="MAILER_INSTANCE", help="The folder of the instance.", show_default="."),
]
ServiceFile = Annotated[
    Path | None,
    typer.Option("--service-passphrase-file", help="A file whose first line is the service passphrase."),
]
RosterFile = Annotated[
    Path | None,
    typer.Option("--roster-passphrase-file", help="A file whose first line is the roster passphrase."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]
ListName = Annotated[
    str | None, typer.Option("--list", "-l", help="The id of the list; not needed where there is only one.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
