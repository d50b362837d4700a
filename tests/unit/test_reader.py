from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailer.errors import ReaderDied, Unreadable
from mailer.inward import frames, reader
from mailer.inward.confined.child import READY
from mailer.inward.reader import Reader
from mailer.model.certificate import Certificate, Refusal, Refused
from mailer.model.letter import Unopened
from tests.conftest import Gnupg

LETTERS = Path(__file__).parent / "letters"
LIST_SECRET = (LETTERS / "keys" / "list-secret.pgp").read_bytes()
HONEST = b"From: bob@example.org\r\nSubject: subscribe\r\n\r\nsubscribe\r\n"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
SMALL_OCTETS = 192 * 1024 * 1024


def pid_of(served: Reader) -> int:
    process = served._children[0]._process
    assert process is not None
    return process.pid


async def assert_serves(served: Reader) -> None:
    assert (await served.read(HONEST, [])).subject == "subscribe"


async def test_a_letter_comes_back_as_the_child_read_it() -> None:
    async with Reader(now=lambda: NOW) as served:
        (alice,) = await served.examine((LETTERS / "keys" / "alice.asc").read_bytes())
        assert isinstance(alice, Certificate)
        letter = await served.read((LETTERS / "sealed.eml").read_bytes(), [LIST_SECRET], alice.blob)
        assert (letter.subject, letter.text, letter.was_encrypted) == ("unsubscribe", "unsubscribe\n", True)
        assert letter.signed_by == alice.fingerprint
        assert letter.signed_at is not None
        assert letter.signed_at.date().isoformat() == "2026-11-20"
        (offered,) = (await served.read((LETTERS / "key-attached.eml").read_bytes(), [])).offered
        assert offered == alice


async def test_refusals_come_back_by_name() -> None:
    async with Reader() as served:
        with pytest.raises(Unreadable) as refused:
            await served.read(b"Subject: x\r\n\r\n", [])
        assert refused.value.reason == "no-sender"
        with pytest.raises(Unopened) as unopened:
            await served.read((LETTERS / "sealed.eml").read_bytes(), [])
        assert str(unopened.value.letter.sender) == "alice@example.org"
        found = await served.examine(b"no key")
        assert [offer.reason for offer in found if isinstance(offer, Refused)] == [Refusal.NOT_A_CERTIFICATE]
        await assert_serves(served)


async def test_chinese_words_survive_in_an_empty_environment() -> None:
    async with Reader() as served:
        letter = await served.read("From: bob@example.org\r\nSubject: 退订\r\n\r\n取消".encode("gbk"), [])
        assert (letter.subject, letter.text) == ("退订", "取消")


# --- Children that fail ---------------------------------------------------------------------------------------------


async def test_a_child_that_hangs_is_killed_and_the_next_letter_is_served() -> None:
    async with Reader(time_s=0.3) as served:
        hanging = pid_of(served)
        os.kill(hanging, signal.SIGSTOP)
        with pytest.raises(ReaderDied):
            await served.read(HONEST, [])
        await assert_serves(served)
        assert pid_of(served) != hanging
        with pytest.raises(ProcessLookupError):
            os.kill(hanging, 0)


async def test_a_child_that_was_killed_between_letters_costs_no_letter() -> None:
    async with Reader() as served:
        killed = pid_of(served)
        os.kill(killed, signal.SIGKILL)
        await assert_serves(served)
        assert pid_of(served) != killed


async def test_a_letter_that_takes_too_long_is_refused() -> None:
    slow = b"From: bob@example.org\r\nContent-Type: text/html\r\n\r\n" + b"<" * 20_000_000
    async with Reader(time_s=0.05) as served:
        with pytest.raises(ReaderDied):
            await served.read(slow, [])
    async with Reader() as served:
        await assert_serves(served)


async def test_a_letter_that_unpacks_to_more_than_the_memory_is_refused(gnupg: Gnupg) -> None:
    gnupg.import_key((LETTERS / "keys" / "list.asc").read_bytes())
    (recipient,) = gnupg.fingerprints()
    options = ("--armor", "--trust-model", "always", "--compress-algo", "zlib", "--encrypt", "--recipient", recipient)
    bomb = gnupg.run(*options, stdin=bytes(400_000_000))
    assert len(bomb) < 1_000_000
    async with Reader(SMALL_OCTETS) as served:
        with pytest.raises(Unreadable):
            await served.read(b"From: bob@example.org\r\n\r\n" + bomb, [LIST_SECRET])
        await assert_serves(served)


async def test_a_cancelled_question_is_not_answered_to_the_next() -> None:
    async with Reader() as served:
        os.kill(pid_of(served), signal.SIGSTOP)
        asking = asyncio.create_task(served.read(HONEST.replace(b"subscribe", b"secret"), []))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await assert_serves(served)


