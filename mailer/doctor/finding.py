"""What a check says: a fault, or that it could not look; saying nothing means that all is well."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about what is, one about what to do. No address of a subscriber is in either.

    ok: None where nobody could look. is_left_out: nobody was asked to look (`--offline`, no passphrase), or it does not
    apply here. check: its name in the table; the runner writes it.
    """

    what: str
    do: str = ""
    ok: bool | None = False
    is_left_out: bool = False
    check: str = ""


def fault(what: str, do: str) -> Finding:
    """Return something that has to be mended."""
    return Finding(what, do)


def unseen(what: str, do: str) -> Finding:
    """Return that a check could not look, though it should have been able to."""
    return Finding(what, do, None)


def left_out(what: str, do: str = "") -> Finding:
    """Return that a check did not look, and need not have."""
    return Finding(what, do, None, is_left_out=True)


def some(number: int, one: str, several: str = "") -> str:
    """Return a number with its noun, as in "1 letter" or "2 letters"."""
    return f"{number} {one if number == 1 else several or one + 's'}"
