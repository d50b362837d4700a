"""How the sending loops wait, and how they stop: not in the middle of a letter if that can be helped."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

FINISH_S = 5.0  # `mailer serve` gives its deliverer twice as long before it ends it by force

_T = TypeVar("_T")


async def wait(event: asyncio.Event, timeout_s: float) -> None:
    """Return when the event is set, or after so long."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass


async def wait_for_any(*events: asyncio.Event, timeout_s: float) -> None:
    """Return when one of the events is set, or after so long."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def see_through(
    work: Coroutine[Any, Any, _T], within_s: float = FINISH_S, stopping: asyncio.Event | None = None
) -> _T:
    """Return what `work` returns. Cancelled meanwhile, this lets it come to its end for so long, then cancels it too.

    A letter that is dropped between its final dot and the relay's yes would be sent once more. stopping: set to tell
    `work` that it is to come to its end.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if stopping is not None:
            stopping.set()
        await asyncio.wait({task}, timeout=within_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
