"""A recording SMTP server that can be told to misbehave: the far end of the relay's tests, and their only double.

It runs in the test's own loop, on a free port of 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

EXTENSIONS = ("PIPELINING", "SIZE 10000000", "8BITMIME", "SMTPUTF8", "AUTH PLAIN", "ENHANCEDSTATUSCODES")


class Misdeed(Enum):
    """What the server does instead of answering."""

    HANG = "hang"
    CLOSE = "close"
    STALL = "stall"  # at "CONTENT": reads nothing until `FarServer.resumed` is set


Answer = str | Misdeed


@dataclass
class Received:
    """One letter: the command lines around it, its bytes as they came and as they were meant."""

    mail: str
    rcpt: str
    wire: bytes
    is_encrypted: bool

    @property
    def content(self) -> bytes:
        """Without the dots that SMTP adds (RFC 5321 §4.5.2)."""
        return re.sub(rb"(?m)^\.", b"", self.wire)


@dataclass
class FarServer:
    """Answers as told, records all. `async with FarServer(...) as far:` then `far.port`.

    answers: for "CONNECT", a verb, "DOT" (the end of a letter) or "CONTENT" (its first line): one answer for always,
    or several for one time after the other, then the ordinary one. extensions: offered after EHLO besides STARTTLS.
    rule: answers recipients one by one, in the place of "RCPT".
    """

    answers: Mapping[str, Answer | Sequence[Answer]] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    is_implicit: bool = False
    offers_starttls: bool = True
    extensions: Sequence[str] = EXTENSIONS
    host: str = "127.0.0.1"
    rule: Callable[[str], Answer | None] | None = None  # a RCPT line → an answer, or None for the ordinary one

    def __post_init__(self) -> None:
        self.letters: list[Received] = []
        self.commands: list[str] = []
        self.connections = 0
        self.most_at_once = 0
        self.resumed = asyncio.Event()
        self._scripts = {verb: _script(answer) for verb, answer in self.answers.items()}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> FarServer:
        context = self.tls if self.is_implicit else None
        self._server = await asyncio.start_server(self._welcome, self.host, 0, ssl=context)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.hang_up()
        await self._server.wait_closed()

    async def finish(self) -> None:
        """Wait until every connection has come to its end."""
        await asyncio.gather(*self._tasks)

    async def hang_up(self) -> None:
        """Drop every connection, without a word."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.most_at_once = max(self.most_at_once, len(self._tasks))
        try:
            await _Session(self, reader, writer).run()
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the client went, or the test ends
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    def next_answer(self, verb: str) -> Answer | None:
        """What the test wants said now."""
        if verb == "RCPT" and self.rule is not None:
            return self.rule(self.commands[-1])
        script = self._scripts.get(verb)
        return script() if script else None


def _script(answer: Answer | Sequence[Answer]) -> Callable[[], Answer | None]:
    if isinstance(answer, str | Misdeed):
        return lambda: answer
    left = list(answer)
    return lambda: left.pop(0) if left else None


class _Session:
    def __init__(self, far: FarServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.far, self.reader, self.writer = far, reader, writer
        self.is_encrypted = far.is_implicit
        self.mail = self.rcpt = ""

    async def run(self) -> None:
        await self.say("CONNECT", "220 far.example ESMTP")
        while line := await self.reader.readuntil(b"\r\n"):
            command = line[:-2].decode()
            self.far.commands.append(command)
            verb = command.partition(" ")[0].upper()
            act = getattr(self, f"answer_{verb.lower()}", None)
            if act is None:
                await self.say(verb, "500 5.5.2 what?")
            else:
                await act(command)

    async def say(self, verb: str, ordinary: str) -> bool:
        """Answer; returns whether it was a yes."""
        answer = self.far.next_answer(verb)
        if answer is None:
            answer = ordinary
        if answer is Misdeed.HANG:
            await asyncio.Event().wait()
        if isinstance(answer, Misdeed):
            raise EOFError  # noqa: TRY004 - as if the client had gone
        self.writer.write(answer.encode() + b"\r\n")
        await self.writer.drain()
        if answer.startswith("421"):
            self.writer.close()
            raise EOFError
        return answer[0] in "23"

    async def answer_ehlo(self, _command: str) -> None:
        offered = ["far.example", *self.far.extensions]
        if self.far.tls and self.far.offers_starttls and not self.is_encrypted:
            offered.append("STARTTLS")
        await self.say("EHLO", "\r\n".join([*(f"250-{line}" for line in offered[:-1]), f"250 {offered[-1]}"]))

    async def answer_starttls(self, _command: str) -> None:
        if await self.say("STARTTLS", "220 2.0.0 go ahead") and self.far.tls:
            await self.writer.start_tls(self.far.tls)
            self.is_encrypted = True

    async def answer_auth(self, _command: str) -> None:
        await self.say("AUTH", "235 2.7.0 welcome")

    async def answer_mail(self, command: str) -> None:
        if self.mail:
            await self.say("", "503 5.5.1 nested MAIL")
        elif await self.say("MAIL", "250 2.1.0 OK"):
            self.mail = command

    async def answer_rcpt(self, command: str) -> None:
        if await self.say("RCPT", "250 2.1.5 OK" if self.mail else "503 5.5.1 MAIL first"):
            self.rcpt = command

    async def answer_data(self, _command: str) -> None:
        if not await self.say("DATA", "354 go ahead" if self.rcpt else "503 5.5.1 RCPT first"):
            return
        misdeed = self.far.next_answer("CONTENT")
        if misdeed is Misdeed.CLOSE:
            await self.reader.readuntil(b"\r\n")
            raise EOFError
        if misdeed is Misdeed.STALL:
            await self.far.resumed.wait()
        wire = await self._read_letter()
        self.far.letters.append(Received(self.mail, self.rcpt, wire, self.is_encrypted))
        self.mail = self.rcpt = ""
        await self.say("DOT", "250 2.0.0 queued")

    async def _read_letter(self) -> bytes:
        wire = bytearray()
        while wire != b".\r\n" and not wire.endswith(b"\r\n.\r\n"):
            wire += await self.reader.readuntil(b"\n")
        return bytes(wire[:-3])

    async def answer_rset(self, _command: str) -> None:
        self.mail = self.rcpt = ""
        await self.say("RSET", "250 2.0.0 OK")

    async def answer_quit(self, _command: str) -> None:
        await self.say("QUIT", "221 2.0.0 bye")
        raise EOFError
