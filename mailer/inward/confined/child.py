"""The child in which strangers' bytes are read: it gives up all it can, then answers one request after the other.

Started by `reader.Reader` as `python -m mailer.inward.confined MEMORY_OCTETS TIME_S`, with pipes for stdin and stdout.
It may be killed at any moment without harm. What it is asked holds the list's secret keys, which are never on a
command line, in an environment or in a file.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import encodings
import math
import os
import pkgutil
import resource
import sys
from datetime import UTC, datetime
from typing import BinaryIO

from mailer.errors import Unreadable
from mailer.inward import frames
from mailer.model.address import Address
from mailer.model.certificate import Certificate

READY = b"ready"
AUTHENTICATE = "authenticate"  # in the command line of a child that will be asked about senders

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38  # linux/prctl.h
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same numbers on every architecture
_LANDLOCK_ALL = (1 << 13) - 1  # every right of the first version: linux/landlock.h
_CAPABILITY_VERSION = 0x20080522  # linux/capability.h
_SIGKILL = 9


def main() -> None:
    """Confine this process and serve until stdin ends. Nothing of a stranger's is touched before the limits stand."""
    memory_octets, time_s = int(sys.argv[1]), float(sys.argv[2])
    _load_everything(AUTHENTICATE in sys.argv[3:])
    confine(memory_octets)
    _write(sys.stdout.buffer, frames.pack(READY))
    while (body := _read(sys.stdin.buffer)) is not None:
        _allow_cpu(time_s)
        _write(sys.stdout.buffer, answer(frames.read_request(body)))


def answer(request: frames.Request) -> bytes:
    """Return the frame that answers a request. Errors of ours are answers; all else ends this process."""
    from mailer.inward import testimony
    from mailer.inward.confined import files, parse

    if request.purpose == "authenticate":
        from mailer.inward.confined import authentic

        verdict = authentic.judge(request.content, testimony.read_question(request.keys[0]))
        return testimony.write_verdict(verdict)
    if request.purpose == "examine":
        return frames.write_answer(files.examine(request.content, request.now, request.authorities))
    if request.purpose == "find":
        return frames.write_answer(files.find(request.content, Address.parse(request.keys[0].decode()), request.now))
    try:
        given = (request.keys, request.certificate, request.now, request.authorities)
        letter = parse.read_letter(request.content, *given)
    except Unreadable as refusal:
        return frames.write_answer(refusal)
    return frames.write_answer(letter)


def _load_everything(can_authenticate: bool) -> None:
    """Load every codec and library while files may still be opened, by reading a letter to ourselves."""
    from mailer.crypto import openpgp, smime

    for module in pkgutil.iter_modules(encodings.__path__):
        with contextlib.suppress(LookupError, ImportError):  # some are for Windows alone
            codecs.lookup(module.name)
    key, now = openpgp.generate_plain_key(Address("list", "example.org")), datetime.now(UTC)
    (certificate, *_) = openpgp.examine(key.public, now)
    assert isinstance(certificate, Certificate)
    message = openpgp.encrypt(b"hello", certificate.blob, now, key)
    letter = b"From: <list@example.org>\r\nSubject: =?gbk?b?tqnUxA==?=\r\n\r\n" + message
    smime.load_everything(now)
    answer(frames.Request("read", letter, (key.secret,), certificate.blob, now))
    if can_authenticate:  # 20 MB more
        from mailer.inward.confined import authentic

        authentic.load_everything()


def confine(memory_octets: int) -> None:
    """Limit what this process can do, for good: memory, files, processes, core dumps, privileges, the network.

    The kernel decides how much of it there is; the limits on memory and time hold everywhere.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:  # where the kernel lets us: no network but an empty one
        libc.unshare(_CLONE_NEWNET)
    libc.capset((ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)())  # the namespace gave them all
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # no ptrace, no core, /proc/PID belongs to root
    _shut_file_system(libc)
    for name, most in (
        (resource.RLIMIT_AS, memory_octets),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 3),
        (resource.RLIMIT_NPROC, 0),
    ):
        _limit(name, most)


def _shut_file_system(libc: ctypes.CDLL) -> None:
    """Let this process open, make, change and run no file at all (Landlock, Linux 5.13 and later)."""
    handled = ctypes.c_uint64(_LANDLOCK_ALL)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(handled), ctypes.c_size_t(8), 0)
    if ruleset >= 0:
        libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)


def _limit(name: int, most: int) -> None:
    with contextlib.suppress(ValueError, OSError):  # a lower limit stands already
        resource.setrlimit(name, (most, most))


def _allow_cpu(time_s: float) -> None:
    """Let this process use `time_s` more of processor time; then the kernel ends it, whatever it is doing."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime + time_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _read(stream: BinaryIO) -> bytes | None:
    """Return the body of the next frame, or None at the end."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    length = int.from_bytes(head, "big")
    body = stream.read(length)
    return body if len(body) == length else None


def _write(stream: BinaryIO, frame: bytes) -> None:
    stream.write(frame)
    stream.flush()
