"""The command line: one file per noun, gathered here. What goes wrong becomes one sentence and an exit code."""

from __future__ import annotations

import sys

import typer

from mailer.cli import adopt, check_config, demo, digest, init, keys, lists, serve, store, subscribers
from mailer.errors import MailerError

commands = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Encrypted mailing lists that people join, use and leave by mail alone.",
)
commands.command("demo")(demo.demo)
commands.command("init")(init.init)
commands.add_typer(lists.commands, name="lists")
commands.command("serve")(serve.serve)
commands.command("lock")(serve.lock)
commands.command("unlock")(serve.unlock)
commands.command("work")(serve.work)
commands.command("adopt")(adopt.adopt)
commands.add_typer(digest.commands, name="digest")
commands.add_typer(subscribers.commands, name="subscribers")
commands.add_typer(keys.commands, name="keys")
commands.add_typer(store.commands, name="store")
commands.command("check-config")(check_config.check_config)


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
