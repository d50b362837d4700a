"""Text that was saved from a website or written without any markup: paragraphs, headings and lists found in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from itertools import groupby

from mailer.outward.manuscript.page import Node, join_lines
from mailer.outward.manuscript.wrap import width

TITLE_COLUMNS = 150
HEADING_COLUMNS = 72
PARAGRAPH_COLUMNS = 100  # nobody breaks lines so late: such a line is a whole paragraph

_SPACES = re.compile(r"[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f]+")
_BULLET = re.compile(r"(?:([•●○◦▪▫■□◆◇‣⁃∙])\s*|([*+·・‧–—-])\s+)(?=\S)")
# Arrows, technical signs, shapes and dingbats: what icon fonts of websites turn into. Emoji are words to some: kept.
_ICON = re.compile("([\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff])\ufe0f?\\s*(?=\\S)")
_NUMBER = re.compile(r"(\d{1,2})(?:[.)]\s+|[、．）]\s*)(?=\S)")
_RULE = re.compile(r"([-=_*~—─═·•])(?:\s*\1){2,}$")
_ENDS_SENTENCE = re.compile(r"[.。!！?？…:：;；][”’」』）)\]\"']*$")
_NO_HEADING_END = re.compile(r"[.。,，、;；:：…][”’」』）)\]\"']*$")
_ADDRESS = re.compile(r"https?://|www\.|\S@\S|email.protected", re.IGNORECASE)
_BYLINE = re.compile(
    r"by\s+[A-Z]|posted|published|updated|作者|文[/／:：]|記者|记者|發佈|发布|發表|发表|來源|来源|撰文|編輯|编辑"
    r"|.*(\d{4}\s*[-/.年]\s*\d{1,2}|\d{1,2}:\d{2}|(19|20)\d\d$)|.*[|｜]",
    re.IGNORECASE,
)
_JUNK = re.compile(
    r"skip to (main |the )?(content|navigation)|back to top|advertisements?"
    r"|跳[至到轉转]\S{0,4}[內内]容|回到?[頂顶]部|廣告|广告",
    re.IGNORECASE,
)


class _Kind(Enum):
    TEXT = auto()
    BULLET = auto()
    NUMBER = auto()
    QUOTE = auto()
    RULE = auto()
    TITLE = auto()


@dataclass(slots=True)
class _Item:
    """One paragraph or list item. mark: the bullet or icon before it, or its number. block: which of the text's."""

    kind: _Kind
    lines: list[str]
    mark: str = ""
    block: int = 0

    @property
    def is_short(self) -> bool:
        """Whether it may be a heading: one short line that does not end like a sentence, and is no byline."""
        line = self.lines[0]
        return (
            self.kind is _Kind.TEXT
            and not self.mark
            and len(self.lines) == 1
            and 1 < width(line) <= HEADING_COLUMNS
            and not line[0].islower()
            and not _NO_HEADING_END.search(line)
            and not _ADDRESS.search(line)
            and not _BYLINE.match(line)
        )


def split_title(text: str) -> tuple[str, str]:
    """Return the first line, if it can be a title, and what follows it; ("", text) otherwise."""
    first, _, rest = "\n".join(_without_junk(text)).lstrip(" \t\n\u3000\u00a0").partition("\n")
    title = clean(first)
    following = clean(rest.split("\n", 1)[0])
    # The first line of a paragraph with hard line ends is none.
    goes_on = following[:1].islower() or 0.8 < width(following) / max(width(title), 1) < 1.25
    is_wrapped = width(title) > 50 and goes_on and not _ENDS_SENTENCE.search(title)
    if not title or width(title) > TITLE_COLUMNS or is_wrapped:
        return "", text
    return title, rest


def read_text(text: str) -> Node:
    """Return the page that a text without markup means."""
    items = [item for number, block in enumerate(_blocks(text)) for item in _itemise(block, number)]
    _settle_bullets(items)
    _settle_headings(items)
    return Node("body", {}, [*_assemble(items)])


def clean(line: str) -> str:
    """Return a line with single spaces and none at its ends, whatever kinds of space it had."""
    return _SPACES.sub(" ", line).strip(" \u3000")


def _without_junk(text: str) -> list[str]:
    return [line for line in text.split("\n") if not _JUNK.fullmatch(clean(line))]


def _blocks(text: str) -> list[list[str]]:
    lines = [_SPACES.sub(" ", line).rstrip(" \u3000") for line in _without_junk(text.expandtabs())]
    return [
        list(group) for is_blank, group in groupby(lines, key=lambda line: not line.strip(" \u3000")) if not is_blank
    ]


