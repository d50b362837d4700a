"""The pages that are typeset, as HTML: of an edition, of a letter in plain text, of a sheet of cards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from mailer.model.language import Language

# A whole tag: a `>` in a quoted value does not end it, and no text is taken for one (text has no bare `<`).
_TAG = re.compile(r"<[a-z][a-z0-9]*(?:\s+[a-z-]+(?:=\"[^\"]*\")?)*\s*/?>", re.IGNORECASE)
_STYLE = re.compile(r'\s+(?:style|width)="[^"]*"')
_STYLE_SHEET = re.compile(r"<style\b.*?</style>", re.DOTALL | re.IGNORECASE)
_LINK = re.compile(
    r"(?P<url>https?://[!-~]*[\w/#=&])|(?P<mail>[A-Za-z0-9][\w.+-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Card:
    """An invitation card in words. text: as a template makes it; a paragraph that is one of `large` is set so."""

    title: str
    text: str
    large: frozenset[str]

    def __repr__(self) -> str:
        return "Card(…)"


def without_styles(html: str) -> str:
    """Return an edition's HTML without the styles that are for the screens of mail programs."""
    return _TAG.sub(lambda tag: _STYLE.sub("", tag[0]), _STYLE_SHEET.sub("", html))


def letter(subject: str, text: str, language: Language) -> str:
    """Return a letter of plain text as a page. text: LF line ends; an empty line ends a paragraph.

    The lines of a paragraph are put together, but for those that are indented: addresses, commands, words.
    """
    paragraphs = (_paragraph(lines) for lines in re.split(r"\n{2,}", text.strip("\n")))
    return _document(f"<main><h1>{escape(subject)}</h1>{''.join(paragraphs)}</main>", language)


def _paragraph(lines: str) -> str:
    if all(line.startswith("  ") for line in lines.split("\n")):
        # what stands in columns in a letter of fixed width would be ragged here
        listed = "\n".join(re.sub(r"(?<=\S) {2,}", " – ", line.strip()) for line in lines.split("\n"))
        return f'<p class="listed">{_linked(listed)}</p>'
    return f"<p>{_linked(_joined(lines))}</p>"


def cards(sheet: Sequence[Card], language: Language) -> str:
    """Return cards as a page, eight on each sheet of A4."""
    return _document("".join(f"<section>{_card(card)}</section>" for card in sheet), language)


def _card(card: Card) -> str:
    paragraphs = (_joined(paragraph) for paragraph in card.text.strip("\n").split("\n\n"))
    return f"<h1>{escape(card.title)}</h1>" + "".join(
        f'<p class="{"large" if paragraph in card.large else "small"}">{escape(paragraph)}</p>'
        for paragraph in paragraphs
    )


def _joined(paragraph: str) -> str:
    """Return a paragraph on one line; between Chinese characters a space would be a gap."""
    return re.sub(r"(?<=[ -~])\n(?=[ -~])", " ", paragraph).replace("\n", "")


def _linked(text: str) -> str:
    parts, done = [], 0
    for found in _LINK.finditer(text):
        target = found[0] if found["url"] else f"mailto:{found[0]}"
        parts += [escape(text[done : found.start()]), f'<a href="{escape(target)}">{escape(found[0])}</a>']
        done = found.end()
    return "".join([*parts, escape(text[done:])])


def _document(body: str, language: Language) -> str:
    return f'<!DOCTYPE html><html lang="{language}"><head><meta charset="utf-8"></head><body>{body}</body></html>'
