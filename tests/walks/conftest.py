"""The walks that meet the database in ways of their own run on both engines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import house

ON_BOTH = {
    "test_bounces",
    "test_change",
    "test_crash",
    "test_deliver",
    "test_main_job",
    "test_publish",
    "test_rotation",
    "test_waiting",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    name = metafunc.module.__name__.rpartition(".")[2]
    says_itself = any("_engine" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if name in ON_BOTH and "tmp_path" in metafunc.fixturenames and not says_itself:  # the others open no instance
        metafunc.parametrize("_engine", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Which database the instances of a test have; several in one test would share it."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield
        return
    with request.getfixturevalue("cluster").emptied() as url:
        monkeypatch.setattr(house, "database_url", url)
        yield
