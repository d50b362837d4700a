"""Which lines of a letter its writer wrote: not the quoted letter below or between, not the signature."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

LINES_READ = 200  # nobody writes a command further down
CHARACTERS_READ = 600  # of a line; no command is as long

_SEPARATOR = re.compile(
    r"""(?:
        [-_=*—─][-_=*—─\s]{1,80}(?:original|forwarded|reply|begin\ forwarded|原始|原[邮郵]件|[转轉][发發寄]|回[复覆])
        [^<>]{0,60}[-_=*—─]
      | _{10,}                                   # Outlook on the web
      | -{4,}(?!(?:begin|end)\ pgp)[^-]{3,60}-{4,}\Z   # the same words in any language
      | begin\ forwarded\ message\s?:            # Apple Mail
      | (?:開始|开始)(?:轉寄|转发).{0,6}[:：]
      )""",
    re.VERBOSE | re.IGNORECASE,
)
_ATTRIBUTION_START = re.compile(
    r"(?:-{1,8}\s?)?(?:(?:on|am|le|el|at|il|em|op|den|dnia|в)\b|\d{1,2}[.\s]|[在于於])", re.IGNORECASE
)
_AT_A_TIME = re.compile(r"[于於在]\s?\d")  # `Name <address> 於 2026年5月1日 週五 寫道：`
_ATTRIBUTION_END = re.compile(
    r"(?:wrote|writes|schrieb|escribió|écrit|scritto|escreveu|schreef|skrev|kirjoitti|napisał\w{0,3}|написала?"
    r"|写道|寫道|寫|写)\s?[:：]?[\s-]{0,8}\Z",
    re.IGNORECASE,
)
_ATTRIBUTION_WITH_NAME = re.compile(r"\s(?:schrieb|skrev|schreef)\s[^:]{1,200}:\Z", re.IGNORECASE)  # Gmail, Outlook
_HEADER = re.compile(
    r"\**(?:from|sent|date|to|cc|subject|reply-to|发件人|發件人|寄件者|寄件人|发送时间|發送時間|寄件日期|傳送時間|"
    r"时间|時間|日期|收件人|收件者|抄送|副本|主题|主題|主旨)\s?\**\s?[:：]",
    re.IGNORECASE,
)
_PHONE = re.compile(
    r"(?:sent (?:from|via|with|using) |get outlook for |[发發寄]自我?的?|[從从]我的.{1,40}(?:傳送|发送|發送|寄出)|"
    r"(?:获取|取得|下載|下载) ?outlook|使用.{1,40}(?:傳送|发送|發送)\Z).{0,80}\Z",
    re.IGNORECASE,
)
_SIGNED = re.compile(r"-----BEGIN PGP SIGNED MESSAGE-----|Hash: [\w, -]+\Z")
_QUOTED = (">", "＞")
_ARMOR_BEGINS = ("-----BEGIN PGP PUBLIC", "-----BEGIN PGP PRIVATE", "-----BEGIN PGP SIGNATURE")


@dataclass(frozen=True, slots=True)
class Own:
    """The writer's own lines, stripped, none empty; has_quote: somebody else's words followed or stood between.

    breaks: the lines, by number, that have an empty or a quoted one before them: where a paragraph begins.
    """

    lines: tuple[str, ...]
    has_quote: bool
    breaks: frozenset[int] = frozenset()

    def __repr__(self) -> str:
        return "Own(…)"


def read_own(text: str) -> Own:
    """Return what the writer of `text` (LF line ends) wrote. In doubt a line counts as own and so is no command."""
    lines = list(_without_armor(text.split("\n", LINES_READ)[:LINES_READ]))
    own: list[str] = []
    breaks: set[int] = {0}
    has_quote = False
    at = 0
    while at < len(lines) and lines[at] != "--":  # a signature follows `-- ` (RFC 3676 §4.3)
        folded = _attribution_lines(lines[at : at + 3])
        if _begins_older_letter(lines[at : at + 6]) or (folded and not _is_marked(lines[at + folded :])):
            return Own(tuple(own), has_quote=True, breaks=frozenset(breaks))
        if folded or lines[at].startswith(_QUOTED):
            has_quote = True
        elif lines[at] and not _PHONE.match(lines[at]) and not _SIGNED.match(lines[at]):
            own.append(lines[at])
        if folded or not lines[at] or lines[at].startswith(_QUOTED):
            breaks.add(len(own))
        at += folded or 1
    return Own(tuple(own), has_quote, frozenset(breaks))


def _without_armor(lines: list[str]) -> Iterator[str]:
    """A key pasted into the text is no word of it."""
    is_armor = False
    for line in lines:
        stripped = line.strip()[:CHARACTERS_READ]
        is_armor = is_armor or stripped.startswith(_ARMOR_BEGINS)
        if not is_armor:
            yield stripped
        is_armor = is_armor and not stripped.startswith("-----END PGP")


def _attribution_lines(lines: list[str]) -> int:
    """How many lines `On …, … wrote:` takes at the beginning of `lines`; programs fold it to as many as three."""
    lines = list(takewhile(bool, lines))
    joined = " ".join(lines)[:CHARACTERS_READ]
    is_western = _ATTRIBUTION_START.match(joined) and any(map(str.isdigit, joined))
    is_chinese = lines and "@" in lines[0] and (lines[0].endswith(">") or _AT_A_TIME.search(lines[0]))
    if not is_western and not (is_chinese and _AT_A_TIME.search(joined)):
        return 0
    return next((number for number, line in enumerate(lines, 1) if _ends_attribution(line)), 0)


def _ends_attribution(line: str) -> bool:
    return bool(_ATTRIBUTION_END.search(line[-40:]) or _ATTRIBUTION_WITH_NAME.search(line[:CHARACTERS_READ]))


def _is_marked(lines: list[str]) -> bool:
    following = next((line for line in lines if line), "")
    return following.startswith(_QUOTED)


def _begins_older_letter(lines: list[str]) -> bool:
    """Outlook, QQ Mail and others put a line or the older letter's header before it, and mark none of its lines."""
    if _SEPARATOR.match(lines[0]):
        return True
    return bool(_HEADER.match(lines[0])) and sum(bool(_HEADER.match(line)) for line in lines) >= 2
