"""Changes to the lists in config.toml that leave every comment and every other line as they were."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import AoT, Comment, Whitespace

from mailer.config.reading import load, read
from mailer.errors import ConfigError, ListUnknown
from mailer.model.address import Address
from mailer.model.language import Language


def add_list(
    path: Path,
    list_id: str,
    address: Address,
    *,
    display_name: str = "",
    languages: Sequence[Language] = tuple(Language),
    default_language: Language | None = None,
    contact: Address | None = None,
    contact_key: str = "",
    prepare: Callable[[], object] = lambda: None,
) -> None:
    """Append a list; default_language is the first of the languages unless given.

    prepare: called before anything is written, when it is sure that the file will be right. Raises ConfigError, and
    changes nothing, where the file is unusable before or after: an id or address is taken.
    """
    entry = {
        "id": list_id,
        "address": str(address),
        "display_name": display_name,
        "languages": [str(language) for language in languages],
        "default_language": str(default_language or languages[0]),
        "contact": str(contact or ""),
        "contact_key": contact_key,
    }
    _edit(path, lambda document: _lists_of(document).append(_table(entry)), prepare)


def add_identity(
    path: Path,
    list_id: str,
    name: str,
    address: Address,
    *,
    display_name: str = "",
    prepare: Callable[[], object] = lambda: None,
) -> None:
    """Append an identity to a list; prepare as in add_list. Raises ConfigError or ListUnknown."""
    wanted = _table({"name": name, "address": str(address), "display_name": display_name})

    def add(document: tomlkit.TOMLDocument) -> None:
        entry = _find(document, list_id)
        former = entry.get("identities")
        if former is not None and not isinstance(former, AoT):
            raise ConfigError("Write each identity as a section of its own that begins with [[lists.identities]].")
        trailing = _take_trailing(former[-1] if former else entry)
        if former:
            former[-1].add(tomlkit.nl())
            former.append(wanted)
        else:
            fresh = tomlkit.aot()
            fresh.append(wanted)
            entry.append("identities", fresh)
        _put_back(wanted, trailing)

    _edit(path, add, prepare)


def set_store(path: Path, url: str) -> None:
    """Have everything kept in another database. Raises ConfigError."""

    def point(document: tomlkit.TOMLDocument) -> None:
        if "store" not in document:
            document["store"] = tomlkit.table()
        document["store"]["url"] = url

    _edit(path, point)


def rename_list(path: Path, list_id: str, address: Address) -> None:
    """Give a list another address; mail to the old one still finds it. Raises ConfigError or ListUnknown."""

    def rename(document: tomlkit.TOMLDocument) -> None:
        entry = _find(document, list_id)
        former = [*entry.get("formerly", []), entry["address"]]
        new = address.normalised
        trailing = _take_trailing(entry)
        entry["formerly"] = [text for text in former if Address.parse(text).normalised != new]
        entry["address"] = str(address)
        _put_back(entry, trailing)

    _edit(path, rename)


def retire_list(path: Path, list_id: str) -> None:
    """Mark a list as one that sends no more and takes no new subscribers. Raises ConfigError or ListUnknown."""

    def retire(document: tomlkit.TOMLDocument) -> None:
        entry = _find(document, list_id)
        trailing = _take_trailing(entry)
        entry["state"] = "retired"
        _put_back(entry, trailing)

    _edit(path, retire)


def _edit(
    path: Path, change: Callable[[tomlkit.TOMLDocument], object], prepare: Callable[[], object] = lambda: None
) -> None:
    load(path)
    document = tomlkit.parse(path.read_bytes().decode("utf-8-sig"))
    change(document)
    text = tomlkit.dumps(document)
    read(text, path)  # what `load` would refuse is never written
    prepare()
    try:
        _replace(path.resolve(), text.encode())
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be written: {error.strerror}.") from error


def _lists_of(document: tomlkit.TOMLDocument) -> AoT:
    if "lists" not in document:
        document.append("lists", tomlkit.aot())
    lists = document["lists"]
    if not isinstance(lists, AoT):
        raise ConfigError("Write each list as a section of its own that begins with [[lists]].")
    return lists


def _find(document: tomlkit.TOMLDocument, list_id: str) -> Any:
    for entry in document.get("lists", ()):
        if entry["id"] == list_id:
            return entry
    raise ListUnknown


def _table(entry: Mapping[str, object]) -> tomlkit.items.Table:
    table = tomlkit.table()
    table.update(entry)
    return table


def _take_trailing(table: Any) -> list[Comment | Whitespace]:
    """Take off and return the comments and empty lines at a table's end: they belong to what follows it."""
    body, taken = table.value.body, []
    while body and isinstance(body[-1][1], Comment | Whitespace):
        taken.append(body.pop()[1])
    return taken[::-1]


def _put_back(table: Any, trailing: list[Comment | Whitespace]) -> None:
    for item in trailing:
        table.add(item)


def _replace(path: Path, content: bytes) -> None:
    """Put `content` in the place of the file, with its mode and owner; killed at any moment, one or the other is there.

    Raises OSError, and leaves nothing behind.
    """
    status = path.stat()
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
            if os.geteuid() == 0:  # root may run a command; the service must still be able to read the file
                os.fchown(descriptor, status.st_uid, status.st_gid)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
