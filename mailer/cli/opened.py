"""The database of an instance, opened for as long as a command needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mailer.instance import Instance
from mailer.store.database import Database

T = TypeVar("T")


def run(instance: Instance, do: Callable[[Database], Awaitable[T]]) -> T:
    """Return what `do` returns, with the database open. Raises StoreError, and what it raises."""
    return asyncio.run(with_database(instance, do))


async def with_database(instance: Instance, do: Callable[[Database], Awaitable[T]]) -> T:
    """As `run`, for a command whose event loop runs already."""
    database = instance.database()
    try:
        await database.open()
        return await do(database)
    finally:
        await database.close()
