"""The command line: one file per noun, gathered here. What goes wrong becomes one sentence and an exit code."""

from __future__ import annotations

import sys

import typer

from mailer.cli.by_name import by_name
from mailer.errors import MailerError

COMMANDS = {
    "demo": "mailer.cli.demo:demo",
    "init": "mailer.cli.init:init",
    "lists": "mailer.cli.lists:commands",
    "serve": "mailer.cli.serve:serve",
    "lock": "mailer.cli.serve:lock",
    "unlock": "mailer.cli.serve:unlock",
    "work": "mailer.cli.serve:work",
    "adopt": "mailer.cli.adopt:adopt",
    "audit": "mailer.cli.audit:commands",
    "backup": "mailer.cli.backup:backup",
    "restore": "mailer.cli.backup:restore",
    "panic": "mailer.cli.panic:panic",
    "inbox": "mailer.cli.inbox:commands",
    "digest": "mailer.cli.digest:commands",
    "subscribers": "mailer.cli.subscribers:commands",
    "keys": "mailer.cli.keys:commands",
    "store": "mailer.cli.store:commands",
    "doctor": "mailer.cli.doctor:doctor",
    "check-config": "mailer.cli.check_config:check_config",
    "explain": "mailer.cli.explain:explain",
}
commands = typer.Typer(
    cls=by_name(COMMANDS),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@commands.callback()
def mailer() -> None:
    """Encrypted mailing lists that people join, use and leave by mail alone."""


def app() -> None:
    """Run `mailer`: exit code 0, 1 for what went wrong, 2 for a command line that makes no sense."""
    try:
        commands()
    except MailerError as error:
        print(f"mailer: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # a file that was named, or the disk; the class tells where there is no name
        where = error.filename or type(error).__name__
        print(f"mailer: {where}: {error.strerror}. Mend that and run the command again.", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
