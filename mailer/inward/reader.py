"""The serving process's side of the confined reader: children that parse, decrypt and examine, and may die.

Nothing of a stranger's is parsed in this process. A child that is slow, eats memory or falls over is killed and
replaced; the letter that did it is refused by name, and the next one is read as if nothing had happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import mailer
from mailer.errors import ReaderDied
from mailer.inward import frames
from mailer.inward.confined.child import AUTHENTICATE, READY
from mailer.inward.frames import Request
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Refused
from mailer.model.letter import Letter

MEMORY_OCTETS = 192 * 1024 * 1024
TIME_S = 10.0
START_S = 60.0
LETTERS = 500  # then a child is replaced: memory in pieces, and a stranger who got in is out again


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Reader:
    """Confined children that read letters; an asynchronous context manager. Safe to share between tasks.

    authorities: PEM; one of them must vouch for X.509 certificates, if there are any.
    """

    def __init__(
        self,
        memory_octets: int = MEMORY_OCTETS,
        time_s: float = TIME_S,
        processes: int = 1,
        *,
        letters: int = LETTERS,
        authorities: bytes = b"",
        now: Callable[[], datetime] = _utc_now,
        can_authenticate: bool = False,
    ) -> None:
        self._children = [_Child(memory_octets, time_s, letters, can_authenticate) for _ in range(processes)]
        self._idle: asyncio.LifoQueue[_Child] = asyncio.LifoQueue()
        self._authorities = authorities
        self._now = now

    async def start(self) -> None:
        """Start the children, so that the first letter need not wait. Raises ReaderDied where they do not come up."""
        for child in self._children:
            await child.start()
            self._idle.put_nowait(child)

    async def close(self) -> None:
        """End the children, whatever they are doing."""
        for child in self._children:
            await child.kill()

    async def __aenter__(self) -> Reader:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def read(self, raw: bytes, keys: Sequence[bytes], certificate: bytes | None = None) -> Letter:
        """Return the letter that `raw` is; see parse.read_letter. Raises Unreadable, Unopened, ReaderDied."""
        request = Request("read", raw, tuple(keys), certificate, self._now(), self._authorities)
        return frames.read_letter(await self._ask(request))

    async def examine(self, blob: bytes) -> tuple[Certificate | Refused, ...]:
        """Return what a file holds as certificates; see crypto.certificates.examine. Raises ReaderDied."""
        request = Request("examine", blob, now=self._now(), authorities=self._authorities)
        return frames.read_offers(await self._ask(request))

    async def authenticate(self, raw: bytes, question: bytes) -> bytes:
        """Return what the child says to a question about who sent a letter; see inward/testimony. Raises ReaderDied."""
        return await self._ask(Request("authenticate", raw, (question,), now=self._now()))

    async def find(self, blob: bytes, address: Address) -> tuple[Certificate | Refused, ...]:
        """Return the usable OpenPGP certificates in a file that have this address as a user ID. Raises ReaderDied."""
        return frames.read_offers(await self._ask(Request("find", blob, (str(address).encode(),), now=self._now())))

    async def _ask(self, request: Request) -> bytes:
        child = await self._idle.get()
        try:
            return await child.ask(frames.write_request(request))
        finally:
            self._idle.put_nowait(child)


class _Child:
    """One child process at a time, and its successors."""

    def __init__(self, memory_octets: int, time_s: float, letters: int, can_authenticate: bool) -> None:
        self._can_authenticate = can_authenticate
        self._memory_octets, self._time_s, self._letters = memory_octets, time_s, letters
        self._process: Process | None = None
        self._answered = 0

    async def ask(self, frame: bytes) -> bytes:
        """Return the body of the answer. Raises ReaderDied; then, and when cancelled, the child is gone.

        A child that is gone without a word may have been gone before, so another one is asked, once.
        """
        try:
            try:
                return await self._ask_once(frame)
            except (OSError, EOFError):
                return await self._ask_once(frame)
        except (OSError, EOFError):
            raise ReaderDied from None

    async def _ask_once(self, frame: bytes) -> bytes:
        if self._process is None or self._process.returncode is not None or self._answered >= self._letters:
            await self.kill()
            await self.start()
        assert self._process is not None
        has_answered = False
        try:
            async with asyncio.timeout(self._time_s):
                answer = await _exchange(self._process, frame)
            has_answered = True
        except TimeoutError:
            raise ReaderDied from None
        finally:
            if not has_answered:  # the next answer on this pipe would be to the last question
                await self.kill()
        self._answered += 1
        return answer

    async def start(self) -> None:
        """Start a process and wait until its limits stand. Raises ReaderDied."""
        self._answered = 0
        try:
            async with asyncio.timeout(START_S):
                self._process = await _spawn(self._memory_octets, self._time_s, self._can_authenticate)
                is_ready = await _receive(self._process) == frames.pack(READY)[4:]
        except (OSError, EOFError):  # TimeoutError is an OSError
            is_ready = False
        except asyncio.CancelledError:
            await self.kill()
            raise
        if not is_ready:
            await self.kill()
            raise ReaderDied

    async def kill(self) -> None:
        """End the process at once and reap it."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await asyncio.shield(process.wait())


async def _spawn(memory_octets: int, time_s: float, can_authenticate: bool) -> Process:
    """Start a child with an empty environment, no terminal, and no open files but two pipes."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-B", "-X", "utf8", "-m", "mailer.inward.confined"),
        *(str(memory_octets), str(time_s), *([AUTHENTICATE] if can_authenticate else [])),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        cwd="/",
        env={"PYTHONPATH": str(Path(mailer.__file__).parents[1])},
        start_new_session=True,
    )


async def _exchange(process: Process, frame: bytes) -> bytes:
    assert process.stdin is not None
    process.stdin.write(frame)
    await process.stdin.drain()
    return await _receive(process)


async def _receive(process: Process) -> bytes:
    assert process.stdout is not None
    length = int.from_bytes(await process.stdout.readexactly(4), "big")
    if length > frames.ANSWER_OCTETS:
        raise EOFError
    return await process.stdout.readexactly(length)
