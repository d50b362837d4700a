"""Slots of a key file: each lets one passphrase open it, like the slots of an encrypted disk.

A slot is a hybrid key pair of its own. Its private half lies in the file under the passphrase; each version of the
file has a new file key, encrypted to the public half of every slot. So a slot can be removed, and the next version
opened by all others, without anybody typing the other passphrases; and whoever kept an old copy and a removed
passphrase opens the old copy, but no later version.

The public halves are no secret, so a file key alone does not say that one of us wrote the file. Each slot also holds
the same *pledge*, a secret made with the file; the content is sealed under file key and pledge together.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mailer.crypto.aead import derive_key, label, seal, unseal
from mailer.crypto.hybrid import PRIVATE_BYTES, HybridPrivate, HybridPublic
from mailer.crypto.keyfile.passphrase import SlotKdf
from mailer.crypto.payload import Malformed, decode, encode, mapping

SALT_BYTES = 16  # RFC 9106 §3.1
MOST_SLOTS = 16

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_KDF_NAMES = frozenset({"name", "memory_kib", "iterations", "lanes"})
_SLOT_NAMES = frozenset({"name", "kdf", "salt", "wrapped", "public", "file_key"})


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot. wrapped: private half and pledge under the passphrase; public: the other half."""

    name: str
    kdf: SlotKdf
    salt: bytes
    wrapped: bytes
    public: HybridPublic

    def open(self, purpose: str, passphrase: str) -> tuple[HybridPrivate, bytes]:
        """Return private half and pledge. Raises SealBroken where the passphrase is not this slot's."""
        key = self.kdf.stretch(passphrase, self.salt)
        opened = unseal(key, self.wrapped, _wrapping_label(purpose, self.name, self.kdf, self.salt))
        return HybridPrivate(opened[:PRIVATE_BYTES]), opened[PRIVATE_BYTES:]

    def to_json(self, purpose: str, file_key: bytes) -> dict[str, object]:
        """Return the slot as a key file holds it, with the file key sealed to it."""
        kdf = self.kdf
        return {
            "name": self.name,
            "kdf": {
                "name": "argon2id",
                "memory_kib": kdf.memory_kib,
                "iterations": kdf.iterations,
                "lanes": kdf.lanes,
            },
            "salt": encode(self.salt),
            "wrapped": encode(self.wrapped),
            "public": encode(self.public.raw),
            "file_key": encode(self.public.encrypt(file_key, file_key_label(purpose, self.name))),
        }


def make_slot(name: str, purpose: str, passphrase: str, pledge: bytes, kdf: SlotKdf) -> Slot:
    """Return a new slot, opened by `passphrase` (from read_new_passphrase). Raises Malformed for a bad name."""
    _check_name(name)
    kdf.check()
    pair, salt = HybridPrivate.generate(), os.urandom(SALT_BYTES)
    bound = _wrapping_label(purpose, name, kdf, salt)
    wrapped = seal(kdf.stretch(passphrase, salt), pair.raw + pledge, bound)
    return Slot(name, kdf, salt, wrapped, HybridPublic(pair.public_raw))


def parse_slot(value: object) -> tuple[Slot, bytes]:
    """Return the slot that to_json wrote, and the sealed file key beside it. Raises Malformed."""
    slot = mapping(value, _SLOT_NAMES)
    name = slot["name"]
    _check_name(name)
    kdf, salt = _parse_kdf(slot["kdf"]), decode(slot["salt"], SALT_BYTES)
    parsed = Slot(str(name), kdf, salt, decode(slot["wrapped"]), HybridPublic(decode(slot["public"])))
    return parsed, decode(slot["file_key"])


def check_slots(slots: Sequence[Slot]) -> None:
    """Raise Malformed where there is none, too many, or a name occurs twice."""
    if not 1 <= len(slots) <= MOST_SLOTS:
        raise Malformed(f"a key file has 1 to {MOST_SLOTS} slots")
    if len({slot.name for slot in slots}) != len(slots):
        raise Malformed("two slots have the same name")


def content_key(file_key: bytes, pledge: bytes, purpose: str) -> bytes:
    """Return the key under which the content of this version is sealed."""
    return derive_key(file_key + pledge, label("key-file/content-key", purpose))


def content_label(purpose: str, slots: Sequence[Slot]) -> bytes:
    """Return what the content is bound to: every slot, so that nobody puts a public half of his own into one."""
    parts: list[str | bytes] = []
    for slot in slots:
        parts += [slot.name, _kdf_text(slot.kdf), slot.salt, slot.wrapped, slot.public.raw]
    return label("key-file/content", purpose, *parts)


def file_key_label(purpose: str, name: str) -> bytes:
    """Return what a sealed file key is bound to."""
    return label("key-file/file-key", purpose, name)


def _wrapping_label(purpose: str, name: str, kdf: SlotKdf, salt: bytes) -> bytes:
    return label("key-file/slot", purpose, name, _kdf_text(kdf), salt)


def _kdf_text(kdf: SlotKdf) -> str:
    return f"argon2id {kdf.memory_kib} {kdf.iterations} {kdf.lanes}"


def _parse_kdf(value: object) -> SlotKdf:
    kdf = mapping(value, _KDF_NAMES)
    numbers = [kdf[name] for name in ("memory_kib", "iterations", "lanes")]
    memory_kib, iterations, lanes = (number if type(number) is int else 0 for number in numbers)  # True is an int too
    parsed = SlotKdf(memory_kib, iterations, lanes)
    if kdf["name"] != "argon2id":
        raise Malformed("a slot uses something else than Argon2id")
    parsed.check()
    return parsed


def _check_name(name: object) -> None:
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise Malformed("the name of a slot has 1 to 32 lower-case letters, digits and hyphens")
