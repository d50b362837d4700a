"""Where armored OpenPGP blocks stand in a text (RFC 9580 §6.2). Linear, unlike a regular expression with two ends."""

from __future__ import annotations

from collections.abc import Iterator


def blocks(text: str, label: str) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each block `-----BEGIN PGP label-----` … `-----END PGP label-----` that begins a line."""
    begin_mark, end_mark = f"-----BEGIN PGP {label}-----", f"-----END PGP {label}-----"
    position = 0
    while (begin := text.find(begin_mark, position)) >= 0:
        end = text.find(end_mark, begin)
        if end < 0:
            return
        position = end + len(end_mark)
        if _begins_line(text, begin):
            yield begin, position


def _begins_line(text: str, begin: int) -> bool:
    """Whether nothing but blanks or a dash escape stands before; a quoted block is somebody else's."""
    line_start = text.rfind("\n", max(0, begin - 40), begin) + 1
    return text[line_start or max(0, begin - 40) : begin].strip() in ("", "-")
