"""The far end: takes letters by SMTP, throws them away and counts them, at as little cost as Python allows.

It looks for the final dot at the end of what arrived and at nothing else of a letter's content, in one process with
one buffer. Its parent writes `stats` or `reset` to its standard input, a line each, and reads a line of JSON; when
that input ends, so does the sink. Times are of CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from array import array
from dataclasses import dataclass, field

BUFFER_OCTETS = 1 << 20
DOT = b"\r\n.\r\n"
WINDOW_OCTETS = 1024  # what may follow a final dot: RFC 2920 §3.1 lets QUIT, or MAIL and RCPT, travel with it
GREETING = b"220 sink.example ESMTP\r\n"
HELLO = b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 104857600\r\n250 ENHANCEDSTATUSCODES\r\n"
DATA, QUIT = b"DATA", b"QUIT"
REPLIES = {
    b"EHLO": HELLO,
    b"HELO": b"250 sink.example\r\n",
    b"MAIL": b"250 2.1.0 Ok\r\n",
    b"RCPT": b"250 2.1.5 Ok\r\n",
    b"RSET": b"250 2.0.0 Ok\r\n",
    b"NOOP": b"250 2.0.0 Ok\r\n",
    DATA: b"354 Go on\r\n",
    QUIT: b"221 2.0.0 Bye\r\n",
}
ACCEPTED = b"250 2.0.0 Ok\r\n"
UNKNOWN = b"500 5.5.2 What?\r\n"


@dataclass
class Tally:
    """What was counted since the last reset. times: of each final dot."""

    octets: int = 0
    connections: int = 0
    most_connections: int = 0
    times: array[float] = field(default_factory=lambda: array("d"))
    recipients: set[bytes] = field(default_factory=set)
    began: float = field(default_factory=time.monotonic)
    began_cpu: float = field(default_factory=time.process_time)

    def take(self, octets: int) -> None:
        self.times.append(time.monotonic())
        self.octets += octets

    def facts(self) -> dict[str, object]:
        """Return it for JSON. marks: the time of the first letter, then at each tenth of all letters."""
        letters = len(self.times)
        marks = [self.times[max(letters * tenth // 10 - 1, 0)] for tenth in range(11)] if letters else []
        return {
            "letters": letters,
            "octets": self.octets,
            "recipients": len(self.recipients),
            "most_connections": self.most_connections,
            "marks": marks,
            "cpu_s": time.process_time() - self.began_cpu,
            "wall_s": time.monotonic() - self.began,
        }


class Conversation:
    """One client's. `hear` returns what to answer; it needs no socket."""

    __slots__ = ("_begun", "_is_content", "_octets", "_tail", "is_over", "tally")

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._is_content = False
        self._begun = b""  # a command line that is not all here
        self._tail = b""  # the last octets of content: the final dot may come in pieces
        self._octets = 0
        self.is_over = False

    def hear(self, heard: memoryview) -> bytes:
        if self._is_content:
            return self._hear_content(heard)
        return self._hear_commands(self._begun + bytes(heard))

    def _hear_commands(self, text: bytes) -> bytes:
        replies: list[bytes] = []
        while True:
            line, end, text = text.partition(b"\r\n")
            if not end:
                self._begun = line
                return b"".join(replies)
            verb = line[:4].upper()
            replies.append(REPLIES.get(verb, UNKNOWN))
            if verb == b"RCPT":
                self.tally.recipients.add(line)
            elif verb == DATA:
                self._is_content, self._begun, self._octets = True, b"", 0
                self._tail = b"\r\n"  # a letter may be empty: then the dot comes first
                return b"".join(replies) + (self._hear_content(memoryview(text)) if text else b"")
            elif verb == QUIT:
                self.is_over = True

    def _hear_content(self, heard: memoryview) -> bytes:
        self._octets += len(heard)
        end = bytes(heard[-WINDOW_OCTETS:])
        if len(end) < WINDOW_OCTETS:
            end = self._tail + end
        if end.endswith(DOT):
            after = b""
        elif (at := end.rfind(DOT)) >= 0:
            after = end[at + len(DOT) :]
        else:
            self._tail = end[1 - len(DOT) :]
            return b""
        self._is_content = False
        self.tally.take(self._octets - len(after))
        return ACCEPTED + self._hear_commands(after) if after else ACCEPTED


class Sink:
    """Every client, and the parent's questions, in one loop."""

    def __init__(self, listener: socket.socket, asked: int) -> None:
        self._listener, self._asked = listener, asked
        self._buffer = bytearray(BUFFER_OCTETS)
        self._view = memoryview(self._buffer)
        self._clients: dict[int, tuple[socket.socket, Conversation]] = {}
        self.tally = Tally()
        self._poll = select.epoll()
        self._poll.register(listener, select.EPOLLIN)
        self._poll.register(asked, select.EPOLLIN)

    def run(self) -> None:
        """Serve until the parent closes its end."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._clients:
                    self._hear(descriptor)
                elif descriptor == self._listener.fileno():
                    self._greet()
                elif not self._answer():
                    return

    def _greet(self) -> None:
        client, _ = self._listener.accept()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clients[client.fileno()] = (client, Conversation(self.tally))
        self.tally.connections += 1
        self.tally.most_connections = max(self.tally.most_connections, len(self._clients))
        self._poll.register(client, select.EPOLLIN)
        client.send(GREETING)

    def _hear(self, descriptor: int) -> None:
        client, conversation = self._clients[descriptor]
        try:
            octets = client.recv_into(self._buffer)
            reply = conversation.hear(self._view[:octets]) if octets else b""
            if reply:
                client.send(reply)  # a few octets: there is always room for them
        except OSError:
            octets = 0
        if not octets or conversation.is_over:
            self._poll.unregister(descriptor)
            del self._clients[descriptor]
            client.close()

    def _answer(self) -> bool:
        asked = os.read(self._asked, 4096)
        for question in asked.split():
            print(json.dumps(self.tally.facts()), flush=True)
            if question == b"reset":
                self._reset()
        return bool(asked)

    def _reset(self) -> None:
        self.tally = Tally(most_connections=len(self._clients))
        for _, conversation in self._clients.values():
            conversation.tally = self.tally


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    Sink(listener, sys.stdin.fileno()).run()


if __name__ == "__main__":
    main()
