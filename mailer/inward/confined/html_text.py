"""What a person sees of an HTML letter, as plain text. One pass over the letter, linear whatever stands in it."""

from __future__ import annotations

import html
import re
from collections import Counter

SOURCE_CHARACTERS = 400_000  # a second of work at the worst
TAG_CHARACTERS = 20_000

_UNSEEN = frozenset(
    {
        *(
            "style",
            "script",
            "head",
            "title",
            "template",
            "noscript",
            "select",
            "textarea",
            "object",
            "svg",
            "math",
            "iframe",
        ),
    }
)
_VOID = frozenset(
    {
        *(
            "area",
            "base",
            "br",
            "col",
            "embed",
            "hr",
            "img",
            "input",
            "link",
            "meta",
            "param",
            "source",
            "track",
            "wbr",
        ),
    }
)
_PARAGRAPH = frozenset({"blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre", "table", "ul"})
_BLOCK = _PARAGRAPH | {
    *("address", "article", "aside", "body", "br", "caption", "center", "dd", "div", "dl", "dt", "fieldset", "figure"),
    *("footer", "form", "header", "hr", "html", "li", "main", "nav", "section", "tbody", "tfoot", "thead", "tr"),
}
_NAME = re.compile(r"/?([a-zA-Z][a-zA-Z0-9:-]{0,30})")
_HIDDEN = re.compile(
    r"\shidden(?=[\s>=/])|display\s{0,3}:\s{0,3}none|visibility\s{0,3}:\s{0,3}hidden"
    r"|font-size\s{0,3}:\s{0,3}0(?![.\d])|header-protection-legacy-display",  # the last: RFC 9788 §4.9.2
    re.IGNORECASE,
)
_RAW_END = {tag: re.compile(f"</{tag}", re.IGNORECASE) for tag in ("style", "script", "title", "textarea")}
_SPACES = re.compile(r"[ \t\r\n\f\xa0]+")


def extract(source: str) -> str:
    """Return the visible text of `source`: one line per block, LF, and `> ` before what a blockquote quotes."""
    return _Page(source[:SOURCE_CHARACTERS]).read()


class _Page:
    """One pass over one page: the text so far, and which elements are open around the place."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: list[str] = []
        self.line: list[str] = []
        self.open_tags: list[tuple[str, bool]] = []
        self.counts: Counter[str] = Counter()
        self.unseen = 0
        self.has_sound_quotes = True

    def read(self) -> str:
        position = 0
        while (begin := self.source.find("<", position)) >= 0:
            self._add(self.source[position:begin])
            position = self._take_markup(begin)
        self._add(self.source[position:])
        self._end_line()
        return "\n".join(self.lines).strip("\n") + "\n"

    def _take_markup(self, begin: int) -> int:
        """Handle what stands at the `<` there and return where to go on."""
        if self.source.startswith("<!--", begin):
            return self._behind("-->", begin + 4)
        if self.source.startswith(("<!", "<?"), begin):
            return self._behind(">", begin + 2)
        name = _NAME.match(self.source, begin + 1)
        if not name:
            self._add("<")
            return begin + 1
        end, tag = self._end_of_tag(name.end()), name[1].lower()
        if self.source[begin + 1] == "/":
            self._close(tag)
            return end
        self._open(tag, self.source[name.end() : min(end, name.end() + TAG_CHARACTERS)])
        if tag not in _RAW_END:
            return end
        closing = _RAW_END[tag].search(self.source, end)
        return closing.start() if closing else len(self.source)

    def _end_of_tag(self, begin: int) -> int:
        """Return where the tag is over: behind the first `>` outside quotes, or behind any where quotes do not pair."""
        near = self.source.find(">", begin, begin + TAG_CHARACTERS)
        is_quoted = near < 0 or any(self.source.count(quote, begin, near) % 2 for quote in "\"'")
        if not is_quoted or not self.has_sound_quotes:
            return self._behind(">", begin)
        quote = ""
        for index in range(begin, min(begin + TAG_CHARACTERS, len(self.source))):
            char = self.source[index]
            if quote:
                quote = "" if char == quote else quote
            elif char in "\"'":
                quote = char
            elif char == ">":
                return index + 1
        self.has_sound_quotes = False  # never look that far again: the pass stays linear
        return self._behind(">", begin)

    def _behind(self, mark: str, begin: int) -> int:
        found = self.source.find(mark, begin)
        return len(self.source) if found < 0 else found + len(mark)

    def _add(self, text: str) -> None:
        if not text or self.unseen:
            return
        try:
            unescaped = html.unescape(text)
        except ValueError:  # a character reference of thousands of digits
            unescaped = text
        self.line.append(unescaped if self.counts["pre"] else _SPACES.sub(" ", unescaped))

    def _open(self, tag: str, attributes: str) -> None:
        if tag in _BLOCK:
            self._end_line(is_paragraph=tag in _PARAGRAPH)
        elif tag in ("td", "th"):
            self._add(" ")
        if tag in _VOID or attributes.endswith("/>"):
            return
        is_unseen = tag in _UNSEEN or bool(_HIDDEN.search(attributes))
        self.open_tags.append((tag, is_unseen))
        self.counts[tag] += 1
        self.unseen += is_unseen

    def _close(self, tag: str) -> None:
        if tag in _BLOCK:
            self._end_line(is_paragraph=tag in _PARAGRAPH)
        if not self.counts[tag]:
            return
        name = ""
        while name != tag:  # each element is popped once: linear over all
            name, is_unseen = self.open_tags.pop()
            self.counts[name] -= 1
            self.unseen -= is_unseen

    def _end_line(self, is_paragraph: bool = False) -> None:
        text = "".join(self.line)
        self.line.clear()
        mark = "> " * min(self.counts["blockquote"], 20)
        for line in text.split("\n") if self.counts["pre"] else [text]:
            if line.strip() or self.counts["pre"]:
                self.lines.append(mark + line.strip(" "))
        if is_paragraph and self.lines and self.lines[-1]:
            self.lines.append("")
