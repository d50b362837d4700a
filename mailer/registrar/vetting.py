"""Lines of a file, looked at before anything is written: each becomes an applicant or a problem with a number."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from mailer.crypto import words
from mailer.errors import BadAddress, ReaderDied
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Refusal, Refused
from mailer.model.language import Language
from mailer.model.mailing_list import Directory
from mailer.model.subscriber import Format, State
from mailer.registrar import sheet
from mailer.registrar.abreast import each
from mailer.registrar.faults import Fault, Problem
from mailer.registrar.sheet import Row

Examine = Callable[[bytes], Awaitable[tuple[Certificate | Refused, ...]]]  # inward.reader.Reader.examine
_PASSPHRASE = re.compile("[a-z]{2,}(?: [a-z]{2,}){4,9}")  # as our cards have it: crypto/words.py
KEY_OCTETS = 1 << 20  # a larger file is refused as too large, whatever it is
STATES = frozenset({State.ACTIVE, State.PAUSED, State.SUSPENDED, State.INVITED})


@dataclass(frozen=True, slots=True)
class Applicant:
    """Somebody to take in. line: in the file, from 1. state, joined, format: as the file says, None where it does not.

    passphrase: the words that open their PDFs; "" if there are none.
    """

    line: int
    address: Address
    language: Language
    certificate: Certificate | None = None
    state: State | None = None
    joined: date | None = None
    format: Format | None = None
    passphrase: str = ""

    def __repr__(self) -> str:
        return f"Applicant({self.line})"


class Faulty(Exception):
    """One line is refused."""

    def __init__(self, fault: Fault, other: int | None = None) -> None:
        super().__init__(fault)
        self.fault, self.other = fault, other


@dataclass(frozen=True)
class Vetting:
    """What lines are held against. folder: of the CSV file. examine: the confined reader's."""

    directory: Directory
    language: Language
    folder: Path
    examine: Examine
    today: date

    async def vet(
        self, rows: Sequence[Row], width: int, advance: Callable[[], None]
    ) -> tuple[list[Applicant], list[Problem]]:
        """Return whom the lines name and what is wrong, both in the file's order. width: keys looked at at a time."""
        first_lines: dict[str, int] = {}

        async def vet_one(row: Row) -> Applicant | Problem:
            try:
                address = self._address(row, first_lines)  # before the first await: in the file's order
                return await self._applicant(row, address)
            except Faulty as faulty:
                return Problem(row.line, faulty.fault, faulty.other)

        found = await each(rows, vet_one, width, advance)
        applicants = [one for one in found if isinstance(one, Applicant)]
        return applicants, [one for one in found if isinstance(one, Problem)]

    def _address(self, row: Row, first_lines: dict[str, int]) -> Address:
        if row.surplus:
            raise Faulty(Fault.CELLS)
        address = parse_address(row.cells.get("address", ""), self.directory)
        first = first_lines.setdefault(address.normalised, row.line)
        if first != row.line:
            raise Faulty(Fault.DUPLICATE, first)
        return address

    async def _applicant(self, row: Row, address: Address) -> Applicant:
        cell = {name: row.cells.get(name, "") for name in sheet.COLUMNS}
        language = sheet.language_named(cell["language"]) if cell["language"] else self.language
        if language is None:
            raise Faulty(Fault.LANGUAGE)
        state, joined = _state(cell["state"]), self._day(cell["joined"])
        certificate = await self._certificate(cell["key"], state) if cell["key"] else None
        wanted = _format(cell["format"], cell["passphrase"])
        return Applicant(row.line, address, language, certificate, state, joined, wanted, cell["passphrase"])

    def _day(self, text: str) -> date | None:
        try:
            day = date.fromisoformat(text) if text else None
        except ValueError:
            raise Faulty(Fault.DAY) from None
        if day is not None and day > self.today:
            raise Faulty(Fault.DAY)
        return day

    async def _certificate(self, cell: str, state: State | None) -> Certificate | None:
        blob = cell.encode() if "-----BEGIN " in cell else await asyncio.to_thread(self._read_beside, cell)
        found = await examine(self.examine, blob)
        if isinstance(found, Certificate):
            return found
        if state is State.SUSPENDED:  # for want of a usable key: that is what the file says itself
            return None
        raise Faulty(found)

    def _read_beside(self, name: str) -> bytes:
        """Return a file that the CSV file names. One that came by mail must not make us read what it likes."""
        folder = self.folder.resolve()
        try:
            path = (folder / name).resolve()
            if not path.is_relative_to(folder):
                raise Faulty(Fault.KEY_OUTSIDE)
            return read_key_file(path)
        except (OSError, ValueError):  # ValueError: a NUL in the name
            raise Faulty(Fault.KEY_FILE) from None


def parse_address(text: str, directory: Directory) -> Address:
    """Return the address of a person. Raises Faulty, also for a list's own: its letters would come back to it."""
    if not text:
        raise Faulty(Fault.NO_ADDRESS)
    try:
        address = Address.parse(text)
    except BadAddress:
        raise Faulty(Fault.BAD_ADDRESS) from None
    if directory.find(address) is not None:
        raise Faulty(Fault.OUR_ADDRESS)
    return address


async def examine(by: Examine, blob: bytes) -> Certificate | Fault:
    """Return the one usable certificate in `blob`, or why there is none."""
    try:
        offers = await by(blob)
    except ReaderDied:
        return Fault.KEY_TOO_MUCH
    usable = [offer for offer in offers if isinstance(offer, Certificate)]
    if len(usable) == 1:
        return usable[0]
    refused = [offer.reason for offer in offers if isinstance(offer, Refused)]
    return Fault.of_key(Refusal.SEVERAL if usable else next(iter(refused), Refusal.NOT_A_CERTIFICATE))


def read_key_file(path: Path) -> bytes:
    """Return an ordinary file's content, cut off where it is too large for a key. Raises OSError."""
    if not path.is_file():  # to open a FIFO would wait for its writer
        raise FileNotFoundError
    with path.open("rb") as file:
        return file.read(KEY_OCTETS + 1)


def _format(text: str, passphrase: str) -> Format | None:
    try:
        wanted = Format(text.lower()) if text else None
    except ValueError:
        raise Faulty(Fault.FORMAT) from None
    is_as_ours = len(passphrase) <= words.LONGEST and _PASSPHRASE.fullmatch(passphrase)
    if (passphrase or wanted is Format.PDF) and not is_as_ours:
        raise Faulty(Fault.PASSPHRASE)
    return wanted


def _state(text: str) -> State | None:
    try:
        state = State(text.lower()) if text else None
    except ValueError:
        raise Faulty(Fault.STATE) from None
    if state is not None and state not in STATES:
        raise Faulty(Fault.STATE)
    return state
