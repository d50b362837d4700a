"""A healthy instance for each file of tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mailer.letters import typeset
from tests.doctor.world import World, open_world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typeset, "missing", list)  # whatever this machine has
        async with open_world(tmp_path_factory.mktemp("doctor")) as opened:
            yield opened
