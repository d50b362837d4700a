"""Bytes of an organiser's file, turned into text: UTF-8, or an encoding that is beyond doubt, or a refusal."""

from __future__ import annotations

import codecs
import re
import unicodedata

# Some two fifths of any Chinese text are these characters and marks, in either script; a text decoded with the wrong
# table holds next to none of them.
_COMMON = frozenset(
    "的一是不了在人有我他這这個个上們们來来到時时大地為为子中你說说生國国年著着就那和要她出也得裡里後后自以會会家可下而過过"
    "天去能對对小多然於于心學学麼么之都好看起發发當当沒没成只如事把還还用第樣样道想作種种開开美總总從从無无情己面最女但現现"
    "前些所同日手又行意動动方期它頭头經经長长兒儿回位分愛爱老因很給给名法間间知世什兩两次使身者被高已親亲其進进此話话常與与"
    "活正感見见明問问力理本文部主工新月全公民港香市報报記记更將将等並并及由資资網网點点加外關关電电書书應应體体實实"
    "，。、；：？！「」『』（）《》〈〉【】“”‘’…—·•　"
)
_ENOUGH = 0.25  # measured on real pages: right tables 0.35 to 0.7, wrong ones below 0.06
_CLEARER_BY = 2.0
_CHINESE = ("gb18030", "big5hkscs", "cp950")
_NAMES = {"gb18030": "GB18030", "big5hkscs": "Big5", "cp950": "Big5", "cp1252": "Windows-1252"}
# As browsers read these labels (WHATWG Encoding §4.2).
_SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "iso8859-1": "cp1252"}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN_SHARE = 0.25
_WESTERN = frozenset(b"\x80\x85\x91\x92\x93\x94\x95\x96\x97\x99\xa0\xa3\xa7\xa9\xab\xae\xb0\xb7\xbb") | set(
    range(0xC0, 0x100)
)

# What pages leave behind: soft hyphens, zero-width spaces, byte order marks, icons of private fonts, and controls that
# turn the direction of what follows (harmless in a book, a disguise in a letter).
_JUNK = re.compile("[\u00ad\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffc\ue000-\uf8ff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")


class Doubtful(Exception):
    """The bytes are no text that can be read with certainty. reason says why and what to do; line counts from 1."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


def decode(blob: bytes, declared: str | None = None) -> str:
    """Return the text that `blob` is, line ends LF, without invisible junk; raises Doubtful.

    declared: the encoding that the file itself names, as an HTML page does; believed only if it fits.
    """
    text = _by_mark(blob)
    if text is None:
        try:
            text = blob.decode()
        except UnicodeDecodeError as error:
            text = _declared(blob, declared) or _guess(blob, blob.count(b"\n", 0, error.start) + 1)
    text = _tidy(text)
    if control := _CONTROL.search(text):
        line = text.count("\n", 0, control.start()) + 1
        raise Doubtful("is not text: it holds control characters; save it as plain text or Markdown, in UTF-8", line)
    return text


def _by_mark(blob: bytes) -> str | None:
    for mark, encoding in _BOMS:
        if blob.startswith(mark):
            try:
                return blob.decode(encoding)
            except UnicodeError as error:
                raise Doubtful(f"begins as {encoding.upper()} but is damaged; save it as UTF-8") from error
    return None


def _declared(blob: bytes, declared: str | None) -> str | None:
    try:
        encoding = codecs.lookup(declared or "").name
    except LookupError:
        return None
    encoding = _SUPERSETS.get(encoding, encoding)
    try:
        text = blob.decode(encoding)
    except (UnicodeError, LookupError):
        return None
    return text if encoding == "cp1252" or _score(text) >= _ENOUGH else None


def _guess(blob: bytes, line: int) -> str:
    candidates = sorted(((_score(blob.decode(name, "replace")), name) for name in _CHINESE), reverse=True)
    best, encoding = candidates[0]
    rival = max((score for score, name in candidates if _NAMES[name] != _NAMES[encoding]), default=0.0)
    if best >= _ENOUGH and best >= _CLEARER_BY * rival:
        return _strictly(blob, encoding, line)
    if _is_western(blob):
        return blob.decode("cp1252")
    raise Doubtful("is not UTF-8, and which other encoding it is cannot be told for sure; save it as UTF-8", line)


def _strictly(blob: bytes, encoding: str, line: int) -> str:
    for candidate in _CHINESE:
        if _NAMES[candidate] != _NAMES[encoding]:
            continue
        try:
            return blob.decode(candidate)
        except UnicodeDecodeError as error:
            line = blob.count(b"\n", 0, error.start) + 1
    raise Doubtful(f"is not UTF-8; it looks like {_NAMES[encoding]}, but is damaged; save it as UTF-8", line)


def _score(text: str) -> float:
    foreign = [char for char in text if ord(char) > 0x7F]
    return sum(char in _COMMON for char in foreign) / len(foreign) if foreign else 0.0


def _is_western(blob: bytes) -> bool:
    high = [byte for byte in blob if byte > 0x7F]
    return len(high) <= _WESTERN_SHARE * len(blob) and all(byte in _WESTERN for byte in high)


def _tidy(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\v", "\n").replace("\f", "\n")
    text = text.replace("\u2028", "\n").replace("\u2029", "\n").replace("\x85", "\n")
    return unicodedata.normalize("NFC", _JUNK.sub("", text))
