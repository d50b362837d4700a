"""One-time codes of invitation cards: sixteen characters that are read from paper and typed by hand.

The alphabet has no I, L, O and U; what looks like a 1 or a 0 is taken for it. 79.9 bits: no guessing finds one, neither
at the door nor with the database and the service secrets in hand.
"""

from __future__ import annotations

from collections.abc import Callable

LENGTH = 16
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LOOKS_LIKE = str.maketrans("oil", "011")
_CLEAR_DIGITS = frozenset("23456789")
_LETTERS = frozenset(_ALPHABET[10:])
_FEWEST = 2  # of clear digits and of letters each, so that neither a line of ordinary words nor a number is a code


def new_code(random: Callable[[int], bytes]) -> str:
    """Return a new code, without hyphens. random: n → n random bytes (os.urandom)."""
    while True:
        code = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in random(LENGTH))
        if _is_code(code):
            return code


def grouped(code: str) -> str:
    """Return a code as it is printed: four groups of four."""
    return "-".join(code[start : start + 4] for start in range(0, LENGTH, 4))


def read_code(text: str) -> str | None:
    """Return the code that somebody typed, whatever its case, spaces and hyphens; None if it is none."""
    # ASCII first: the Kelvin sign's lower case is a k
    code = "".join(char for char in text.lower() if char.isalnum()).translate(_LOOKS_LIKE) if text.isascii() else ""
    return code if _is_code(code) else None


def _is_code(code: str) -> bool:
    fewest = min(sum(char in some for char in code) for some in (_CLEAR_DIGITS, _LETTERS))
    return len(code) == LENGTH and set(code) <= set(_ALPHABET) and fewest >= _FEWEST
