"""Random numbers drawn by the database, so that a million rows are shuffled by one statement."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class below(FunctionElement[int]):  # noqa: N801 - it stands where SQL functions stand
    """A whole number from 0 to less than `bound`, another one for each row; below(0) is 0."""

    type = BigInteger()
    inherit_cache = False  # the bound is part of the text

    def __init__(self, bound: int) -> None:
        super().__init__()
        self.bound = max(bound, 1)


@compiles(below, "sqlite")
def _on_sqlite(element: below, _compiler: Any, **_options: Any) -> str:
    return f"((random() & 9223372036854775807) % {element.bound:d})"


@compiles(below, "postgresql")
def _on_postgresql(element: below, _compiler: Any, **_options: Any) -> str:
    return f"CAST(floor(random() * {element.bound:d}) AS BIGINT)"
