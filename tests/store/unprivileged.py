"""Run a test's body without the right to override file modes, which root has."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_VERSION_3 = 0x20080522  # capabilities(7): _LINUX_CAPABILITY_VERSION_3, two words of 32 bits for each set

_T = TypeVar("_T")


async def connections_ended() -> None:
    """Return when no thread of aiosqlite is left."""
    async with asyncio.timeout(10):
        while any("_connection_worker_thread" in thread.name for thread in threading.enumerate()):
            await asyncio.sleep(0.001)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def run_unprivileged(body: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run `body` in a loop and a thread of its own. Capabilities belong to the thread and to those that it starts."""

    async def run_to_the_end() -> _T:
        try:
            return await body()
        finally:
            await connections_ended()

    def run() -> _T:
        nothing = (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None, use_errno=True).capset(ctypes.byref(_Header(_VERSION_3, 0)), nothing) != 0:
            raise OSError(ctypes.get_errno(), "capset")
        return asyncio.run(run_to_the_end())

    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(run).result()
