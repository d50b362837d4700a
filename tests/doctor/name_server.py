"""A DNS server on a port of 127.0.0.1 that knows what it is told, and can be silent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Zone = dict[tuple[str, str], Sequence[str]]


@dataclass
class NameServer:
    """zone: by name without its last dot and kind; TXT values as the whole text."""

    zone: Zone = field(default_factory=dict)
    is_silent: bool = False
    address: tuple[str, int] = ("127.0.0.1", 0)
    asked: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[NameServer]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            self.address = server.getsockname()
            thread = threading.Thread(target=self._serve, args=(server,), daemon=True)
            thread.start()
            yield self
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", self.address)
            thread.join()

    def _serve(self, server: socket.socket) -> None:
        while True:
            packet, client = server.recvfrom(4096)
            if not packet:
                return
            if not self.is_silent:
                server.sendto(self._answer(dns.message.from_wire(packet)), client)

    def _answer(self, question: dns.message.Message) -> bytes:
        answer = dns.message.make_response(question, recursion_available=True)
        name, kind = question.question[0].name, dns.rdatatype.to_text(question.question[0].rdtype)
        key = name.to_text(omit_final_dot=True).lower()
        self.asked.append((key, kind))
        values = self.zone.get((key, kind))
        if values:
            answer.answer.append(dns.rrset.from_text_list(name, 60, "IN", kind, [_shown(one, kind) for one in values]))
        elif not any(known == key for known, _ in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer.to_wire()


def _shown(value: str, kind: str) -> str:
    if kind != "TXT":
        return value
    return " ".join(f'"{value[at : at + 255]}"' for at in range(0, len(value), 255))
