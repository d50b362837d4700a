"""Looks for what was planted, in all that was written or sent, in every form in which files and mail carry it."""

from __future__ import annotations

import base64
import io
import json
import logging
import subprocess
import tarfile
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email import quoprimime
from functools import cache
from pathlib import Path

from mailer.demo import search
from tests.walks.far_server import Received

Secret = str | bytes


@dataclass(frozen=True)
class Leak:
    """A secret that was found. place: a file, a logger, a letter; form: how it stood there."""

    place: str
    form: str
    secret: str


@dataclass(frozen=True)
class Plants:
    """What must show nowhere. texts: addresses, names, words; keys: octets of key material, by a name to report."""

    texts: frozenset[str]
    keys: Mapping[str, bytes]

    def find(self, place: str, content: bytes, allowed: Iterable[str] = ()) -> list[Leak]:
        """Return what stands in `content`, but for what is `allowed` there. ASCII letters count in either case."""
        joined = content.replace(b"=\r\n", b"").replace(b"=\n", b"").replace(b"\r\n", b"").replace(b"\n", b"")
        exact, folded = (content, joined), (content.lower(), joined.lower())
        needles = [(text, form, found) for text in self.texts - set(allowed) for form, found in _forms_of_text(text)]
        needles += [(name, form, found) for name, key in self.keys.items() for form, found in _forms_of_key(key)]
        return [
            Leak(place, form, name)
            for name, form, needle in needles
            if (
                any(needle in one for one in exact)
                if form in _IN_CASE
                else any(needle.lower() in one for one in folded)
            )
        ]

    def find_in_folder(
        self, folder: Path, exempt: Iterable[str] = (), seen: dict[str, bytes] | None = None
    ) -> list[Leak]:
        """Look through every file under a folder. exempt: what holds the list's own address and contact.

        seen: what the files held when they were last looked through; only what changed is then.
        """
        seen = {} if seen is None else seen
        leaks = []
        for name, content in _read(folder).items():
            if name not in set(exempt):
                leaks += self.find(name, _changed(content, seen.get(name, b"")))
                seen[name] = content
        return leaks

    def find_in_log(self, records: Iterable[logging.LogRecord]) -> list[Leak]:
        """Look through the log as it is written, with the traceback where there is one."""
        return [leak for record in records for leak in self.find(f"log {record.name}", _written(record).encode())]

    def find_in_mail(self, letters: Iterable[Received], commands: Iterable[str]) -> list[Leak]:
        """Look through all octets that left: each letter may name its own recipient, in To and in the envelope."""
        leaks = [
            leak
            for letter in letters
            for leak in self.find("letter", letter.mail.encode() + b"\r\n" + letter.wire, self._named_by(letter))
        ]
        other = "\r\n".join(line for line in commands if not line.upper().startswith("RCPT TO:"))
        return leaks + self.find("smtp", other.encode())

    def _named_by(self, letter: Received) -> set[str]:
        recipient = letter.rcpt.partition("<")[2].partition(">")[0]
        return {text for text in self.texts if text in recipient}


def _read(folder: Path) -> dict[str, bytes]:
    """Return every file by its name.

    They are read by another process: whoever closes a file drops all locks of the process on it (fcntl(2)), and the
    database, open in this one, would be written by two at once.
    """
    packed = subprocess.run(
        ["tar", "--create", "--ignore-failed-read", "."], cwd=folder, capture_output=True, check=False
    )
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        return {
            one.name.removeprefix("./"): file.read()
            for one in archive
            if (file := archive.extractfile(one)) is not None
        }


def _changed(content: bytes, before: bytes) -> bytes:
    """Return the blocks of `content` that were not there before, with some of what stands around them."""
    starts = range(0, len(content), _BLOCK)
    fresh = [at for at in starts if content[at : at + _BLOCK] != before[at : at + _BLOCK]]
    return b"\x00".join(content[max(at - _MARGIN, 0) : at + _BLOCK + _MARGIN] for at in fresh)


_BLOCK, _MARGIN = 4096, 1024
_IN_CASE = frozenset({"base64", "key"})  # forms in which upper and lower case differ


@cache
def _forms_of_text(text: str) -> tuple[tuple[str, bytes], ...]:
    """The demonstration's forms, and those of encoded words (RFC 2047 §4.2), of JSON and of Python."""
    known = [(form, needle) for form, needles in search.forms(text).items() for needle in needles]
    words = [("encoded word", quoprimime.header_encode(text.encode()).split("?")[3].encode())]
    escaped = [("escaped", json.dumps(text)[1:-1].encode()), ("escaped", repr(text.encode())[2:-1].encode())]
    return tuple(dict.fromkeys(known + words + escaped))


@cache
def _forms_of_key(key: bytes) -> tuple[tuple[str, bytes], ...]:
    """The forms of octets that are no text: as they are, and in the alphabets that keys are written in."""
    base64_forms = [("base64", needle) for needle in _base64_forms(key)]
    base32 = base64.b32encode(key).rstrip(b"=")
    grouped = key.hex(" ", 2).encode()  # as people compare fingerprints
    others = [("base32", base32), ("hexadecimal", key.hex().encode()), ("hexadecimal", grouped)]
    return (("key", key), *base64_forms, *others, ("escaped", repr(key)[2:-1].encode()))


def _base64_forms(octets: bytes) -> Iterable[bytes]:
    for offset in range(3):  # the same whatever stands before and after (RFC 4648 §4)
        encoded = base64.b64encode(bytes(offset) + octets)
        inner = encoded[-(-offset * 8 // 6) : (offset + len(octets)) * 8 // 6]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def _written(record: logging.LogRecord) -> str:
    trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
    return f"{record.getMessage()}\n{trace}"
