"""What no mailer on this machine could surpass: a, the bare OpenPGP library in a loop; b, Postfix's smtp-source.

A program that encrypts every letter and then sends it, on the same cores, gets at most 1/(1/a + 1/b).
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pysequoia

from bench import processes
from bench.processes import BenchFailed, Far

SESSIONS = 20
BASE64_LINE = 48 / 66  # octets of a message in each line of its armor (RFC 4648: 48 become 64, and CRLF)
HEAD_OCTETS = 2200  # of a copy, about: header fields, Autocrypt among them, and MIME boundaries
WITHIN_S = 120.0


def bound(a: float, b: float) -> float:
    """Return how many letters a second can be encrypted and then sent, where either alone makes a or b."""
    return 1 / (1 / a + 1 / b)


def payload_octets(letter_octets: float) -> int:
    """Return how long the plaintext is in a letter of this size."""
    return int((letter_octets - HEAD_OCTETS) * BASE64_LINE)


def encrypt(blobs: list[bytes], octets: int, width: int, seconds: float) -> float:
    """Return a: messages a second that `width` processes encrypt, each to the next certificate, parsed every time."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(width)
    pipes, members = [], []
    try:
        for _ in range(width):
            ours, theirs = context.Pipe(duplex=False)
            member = context.Process(target=_encrypt, args=(blobs, octets, seconds, start, theirs), daemon=True)
            member.start()
            members.append(member)
            pipes.append(ours)
        if not all(pipe.poll(seconds + WITHIN_S) for pipe in pipes):
            raise BenchFailed("The OpenPGP library does not come to an end.")
        return float(sum(pipe.recv() for pipe in pipes))
    finally:
        for member in members:
            member.kill()
            member.join()


def _encrypt(blobs: list[bytes], octets: int, seconds: float, start: Barrier, result: Connection) -> None:
    payload = os.urandom(octets * 3 // 4 + 3).hex().encode()[:octets]
    done = 0
    start.wait(WITHIN_S)
    began = now = time.monotonic()
    while now < began + seconds:
        pysequoia.encrypt(payload, [pysequoia.Cert.from_bytes(blobs[done % len(blobs)])])
        done += 1
        now = time.monotonic()
    result.send(done / (now - began))


def source_path() -> str | None:
    """Return where smtp-source is: Debian keeps it outside of most users' PATH."""
    return shutil.which("smtp-source", path=f"{os.environ.get('PATH', '')}{os.pathsep}{Path('/usr/sbin')}")


def source(
    port: int, number: int, octets: int, sender: str = "writer@elsewhere.example", to: str = "reader@crowd.example"
) -> None:
    """Send letters with smtp-source over connections that are kept open. Raises BenchFailed."""
    program = source_path() or "smtp-source"
    size = ["-l", str(octets), "-m", str(number), "-s", str(min(SESSIONS, number))]
    who = ["-f", sender, "-t", to, "-M", "source.example"]
    processes.run([program, "-d", *size, *who, f"127.0.0.1:{port}"])


def send(far: Far, number: int, octets: int) -> tuple[float, float]:
    """Return b, and the sink's share of one core: letters a second from smtp-source, between first and last dot."""
    far.reset()
    source(far.port, number, octets)
    seen = far.stats()
    if seen["letters"] != number:
        raise BenchFailed(f"smtp-source sent {number} letters; the sink counted {seen['letters']}.")
    return (number - 1) / (seen["marks"][-1] - seen["marks"][0]), seen["cpu_s"] / seen["wall_s"]
