"""Searches bytes for a text in every form in which mail and databases carry text."""

from __future__ import annotations

import base64
import quopri
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_FOLDED = frozenset({"base64"})  # forms in which upper and lower case differ


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A text was found. form: how it was written there. text: which one."""

    path: Path
    form: str
    text: str

    def __repr__(self) -> str:  # what is found is an address
        return f"Finding({self.path.name}, {self.form})"


def forms(text: str) -> Mapping[str, frozenset[bytes]]:
    """Return the byte strings that `text` may stand as, by the name of the form."""
    octets = text.encode()
    return {
        "plain": frozenset({octets}),
        "base64": frozenset(_base64_forms(octets)),
        "hexadecimal": frozenset({octets.hex().encode()}),
        "UTF-16": frozenset({text.encode("utf-16-le"), text.encode("utf-16-be")}),
        "quoted-printable": frozenset(_quoted_forms(text)),
    }


def find(haystack: bytes, text: str) -> tuple[str, ...]:
    """Return the names of the forms in which `text` stands in `haystack`; letters of either case count as the same."""
    joined = haystack.replace(b"=\r\n", b"").replace(b"=\n", b"").replace(b"\r\n", b"").replace(b"\n", b"")
    exact, folded = (haystack, joined), (haystack.lower(), joined.lower())
    return tuple(
        name
        for name, needles in forms(text).items()
        if any(_fold(name, needle) in places for needle in needles for places in (exact if name in _FOLDED else folded))
    )


def find_in_files(paths: Iterable[Path], texts: Iterable[str]) -> list[Finding]:
    """Return where any of `texts` stands in any of the files."""
    wanted = tuple(texts)
    return sorted(
        Finding(path, form, text)
        for path, content in ((path, path.read_bytes()) for path in paths)
        for text in wanted
        for form in find(content, text)
    )


def _fold(form: str, needle: bytes) -> bytes:
    return needle if form in _FOLDED else needle.lower()


def _base64_forms(octets: bytes) -> Iterable[bytes]:
    """What is the same whatever stands before and after: the text may begin at any of three offsets (RFC 4648 §4)."""
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + octets)
        inner = encoded[-(-offset * 8 // 6) : (offset + len(octets)) * 8 // 6]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def _quoted_forms(text: str) -> Iterable[bytes]:
    octets = text.encode()
    yield b"".join(b"=%02X" % octet for octet in octets)
    yield b"".join(b"=%02X" % octet if chr(octet) in "@.=" or octet > 126 else bytes([octet]) for octet in octets)
    yield octets.replace(b"@", b"=40")
    yield quote(text).encode()  # the same idea with another sign, in mailto: links
    encoded = quopri.encodestring(octets).replace(b"=\n", b"")
    if encoded != octets:
        yield encoded
