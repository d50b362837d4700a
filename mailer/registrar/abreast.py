"""Many slow things done a few at a time, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


async def each(
    items: Sequence[T], do: Callable[[T], Awaitable[U]], width: int, advance: Callable[[], None] = lambda: None
) -> list[U]:
    """Return what `do` makes of each item, in their order; `width` at a time, begun in order. advance: after each."""
    done: dict[int, U] = {}
    todo = enumerate(items)

    async def work() -> None:
        for at, item in todo:
            done[at] = await do(item)
            advance()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(width, len(items))):
            group.create_task(work())
    return [done[at] for at in range(len(items))]
