"""Markdown to HTML: CommonMark with tables and strikethrough, and emphasis that works between Chinese characters."""

from __future__ import annotations

from collections.abc import MutableMapping
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.parser_inline import ParserInline
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Scanned
from markdown_it.token import Token

from mailer.outward.manuscript.wrap import is_wide


def render(text: str) -> str:
    """Return the HTML of a Markdown text. Raw HTML in it is still raw: page.parse sanitises."""
    tokens = _parser().parse(text)
    for token in tokens:
        # nh3 takes every style; the attribute says the same and survives.
        if token.tag in ("th", "td") and (style := token.attrGet("style")):
            token.attrs = {"align": str(style).removeprefix("text-align:")}
    parser = _parser()
    return str(parser.renderer.render(tokens, parser.options, {}))


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark")
    parser.inline = _Inline()
    parser.configure("commonmark", {"html": True}).enable(["table", "strikethrough"])
    # By default a `javascript:` link stays as literal text; here it becomes a link that sanitising disarms.
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    return parser


class _State(StateInline):
    def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:  # noqa: N802, N803 - the library's names
        """Let `*` and `~` open and close beside Chinese, where no space tells where a word ends.

        CommonMark §6.2 asks for space or punctuation, so that **「重點」**是 would keep its asterisks.
        """
        scanned = super().scanDelims(start, canSplitWord)
        if not canSplitWord:
            return scanned
        end = start + scanned.length
        last = self.src[start - 1] if start else " "
        following = self.src[end] if end < self.posMax else " "
        if not (is_wide(last) or is_wide(following)):
            return scanned
        return Scanned(
            scanned.can_open or not following.isspace(), scanned.can_close or not last.isspace(), scanned.length
        )


class _Inline(ParserInline):
    def parse(self, src: str, md: MarkdownIt, env: MutableMapping[str, Any], tokens: list[Token]) -> list[Token]:
        """As the library does, with the state that knows Chinese."""
        state = _State(src, md, env, tokens)
        self.tokenize(state)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return state.tokens
