"""A page as plain text that reads well in any mail program: wrapped, headings set off, links numbered at the end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from mailer.outward.manuscript.page import BLOCKS, HEADINGS, Node
from mailer.outward.manuscript.wrap import COLUMNS, NO_BREAK_SPACE, width, wrap

_UNDERLINES = {"h1": "=", "h2": "-", "h3": "~"}
_MARKS = ("•", "–", "·")
_NARROWEST = 24  # however deeply it is nested
_SPACES = re.compile(r"[ \t\n\f]+")
_SETTINGS = {"em": "_", "i": "_", "strong": "*", "b": "*", "code": "`", "kbd": "`", "del": "~", "s": "~"}

Block = list[str]


@dataclass(slots=True)
class Renderer:
    """Renders pages, and remembers the links for the end. words: `picture` (with `{alt}`) and `links`."""

    words: Mapping[str, str]
    links: list[str] = field(default_factory=list)

    def render(self, root: Node) -> str:
        """Return the text of the page, without its links, LF line ends, no blanks at the ends of lines."""
        return _finish(self._children(root, COLUMNS, 0))

    def render_links(self) -> str:
        """Return the numbered list of what the text refers to; "" if there is none."""
        lines = [f"[{number}] {link}" for number, link in enumerate(self.links, 1)]
        return "\n".join([self.words["links"], "-" * width(self.words["links"]), *lines]) if lines else ""

    def _children(self, node: Node, columns: int, depth: int) -> list[Block]:
        blocks: list[Block] = []
        for is_block, group in groupby(node.children, key=_is_block):
            if is_block:
                for child in group:
                    if isinstance(child, Node):
                        blocks += self._block(child, max(columns, _NARROWEST), depth)
            elif text := self._inline(group).strip():
                blocks.append(wrap(text, max(columns, _NARROWEST)))
        return blocks

    def _block(self, node: Node, columns: int, depth: int) -> list[Block]:
        if node.tag in HEADINGS:
            return self._heading(node, columns)
        if node.tag in ("ul", "ol"):
            return self._list(node, columns, depth)
        if node.tag == "blockquote":
            quoted = _join(self._children(node, columns - 2, depth))
            return [[f"> {line}".rstrip() for line in quoted]] if quoted else []
        if node.tag == "pre":
            return [["    " + line for line in node.text().expandtabs().strip("\n").split("\n")]]
        if node.tag == "table":
            return self._table(node, columns)
        if node.tag == "hr":
            return [["* * *"]]
        if node.tag == "dd":
            return [["    " + line for line in _join(self._children(node, columns - 4, depth))]]
        return self._children(node, columns, depth)

    def _heading(self, node: Node, columns: int) -> list[Block]:
        text = self._inline(node.children).strip()
        if not text:
            return []
        lines = wrap(text, columns)
        underline = _UNDERLINES.get(node.tag)
        return [[*lines, underline * max(4, *map(width, lines))] if underline else lines]

    def _list(self, node: Node, columns: int, depth: int) -> list[Block]:
        items = [child for child in node.children if isinstance(child, Node)]
        first = int(start) if (start := node.attributes.get("start", "")).isdecimal() else 1
        marks = [
            f"{first + number}." if node.tag == "ol" else _MARKS[min(depth, len(_MARKS) - 1)]
            for number in range(len(items))
        ]
        indent = max(map(len, marks), default=1) + 1
        is_loose = any(isinstance(child, Node) and child.tag == "p" for item in items for child in item.children)
        blocks: list[Block] = []
        for mark, item in zip(marks, items, strict=True):
            parts = self._children(item, columns - indent, depth + 1)
            lines = (_join(parts) if is_loose else [line for part in parts for line in part]) or [""]
            text = [f"{mark:>{indent - 1}} {lines[0]}", *(" " * indent + line for line in lines[1:])]
            blocks.append([line.rstrip() for line in text])
        return blocks if is_loose else [[line for block in blocks for line in block]]

    def _table(self, node: Node, columns: int) -> list[Block]:
        trees = [[cell for cell in row.children if isinstance(cell, Node)] for row in node.walk() if row.tag == "tr"]
        rows = [[self._inline(cell.children).replace("\n", " ").strip() for cell in row] for row in trees]
        count = max(map(len, rows), default=0)
        rows = [row + [""] * (count - len(row)) for row in rows if any(row)]
        if not rows:
            return []
        widths = [max(width(row[column]) for row in rows) for column in range(count)]
        has_head = any(cell.tag == "th" for cell in trees[0])
        if sum(widths) + 3 * (count - 1) > columns:
            return _cards(rows, columns, has_head=has_head)
        are_right = [cell.attributes.get("align") == "right" for cell in trees[-1]] + [False] * count
        return [_grid(rows, widths, are_right[:count], has_head=has_head)]

    def _inline(self, children: Iterable[Node | str]) -> str:
        """Return the text of inline content: blanks collapsed, line feeds only where the page breaks the line."""
        text = "".join(
            _SPACES.sub(" ", child) if isinstance(child, str) else self._element(child) for child in children
        )
        return re.sub(r" *\n *", "\n", re.sub(r" {2,}", " ", text))

    def _element(self, node: Node) -> str:
        if node.tag == "br":
            return "\n"
        if node.tag == "img":
            alt = _SPACES.sub(" ", node.attributes.get("alt", "")).strip()
            return self.words["picture"].replace("{alt}", alt) if alt else ""
        if node.tag == "rt":  # the reading beside a character
            return f"({self._inline(node.children)})"
        if node.tag == "rp":
            return ""
        text = self._inline(node.children)
        if node.tag in BLOCKS:  # a block inside of a phrase, as saved pages have it
            return f"\n{text}\n"
        if node.tag == "a":
            return self._link(text, node.attributes.get("href", ""))
        if node.tag == "q":
            return f"“{text}”"
        mark = _SETTINGS.get(node.tag, "") if text.strip() else ""
        return f"{mark}{text}{mark}"

    def _link(self, text: str, target: str) -> str:
        shown = target.removeprefix("mailto:").removeprefix("tel:")
        if not shown or text.strip().rstrip("/") in (shown.rstrip("/"), re.sub(r"^https?://", "", shown).rstrip("/")):
            return text
        if not text.strip():
            return shown
        if shown not in self.links:
            self.links.append(shown)
        return f"{text.rstrip()}{NO_BREAK_SPACE}[{self.links.index(shown) + 1}]"


def _is_block(child: Node | str) -> bool:
    return isinstance(child, Node) and child.tag in BLOCKS


def _join(blocks: list[Block]) -> Block:
    lines: Block = []
    for block in blocks:
        lines += ["", *block] if lines else block
    return lines


def _finish(blocks: list[Block]) -> str:
    return "\n".join(line.replace(NO_BREAK_SPACE, " ").rstrip() for line in _join(blocks))


def _pad(text: str, columns: int, is_right: bool) -> str:
    blanks = " " * (columns - width(text))
    return blanks + text if is_right else text + blanks


def _grid(rows: list[list[str]], widths: list[int], are_right: list[bool], *, has_head: bool) -> Block:
    lines = ["   ".join(map(_pad, row, widths, are_right)).rstrip() for row in rows]
    return [lines[0], "   ".join("-" * size for size in widths), *lines[1:]] if has_head else lines


def _cards(rows: list[list[str]], columns: int, *, has_head: bool) -> list[Block]:
    """A table too wide for the page: one block for each row, one line for each cell."""
    head, body = (rows[0], rows[1:]) if has_head else ([""] * len(rows[0]), rows)
    cards = []
    for row in body:
        cells = [f"{name}: {cell}" if name else cell for name, cell in zip(head, row, strict=True) if cell]
        cards.append([line for cell in cells for line in wrap(cell, columns)])
    return cards
