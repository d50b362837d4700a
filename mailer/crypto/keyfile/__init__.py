"""Key files: secrets under one of several passphrases (DESIGN §5, "Service secrets"; slots.py says how)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mailer.crypto.aead import new_key, seal, unseal
from mailer.crypto.keyfile import private_file, slots
from mailer.crypto.keyfile.passphrase import SLOT_KDF, SlotKdf, read_new_passphrase, read_passphrase, recovery_phrase
from mailer.crypto.keyfile.slots import Slot
from mailer.crypto.payload import Malformed, decode, encode, mapping, naming
from mailer.errors import SealBroken, VaultError, WrongPassphrase

__all__ = ["SLOT_KDF", "KeyFile", "Purpose", "SlotKdf", "create", "open_file", "recovery_phrase", "slot_names"]

FORMAT = "mailer-key-file-1"

Purpose = Literal["service", "roster"]

_NAMES = frozenset({"format", "purpose", "slots", "sealed"})


class KeyFile:
    """An opened key file. payload: its content, JSON values; opened_by: the name of the slot that opened it.

    Each change is written at once and as a whole, under a new file key; where it cannot be, VaultError is raised and
    nothing has changed. Changes by two commands at once: the second raises VaultError.
    """

    def __init__(self, path: Path, purpose: Purpose, opened: _Opened) -> None:
        self.path = path
        self.purpose = purpose
        self.opened_by = opened.by
        self.payload = opened.payload
        self._version = opened.version
        self._slots = opened.slots
        self._pledge = opened.pledge

    @property
    def slot_names(self) -> tuple[str, ...]:
        """The names of the slots, in the file's order."""
        return tuple(slot.name for slot in self._slots)

    def save(self, payload: Mapping[str, object]) -> None:
        """Put `payload` (JSON values) in the place of the content."""
        self._write(self._slots, payload)

    def add_slot(self, name: str, passphrase: str, kdf: SlotKdf = SLOT_KDF) -> None:
        """Let one more passphrase open the file. Raises VaultError for a name that is taken or a short passphrase."""
        self._write((*self._slots, self._make_slot(name, passphrase, kdf)), self.payload)

    def change_slot(self, name: str, passphrase: str, kdf: SlotKdf = SLOT_KDF) -> None:
        """Let another passphrase open the slot, and the old one no more. Raises VaultError where there is none."""
        self._find(name)
        changed = self._make_slot(name, passphrase, kdf)
        self._write([changed if slot.name == name else slot for slot in self._slots], self.payload)

    def remove_slot(self, name: str) -> None:
        """Let a slot's passphrase open the file no more. Raises VaultError where there is no such slot, or no other.

        Whoever has an *old copy* of the file (a backup) and that passphrase still opens the copy, so has the secrets as
        they were then; only `mailer keys rotate` makes those worthless. What is saved from now on stays closed to them.
        """
        self._find(name)
        if len(self._slots) == 1:
            raise VaultError(f"{self.path}: without its last slot nobody could open it. Add another first.")
        self._write([slot for slot in self._slots if slot.name != name], self.payload)

    def _find(self, name: str) -> None:
        if name not in self.slot_names:
            raise VaultError(f"{self.path} has no such slot. It has: {', '.join(self.slot_names)}.")

    def _make_slot(self, name: str, passphrase: str, kdf: SlotKdf) -> Slot:
        with naming(str(self.path)):
            return slots.make_slot(name, self.purpose, read_new_passphrase(passphrase), self._pledge, kdf)

    def _write(self, changed: Sequence[Slot], payload: Mapping[str, object]) -> None:
        with naming(str(self.path)):
            version = _render(self.purpose, changed, self._pledge, payload)
        private_file.replace(self.path, self._version, version)
        self._version, self._slots, self.payload = version, tuple(changed), dict(payload)

    def __repr__(self) -> str:
        return f"KeyFile({self.purpose})"


