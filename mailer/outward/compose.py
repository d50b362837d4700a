"""An organiser's file becomes an edition: read, laid out as a page, and packed as plain text with HTML beside it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import css_inline
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from mailer.errors import DigestUnusable
from mailer.letters.mime import InlineImage, alternative
from mailer.letters.write import templates_folder
from mailer.model.address import Address
from mailer.model.digest import Edition
from mailer.model.language import Language
from mailer.outward.manuscript import page, titles
from mailer.outward.manuscript.page import Node
from mailer.outward.manuscript.pictures import Album, Picture, PictureUnusable
from mailer.outward.manuscript.plaintext import Renderer
from mailer.outward.manuscript.proofread import find_remarks
from mailer.outward.manuscript.source import Kind, Source, parse_fields, read, unusable

MAX_BYTES = 2 * 1024 * 1024
COLUMN_PIXELS = 640  # of the page; programs that know no max-width obey the attribute


@dataclass(frozen=True, slots=True)
class Sheet:
    """An edition laid out, before it is packed. text: LF line ends. html: a whole document, pictures as `cid:`.

    light: text and HTML with words in place of the pictures; None where there is no picture.
    """

    language: Language
    subject: str
    text: str
    html: str
    pictures: tuple[Picture, ...]
    light: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return f"Sheet({self.language})"


@dataclass(frozen=True, slots=True)
class Corrected:
    """The letter that a correction is about, as its readers know it."""

    subject: str
    day: date

    def __repr__(self) -> str:
        return "Corrected(…)"


def compose(
    source: Path,
    *,
    language: Language | None = None,
    default: Language | None = None,
    list_name: str = "",
    list_address: Address | None = None,
    corrects: Mapping[Language, Corrected] | None = None,
    max_bytes: int = MAX_BYTES,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> Edition:
    """Return the edition that the file `source` makes; raises DigestUnusable with file, line and what to do.

    language: must agree with front matter and file name. default: used where neither they nor `language` says one;
    without it that is an error. list_name and list_address stand in the footer, which tells how to leave. corrects:
    the letter that this one puts right, as readers of each language know it; subject and first line say so. max_bytes:
    of the whole payload. random: n → n random bytes, for the names of pictures.
    """
    sheet = lay_out(
        source,
        language=language,
        default=default,
        list_name=list_name,
        list_address=list_address,
        corrects=corrects,
        random=random,
    )
    images = [InlineImage(picture.content_id, picture.content_type, picture.content) for picture in sheet.pictures]
    payload = alternative(sheet.text, sheet.html, images)
    if len(payload) > max_bytes:
        raise unusable(source, _too_large(sheet, len(payload), max_bytes))
    light = alternative(*sheet.light) if sheet.light else None
    return Edition(sheet.language, sheet.subject, sheet.text, payload, light)


def proofread(source: Path, *, language: Language | None = None) -> tuple[str, ...]:
    """Return what to look at before sending, a sentence each, with file and line; raises DigestUnusable."""
    written = read(source, language)
    return tuple(f"{written.place(line)}: {remark}." for line, remark in find_remarks(written))


def lay_out(
    source: Path,
    *,
    language: Language | None = None,
    default: Language | None = None,
    list_name: str = "",
    list_address: Address | None = None,
    corrects: Mapping[Language, Corrected] | None = None,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> Sheet:
    """Return subject, plain text, HTML and pictures of the file `source`; as compose, which packs them."""
    written = read(source, language, default)
    subject, root = titles.find(written)
    album = Album(source.parent, random)
    _place_pictures(root, written, album)
    _check_links(root, written)
    page.replace_text(root, page.join_lines)
    page.replace_text(root, page.link_bare)
    if not root.text().strip() and not album.pictures:
        raise written.unusable("is empty; write the letter below its subject", written.first_line)
    words = _words(written.language)
    wrong = corrects[written.language] if corrects else None
    shown = _title(subject, words, wrong)
    titles.put(root, subject, shown)
    if wrong is not None:
        root.children.insert(1, Node("p", {}, [_fill(words["corrects"], subject=wrong.subject, day=wrong.day)]))
    facts = {"subject": shown, "language": written.language}
    footer = _footer(words, list_name, list_address)
    text, html = _write_text(root, footer, words, facts), _write_html(root, footer, facts)
    light = None
    if album.pictures:
        _leave_out_pictures(root, words)
        footer.children.insert(0, Node("p", {}, [words["light"]]))
        light = _write_text(root, footer, words, facts), _write_html(root, footer, facts)
    return Sheet(written.language, shown, text, html, album.pictures, light)


# --- From the file to a page ----------------------------------------------------------------------------------------


def _title(subject: str, words: Mapping[str, str], wrong: Corrected | None) -> str:
    """Return the subject as readers see it."""
    sign = words["correction"].partition("{subject}")[0].strip()
    return _fill(words["correction"], subject=subject) if wrong and not subject.startswith(sign) else subject


def _place_pictures(root: Node, written: Source, album: Album) -> None:
    for node in root.walk():
        if node.tag != "img":
            continue
        reference = node.attributes.pop("src", "")
        if not reference:  # an address that sanitising took, such as `data:`
            node.tag, node.children = "span", [node.attributes.pop("alt", "")]
            continue
        try:
            picture = album.add(reference)
        except PictureUnusable as error:
            raise written.unusable(str(error), _line_of(written, reference)) from error
        node.attributes |= {"src": f"cid:{picture.content_id}", "width": str(min(picture.width, COLUMN_PIXELS))}
        node.attributes.setdefault("alt", "")


def _leave_out_pictures(root: Node, words: Mapping[str, str]) -> None:
    """Put what each picture shows, as its author described it, in its place."""
    for node in root.walk():
        if node.tag == "img":
            alt = " ".join(node.attributes.get("alt", "").split())
            node.tag, node.attributes = "span", {}
            node.children = [words["picture"].replace("{alt}", alt)] if alt else []


def _check_links(root: Node, written: Source) -> None:
    for node in root.walk():
        target = node.attributes.get("href", "")
        if target.startswith("#") or (target and written.kind is not Kind.MARKDOWN and ":" not in target):
            del node.attributes["href"]  # a place on the page it was; in a letter it leads nowhere
        elif target and not re.match(r"(https?|mailto|tel):", target, re.IGNORECASE):
            reason = "this link leads nowhere in a letter; write the whole address, with https:// or mailto:"
            raise written.unusable(reason, _line_of(written, target))


def _line_of(written: Source, reference: str) -> int | None:
    return written.line_of(reference) or written.line_of(unquote(reference))


# --- From the page to text and HTML ---------------------------------------------------------------------------------


def _write_text(root: Node, footer: Node, words: Mapping[str, str], facts: Mapping[str, object]) -> str:
    renderer = Renderer(words)
    parts = {"body": renderer.render(root), "footer": renderer.render(footer), "links": renderer.render_links()}
    return _environment().get_template("frame.txt").render(facts, **parts).strip("\n") + "\n"


def _write_html(root: Node, footer: Node, facts: Mapping[str, object]) -> str:
    parts = {"body": page.write(root), "footer": page.write(footer)}
    return _inliner().inline(_environment().get_template("frame.html").render(facts, **parts))


def _footer(words: Mapping[str, str], list_name: str, list_address: Address | None) -> Node:
    lines = [list_name] if list_name else []
    if list_address is not None:
        leave, help_ = list_address.with_detail("unsubscribe"), list_address.with_detail("help")
        lines.append(words["footer"].replace("{leave}", str(leave)).replace("{help}", str(help_)))
    return Node("body", {}, [Node("p", {}, page.link_bare(line)) for line in lines])


def _fill(words: str, **values: object) -> str:
    """Return wording with its values; braces in a value stay what they are."""
    return re.sub(r"\{([a-z]+)\}", lambda found: str(values[found[1]]), words)


def _too_large(sheet: Sheet, size: int, max_bytes: int) -> str:
    largest = max(sheet.pictures, key=lambda picture: len(picture.content), default=None)
    advice = f"; the largest picture is {largest.name}, {_mib(len(largest.content))}" if largest else ""
    return f"makes a letter of {_mib(size)}, and {_mib(max_bytes)} are allowed{advice}; leave something out"


def _mib(size: int) -> str:
    return f"{size / 1024**2:.2f} MiB"


def _folder() -> Path:
    return templates_folder() / "digest"


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_folder()),
        undefined=StrictUndefined,
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _inliner() -> css_inline.CSSInliner:
    # load_remote_stylesheets is on by default: composing would ask the web.
    return css_inline.CSSInliner(
        load_remote_stylesheets=False, extra_css=(_folder() / "style.css").read_text(encoding="utf-8")
    )


@cache
def _words(language: Language) -> Mapping[str, str]:
    path = _folder() / f"{language}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DigestUnusable(f"templates/digest/{path.name} is missing; install Mailer again.") from error
    return {name: value for name, (_, value) in parse_fields(path, enumerate(lines, 1)).items()}
