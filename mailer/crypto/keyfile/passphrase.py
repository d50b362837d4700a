"""Passphrases: how they are read, what is asked of a new one, and how they become keys."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from mailer.crypto.aead import KEY_BYTES
from mailer.crypto.payload import Malformed
from mailer.errors import VaultError

MIN_CHARACTERS = 12

# Crockford's base32 has no I, L, O and U, so that 1 and I, 0 and O may be taken for each other on paper.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LOOKS_LIKE = str.maketrans("ilo", "110")
_GROUPS = 6
_GROUP_CHARACTERS = 5  # 6 × 5 × 5 bits = 150 bits
_PHRASE = re.compile(rf"[{_ALPHABET}]{{{_GROUPS * _GROUP_CHARACTERS}}}")
_BETWEEN = re.compile(r"[\s\-_.,;:\u2010-\u2015\u2212]+")  # with the dashes that telephones make of a hyphen


@dataclass(frozen=True, slots=True)
class SlotKdf:
    """How much work a guess at a passphrase is: the parameters of Argon2id (RFC 9106 §3.1)."""

    memory_kib: int
    iterations: int
    lanes: int

    def check(self) -> None:
        """Raise Malformed where opening would take more than any file of ours does: it would stop the machine."""
        is_bounded = 1 <= self.lanes <= 16 and 1 <= self.iterations <= 10
        # RFC 9106 §3.1: memory is at least 8 KiB per lane
        if not is_bounded or not 8 * self.lanes <= self.memory_kib <= 256 * 1024:
            raise Malformed("a slot asks for an unreasonable amount of work")

    def stretch(self, passphrase: str, salt: bytes) -> bytes:
        """Return the key of 32 bytes that this passphrase (from read_passphrase) stands for."""
        return Argon2id(
            salt=salt, length=KEY_BYTES, iterations=self.iterations, lanes=self.lanes, memory_cost=self.memory_kib
        ).derive(passphrase.encode())


SLOT_KDF = SlotKdf(memory_kib=64 * 1024, iterations=3, lanes=4)  # RFC 9106 §4, second recommendation


def read_passphrase(typed: str) -> str:
    """Return the passphrase that was meant: NFKC, without white space around it; a recovery phrase in one spelling.

    Raises VaultError where nothing is left, or what cannot be written in UTF-8.
    """
    passphrase = unicodedata.normalize("NFKC", typed).lstrip("\ufeff").strip()  # U+FEFF: Notepad
    if not passphrase:
        raise VaultError("The passphrase is empty; nothing was tried.")
    if any(unicodedata.category(char) == "Cs" for char in passphrase):
        raise VaultError("The passphrase is not valid UTF-8; nothing was tried.")
    phrase = _BETWEEN.sub("", passphrase).lower().translate(_LOOKS_LIKE)
    return _grouped(phrase) if _PHRASE.fullmatch(phrase) else passphrase


def read_new_passphrase(typed: str) -> str:
    """Return what read_passphrase does. Raises VaultError where it is too short to protect a key file."""
    passphrase = read_passphrase(typed)
    if len(passphrase) < MIN_CHARACTERS:
        raise VaultError(f"A new passphrase needs at least {MIN_CHARACTERS} characters; five random words are good.")
    return passphrase


def recovery_phrase(random: Callable[[int], bytes]) -> str:
    """Return a phrase of 150 bits from `random` (os.urandom), to be written on paper: six groups of five characters.

    Typed with other case, spaces or dashes, or O for 0 and I or L for 1, it still opens.
    """
    # 32 characters divide 256, so each is equally likely
    return _grouped("".join(_ALPHABET[byte % 32] for byte in random(_GROUPS * _GROUP_CHARACTERS)))


def _grouped(phrase: str) -> str:
    return "-".join(phrase[at : at + _GROUP_CHARACTERS] for at in range(0, len(phrase), _GROUP_CHARACTERS))
