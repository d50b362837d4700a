"""Commands that are loaded when somebody calls them: all of them together take longer than most of them run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command


def by_name(places: Mapping[str, str]) -> type[TyperGroup]:
    """Return the class of a group of commands. places: where each is, as "module:function" or "module:Typer object"."""

    class Group(TyperGroup):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.commands = _Loaded(places)  # type: ignore[assignment]

    return Group


class _Loaded(Mapping[str, Any]):
    """Command objects by name, each made when it is first asked for."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _load(name, self._places[name])
        return self._made[name]

    def __contains__(self, name: object) -> bool:  # Mapping's own would load it
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _load(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    found = getattr(import_module(module), attribute)
    around = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    around.callback()(_nothing)  # with it typer makes a group of a single command too
    if isinstance(found, typer.Typer):
        around.add_typer(found, name=name)
    else:
        around.command(name)(found)
    group: Any = get_command(around)
    return group.commands[name]


def _nothing() -> None: ...
