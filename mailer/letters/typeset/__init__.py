"""Editions, letters and cards as PDF: typeset in a child process of its own, and then like any other PDF.

The child (child.py) has WeasyPrint, the fonts, and limits on memory and time; it asks no network, because it is handed
whatever a page shows. Every function here waits for it, seconds: call them in a thread. What comes back is not
encrypted.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from email import message_from_bytes
from email.message import Message
from functools import cache

from mailer.crypto import pdf
from mailer.errors import FormUnavailable
from mailer.letters.typeset import fonts, page
from mailer.letters.write import templates_folder
from mailer.model.digest import Edition
from mailer.model.language import Language

TIME_S = 120  # of one child, by the clock; a digest with twenty photographs takes ten
MEMORY_OCTETS = 2 * 1024**3


def missing() -> list[str]:
    """Return which Debian packages this machine lacks to typeset, for the operator; [] if there are none."""
    return fonts.missing()


@cache
def is_possible() -> bool:
    """Return whether PDFs can be made here, as it was when this process first asked."""
    return not missing()


def typeset_edition(edition: Edition) -> bytes:
    """Return an edition as a PDF for a telephone's screen, with its pictures and links. Raises FormUnavailable."""
    html, pictures = _parts(message_from_bytes(edition.payload))
    if html is None:
        html = page.letter(edition.subject, edition.text, edition.language)
    return _typeset(page.without_styles(html), "screen.css", pictures)


def typeset_letter(subject: str, text: str, language: Language) -> bytes:
    """Return a letter of plain text as a PDF for a telephone's screen. Raises FormUnavailable."""
    return _typeset(page.letter(subject, text, language), "screen.css", {})


def typeset_cards(cards: Sequence[page.Card], language: Language) -> bytes:
    """Return cards as pages of A4 with lines to cut along. Raises FormUnavailable."""
    return _typeset(page.cards(cards, language), "cards.css", {})


def _parts(root: Message) -> tuple[str | None, dict[str, tuple[str, bytes]]]:
    """Return the HTML of an entity of ours, and its pictures by content id: content type and octets."""
    html, pictures = None, {}
    for part in root.walk():
        content = part.get_payload(decode=True)
        if not isinstance(content, bytes):
            continue
        if part.get_content_type() == "text/html" and html is None:
            html = content.decode()
        elif part.get_content_maintype() == "image" and part["Content-ID"]:
            pictures[part["Content-ID"].strip("<>")] = (part.get_content_type(), content)
    return html, pictures


def _typeset(html: str, style: str, pictures: Mapping[str, tuple[str, bytes]]) -> bytes:
    css = (templates_folder() / "paper" / style).read_text(encoding="utf-8")
    shown = {f"cid:{name}": (kind, base64.b64encode(raw).decode()) for name, (kind, raw) in pictures.items()}
    job = json.dumps({"html": html, "css": css, "pictures": shown, "memory_octets": MEMORY_OCTETS, "time_s": TIME_S})
    command = [sys.executable, "-I", "-m", "mailer.letters.typeset.child"]
    try:
        done = subprocess.run(  # noqa: S603 - our own program, and nothing of a letter is on its command line
            command, input=job.encode(), capture_output=True, timeout=TIME_S, check=False, env=_environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FormUnavailable("PDF: typesetting took too long, or could not begin.") from error
    if done.returncode != 0 or not done.stdout.startswith(b"%PDF-"):
        lacking = ", ".join(missing())
        raise FormUnavailable(f"PDF: install {lacking}." if lacking else "PDF: it could not be typeset.")
    return pdf.without_traces(done.stdout)


def _environment() -> dict[str, str]:
    """Return what the child sees: where the fonts are, and neither a proxy nor a secret that somebody exported."""
    kept = ("PATH", "HOME", "XDG_CACHE_HOME", "XDG_DATA_DIRS", "FONTCONFIG_FILE", "FONTCONFIG_PATH", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C.UTF-8"}
