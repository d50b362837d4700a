"""mailer keys: the keys of this instance, and a look at other people's certificates."""

from __future__ import annotations

import typer

from mailer.cli.by_name import by_name

COMMANDS = {
    "show": "mailer.cli.keys.own:show",
    "check": "mailer.cli.keys.check:check",
    "export": "mailer.cli.keys.own:export",
    "dkim": "mailer.cli.keys.dkim:make_dkim",
    "passphrase": "mailer.cli.keys.passphrase:passphrase",
    "smime": "mailer.cli.keys.smime:smime",
    "rotate": "mailer.cli.keys.rotate:rotate",
}
commands = typer.Typer(cls=by_name(COMMANDS), no_args_is_help=True, rich_markup_mode=None)


@commands.callback()
def keys() -> None:
    """The keys of this instance."""
