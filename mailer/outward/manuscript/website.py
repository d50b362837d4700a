"""A page saved as HTML: its title and its article, without menus, pictures and links that only worked there."""

from __future__ import annotations

import re
from itertools import groupby

from mailer.outward.manuscript.page import BLOCKS, Node, parse
from mailer.outward.manuscript.saved import clean, read_text

_MENUS = frozenset(("nav", "aside", "footer", "form", "dialog", "menu"))


def read_page(html: str) -> tuple[str, Node]:
    """Return title and text of a saved HTML page: its article where it marks one; menus and pictures left out."""
    found = re.search(r"<title[^>]*>(.*?)</title", html, re.IGNORECASE | re.DOTALL)
    title = clean(parse(f"<p>{found[1]}</p>").text().replace("\n", " ")) if found else ""
    root = parse(html, silent=_MENUS)
    parts = [node for node in root.walk() if node.tag in ("article", "main")]
    main = max(parts, key=lambda node: len(node.text()), default=root)
    if len(main.text()) * 3 < len(root.text()):
        main = root
    _leave_out(main)
    return title, Node("body", {}, _paragraphs(main.children))


def _leave_out(node: Node) -> None:
    """Turn pictures into their descriptions and links that lead nowhere into their text: the page is not at hand."""
    children: list[Node | str] = []
    for child in node.children:
        if isinstance(child, Node):
            _leave_out(child)
            if child.tag == "img":
                children += [f"[{alt}]"] if (alt := child.attributes.get("alt", "").strip()) else []
                continue
            if child.tag == "a" and not re.match(r"(https?|mailto|tel):", child.attributes.get("href", "")):
                children += child.children
                continue
        children.append(child)
    node.children = children


def _paragraphs(children: list[Node | str]) -> list[Node | str]:
    """Make paragraphs of text that lies about between blocks, at its blank lines."""
    made: list[Node | str] = []
    for is_block, group in groupby(children, key=lambda child: isinstance(child, Node) and child.tag in BLOCKS):
        loose = list(group)
        if is_block:
            made += loose
        elif all(isinstance(child, str) for child in loose):
            made += read_text("".join(map(str, loose))).children
        else:
            made.append(Node("p", {}, loose))
    return made
