"""The subject of a page: in front matter or its first heading, and then above the page."""

from __future__ import annotations

from mailer.outward.manuscript import markdown, page, saved, website
from mailer.outward.manuscript.page import HEADINGS, Node
from mailer.outward.manuscript.source import SUBJECT_CHARACTERS, Kind, Source


def find(written: Source) -> tuple[str, Node]:
    """Return the subject and the page of a source. Raises DigestUnusable where it has none, or too long a one."""
    title = ""
    if written.kind is Kind.MARKDOWN:
        root = page.parse(markdown.render(written.body))
        title = _plain(root.children[0]) if _begins_with_heading(root) else ""
    elif written.kind is Kind.PAGE:
        title, root = website.read_page(written.body)
        title = title or _first_heading(root)
    else:
        title, rest = saved.split_title(written.body)
        is_repeated = written.subject in (None, title)
        root = saved.read_text(rest if is_repeated else written.body)
    subject = written.subject or title
    if not subject:
        raise written.unusable("has no subject; put `subject: …` into front matter between two lines `---`", 1)
    if len(subject) > SUBJECT_CHARACTERS:
        raise written.unusable("begins with a heading too long for a subject; put a shorter one into front matter")
    return subject, root


def _first_heading(root: Node) -> str:
    return next((_plain(node) for node in root.walk() if node.tag in HEADINGS), "")


def _begins_with_heading(root: Node) -> bool:
    return bool(root.children) and isinstance(root.children[0], Node) and root.children[0].tag in HEADINGS


def _plain(node: Node | str) -> str:
    return " ".join((node if isinstance(node, str) else node.text()).split())


def put(root: Node, subject: str, shown: str) -> None:
    """Put the subject above the page, unless it begins with it: some programs show none for an encrypted letter."""
    if _begins_with_heading(root) and _plain(root.children[0]) == subject:
        del root.children[0]
    if any(node.tag == "h1" for node in root.walk()):  # one title; the author's own headings come below it
        for node in root.walk():
            if node.tag in HEADINGS:
                node.tag = HEADINGS[min(HEADINGS.index(node.tag) + 1, len(HEADINGS) - 1)]
    root.children.insert(0, Node("h1", {}, [shown]))
