"""What a letter of ours says: a template, the facts, and the reader's language become a Draft.

The folder in which a template lies decides whether the letter may travel in clear: `open/` or `sealed/`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, UndefinedError
from jinja2 import TemplateError as JinjaError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mailer.errors import TemplateError
from mailer.model.language import Language

OPEN = "open"
SEALED = "sealed"

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")
_BREAKS = ("Cc", "Cs", "Zl", "Zp")  # Unicode categories that end a line somewhere
_SUBJECT = "Subject: "


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a letter. filename: plain ASCII. content_type: type/subtype, no parameters."""

    filename: str
    content_type: str
    content: bytes

    def __repr__(self) -> str:
        return "Attachment(…)"


@dataclass(frozen=True, slots=True)
class Draft:
    """A letter in words, addressed to nobody yet. text: LF line ends. may_be_open: it may leave unencrypted."""

    subject: str
    text: str
    language: Language
    may_be_open: bool
    attachments: tuple[Attachment, ...] = ()

    def __repr__(self) -> str:
        return f"Draft({self.language})"


def templates_folder() -> Path:
    """Return the shipped templates: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "templates"
    return installed if installed.is_dir() else package.parent / "templates"


@lru_cache(maxsize=1)
def cover_text() -> str:
    """Return what stands in clear above an encrypted file: ASCII, and the same in every list and language."""
    return (templates_folder() / "cover" / "message.txt").read_text(encoding="ascii")


@dataclass(frozen=True)
class Wording:
    """The templates of one list: the shipped ones, and before them an admin's own in a folder of the same layout.

    Raises TemplateError if an own template cannot be parsed, or lies in `open/` where the shipped one is sealed (or
    the other way round: a letter to somebody without a key could then not be written at all).
    """

    override: Path | None = None
    shipped: Path = field(default_factory=templates_folder)

    def __post_init__(self) -> None:
        for path in sorted(self.override.glob("*/*/*.txt")) if self.override else ():
            kind, name = path.parent.parent.name, path.stem
            if kind not in (OPEN, SEALED) or self._shipped_kind(name) not in (kind, None):
                raise TemplateError(f"{_place(path)}: it lies in the wrong folder.")
            _parse(path)

    def write(
        self,
        template: str,
        language: Language,
        facts: Mapping[str, str],
        attachments: Sequence[Attachment] = (),
    ) -> Draft:
        """Return the letter that `template` is in `language`. facts: single lines. Raises TemplateError."""
        path = self._find(template, language)
        _refuse_breaks(facts, path)
        subject, text = _split(self._render(path, facts), path)
        return Draft(subject, text, language, path.parent.parent.name == OPEN, tuple(attachments))

    def _find(self, name: str, language: Language) -> Path:
        if not _NAME.match(name):
            raise TemplateError("A template name is lower-case letters, digits and hyphens.")
        roots = [self.override, self.shipped] if self.override else [self.shipped]
        for root in roots:
            # sealed first: whatever goes wrong with the folders, it does not end in the clear
            for kind in (SEALED, OPEN):
                path = root / kind / language / f"{name}.txt"
                if path.is_file():
                    return path
        raise TemplateError(f"{language}/{name}.txt: there is no such template.")

    def _shipped_kind(self, name: str) -> str | None:
        kinds = (kind for kind in (SEALED, OPEN) if any((self.shipped / kind).glob(f"*/{name}.txt")))
        return next(kinds, None)

    def _render(self, path: Path, facts: Mapping[str, str]) -> str:
        try:
            return _parse(path).render(facts)
        except UndefinedError as error:
            raise TemplateError(f"{_place(path)}: {error.message}.") from None
        except (JinjaError, TypeError, ValueError, ArithmeticError) as error:  # a cause could quote a fact
            raise TemplateError(f"{_place(path)}: {type(error).__name__}.") from None


# Sandboxed, and without a loader: an admin's template is text with names in it, not a program that reads files.
# No autoescape: letters are plain text.
_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
)


def _parse(path: Path) -> Template:
    try:
        return _parse_once(path, path.stat().st_mtime_ns)
    except TemplateSyntaxError as error:
        raise TemplateError(f"{_place(path)}, line {error.lineno}: {error.message}") from None
    except (OSError, UnicodeError) as error:
        raise TemplateError(f"{_place(path)}: it cannot be read as UTF-8.") from error


@lru_cache(maxsize=256)
def _parse_once(path: Path, modified_ns: int) -> Template:  # an edited one is read anew
    return _ENVIRONMENT.from_string(path.read_text(encoding="utf-8"))


def _place(path: Path) -> str:
    return "/".join(path.parts[-3:])


def _refuse_breaks(facts: Mapping[str, str], path: Path) -> None:
    for name, fact in facts.items():
        if any(unicodedata.category(char) in _BREAKS for char in fact):
            raise TemplateError(f"{_place(path)}: {name} must be a single line of text.")


def _split(letter: str, path: Path) -> tuple[str, str]:
    """Return subject and text of a rendered template: `Subject: …`, an empty line, the text."""
    head, _, text = letter.replace("\r\n", "\n").strip("\n").partition("\n\n")
    subject = head.removeprefix(_SUBJECT).strip()
    if "\n" in head or not head.startswith(_SUBJECT) or not subject or not text.strip():
        raise TemplateError(f"{_place(path)}: it must begin with `Subject: …` and an empty line.")
    return subject, text.strip("\n") + "\n"
