"""Plain text: where lines break, and how the parts of a page look."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.outward.compose import lay_out
from mailer.outward.manuscript.wrap import COLUMNS, pieces, width, wrap

CHINESE = st.text(st.sampled_from("工人罷工香港自由，。、；：？！「」『』（）《》“”…—·abc 12,.()"), max_size=300)
ANY = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), max_size=300)
WORDS = st.lists(st.text("abcdefg", min_size=1, max_size=12), max_size=60).map(" ".join)


def text_of(folder: Path, body: str, name: str = "issue.en.md") -> str:
    path = folder / name
    path.write_text(f"---\nsubject: Title\n---\n{body}", encoding="utf-8")
    return lay_out(path).text.split("=====\n\n", 1)[1].rstrip("\n")


@given(st.one_of(CHINESE, ANY, WORDS), st.integers(8, 90))
def test_a_line_is_never_wider_than_the_page_unless_nothing_in_it_may_be_broken(text: str, columns: int) -> None:
    for line in wrap(text, columns):
        assert width(line) <= columns or (" " not in line and len(pieces(line)) == 1)


@given(st.one_of(CHINESE, ANY, WORDS), st.integers(8, 90))
def test_wrapping_loses_nothing_but_spaces(text: str, columns: int) -> None:
    assert "".join(wrap(text, columns)).replace(" ", "") == text.replace(" ", "")


@given(
    st.lists(st.sampled_from(["工人", "罷工", "，", "。", "「香港」", "（自由）", "《報》", "！"]), max_size=80).map(
        "".join
    )
)
def test_no_line_begins_with_a_closing_mark_or_ends_with_an_opening_one(text: str) -> None:
    lines = wrap(text, 20)
    assert not any(line[:1] in set("，。、！」）》") for line in lines[1:] if line)
    assert not any(line[-1:] in set("「（《") for line in lines[:-1] if line)


@given(WORDS)
def test_words_are_not_split(text: str) -> None:
    assert " ".join(wrap(text, 20)).split() == text.split()


def test_chinese_counts_two_columns_and_marks_on_letters_none() -> None:
    assert width("罷工 ok") == 7
    assert width("e\u0301") == 1
    assert [width(line) for line in wrap("工" * 80)] == [72, 72, 16]


def test_an_address_of_the_web_stays_whole() -> None:
    address = "https://harbour.example/" + "a" * 80
    assert wrap(f"看{address}，謝謝") == ["看", f"{address}，", "謝謝"]


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("## 標題\n\nText", "標題\n----\n\nText"),
        ("### Small\n\nText", "Small\n~~~~~\n\nText"),
        ("- one\n- two\n  1. deep\n  2. deeper\n", "• one\n• two\n  1. deep\n  2. deeper"),
        ("9. nine\n10. ten", " 9. nine\n10. ten"),
        ("- one\n\n- two", "• one\n\n• two"),
        ("> said\n>\n> > more", "> said\n>\n> > more"),
        ("```\nx = 1\n  y\n```", "    x = 1\n      y"),
        ("a\n\n---\n\nb", "a\n\n* * *\n\nb"),
        ("**bold** and *fine* ~~gone~~ `key`", "*bold* and _fine_ ~gone~ `key`"),
        ("one  \ntwo", "one\ntwo"),
        ("<ruby>香<rp>(</rp><rt>hoeng</rt><rp>)</rp></ruby>", "香(hoeng)"),
        ("<dl><dt>Key</dt><dd>opens</dd></dl>", "Key\n\n    opens"),
        ("A <q>word</q>", "A “word”"),
        ("[](https://a.example) [tel](tel:+4930)", "https://a.example tel [1]\n\nLinks\n-----\n[1] +4930"),
    ],
)
def test_each_part_of_a_page_reads_well(tmp_path: Path, markdown: str, text: str) -> None:
    assert text_of(tmp_path, markdown) == text


def test_a_table_is_set_in_columns_by_width_on_the_screen(tmp_path: Path) -> None:
    text = text_of(tmp_path, "| 班次 | Pay |\n|---|--:|\n| 早班 | 5 |\n| Night | 1234 |")
    assert text == "班次     Pay\n-----   ----\n早班       5\nNight   1234"


def test_a_table_too_wide_for_the_page_becomes_a_block_for_each_row(tmp_path: Path) -> None:
    long = "word " * 14
    text = text_of(tmp_path, f"| Who | What |\n|---|---|\n| A | {long} |\n| B | {long} |")
    assert text.startswith("Who: A\nWhat: word word")
    assert "\n\nWho: B\n" in text
    assert max(map(width, text.split("\n"))) <= COLUMNS


def test_a_table_without_a_head_has_no_line_under_its_first_row(tmp_path: Path) -> None:
    assert text_of(tmp_path, "<table><tr><td>a</td><td>b</td></tr></table>") == "a   b"


@given(st.text(st.sampled_from("ab 工，。*_`>#-|[]()!\n\t&<\u00a0"), max_size=120))
def test_no_line_of_any_digest_ends_in_a_space_or_holds_a_control(body: str) -> None:
    from mailer.model.language import Language
    from mailer.outward.manuscript import markdown, page
    from mailer.outward.manuscript.plaintext import Renderer

    text = Renderer({"picture": "[{alt}]", "links": str(Language.EN)}).render(page.parse(markdown.render(body)))
    assert not re.search(r"[ \t\u00a0]$", text, re.MULTILINE)
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", text)
