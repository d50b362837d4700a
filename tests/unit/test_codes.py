"""What is printed on cards can be typed by people, and cannot be guessed."""

from __future__ import annotations

import itertools
import os
from math import log2

import pytest

from mailer.crypto import codes, words

CODE = "k7m4q2xw9t30ab1d"


@pytest.mark.parametrize(
    "typed",
    [
        CODE,
        "k7m4-q2xw-9t30-ab1d",
        "K7M4 Q2XW 9T30 AB1D",
        "k7m4 q2xw9t30-AB1D",
        "k7m4-q2xw-9t3o-abid",
        "K7M4-Q2XW-9T3O-ABLD",
        "  k7m4–q2xw–9t30–ab1d.".replace("–", "-"),
    ],
)
def test_a_code_is_read_however_it_is_typed(typed: str) -> None:
    assert codes.read_code(typed) == CODE


@pytest.mark.parametrize(
    "typed",
    [
        *("", CODE[:-1], CODE + "2", CODE.replace("k", "u"), CODE.replace("k", "\u212a"), CODE.replace("4", "４")),
        *("this list isnt good", "1234-5678-9012-3456", "abcdabcdabcdabc2"),
    ],
)
def test_what_is_no_code_is_read_as_none(typed: str) -> None:
    assert codes.read_code(typed) is None


def test_every_new_code_is_read_as_itself_in_the_form_in_which_it_is_printed() -> None:
    drawn = {codes.new_code(os.urandom) for _ in range(2000)}
    assert len(drawn) == 2000
    assert {codes.read_code(codes.grouped(code).upper()) for code in drawn} == drawn


def test_a_draw_that_would_be_an_ordinary_word_is_drawn_again() -> None:
    draws = [b"\x0a" * 16, bytes(range(16))]
    assert codes.new_code(lambda _: draws.pop(0)) == "0123456789abcdef"


def test_a_passphrase_is_five_small_ascii_words_that_fit_into_popplers_box() -> None:
    for _ in range(500):
        passphrase = words.new_passphrase(os.urandom)
        drawn = passphrase.split(" ")
        assert len(drawn) == 5 and set(drawn) <= set(words.all_words())
        assert passphrase.isascii() and passphrase == passphrase.lower() and len(passphrase) <= words.LONGEST


def test_the_words_are_as_many_as_the_docstring_counts_and_none_begins_with_another() -> None:
    listed = words.all_words()
    assert len(listed) == len(set(listed)) == 7772
    assert all(word.isalpha() and word.isascii() and word.islower() for word in listed)
    assert not [one for one, following in itertools.pairwise(listed) if following.startswith(one)]


def test_five_of_them_have_the_bits_that_the_docstring_says() -> None:
    sums = {0: 1}
    for _ in range(words.WORDS):
        longer: dict[int, int] = {}
        for word in words.all_words():
            for length, number in sums.items():
                longer[length + len(word)] = longer.get(length + len(word), 0) + number
        sums = longer
    bits = log2(sum(number for length, number in sums.items() if length + words.WORDS - 1 <= words.LONGEST))
    assert round(bits, 1) == 59.8
