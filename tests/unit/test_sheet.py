"""Subscribers as CSV: nothing that is read surprises, and what is written is read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.errors import SheetUnusable
from mailer.model.language import Language
from mailer.registrar import sheet

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0")).map(str.strip)
PIECES = st.sampled_from(
    ["address", "language", ",", ";", "\t", '"', "\r", "\n", "\0", "'", "=", "@", "a", "邮箱", "語言"]
)


@given(st.binary() | st.lists(PIECES).map(lambda pieces: "".join(pieces).encode()))
def test_whatever_a_file_holds_it_is_read_or_refused_by_name(blob: bytes) -> None:
    try:
        rows = sheet.read(blob)
    except SheetUnusable:
        return
    assert all(set(row.cells) <= set(sheet.COLUMNS) for row in rows)


@given(st.lists(st.tuples(*[CELLS] * len(sheet.COLUMNS)).filter(any)))
def test_what_is_written_is_read_again_and_no_cell_is_a_formula(rows: list[tuple[str, ...]]) -> None:
    text = sheet.write(rows)
    assert [tuple(row.cells.values()) for row in sheet.read(text.encode())] == rows
    assert not any(
        cell.startswith(tuple("=+-@＝＋－＠")) for row in rows for cell in sheet.write([row]).split("\r\n")[1:]
    )


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("en", Language.EN),
        ("English", Language.EN),
        ("zh-Hant", Language.ZH_HANT),
        ("zh_TW", Language.ZH_HANT),
        ("繁體中文", Language.ZH_HANT),
        ("ZH-HANS", Language.ZH_HANS),
        ("简体中文", Language.ZH_HANS),
        ("zh", None),
        ("中文", None),
        ("de", None),
        ("", None),
    ],
)
def test_a_language_is_known_by_its_tag_and_its_names(text: str, language: Language | None) -> None:
    assert sheet.language_named(text) is language
