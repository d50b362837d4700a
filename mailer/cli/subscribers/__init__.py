"""mailer subscribers: who is on a list, and how people come to it and go."""

from __future__ import annotations

import typer

from mailer.cli.by_name import by_name

COMMANDS = {
    "list": "mailer.cli.subscribers.look:list_all",
    "show": "mailer.cli.subscribers.look:show",
    "add": "mailer.cli.subscribers.enrol:add",
    "remove": "mailer.cli.subscribers.enrol:remove",
    "ban": "mailer.cli.subscribers.enrol:ban",
    "invite": "mailer.cli.subscribers.invite:invite",
    "invitations": "mailer.cli.subscribers.invitations:commands",
    "import": "mailer.cli.subscribers.carry:import_file",
    "export": "mailer.cli.subscribers.carry:export",
    "stats": "mailer.cli.subscribers.look:stats",
}
commands = typer.Typer(cls=by_name(COMMANDS), no_args_is_help=True, rich_markup_mode=None)


@commands.callback()
def subscribers() -> None:
    """The subscribers of a list: who is on it, who comes and goes."""
