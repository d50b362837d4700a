"""The code of an invitation card in what somebody wrote: alone on a line, or with words that ask to join."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set

from mailer.crypto import codes
from mailer.inward import verbs
from mailer.inward.verbs import Tokens

MOST_LINES = 20  # of a letter, in which a code is looked for
_CODE_WORDS = (
    "code, the code, my code, card, my card, invitation, invite, invitation card, invitation code, number, is, with, "
    "邀請, 邀请, 邀請卡, 邀请卡, 邀請碼, 邀请码, 代碼, 代码, 驗證碼, 验证码, 卡, 卡片, 是"
)
_ALIKE = re.compile(r"[0-9a-z]{3,5}(?:\s?[-‐-―−]\s?[0-9a-z]{3,5}){2,4}")  # four groups, but for a mistake


def find_code(lines: Iterable[str], own_words: Set[Tokens]) -> str | None:
    """Return the code that one of the first lines is; "" where one is like a code; None without any."""
    best: str | None = None
    for number, line in enumerate(lines):
        code = _code_of(line, own_words) if number < MOST_LINES else None
        if code:
            return code
        best = code if best is None else best
    return best


def read_detail(rest: str) -> str | None:
    """Return the code behind `join-` in an address; "" for what has digits and is none; None for words."""
    return codes.read_code(rest) or ("" if sum(char.isdigit() for char in rest) > 1 else None)


def _code_of(line: str, own_words: Set[Tokens]) -> str | None:
    tokens = verbs.tokenise(line)
    if "@" in line or "/" in line:  # of addresses and links pieces can be left that look like one
        return None
    if not 0 < len(tokens) <= verbs.LONGEST_LINE:
        return None
    around = verbs.ASKING_TO_JOIN | _WORDS | own_words
    for start in range(len(tokens)):
        for end in range(start + 1, len(tokens) + 1):
            groups = tokens[start:end]
            code = codes.read_code("".join(groups)) if all(len(group) % 4 == 0 for group in groups) else None
            if code and verbs.is_made_of(tokens[:start], around) and verbs.is_made_of(tokens[end:], around):
                return code
    alike = _ALIKE.search(line.casefold())
    is_alike = alike is not None and min(sum(map(kind, alike[0])) for kind in (str.isdigit, str.isalpha)) > 1
    rest = verbs.tokenise(line.casefold().replace(alike[0], " ")) if alike else ()
    return "" if is_alike and verbs.is_made_of(rest, around) else None


_WORDS = verbs.read_words(_CODE_WORDS)
