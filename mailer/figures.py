"""Which of an instance's processes count, and which one shows the figures; nothing of it unless [metrics] says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mailer import metrics, metrics_endpoint
from mailer.instance import Instance
from mailer.store.database import Database


def count(instance: Instance) -> None:
    """Count in this process and those that will be forked from it."""
    if instance.config.metrics.listen is not None:
        metrics.start(_folder(instance), _relays(instance))


async def show(instance: Instance, database: Database) -> None:
    """Show the figures until cancelled, or return at once. For a process with an event loop: `mailer serve`."""
    if listen := instance.config.metrics.listen:
        figures = metrics_endpoint.Figures(_folder(instance), _relays(instance), database)
        await metrics_endpoint.show_for_ever(figures, listen.host, listen.port)


@contextmanager
def shown_beside(instance: Instance) -> Iterator[None]:
    """Have a child show the figures of the workers that are forked in this block. Begin it before secrets are read."""
    listen, url = instance.config.metrics.listen, instance.config.store.url
    count(instance)
    where = (listen.host, listen.port) if listen else None
    with metrics_endpoint.beside(_folder(instance), _relays(instance), url, where):
        yield


def _folder(instance: Instance) -> Path:
    return instance.folder / "run" / "metrics"


def _relays(instance: Instance) -> tuple[str, ...]:
    return tuple(instance.config.all_relays)
