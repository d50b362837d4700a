"""mailer digest: write one, send it now or later, steer it, and see what becomes of it."""

from __future__ import annotations

import typer

from mailer.cli.digest import look, seeds, send, steer, write

commands = typer.Typer(no_args_is_help=True, help="Write digests, look at them, send them, and see that they arrive.")
commands.command("new")(write.new)
commands.command("preview")(write.preview)
commands.command("test")(write.send_test)
commands.command("send")(send.send)
commands.command("schedule")(send.schedule)
commands.command("pause")(steer.pause)
commands.command("resume")(steer.resume)
commands.command("cancel")(steer.cancel)
commands.command("retry")(steer.retry)
commands.command("list")(look.list_all)
commands.command("status")(look.status)
commands.command("seeds")(seeds.seeds)
