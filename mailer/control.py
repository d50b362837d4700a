"""How `mailer lock`, `unlock` and the like reach a running service: one JSON line each way over a Unix socket.

The socket lies in a folder of mode 0700; whoever may connect is the service's own user or root.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from mailer.errors import ControlUnusable, MailerError, ServiceNotRunning, ServiceRefused, ServiceRunning

LONGEST_LINE = 16 * 1024
TIMEOUT_S = 30.0

Request = dict[str, str]
Handler = Callable[[Request], Awaitable[str]]


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Be the one service of an instance; path: of its socket. Raises ServiceRunning where there is one, or the like.

    The kernel drops the lock with the process, however that ends, so nothing stale is ever in the way.
    """
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)  # the folder's mode keeps others out, whatever the socket's is
        descriptor = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ControlUnusable(f"({error.strerror}.)") from error
    with open(descriptor, "wb", buffering=0):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServiceRunning from error
        except OSError as error:
            raise ControlUnusable(f"({error.strerror}.)") from error
        yield


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock of an instance's run/ at this moment, by itself or with others."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    with open(descriptor, "rb", buffering=0):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@asynccontextmanager
async def listening(path: Path, handle: Handler) -> AsyncIterator[None]:
    """Serve requests inside the block; only the holder of `claim` may. Raises ControlUnusable.

    handle: returns what the operator reads; a MailerError's text goes back too.
    """

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                request = json.loads(await reader.readline())
                writer.write(json.dumps(await _answer(handle, request)).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, ValueError, ConnectionError):
            pass  # the command at the other end says that there was no answer
        finally:
            writer.close()

    with ExitStack() as stack:
        name = stack.enter_context(_short(path))
        try:
            server = await asyncio.start_unix_server(converse, name, limit=LONGEST_LINE)
        except OSError as error:
            raise ControlUnusable(f"({error.strerror}.)") from error
        stack.callback(path.unlink, missing_ok=True)
        stack.callback(server.close)
        yield


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a name for the socket that fits into the 107 octets of an address (unix(7)), wherever the instance lies."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


async def _answer(handle: Handler, request: object) -> dict[str, str]:
    if not isinstance(request, dict) or not all(isinstance(value, str) for value in request.values()):
        return {"error": "That is no request."}
    try:
        return {"answer": await handle(request)}
    except MailerError as error:
        return {"error": str(error)}


async def ask(path: Path, request: Request) -> str:
    """Return the service's answer. Raises ServiceNotRunning, ServiceRefused."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            with _short(path) as name:
                reader, writer = await asyncio.open_unix_connection(name, limit=LONGEST_LINE)
            writer.write(json.dumps(request).encode() + b"\n")
            reply = json.loads(await reader.readline())
            writer.close()
    except (OSError, TimeoutError, ValueError) as error:
        raise ServiceNotRunning from error
    if "error" in reply:
        raise ServiceRefused(reply["error"])
    return str(reply["answer"])
