"""mailer demo: the whole life of a list, on this machine, with real SMTP and real keys."""

from __future__ import annotations

import io
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated

import typer
from rich.console import Console

from mailer.demo.play import QUOTE, Play
from mailer.demo.stage import Stage
from mailer.errors import DemoFailed

Keep = Annotated[bool, typer.Option("--keep", help="Leave the folder with all that was made, and say where it is.")]


def demo(keep: Keep = False) -> None:
    """Play the whole life of a list: join, refuse, send, read, leave. Nothing leaves this machine.

    Example: mailer demo --keep
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Chinese letters is no reason to end
    began = time.monotonic()
    with _ending_in_order(), Stage(keep=keep) as stage:
        try:
            _perform(stage)
        finally:
            if keep:
                print(f"\nKept: {stage.folder}")
    print(f"\nAll of it held, in {time.monotonic() - began:.1f} s.")


def _perform(stage: Stage) -> None:
    told: list[str] = []
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    for number, (title, act) in enumerate(Play(stage, told.append).acts(), 1):
        told.clear()
        began = time.monotonic()
        try:
            with console.status(f"{number}. {title} …") if console.is_terminal else nullcontext():
                act()
        except DemoFailed as failure:
            _show(console, f"✗ {number}. {title}", told, "bold red")
            raise DemoFailed(f"It was no. {number}, “{title}”. {failure.reason}") from failure
        _show(console, f"✓ {number}. {title} ({time.monotonic() - began:.1f} s)", told, "bold green")


def _show(console: Console, heading: str, lines: list[str], style: str) -> None:
    console.print(heading, style=style)
    for line in lines:
        console.print(f"     {line}", style="dim" if line.startswith(QUOTE) else None)


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Have each way of being told to end clear away what was made, also where a parent had the signal ignored."""
    before = {told: signal.signal(told, _end) for told in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for told, handler in before.items():
            signal.signal(told, handler)


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)
