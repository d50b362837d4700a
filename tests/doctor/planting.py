"""How a fault is planted into a healthy instance, and what must then be said."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from mailer.doctor.finding import Finding
from tests.doctor.world import World

Changes = dict[str, Any]
Planting = Callable[[World], AsyncIterator[Changes]]
Plant = Callable[[World], AbstractAsyncContextManager[Changes]]


def faults(found: list[Finding]) -> dict[str, list[Finding]]:
    """Return the faults by the check that found them."""
    wrong: dict[str, list[Finding]] = {}
    for one in found:
        if one.ok is False:
            wrong.setdefault(one.check, []).append(one)
    return wrong


class Plants(list[Any]):
    """Faults with the check that must find each and some of the words that it must say."""

    def planted(self, check: str, what: str) -> Callable[[Planting], Planting]:
        """Add a fault: what is changed of the scene is yielded; what undoes it comes behind that."""

        def add(function: Planting) -> Planting:
            self.append((check, what, asynccontextmanager(function)))
            return function

        return add

    def in_zone(self, check: str, what: str, **changes: Any) -> None:
        """Add a fault in the DNS; None takes a record out."""

        async def plant(world: World) -> AsyncIterator[Changes]:
            zone = world.zone() | {place: value or [] for place, value in changes["zone"].items()}
            world.names.zone = {place: value for place, value in zone.items() if value}
            yield {}
            world.names.zone = world.zone()

        self.planted(check, what)(plant)

    def in_settings(self, check: str, what: str, *changes: tuple[str, str]) -> None:
        """Add a fault in config.toml, by what is put in the place of what."""

        async def plant(world: World) -> AsyncIterator[Changes]:
            yield {"instance": world.settings(*changes)}

        self.planted(check, what)(plant)

    def on_the_machine(self, check: str, what: str, **files: str) -> None:
        """Put files onto the machine; in a name, two underlines stand for a slash and three for a dot."""

        async def plant(world: World) -> AsyncIterator[Changes]:
            made = [world.file(name.replace("___", ".").replace("__", "/"), content) for name, content in files.items()]
            yield {}
            for path in made:
                path.unlink()

        self.planted(check, what)(plant)

    @property
    def names(self) -> list[str]:
        """What the tests are called."""
        return [f"{check}: {what}" for check, what, _ in self]


async def check_planted(world: World, check: str, what: str, plant: Plant) -> None:
    """Plant a fault and see it named, with what to do, and nothing else."""
    async with plant(world) as changes:
        found = await world.look(**changes)
    wrong = faults(found)
    assert set(wrong) == {check}
    assert what in " ".join(one.what for one in wrong[check])
    assert all(one.do for one in wrong[check])
    assert [one for one in found if one.ok is None and not one.is_left_out] == []
