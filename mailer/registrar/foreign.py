"""What other list managers export, as the lines that our own CSV would have: Mailman, Schleuder, Sympa, listmonk.

Names and attributes are left behind: they are not stored. Who is barred or has left there is left out, and counted.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mailer.errors import SheetUnusable
from mailer.model.subscriber import State
from mailer.registrar import sheet
from mailer.registrar.sheet import Row

FINGERPRINT = "fingerprint"  # of a line whose key is in a key ring beside


class Dialect(StrEnum):
    """Whose export a file is."""

    CSV = "csv"
    MAILMAN = "mailman"
    SCHLEUDER = "schleuder"
    SYMPA = "sympa"
    LISTMONK = "listmonk"


@dataclass(frozen=True, slots=True)
class Read:
    """The lines of a file, and how many of it were left out: barred or gone at the other list."""

    dialect: Dialect
    rows: list[Row]
    left_out: int = 0


def read(blob: bytes, dialect: Dialect | None = None) -> Read:
    """Return the people in an export; which one it is, is seen by itself where that is None. Raises SheetUnusable."""
    if dialect is Dialect.CSV:
        return Read(Dialect.CSV, sheet.read(blob))
    text = _text(blob)
    if dialect is None:
        dialect = _recognise(text) if text is not None else Dialect.CSV
    if dialect is Dialect.CSV or text is None:
        return Read(Dialect.CSV, sheet.read(blob))
    found = list(_READERS[dialect](text))
    rows = [row for row in found if row is not None]
    if not rows:
        raise SheetUnusable(f"(There is nobody in it, read as an export of {dialect}; --from names another kind.)")
    return Read(dialect, rows, len(found) - len(rows))


def _text(blob: bytes) -> str | None:
    try:
        return blob.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _recognise(text: str) -> Dialect:
    lines = [line for line in text.splitlines() if line.strip()]
    first = lines[0].strip().lower() if lines else ""
    if first.startswith(_JSON):
        return Dialect.SCHLEUDER if f'"{FINGERPRINT}"' in text else Dialect.MAILMAN
    if _cells(first) >= _OF_LISTMONK:
        return Dialect.LISTMONK
    if any(_SYMPA_ADDRESS.match(line) for line in lines):
        return Dialect.SYMPA
    if "@" not in first:
        return Dialect.CSV  # its first line names the columns
    return Dialect.SCHLEUDER if any(_HEX.search(line) for line in lines) else Dialect.MAILMAN


# --- One kind each: a Row for everybody, None for who is left out ----------------------------------------------------


def _read_mailman(text: str) -> Iterator[Row | None]:
    """`list_members` and `mailman members`: an address or `Name <address>` a line; or the JSON of the REST roster."""
    if text.lstrip().startswith(_JSON):
        yield from _of_json(text, lambda entry: entry.get("delivery_mode", "regular") != "none")
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield Row(number, {"address": _address(line)})


def _read_schleuder(text: str) -> Iterator[Row | None]:
    """`schleuder-cli subscriptions list`: address and fingerprint a line; or the JSON of its API."""
    if text.lstrip().startswith(_JSON):
        yield from _of_json(text, lambda entry: entry.get("delivery_enabled", True) is not False)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if "@" in line:
            fingerprint = _HEX.search(line)
            cells = {"address": _address(line.split()[0])}
            yield Row(number, cells | ({FINGERPRINT: fingerprint[0]} if fingerprint else {}))


def _read_sympa(text: str) -> Iterator[Row | None]:
    """`sympa dump`: a paragraph of `name value` lines for each (Sympa manual, "dump")."""
    cells: dict[str, str] = {}
    began = 0
    for number, line in enumerate([*text.splitlines(), ""], 1):
        name, _, value = line.strip().partition(" ")
        if line.strip():
            began = began or number
            cells[name.lower()] = value.strip()
            continue
        if "email" in cells:
            is_gone = cells.get("suspend") == "1" or cells.get("reception") == "nomail"
            yield Row(began, {"address": cells["email"], "state": State.PAUSED if is_gone else ""})
        cells, began = {}, 0


def _read_listmonk(text: str) -> Iterator[Row | None]:
    """The CSV of "Export subscribers"; who is not enabled or unsubscribed is left out."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    reader.fieldnames = [str(name).strip().lower() for name in reader.fieldnames or ()]
    try:
        for line in reader:
            is_on = (line.get("status") or "enabled").strip().lower() == "enabled"
            is_on = is_on and (line.get("subscription_status") or "").strip().lower() != "unsubscribed"
            yield Row(reader.line_num, {"address": (line.get("email") or "").strip()}) if is_on else None
    except csv.Error:
        raise SheetUnusable(f"(Line {reader.line_num} is not as CSV has it.)") from None


_READERS: Mapping[Dialect, Callable[[str], Iterator[Row | None]]] = {
    Dialect.MAILMAN: _read_mailman,
    Dialect.SCHLEUDER: _read_schleuder,
    Dialect.SYMPA: _read_sympa,
    Dialect.LISTMONK: _read_listmonk,
}
_JSON = ("[", "{")
_OF_LISTMONK = frozenset({"uuid", "email", "status"})
_HEX = re.compile(r"\b(?:0x)?((?:[0-9A-Fa-f]{40})|(?:[0-9A-Fa-f]{64}))\b")
_NAMED = re.compile(r"<([^<>\s]+)>\s*$")
_SYMPA_ADDRESS = re.compile(r"email \S+@\S+\s*$", re.IGNORECASE)


def _cells(line: str) -> frozenset[str]:
    return frozenset(cell.strip().strip('"') for cell in line.split(","))


def _address(text: str) -> str:
    """Return the address of `Name <address>`, or what stands there where that is none: the line is then named."""
    bare = text.strip().strip('"').rstrip(",;")
    named = _NAMED.search(bare)
    return named[1] if named else bare


def _of_json(text: str, is_delivered: Callable[[Mapping[str, object]], bool]) -> Iterator[Row | None]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise SheetUnusable("(It begins like JSON and is not.)") from None
    entries = found.get("entries", found.get("subscriptions", [])) if isinstance(found, dict) else found
    for number, entry in enumerate(entries if isinstance(entries, list) else [], 1):
        if not isinstance(entry, dict):
            raise SheetUnusable(f"(Entry {number} is not as expected.)")
        cells = {"address": str(entry.get("email", "")), "state": "" if is_delivered(entry) else State.PAUSED.value}
        fingerprint = entry.get(FINGERPRINT)
        yield Row(number, cells | ({FINGERPRINT: str(fingerprint)} if fingerprint else {}))
