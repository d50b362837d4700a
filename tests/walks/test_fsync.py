"""`250` comes after the disk: the real program, watched by strace while it accepts a letter (DESIGN §2.4)."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from mailer.instance import Instance
from tests.house import LIST, SERVICE, make_instance

ROOT = Path(__file__).parents[2]
LETTER = f"From: <ada@reader.example>\r\nTo: <{LIST}>\r\nSubject: help\r\n\r\nhelp\r\n"
# What the traced program is: as shipped, or with the one setting that makes 250 a promise that a power cut breaks.
AS_SHIPPED = "from mailer.cli.main import app; app()"
UNSAFE = (
    "from mailer.store import database as d;"
    "d._PRAGMAS = tuple(one.replace('= FULL', '= NORMAL') for one in d._PRAGMAS);" + AS_SHIPPED
)

# --- What a trace says ----------------------------------------------------------------------------------------------


def is_synced_before_yes(trace: str) -> bool:
    """Return whether an fsync came back between the last octets of a letter and the reply to it.

    Raises ValueError for a trace that does not hold both.
    """
    lines = trace.splitlines()
    end = next((at for at, line in enumerate(lines) if _is_end_of_letter(line)), None)
    if end is None:
        raise ValueError("no letter in this trace")
    yes = next((at for at, line in enumerate(lines[end:], end) if re.search(r'(sendto|write)\(\d+, "250 ', line)), None)
    if yes is None:
        raise ValueError("no 250 after the letter")
    return any(re.search(r"f(data)?sync.*= 0$", line) for line in lines[end:yes])


def _is_end_of_letter(line: str) -> bool:
    return bool(re.search(r'(recvfrom|read).*help\\r\\n\\r\\nhelp\\r\\n\.\\r\\n"', line))


_CAME = r'9 recvfrom(7, "Subject: help\r\n\r\nhelp\r\n.\r\n", 262144, 0, NULL, NULL) = 31'
_YES = r'9 sendto(7, "250 2.0.0 OK\r\n", 14, 0, NULL, 0) = 14'


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([_CAME, "9 fdatasync(5) = 0", _YES], True),
        ([_CAME, "9 fdatasync(5 <unfinished ...>", "9 <... fdatasync resumed>) = 0", _YES], True),
        ([_CAME, "9 fsync(5)          = 0", _YES], True),
        ([_CAME, _YES, "9 fdatasync(5) = 0"], False),
        (["9 fdatasync(5) = 0", _CAME, _YES], False),
        ([_CAME, "9 fdatasync(5 <unfinished ...>", _YES, "9 <... fdatasync resumed>) = 0"], False),
        ([_CAME, "9 fdatasync(5) = -1 EIO (Input/output error)", _YES], False),
    ],
)
def test_a_trace_is_read_right(lines: list[str], expected: bool) -> None:
    assert is_synced_before_yes("\n".join(lines)) is expected


@pytest.mark.parametrize("lines", [[], [_YES], [_CAME]])
def test_a_trace_without_a_letter_proves_nothing(lines: list[str]) -> None:
    with pytest.raises(ValueError, match="letter"):
        is_synced_before_yes("\n".join(lines))


# --- The program ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("program", "expected"), [(AS_SHIPPED, True), (UNSAFE, False)], ids=["shipped", "unsafe"])
def test_a_letter_is_on_disk_before_it_is_accepted(
    tmp_path: Path, needs: Callable[[str], str], program: str, expected: bool
) -> None:
    strace = needs("strace")
    if not may_trace(strace, tmp_path):
        pytest.skip("this machine does not let strace trace; what stands in for it: test_the_settings_promise_as_much")
    instance = make_instance(tmp_path / "instance", None)
    port = free_port(instance)
    trace = tmp_path / "trace"
    with served(instance, [strace, "-f", "-s", "4096", "-o", str(trace), "-e", CALLS], program):
        hand_in_two_letters(port)
    assert is_synced_before_yes(second_letter(trace.read_text())) is expected


CALLS = "trace=fsync,fdatasync,sendto,write,recvfrom,read"


def second_letter(trace: str) -> str:
    """The first one makes the journal, whose own beginnings are synced at every setting."""
    lines = trace.splitlines()
    ends = [at for at, line in enumerate(lines) if _is_end_of_letter(line)]
    return "\n".join(lines[ends[1] :])


def may_trace(strace: str, folder: Path) -> bool:
    tried = subprocess.run([strace, "-f", "-o", str(folder / "trial"), "true"], capture_output=True, check=False)
    return tried.returncode == 0


def free_port(instance: Instance) -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    path = instance.config_path
    path.write_text(path.read_text().replace('listen = ["127.0.0.1:0"]', f'listen = ["127.0.0.1:{port}"]'))
    return port


@contextmanager
def served(instance: Instance, tracer: list[str], program: str) -> Iterator[None]:
    """`mailer serve` under a tracer, for as long as the block lasts; it has to end well."""
    passphrase = instance.folder.parent / "service"
    passphrase.write_text(SERVICE + "\n")
    arguments = ["serve", "--instance", str(instance.folder), "--service-passphrase-file", str(passphrase)]
    process = subprocess.Popen(
        [*tracer, sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield
        os.killpg(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert b"Traceback" not in errors, errors.decode()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def connect(port: int) -> socket.socket:
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the door did not open"
            time.sleep(0.02)


def hand_in_two_letters(port: int) -> None:
    """Each letter in one piece, so that its end is one line of the trace; the connection stays the same."""
    with connect(port) as client, client.makefile("rb") as replies:

        def say(line: str, expected: bytes) -> None:
            client.sendall(line.encode() + b"\r\n")
            hear(expected)

        def hear(expected: bytes) -> None:
            while (reply := replies.readline())[3:4] == b"-":
                pass
            assert reply.startswith(expected), reply

        hear(b"220")
        say("EHLO client.example", b"250")
        for _ in range(2):
            say("MAIL FROM:<ada@reader.example>", b"250")
            say(f"RCPT TO:<{LIST}>", b"250")
            say("DATA", b"354")
            say(LETTER + ".", b"250")
        say("QUIT", b"221")


# --- What stands in for strace where nothing may be traced ----------------------------------------------------------


async def test_the_settings_promise_as_much(tmp_path: Path) -> None:
    """SQLite's documentation of `PRAGMA synchronous`: in WAL mode only FULL and EXTRA sync after each commit."""
    database = make_instance(tmp_path / "instance", None).database()
    await database.open()
    async with database.write() as tx:
        assert (await tx.execute(text("PRAGMA synchronous"))).scalar_one() >= 2
        assert (await tx.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"
    await database.close()
