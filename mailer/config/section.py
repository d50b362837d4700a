"""A part of config.toml as a type, and how its fields say what they expect.

A field's `description` ends the sentence "expected …" that the operator reads.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

MIB = 1024 * 1024
A_FILE = 'the path of a file in quotes, or ""'
A_FOLDER = 'the path of a folder in quotes, or ""'
A_NAME = "1 to 32 of a-z, 0-9 and - in quotes"
A_HOST = 'the name of a server in quotes, or ""'
AN_ADDRESS = "an e-mail address without + in quotes"
NAME = r"^[a-z0-9][a-z0-9-]{0,31}\z"
NAME_OR_NOTHING = r"^([a-z0-9][a-z0-9-]{0,31})?\z"
LANGUAGES = '"en", "zh-Hant" or "zh-Hans"'


def contradiction(sentence: str, *at: str | int) -> PydanticCustomError:
    """Return the error for settings that are each right but not together; `at` leads to the one to mend."""
    return PydanticCustomError("contradiction", "{sentence}", {"sentence": sentence, "at": at})


def whole(default: int, low: int, high: int) -> Any:
    """Return a field for a whole number within these bounds."""
    return Field(default=default, ge=low, le=high, description=f"a whole number from {low} to {high}")


class Section(BaseModel):
    """A part of config.toml: frozen, strict about types, and without room for a key that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
