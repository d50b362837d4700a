"""The benchmark's own parts: a sink that counts exactly, limits that are measured, a whole run in small."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import certificates, limits, processes
from bench.door import percentile
from bench.processes import Far, Use
from bench.sink import ACCEPTED, HELLO, REPLIES, Conversation, Tally
from tests.conftest import ROOT, needs

LETTER = b"Subject: a\r\n\r\n..\r\n.\r\r\n. \r\nall of it\r\n"  # dots and ends of line that end nothing
GROUPS = (  # as a client may send them without waiting for replies (RFC 2920 §3.1)
    b"EHLO a.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n",
    LETTER + b".\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n",
    b".\r\nQUIT\r\n",
)
ONE_LETTER = REPLIES[b"MAIL"] + REPLIES[b"RCPT"] + REPLIES[b"DATA"] + ACCEPTED
ANSWERS = HELLO + 2 * ONE_LETTER + REPLIES[b"QUIT"]


def say(conversation: Conversation, *pieces: bytes) -> bytes:
    return b"".join(conversation.hear(memoryview(piece)) for piece in pieces if piece)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 1000])
def test_two_letters_are_two_however_the_dialogue_is_cut_into_pieces(step: int) -> None:
    conversation = Conversation(Tally())
    pieces = [group[at : at + step] for group in GROUPS for at in range(0, len(group), step)]
    assert say(conversation, *pieces) == ANSWERS
    assert len(conversation.tally.times) == 2
    assert conversation.tally.recipients == {b"RCPT TO:<a@b.example>", b"RCPT TO:<c@d.example>"}
    assert conversation.tally.octets == len(LETTER) + 2 * len(b".\r\n")
    assert conversation.is_over


@pytest.mark.parametrize("padding", [0, 900, 1015, 1020, 1024, 1030, 70_000])
def test_two_letters_are_two_wherever_the_dialogue_is_cut_in_two(padding: int) -> None:
    hello, letter, goodbye = GROUPS
    letter = b"x" * padding + letter
    for cut in range(padding, len(letter)):
        conversation = Conversation(Tally())
        assert say(conversation, hello, letter[:cut], letter[cut:], goodbye) == ANSWERS
        assert len(conversation.tally.times) == 2


def test_a_letter_without_its_final_dot_is_not_counted() -> None:
    conversation = Conversation(Tally())
    say(conversation, b"DATA\r\n", LETTER * 100)
    assert not conversation.tally.times


@pytest.fixture
def far() -> Iterator[Far]:
    with processes.sink() as running:
        yield running


def test_the_sink_counts_what_smtp_source_sends(far: Far) -> None:
    if limits.source_path() is None:
        needs("smtp-source")
    before = far.stats()["letters"]
    per_s, share = limits.send(far, 300, 60_000)
    seen = far.stats()
    assert (before, seen["letters"], seen["recipients"]) == (0, 300, 1)
    assert 60_000 < seen["octets"] / 300 < 61_000
    assert seen["most_connections"] <= limits.SESSIONS
    assert per_s > 0
    assert 0 < share < 1.5


def test_a_reset_in_the_middle_of_a_letter_counts_it_afterwards(far: Far) -> None:
    with socket.create_connection(("127.0.0.1", far.port)) as client, client.makefile("rb") as replies:
        client.sendall(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n")
        assert [replies.readline()[:3] for _ in range(4)] == [b"220", b"250", b"250", b"354"]
        far.reset()
        client.sendall(LETTER + b".\r\n")
        assert replies.readline() == ACCEPTED
        assert far.stats()["letters"] == 1


def test_the_sink_ends_when_nobody_asks_it_any_more() -> None:
    with processes.running([sys.executable, "-P", "-m", "bench.sink"], is_spoken_to=True) as process:
        Far(process)
        assert process.stdin
        process.stdin.close()
        assert process.wait(10) == 0


def test_whatever_was_started_is_stopped_when_something_fails() -> None:
    started = []

    def fail() -> None:
        with processes.sink() as running:
            started.append(running)
            raise KeyboardInterrupt

    pids = set(children())
    with pytest.raises(KeyboardInterrupt):
        fail()
    assert started
    assert set(children()) == pids


def children() -> list[int]:
    return [use.pid for use in processes.family(os.getpid()) if isinstance(use, Use)]


def test_the_bound_of_two_steps_in_a_row_is_below_both() -> None:
    assert limits.bound(1000, 1000) == 500
    assert limits.bound(1000, 4000) == 800


def test_percentiles_are_those_of_the_definition() -> None:
    assert percentile([float(one) for one in range(101)], 99) == 99
    assert percentile([3.0], 50) == 3.0


def test_a_small_run_writes_what_was_found(tmp_path: Path) -> None:
    for program in ("gpg", "gpgconf", "setpriv"):
        needs(program)
    if limits.source_path() is None:
        needs("smtp-source")
    output = tmp_path / "latest.json"
    where = ["--folder", str(tmp_path), "--cache", str(tmp_path / "cache"), "--output", str(output)]
    command = [sys.executable, "-m", "bench", "--quick", "--only", "sqlite-2-ed25519", *where]
    done = subprocess.run(command, check=False, cwd=ROOT, env=processes.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    case = found["cases"]["sqlite-2-ed25519"]
    assert case["ratio"] == pytest.approx(case["end_to_end_per_s"] / case["bound_per_s"])
    assert case["bound_per_s"] == pytest.approx(limits.bound(case["a_per_s"], case["b_per_s"]))
    assert (case["deliveries"], case["doubles"], case["processes"]) == (100, 0, 2)
    assert 0 < case["connections"] <= 20
    assert 10 < case["peak_mib"] < 1000
    assert 50_000 < found["letter_octets"] < 70_000
    assert {"cpu", "cores", "python", "pysequoia", "postgresql", "commit"} <= found["machine"].keys()
    assert len(json.loads((tmp_path / "cache" / "ed25519.json").read_text())) == certificates.QUICK_NUMBERS["ed25519"]
    assert "sqlite-2-ed25519" in done.stdout


def test_an_unknown_case_is_answered_with_those_that_there_are() -> None:
    command = [sys.executable, "-m", "bench", "--only", "nothing"]
    done = subprocess.run(command, check=False, cwd=ROOT, env=processes.environment(), capture_output=True, text=True)
    assert done.returncode == 2
    assert "door-sqlite-busy" in done.stderr


def test_what_is_missing_is_named_by_its_package() -> None:
    environment = processes.environment() | {"PATH": ""}
    command = [sys.executable, "-m", "bench", "--quick", "--only", "size-*"]
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "apt install" in done.stderr
    assert "gnupg" in done.stderr