def _itemise(lines: list[str], block: int) -> list[_Item]:
    if len(lines) > 1 and _RULE.match(lines[1].strip()) and width(lines[0]) <= HEADING_COLUMNS:
        return [_Item(_Kind.TITLE, [clean(lines[0])], block=block), *_itemise(lines[2:], block)]
    items: list[_Item] = []
    longest = max((width(line) for line in lines), default=0)
    for line in lines:
        item = _read_line(line, block)
        if items and _continues(items[-1], line, item, longest):
            items[-1].lines.append(clean(line.lstrip("> ") if item.kind is _Kind.QUOTE else line))
        else:
            items.append(item)
    return items


def _read_line(line: str, block: int) -> _Item:
    text = clean(line)
    if _RULE.match(text):
        return _Item(_Kind.RULE, [text], block=block)
    if text.startswith(">"):
        return _Item(_Kind.QUOTE, [text.lstrip("> ")], block=block)
    for kind, pattern in ((_Kind.BULLET, _BULLET), (_Kind.NUMBER, _NUMBER), (_Kind.TEXT, _ICON)):
        if found := pattern.match(text):
            return _Item(kind, [text[found.end() :]], next(mark for mark in found.groups() if mark), block)
    return _Item(_Kind.TEXT, [text], block=block)


def _continues(before: _Item, line: str, item: _Item, longest: int) -> bool:
    """Whether `line` goes on with the item before it in the same block."""
    if item.kind is _Kind.QUOTE:
        return before.kind is _Kind.QUOTE
    if item.kind is not _Kind.TEXT or item.mark or before.kind is _Kind.RULE or line.startswith("\u3000"):
        return False
    if before.kind in (_Kind.BULLET, _Kind.NUMBER):
        return line.startswith(" ") or (longest <= PARAGRAPH_COLUMNS and width(before.lines[-1]) > 0.7 * longest)
    if max(width(before.lines[-1]), width(line)) > PARAGRAPH_COLUMNS:
        return False
    return width(before.lines[-1]) > 0.6 * longest or not _ENDS_SENTENCE.search(before.lines[-1])


def _settle_bullets(items: list[_Item]) -> None:
    """Make a list of signs that come in a row, and words of a dash or an icon that stands alone."""
    for index, item in enumerate(items):
        neighbours = items[max(index - 1, 0) : index] + items[index + 1 : index + 2]
        is_row = item.mark and any(other.mark == item.mark for other in neighbours)
        if item.kind is _Kind.TEXT and is_row:
            item.kind = _Kind.BULLET
        elif item.kind is _Kind.BULLET and not is_row and item.mark in "*+·・‧–—-":
            item.kind, item.lines[0] = _Kind.TEXT, f"{item.mark} {item.lines[0]}"
    for index, item in enumerate(items):
        if item.kind is _Kind.NUMBER and not _is_counted(items, index):
            item.kind, item.lines[0] = _Kind.TEXT, f"{item.mark}. {item.lines[0]}"
            item.mark = ""


def _is_counted(items: list[_Item], index: int) -> bool:
    def number(at: int) -> int | None:
        is_number = 0 <= at < len(items) and items[at].mark.isdecimal()
        return int(items[at].mark) if is_number else None

    here = int(items[index].mark)
    return number(index - 1) == here - 1 or number(index + 1) == here + 1


def _settle_headings(items: list[_Item]) -> None:
    """Of short lines in a row, followed by text, take the first; of many (a menu, an address) the last, or none."""
    index = 0
    while index < len(items):
        run = index
        while run < len(items) and items[run].is_short:
            run += 1
        if index < run < len(items) and items[run].kind is not _Kind.RULE:
            items[index if run - index <= 2 else run - 1].kind = _Kind.TITLE
        index = max(run, index + 1)


def _assemble(items: list[_Item]) -> list[Node]:
    nodes: list[Node] = []
    for kind, group in groupby(items, key=lambda item: item.kind):
        members = list(group)
        if kind is _Kind.BULLET:
            nodes.append(Node("ul", {}, [Node("li", {}, _flow(item.lines)) for item in members]))
        elif kind is _Kind.NUMBER:
            nodes.append(
                Node("ol", {"start": members[0].mark}, [Node("li", {}, _flow(item.lines)) for item in members])
            )
        elif kind is _Kind.RULE:
            nodes.append(Node("hr"))
        elif kind is _Kind.QUOTE:
            nodes.append(Node("blockquote", {}, [Node("p", {}, _flow(item.lines)) for item in members]))
        else:
            nodes += [Node("h2" if kind is _Kind.TITLE else "p", {}, _flow(item.lines)) for item in members]
    return nodes


def _flow(lines: list[str]) -> list[Node | str]:
    """Join lines that were broken for width; keep the ends of short ones, as in an address or a poem."""
    longest = max(map(width, lines))
    parts: list[Node | str] = []
    paragraph = ""
    for number, line in enumerate(lines):
        paragraph += line
        if number + 1 == len(lines):
            break
        if longest > 40 and width(line) > 0.6 * longest:
            paragraph += "\n"
        else:
            parts += [*join_lines(paragraph), Node("br")]
            paragraph = ""
    return parts + join_lines(paragraph)
