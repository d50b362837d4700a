"""Subscribers as CSV (RFC 4180), in and out: as spreadsheets write it, and safe for spreadsheets to open."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mailer.errors import SheetUnusable
from mailer.inward.verbs import LANGUAGE_NAMES
from mailer.model.language import Language

# Of these, import needs the first; the last two follow from the key and are there for people.
COLUMNS = ("address", "language", "key", "state", "joined", "format", "passphrase", "fingerprint", "expires")

_HEADINGS = {
    **{name: name for name in COLUMNS},
    **dict.fromkeys(("email", "e-mail", "mail", "電郵", "電郵地址", "電子郵件", "邮箱", "电子邮件", "地址"), "address"),
    **dict.fromkeys(("語言", "语言"), "language"),
    **dict.fromkeys(("公鑰", "公钥"), "key"),
}
_LANGUAGES = {
    name: language
    for language, names in LANGUAGE_NAMES.items()
    if language is not None
    for name in (*names.split(", "), language.lower().replace("-", " "))
}
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_LEGACY = ("gb18030", "big5hkscs")
_DELIMITERS = ",;\t"
_SAVE_AS = "In a spreadsheet program, save it as “CSV UTF-8”."

# What a spreadsheet takes for a formula, wide forms too; `=cmd|'/C…'!A0@example.org` is an address. An apostrophe
# before it makes it text (OWASP, CSV Injection), and is taken away again by us.
_FORMULA = re.compile(r"'*[=+\-@\t\r＝＋－＠]")
_ESCAPED = re.compile(r"''*[=+\-@\t\r＝＋－＠]")


@dataclass(frozen=True, slots=True)
class Row:
    """One line that is not blank. line: where it begins in the file, from 1. surplus: it has unnamed cells."""

    line: int
    cells: dict[str, str]
    surplus: bool = False

    def __repr__(self) -> str:
        return f"Row({self.line})"


def read(blob: bytes) -> list[Row]:
    """Return the lines of a CSV file: comma, semicolon or tab; UTF-8, UTF-16 with its mark, or GB18030 and Big5.

    The latter two are read only where no doubt is left: all that is not ASCII are names of columns and languages.
    Raises SheetUnusable.
    """
    text = _decode(blob)
    if text is not None:
        return _parse(text)
    for encoding in _LEGACY:
        try:
            rows = _parse(blob.decode(encoding))
        except (UnicodeDecodeError, SheetUnusable):
            continue
        cells = (cell for row in rows for cell in row.cells.values())
        if all(cell.isascii() or language_named(cell) for cell in cells):
            return rows
    raise SheetUnusable(f"(It is not UTF-8, and what else it is cannot be told for sure. {_SAVE_AS})")


def write(rows: Iterable[Sequence[str]]) -> str:
    """Return a CSV file with all COLUMNS, CRLF line ends; no cell of it is a formula to a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows([f"'{cell}" if _FORMULA.match(cell) else cell for cell in row] for row in rows)
    return out.getvalue()


def language_named(text: str) -> Language | None:
    """Return the language of a tag or of its name in one of the three; None for all else."""
    return _LANGUAGES.get(" ".join(re.split(r"[\s_-]+", text.strip().lower())))


def _decode(blob: bytes) -> str | None:
    """Return the text by its mark or as UTF-8; None if it is neither."""
    encoding = next((name for mark, name in _MARKS if blob.startswith(mark)), "utf-8")
    try:
        text = blob.decode(encoding)
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        raise SheetUnusable(f"(It is not text in UTF-8. {_SAVE_AS})")
    return text


def _parse(text: str) -> list[Row]:
    lines = _lines(text)
    line, headings = next(lines, (1, []))
    columns = _columns(line, headings)
    rows = []
    for line, cells in lines:
        named = {name: _plain(cell) for name, cell in zip(columns, cells, strict=False) if name}
        unnamed = [cell for at, cell in enumerate(cells) if at >= len(columns) or not columns[at]]
        rows.append(Row(line, named, any(cell.strip() for cell in unnamed)))
    return rows


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Give each line that is not blank, with its number; a quoted cell may run over several."""
    head = text.lstrip().split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error:
        raise SheetUnusable(f"(Line {line}: a quotation mark is missing or stands in the wrong place.)") from None


def _columns(line: int, headings: list[str]) -> list[str]:
    """Return the column that each heading means, "" for an empty one. Errors do not repeat it: it may be a person's."""
    if any("@" in heading for heading in headings):
        raise SheetUnusable(f"(Line {line} must name the columns: address,language,key. Only address is needed.)")
    columns = []
    for number, heading in enumerate(headings, 1):
        name = heading.strip().lower()
        if name and name not in _HEADINGS:
            known = ", ".join(COLUMNS)
            raise SheetUnusable(f"(Column {number} is none of {known}. Rename it, or take it out: it is not stored.)")
        columns.append(_HEADINGS.get(name, ""))
    if "address" not in columns:
        raise SheetUnusable("(No column is named address.)")
    if repeated := next((name for name in columns if name and columns.count(name) > 1), None):
        raise SheetUnusable(f"(There are two columns for {repeated}.)")
    return columns


def _plain(cell: str) -> str:
    cell = cell.strip()
    return cell[1:] if _ESCAPED.match(cell) else cell