def create(
    path: Path,
    purpose: Purpose,
    payload: Mapping[str, object],
    passphrases: Mapping[str, str],
    kdf: SlotKdf = SLOT_KDF,
) -> KeyFile:
    """Write a new key file with a slot for each of `passphrases` (slot name → passphrase), and return it opened.

    0.1 to 0.2 s per slot. Raises VaultError where something is there already, or for a bad name or short passphrase.
    """
    pledge = new_key()
    meant = {name: read_new_passphrase(passphrase) for name, passphrase in passphrases.items()}
    with naming(str(path)):
        made = tuple(slots.make_slot(name, purpose, phrase, pledge, kdf) for name, phrase in meant.items())
        version = _render(purpose, made, pledge, payload)
    private_file.create(path, version)
    return KeyFile(path, purpose, _Opened(made[0].name, dict(payload), version, made, pledge))


def open_file(path: Path, purpose: Purpose, passphrase: str) -> KeyFile:
    """Return the key file, opened by whichever slot has this passphrase: up to 0.2 s per slot, so call it in a thread.

    Raises WrongPassphrase; VaultError where the file is malformed, altered, for another purpose, or others can read it.
    """
    meant = read_passphrase(passphrase)
    version = private_file.read(path)
    with naming(str(path)):
        return KeyFile(path, purpose, _open(version, purpose, meant))


def slot_names(path: Path) -> tuple[str, ...]:
    """Return the names of the slots without a passphrase, so unproven. Raises VaultError."""
    version = private_file.read(path)
    with naming(str(path)):
        return tuple(slot.name for slot, _ in _parse(version).slots)


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A key file as it lies there. slots: each with the sealed file key beside it."""

    purpose: str
    slots: tuple[tuple[Slot, bytes], ...]
    sealed: bytes


@dataclass(frozen=True, slots=True)
class _Opened:
    by: str
    payload: Mapping[str, object]
    version: bytes
    slots: tuple[Slot, ...]
    pledge: bytes


def _open(version: bytes, purpose: Purpose, passphrase: str) -> _Opened:
    parsed = _parse(version)
    if parsed.purpose != purpose:
        raise Malformed(f"it is the key file of another purpose, not {purpose}")
    for slot, sealed_file_key in parsed.slots:
        try:
            pair, pledge = slot.open(purpose, passphrase)
        except SealBroken:
            continue
        known = tuple(slot for slot, _ in parsed.slots)
        try:
            file_key = pair.decrypt(sealed_file_key, slots.file_key_label(purpose, slot.name))
            key = slots.content_key(file_key, pledge, purpose)
            content = unseal(key, parsed.sealed, slots.content_label(purpose, known))
        except SealBroken:
            raise Malformed("the passphrase is right, but the file was damaged or altered") from None
        return _Opened(slot.name, mapping(_load(content)), version, known, pledge)
    raise WrongPassphrase


def _render(purpose: Purpose, chosen: Sequence[Slot], pledge: bytes, payload: Mapping[str, object]) -> bytes:
    slots.check_slots(chosen)
    file_key = new_key()
    content = json.dumps(dict(payload), allow_nan=False).encode()
    key, bound = slots.content_key(file_key, pledge, purpose), slots.content_label(purpose, chosen)
    file = {
        "format": FORMAT,
        "purpose": purpose,
        "slots": [slot.to_json(purpose, file_key) for slot in chosen],
        "sealed": encode(seal(key, content, bound)),
    }
    return json.dumps(file, indent=1).encode() + b"\n"


def _parse(version: bytes) -> _Parsed:
    file = mapping(_load(version), _NAMES)
    purpose, listed = file["purpose"], file["slots"]
    if file["format"] != FORMAT or not isinstance(purpose, str) or not isinstance(listed, list):
        raise Malformed("it is no key file of this version of Mailer")
    parsed = tuple(slots.parse_slot(value) for value in listed)
    slots.check_slots([slot for slot, _ in parsed])
    return _Parsed(purpose, parsed, decode(file["sealed"]))


def _load(text: bytes) -> object:
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed("it is not JSON") from None


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a name occurs twice")
    return found
