"""A page as a tree: parsed from sanitised HTML, mended, and written out as HTML again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from html.parser import HTMLParser

import nh3

from mailer.outward.manuscript.wrap import is_wide

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


def _tags(names: str) -> frozenset[str]:
    return frozenset(names.split())


BLOCKS = _tags("address article blockquote center dd div dl dt figcaption figure hr li main ol p pre section table ul")
BLOCKS |= frozenset(HEADINGS)
_TABLE = _tags("caption tbody td tfoot th thead tr")
_INLINE = _tags("a abbr b bdi br code del em i img ins kbd mark q rp rt ruby s small strong sub sup u")
_EMPTY = _tags("br hr img")
_ATTRIBUTES = {
    "*": {"lang", "dir"},
    "a": {"href"},
    "img": {"src", "alt", "width"},
    "ol": {"start"},
    "th": {"align", "colspan", "rowspan"},
    "td": {"align", "colspan", "rowspan"},
}
# Their content is no text of the letter: it goes with them.
_SILENT = _tags(
    "applet audio button canvas datalist embed head iframe math noembed noframes noscript object script select style"
    " svg template textarea title video"
)
_SCHEMES = frozenset(("http", "https", "mailto", "tel", "cid"))
_DEEPEST = 40
_BARE_LINK = re.compile(
    r"(?<![\w@/.])(?:(?P<url>https?://[\w.-]+[\w/](?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*[A-Za-z0-9\-_~/#&=+$)])?)"
    r"|(?P<mail>[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24})(?![\w@]))",
    re.ASCII,
)


@dataclass(slots=True)
class Node:
    """An element of the page; a string among its children is text."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, in reading order."""
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def text(self) -> str:
        """Return all text below, as it stands."""
        return "".join(child if isinstance(child, str) else child.text() for child in self.children)


def parse(html: str, silent: frozenset[str] = frozenset()) -> Node:
    """Return the tree of any HTML, sanitised: no script, style, form, event, or address that is not a link's.

    silent: elements that are to vanish with their content, besides those that always do.
    """
    builder = _Builder()
    builder.feed(_sanitise(html, silent))
    builder.close()
    return builder.root


def write(node: Node) -> str:
    """Return the HTML of what is below `node`, sanitised once more: nothing after this touches it."""
    return _sanitise("".join(_write(child) for child in node.children), frozenset())


def replace_text(node: Node, change: Callable[[str], list[Node | str]]) -> None:
    """Put `change(text)` in the place of each text below `node` outside of links and code."""
    children: list[Node | str] = []
    for child in node.children:
        if isinstance(child, str):
            children += change(child)
            continue
        if child.tag not in ("a", "code", "pre", "kbd"):
            replace_text(child, change)
        children.append(child)
    node.children = children


def link_bare(text: str) -> list[Node | str]:
    """Make links of the web and mail addresses that stand in `text`.

    Only ASCII belongs to an address: in Chinese no space tells where it ends.
    """
    parts: list[Node | str] = []
    done = 0
    for found in _BARE_LINK.finditer(text):
        address = _balance(found[0])
        parts += [text[done : found.start()], Node("a", {"href": _link_to(found, address)}, [address])]
        done = found.start() + len(address)
    return [part for part in [*parts, text[done:]] if part]


def join_lines(text: str) -> list[Node | str]:
    """Make a space of each line end, but nothing between two Chinese characters, where a space would be a gap."""
    pieces = re.split(r"[ \t]*\n[ \t]*", text)
    joined = pieces[0]
    for piece in pieces[1:]:
        joined += piece if joined and piece and _is_chinese(joined[-1], piece[0]) else f" {piece}"
    return [joined] if joined else []


def _is_chinese(left: str, right: str) -> bool:
    shared = "“”‘’…—·"  # marks of both scripts
    return (is_wide(left) and (is_wide(right) or right in shared)) or (left in shared and is_wide(right))


def _balance(address: str) -> str:
    """Leave the parenthesis that closes one around the address outside of it."""
    while address.endswith(")") and address.count(")") > address.count("("):
        address = address[:-1].rstrip(".,:;!?")
    return address


def _link_to(found: re.Match[str], address: str) -> str:
    return address if found["url"] else f"mailto:{address}"


def _sanitise(html: str, silent: frozenset[str]) -> str:
    return nh3.clean(
        html,
        tags=set((BLOCKS | _TABLE | _INLINE) - silent),
        clean_content_tags=set(_SILENT | silent),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        url_schemes=set(_SCHEMES),
        generic_attribute_prefixes=None,
        strip_comments=True,
        link_rel="noopener noreferrer",
    )


def _write(child: Node | str) -> str:
    if isinstance(child, str):
        return escape(child, quote=False)
    attributes = "".join(f' {name}="{escape(value)}"' for name, value in child.attributes.items())
    if child.tag in _EMPTY:
        return f"<{child.tag}{attributes}>"
    line_end = "\n" if child.tag in BLOCKS else ""
    return f"<{child.tag}{attributes}>{''.join(map(_write, child.children))}</{child.tag}>{line_end}"


class _Builder(HTMLParser):
    """Builds the tree of sanitised HTML, whose elements are all closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("body")
        self._open = [self.root]
        self._too_deep = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if len(self._open) > _DEEPEST:  # a page nested for mischief; its text stays
            self._too_deep += tag not in _EMPTY
            return
        node = Node(tag, {name: value or "" for name, value in attrs if name != "rel"})
        self._open[-1].children.append(node)
        if tag not in _EMPTY:
            self._open.append(node)

    def handle_endtag(self, tag: str) -> None:
        if tag in _EMPTY:
            return
        if self._too_deep:
            self._too_deep -= 1
        elif len(self._open) > 1:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)
