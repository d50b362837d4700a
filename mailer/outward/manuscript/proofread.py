"""What an organiser should look at before sending: holes that saving a page left, a script not the edition's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailer.model.language import Language
from mailer.outward.manuscript.source import Kind, Source
from mailer.outward.manuscript.wrap import is_wide

_FEW = 6
_LEFT_OUT = (
    re.compile(r"<(?:script|style|iframe|form|input|object|embed|svg|video|audio)\b", re.IGNORECASE),
    "this HTML has no place in a letter and is left out",
)
_HOLES = (
    (re.compile(r"\[email\s*protected\]", re.IGNORECASE), "an e-mail address got lost when the page was saved"),
    (
        re.compile(
            r"\b(?:website|web site|site|page|address|e-?mail|link|blog|channel)\s+(?:is|are|at)\s*[,.;]", re.IGNORECASE
        ),
        "a link seems to have got lost when the page was saved",
    ),
    (
        re.compile(r"(?:網站|網址|网站|网址|電郵|邮箱|連結|链接)(?:是|為|为)?[：:]?\s*[，。；]"),
        "a link seems to have got lost here",
    ),
    (re.compile("\ufffd"), "a character got lost (�)"),
    (re.compile(r"â€|Ã©|Ã¼|锟斤拷|烫烫烫"), "this was decoded wrongly once; take it from the source again"),
    (re.compile(r"\b(?:TODO|TBD|FIXME|XXX|lorem ipsum)\b", re.IGNORECASE), "something seems unfinished"),
    (re.compile(r"!\[\s*\]\("), "the picture has no description; who reads plain text sees nothing of it"),
    (
        re.compile(
            r"\b(?:click to (?:like|share|tweet)|share (?:this )?on (?:facebook|twitter))|分享到", re.IGNORECASE
        ),
        "a button of the website, which is none in a letter",
    ),
)


def find_remarks(written: Source) -> Iterator[tuple[int | None, str]]:
    """Yield (line in the file or None, what to look at); nothing of it keeps a digest from being sent."""
    holes = _HOLES if written.kind is Kind.PAGE else (_LEFT_OUT, *_HOLES)
    for number, line in enumerate(written.body.split("\n"), written.first_line):
        for pattern, remark in holes:
            if pattern.search(line):
                yield number, remark
    text = re.sub(r"<[^>]*>", "", written.body) if written.kind is Kind.PAGE else written.body
    if remark := _wrong_script(text, written.language):
        yield None, remark


def _wrong_script(text: str, language: Language) -> str:
    letters = [char for char in text if char.isalpha()]
    chinese = [char for char in letters if is_wide(char)]
    is_chinese = len(chinese) * 4 > len(letters)
    if is_chinese and language is Language.EN:
        return "the text looks Chinese, but the edition is English"
    if letters and not is_chinese and language is not Language.EN:
        return "the text does not look Chinese, but the edition is"
    simplified = sum(_is_in(char, "gb2312") and not _is_in(char, "big5hkscs") for char in chinese)
    traditional = sum(_is_in(char, "big5hkscs") and not _is_in(char, "gb2312") for char in chinese)
    if language is Language.ZH_HANT and simplified >= _FEW and simplified > traditional:
        return "the text looks like 简体中文, but the edition is 繁體中文"
    if language is Language.ZH_HANS and traditional >= _FEW and traditional > simplified:
        return "the text looks like 繁體中文, but the edition is 简体中文"
    return ""


def _is_in(char: str, encoding: str) -> bool:
    try:
        char.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
