"""Key material as JSON values: base64 in its only spelling, and exactly the names that are expected."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Mapping, Set

from mailer.errors import VaultError


class Malformed(ValueError):
    """Something is not as we write it. Its text says what and quotes nothing; `naming` says in which file."""


@contextlib.contextmanager
def naming(what: str) -> Iterator[None]:
    """Turn Malformed into a VaultError about `what`."""
    try:
        yield
    except Malformed as error:
        raise VaultError(f"{what}: {error}.") from None


def encode(raw: bytes) -> str:
    """Return `raw` in base64 (RFC 4648 §4)."""
    return base64.b64encode(raw).decode("ascii")


def decode(value: object, length: int | None = None) -> bytes:
    """Return the bytes that encode was given, `length` of them. Raises Malformed."""
    try:
        raw = base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except ValueError:  # binascii.Error, and what is not ASCII
        raw = None
    # b64decode ignores the unused bits of the last character, so that one value would have several spellings
    if raw is None or encode(raw) != value:
        raise Malformed("a value is not base64")
    if length is not None and len(raw) != length:
        raise Malformed("a value has the wrong length")
    return raw


def mapping(value: object, names: Set[str] | None = None) -> Mapping[str, object]:
    """Return the JSON object that `value` is, with exactly these names in it. Raises Malformed."""
    if not isinstance(value, Mapping):
        raise Malformed("an object is missing")
    if names is not None and value.keys() != names:
        raise Malformed("it holds other names than expected; perhaps a newer version of Mailer made it")
    return value