async def test_a_child_is_replaced_after_so_many_letters() -> None:
    async with Reader(letters=2) as served:
        pids = []
        for _ in range(4):
            await assert_serves(served)
            pids.append(pid_of(served))
        assert pids[0] == pids[1] != pids[2] == pids[3]


async def test_many_questions_at_once_are_shared_among_the_children() -> None:
    async with Reader(processes=2) as served:
        raws = [HONEST.replace(b"Subject: subscribe", b"Subject: %d" % number) for number in range(50)]
        letters = await asyncio.gather(*(served.read(raw, []) for raw in raws))
        assert [letter.subject for letter in letters] == [str(number) for number in range(50)]


async def test_a_closed_reader_leaves_no_process_behind() -> None:
    async with Reader(processes=2) as served:
        pids = [child._process.pid for child in served._children if child._process]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# --- Confinement ----------------------------------------------------------------------------------------------------


def confined(code: str, *, memory_octets: int = SMALL_OCTETS) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has given up what the child gives up."""
    imports = "import ctypes, os, resource, socket\nfrom mailer.inward.confined import child\n"
    program = f"{imports}child.confine({memory_octets})\n"
    command = [sys.executable, "-B", "-c", program + code]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(reader.__file__).parents[2], check=False)


@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd')",
        "open('/tmp/leak', 'w')",
        "os.listdir('/')",
        "socket.create_connection(('127.0.0.1', 25), 1)",
        "os.execv('/bin/true', ['true'])",
        "bytearray(1 << 30)",
    ],
)
def test_the_child_can_do_nothing_but_answer(code: str) -> None:
    done = confined(code)
    assert done.returncode != 0
    assert any(error in done.stderr for error in ("OSError", "PermissionError", "MemoryError", "ValueError"))


def test_the_child_is_in_an_empty_network() -> None:
    alone = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x10000000 | 0x40000000) != 0)"
    if subprocess.run([sys.executable, "-c", alone], check=False).returncode:
        pytest.skip("this kernel lets nobody have a network of their own")
    done = confined("print(os.stat('/proc/self/ns/net').st_ino)")
    assert done.stderr == ""
    assert int(done.stdout) != Path("/proc/self/ns/net").stat().st_ino


def test_the_confined_child_gives_up_dumps_and_privileges() -> None:
    code = (
        "libc = ctypes.CDLL(None)\n"
        "print(libc.prctl(3, 0, 0, 0, 0), libc.prctl(39, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    assert confined(code).stdout.split() == ["0", "1", "(0,", "0)"]


def test_the_kernel_ends_a_child_that_computes_too_long() -> None:
    done = confined("child._allow_cpu(0.1)\nwhile True: pass")
    assert done.returncode == -signal.SIGXCPU


async def test_secrets_are_neither_on_the_command_line_nor_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[tuple[object, ...], dict[str, object]]] = []
    start = asyncio.create_subprocess_exec

    async def watch(*arguments: object, **options: object) -> object:
        started.append((arguments, options))
        return await start(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", watch)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/secret")
    async with Reader() as served:
        await served.read(HONEST, [LIST_SECRET])
    ((arguments, options),) = started
    assert arguments[-3:] == ("mailer.inward.confined", str(reader.MEMORY_OCTETS), str(reader.TIME_S))
    assert options["env"] == {"PYTHONPATH": str(Path(reader.__file__).parents[2])}
    assert (options["cwd"], options["stderr"]) == ("/", subprocess.DEVNULL)


# --- Children that speak nonsense ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        "b''",
        "b'\\xff\\xff\\xff\\xff' + b'x' * 100",  # a length beyond reason
        "b'\\0\\0\\0\\4\\0\\0'",  # cut off
        "b'\\0\\0\\0\\4xxxx'",
    ],
)
async def test_a_child_that_speaks_nonsense_is_replaced(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    spawn = reader._spawn
    ready = frames.pack(READY)
    code = (
        f"import sys; w = sys.stdout.buffer; w.write({ready!r}); w.flush(); sys.stdin.buffer.read(9); w.write({answer})"
    )

    async def spawn_liar(memory_octets: int, time_s: float, *_: object) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=pipe, stdout=pipe)

    monkeypatch.setattr(reader, "_spawn", spawn_liar)
    async with Reader(letters=1) as served:
        with pytest.raises(ReaderDied):
            await served.read(HONEST, [])
        monkeypatch.setattr(reader, "_spawn", spawn)
        await assert_serves(served)


async def test_a_child_that_does_not_come_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ReaderDied):
        async with Reader():
            pass
    monkeypatch.setattr(sys, "executable", "/does/not/exist")
    with pytest.raises(ReaderDied):
        async with Reader():
            pass
