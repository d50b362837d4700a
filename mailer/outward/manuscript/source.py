"""An organiser's file, read: what kind it is, what its front matter says, and the body with its place in the file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mailer.errors import DigestUnusable
from mailer.model.language import Language
from mailer.outward.manuscript import decoding

SOURCE_BYTES = 1024 * 1024
SUBJECT_CHARACTERS = 150

_SUFFIXES = {".md": "md", ".markdown": "md", ".txt": "txt", ".text": "txt", "": "txt", ".html": "html", ".htm": "html"}
_STRONG_MARKDOWN = re.compile(r"^#{1,6} +\S|^(```|~~~)|\]\([^)\s]|\*\*\S", re.MULTILINE)
_WEAK_MARKDOWN = re.compile(
    r"^ {0,3}([-*+]|\d{1,9}[.)])[ \t]|^ {0,3}>|^(=+|-+) *$|[*_`][^\s*_`]|\]\[|<[a-zA-Z/!]|^\|", re.MULTILINE
)
_HTML = re.compile(r"\s*<(!doctype html|html|\?xml)\b", re.IGNORECASE)
_DECLARED = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_FIELDS = {
    "subject": "subject",
    "主題": "subject",
    "主题": "subject",
    "標題": "subject",
    "标题": "subject",
    "language": "language",
    "語言": "language",
    "语言": "language",
}
_LANGUAGES = {
    "en": Language.EN,
    "english": Language.EN,
    "zh-hant": Language.ZH_HANT,
    "zh-tw": Language.ZH_HANT,
    "zh-hk": Language.ZH_HANT,
    "繁體中文": Language.ZH_HANT,
    "zh-hans": Language.ZH_HANS,
    "zh-cn": Language.ZH_HANS,
    "zh-sg": Language.ZH_HANS,
    "简体中文": Language.ZH_HANS,
}


class Kind(StrEnum):
    """MARKDOWN is written for us; TEXT and PAGE were saved from a website, or written without Markdown."""

    MARKDOWN = "markdown"
    TEXT = "text"
    PAGE = "page"


@dataclass(frozen=True, slots=True)
class Source:
    """A file, read. subject: of the front matter. first_line: where `body` begins in the file, from 1."""

    path: Path
    kind: Kind
    language: Language
    subject: str | None
    body: str
    first_line: int

    def unusable(self, reason: str, line: int | None = None) -> DigestUnusable:
        """Return the error that names file and line (from 1); `reason` says what is wrong and what to do."""
        return unusable(self.path, reason, line)

    def place(self, line: int | None = None) -> str:
        """Return how to name the file, or a line in it, to the organiser."""
        return place(self.path, line)

    def line_of(self, fragment: str) -> int | None:
        """Return the line in the file on which `fragment` first stands, or None."""
        position = self.body.find(fragment)
        return None if position < 0 else self.first_line + self.body.count("\n", 0, position)


def read(path: Path, language: Language | None = None, default: Language | None = None) -> Source:
    """Return what stands in the file at `path`; raises DigestUnusable.

    language: what the organiser asked for; must agree with the front matter and with a file name such as
    `issue.zh-Hant.md`, one of which is enough. default: of a file of which none of them says it.
    """
    suffix = _SUFFIXES.get(path.suffix.lower())
    if suffix is None and _language_in(path.name.split(".")[-1]) is None:
        raise unusable(path, "is of no known kind; write .md (Markdown) or .txt, or save the page as .html or .txt")
    text = _decode(path, _load(path))
    fields, body, first_line = _split_front_matter(path, text)
    if not body.strip():
        raise unusable(path, "is empty; write the letter below the front matter", first_line)
    return Source(
        path,
        _kind(suffix or "txt", body),
        _settle_language(path, language, fields.get("language"), default),
        _check_subject(path, fields.get("subject")),
        body,
        first_line,
    )


def unusable(path: Path, reason: str, line: int | None = None) -> DigestUnusable:
    """Return the error that names the file and, where there is one, the line."""
    return DigestUnusable(f"{place(path, line)}: {reason}.")


def place(path: Path, line: int | None = None) -> str:
    """Return how to name a file, or a line in it, to the organiser."""
    return path.name if line is None else f"{path.name}, line {line}"


def parse_fields(path: Path, lines: Iterable[tuple[int, str]]) -> dict[str, tuple[int, str]]:
    """Return name → (line, value) of `name: value` lines; `#` begins a comment line. Raises DigestUnusable."""
    fields: dict[str, tuple[int, str]] = {}
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, value = line.replace("：", ":", 1 if ":" not in line else 0).partition(":")
        name = name.strip().lower()
        if not colon:
            raise unusable(path, "is not `name: value`; write for instance `subject: …`", number)
        if name in fields:
            raise unusable(path, f"`{name}` stands there twice; leave one", number)
        fields[name] = (number, _unquote(value.strip()))
    return fields


def _load(path: Path) -> bytes:
    try:
        if path.stat().st_size > SOURCE_BYTES:
            raise unusable(path, f"is larger than {SOURCE_BYTES // 1024} KiB; a letter is shorter")
        return path.read_bytes()
    except OSError as error:
        raise unusable(path, "cannot be read; look at its name and its mode") from error


def _decode(path: Path, blob: bytes) -> str:
    declared = _DECLARED.search(blob[:4096])
    try:
        return decoding.decode(blob, declared[1].decode("ascii") if declared else None)
    except decoding.Doubtful as doubt:
        raise unusable(path, doubt.reason, doubt.line) from None


def _split_front_matter(path: Path, text: str) -> tuple[dict[str, tuple[int, str]], str, int]:
    lines = text.split("\n")
    start = next((number for number, line in enumerate(lines) if line.strip()), 0)
    fence = lines[start].strip()
    if fence not in ("---", "+++"):
        return {}, text, 1
    end = next((number for number in range(start + 1, len(lines)) if lines[number].strip() == fence), None)
    if end is None:
        raise unusable(path, f"the front matter is not closed; end it with a line `{fence}`", start + 1)
    inner = list(enumerate(lines[start + 1 : end], start + 2))
    fields = parse_fields(path, inner) if fence == "---" else _parse_toml(path, inner)
    known: dict[str, tuple[int, str]] = {}
    for name, (number, value) in fields.items():
        if name not in _FIELDS:
            raise unusable(path, f"`{name}` is no known field; there are `subject` and `language`", number)
        known[_FIELDS[name]] = (number, value)
    return known, "\n".join(lines[end + 1 :]), end + 2


def _parse_toml(path: Path, lines: list[tuple[int, str]]) -> dict[str, tuple[int, str]]:
    first = lines[0][0] if lines else 1
    try:
        table = tomllib.loads("\n".join(line for _, line in lines))
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line (\d+)", str(error))
        raise unusable(path, "is not TOML", first + int(place[1]) - 1 if place else first) from None
    fields = {}
    for name, value in table.items():
        number = next((number for number, line in lines if line.lstrip().lstrip("\"'").startswith(name)), first)
        if not isinstance(value, str):
            raise unusable(path, f"`{name}` must be a text in quotation marks", number)
        fields[name.lower()] = (number, value)
    return fields


def _unquote(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _kind(suffix: str, body: str) -> Kind:
    if suffix == "html" or _HTML.match(body):
        return Kind.PAGE
    if _STRONG_MARKDOWN.search(body) or (suffix == "md" and _WEAK_MARKDOWN.search(body)):
        return Kind.MARKDOWN
    return Kind.TEXT


def _language_in(tag: str) -> Language | None:
    return _LANGUAGES.get(tag.strip().replace("_", "-").lower())


def _settle_language(
    path: Path, asked: Language | None, field: tuple[int, str] | None, default: Language | None
) -> Language:
    written = None
    if field is not None and (written := _language_in(field[1])) is None:
        raise unusable(path, f"that is no known language; there are {', '.join(Language)}", field[0])
    parts = path.name.split(".")[1:]
    named = next((found for part in reversed(parts) if (found := _language_in(part))), None)
    said = {language for language in (asked, written, named) if language is not None}
    if not said and default is not None:
        return default
    if not said:
        raise unusable(path, "says no language; put `language: en` into the front matter or name the file `….en.md`")
    if len(said) > 1:
        raise unusable(path, f"is said to be in {' and in '.join(sorted(said))}; make command, name and file agree")
    return said.pop()


def _check_subject(path: Path, field: tuple[int, str] | None) -> str | None:
    if field is None:
        return None
    subject = " ".join(field[1].split())
    if not subject:
        raise unusable(path, "the subject is empty; write one", field[0])
    if len(subject) > SUBJECT_CHARACTERS:
        raise unusable(path, f"the subject is longer than {SUBJECT_CHARACTERS} characters; shorten it", field[0])
    return subject
