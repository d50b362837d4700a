"""The text that a person wrote, taken from the parts of a letter: plain text, or HTML where that is all."""

from __future__ import annotations

import re

from mailer.inward.confined import charsets, html_text
from mailer.inward.confined.parts import Part

TEXT_CHARACTERS = 1_000_000

_LEGACY_DISPLAY = re.compile(r"\A(?:[A-Za-z-]{1,40}:[^\n]*\n(?:[ \t][^\n]*\n)*)+\n")


def text_of(root: Part) -> str:
    """Return what a mail program shows as the body of `root`: no attachments, nothing encrypted; LF line ends."""
    return charsets.clean_text(_text(root, is_root=True))[:TEXT_CHARACTERS]


def decode_leaf(part: Part, raw: bytes) -> str:
    """Return `raw`, the content of a text part, as text: charset, format=flowed and HTML undone."""
    text = charsets.decode(raw, part.parameters.get("charset"))
    if part.type == "text/html":
        return html_text.extract(text)
    text = charsets.clean_text(text)
    if part.parameters.get("format", "").lower() == "flowed":
        text = unwrap(text, is_delsp=part.parameters.get("delsp", "").lower() == "yes")
    if part.parameters.get("hp-legacy-display") == "1":
        text = _LEGACY_DISPLAY.sub("", text, count=1)  # RFC 9788 §4.10.2
    return text


def unwrap(text: str, *, is_delsp: bool) -> str:
    """Join the soft line breaks of format=flowed (RFC 3676 §4.2-4.5), within one depth of quoting."""
    joined: list[tuple[int, list[str]]] = []
    is_open = False
    for line in text.split("\n"):
        content = line.lstrip(">")
        depth = len(line) - len(content)
        content = content.removeprefix(" ")  # space-stuffed, §4.4
        is_flowed = content.endswith(" ") and content != "-- "  # §4.3
        piece = content[:-1] if is_flowed and is_delsp else content
        if is_open and joined[-1][0] == depth and content != "-- ":
            joined[-1][1].append(piece)
        else:
            joined.append((depth, [piece]))
        is_open = is_flowed
    return "\n".join((">" * depth + " " if depth else "") + "".join(pieces) for depth, pieces in joined)


def single_leaf(root: Part) -> Part | None:
    """Return the one text part that `text_of` shows, or None where it shows none or several."""
    leaves = list(_leaves(root, is_root=True))
    return leaves[0] if len(leaves) == 1 else None


def _text(part: Part, *, is_root: bool = False) -> str:
    return "\n".join(decode_leaf(leaf, leaf.decoded()) for leaf in _leaves(part, is_root=is_root))


def _leaves(part: Part, *, is_root: bool = False) -> list[Part]:
    """Return the text parts that are shown one below the other."""
    if not part.children:
        is_text = part.type in ("text/plain", "text/html") or (part.type.startswith("multipart/") and is_root)
        return [part] if is_text and (is_root or not part.is_attachment) else []
    if not is_root and part.is_attachment:
        return []
    children = [child for child in part.children if not _is_legacy_display(child, part)]
    if part.type == "multipart/alternative":
        return _best(children)
    if part.type == "multipart/encrypted":
        return []
    if part.type in ("multipart/signed", "multipart/related", "multipart/report"):
        children = children[:1]
    return [leaf for child in children for leaf in _leaves(child)]


def _best(children: list[Part]) -> list[Part]:
    """Return the leaves of the plainest alternative that says anything (RFC 2046 §5.1.4)."""
    shown = [leaves for leaves in map(_leaves, children) if any(leaf.decoded().strip() for leaf in leaves)]
    plain = [leaves for leaves in shown if all(leaf.type == "text/plain" for leaf in leaves)]
    return next(iter(plain or shown), [])


def _is_legacy_display(part: Part, parent: Part) -> bool:
    """Whether a part repeats the protected header for old programs (draft-autocrypt-lamps-protected-headers §5.2)."""
    is_marked = "protected-headers" in part.parameters and "protected-headers" in parent.parameters
    return is_marked and parent.children[0] is part and len(parent.children) > 1
