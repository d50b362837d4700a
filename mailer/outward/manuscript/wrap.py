"""Lines of plain text: how wide they are on a screen and where they may be broken, Chinese or not."""

from __future__ import annotations

import itertools
import re
import unicodedata

COLUMNS = 72

NO_BREAK_SPACE = "\u00a0"
_JOINERS = "\u200d\u2060\u2011" + NO_BREAK_SPACE
# 標點避頭尾 (W3C Requirements for Chinese Text Layout §3.1.3, strict): these end no line, and those begin none.
_NEVER_LAST = frozenset("（［｛〔〈《「『【〖〘〝“‘([{￥＄£€#" + _JOINERS)
_NEVER_FIRST = frozenset("、，。．.,：:；;！!？?％%‰）］｝〕〉》」』】〗〙〞”’)]}·・‧…—–～~／/ー々〻" + _JOINERS)
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_SPACES = re.compile("[ \t]+")


def is_wide(char: str) -> bool:
    """Whether a character takes two columns (UAX #11: Wide or Fullwidth)."""
    return unicodedata.east_asian_width(char) in "WF"


def width(text: str) -> int:
    """Return how many columns `text` takes; marks that stand on another character take none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.category(char) in ("Mn", "Me", "Cf") else 1 + is_wide(char) for char in text)


def wrap(text: str, columns: int = COLUMNS) -> list[str]:
    """Return `text` in lines of at most `columns`, but for what cannot be broken; a line feed in it stays a break."""
    return [line for piece in text.split("\n") for line in _fill(piece, columns)]


def pieces(word: str) -> list[str]:
    """Split what holds no space where a line may end (UAX #14, as far as Chinese needs it)."""
    cuts = [0, *(at for at in range(1, len(word)) if _may_break(word[at - 1], word[at])), len(word)]
    return [word[start:end] for start, end in itertools.pairwise(cuts) if end > start]


def _may_break(left: str, right: str) -> bool:
    if not (is_wide(left) or is_wide(right)) or left in _NEVER_LAST or right in _NEVER_FIRST:
        return False
    return not (unicodedata.category(right) in ("Mn", "Me", "Cf") or ord(right) in _SKIN_TONES)


def _fill(text: str, columns: int) -> list[str]:
    lines, line, used = [], "", 0
    for word in _SPACES.split(text.strip(" \t")):
        for number, piece in enumerate(pieces(word)):
            gap = " " if number == 0 and line else ""
            taken = width(piece)
            if line and used + len(gap) + taken > columns:
                lines.append(line)
                line, used, gap = "", 0, ""
            line += gap + piece
            used += len(gap) + taken
    return [*lines, line]
