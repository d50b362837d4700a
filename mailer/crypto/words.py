"""Passphrases that are read from paper and typed on a telephone: five English words, in small ASCII letters.

The same words in every language: a telephone's box for a password takes letters and no input method, and nobody's
words tell their language. Any five of 7772 words that are no longer than 32 characters together, because Poppler's
programs cut a passphrase there: 59.8 bits, all equally likely. No word begins with another.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

WORDS = 5
LONGEST = 32
_DRAWN_BYTES = 8  # for each word; the remainder favours no word by more than 2^-51


def new_passphrase(random: Callable[[int], bytes]) -> str:
    """Return five words with single spaces between them. random: n → n random bytes (os.urandom)."""
    words = all_words()
    while True:  # about one in thirty is short enough
        drawn = (words[int.from_bytes(random(_DRAWN_BYTES), "big") % len(words)] for _ in range(WORDS))
        passphrase = " ".join(drawn)
        if len(passphrase) <= LONGEST:
            return passphrase


@cache
def all_words() -> tuple[str, ...]:
    """Return the list of words, sorted."""
    lines = Path(__file__).with_name("words.txt").read_text(encoding="ascii").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))
