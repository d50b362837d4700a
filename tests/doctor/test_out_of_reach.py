"""What another user may not look at: that nothing was found there is never said to be well."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mailer.doctor import files
from mailer.doctor.finding import Finding
from tests.store.unprivileged import run_unprivileged


@pytest.mark.parametrize("closed", ["etc/credstore.encrypted", "etc/credstore.encrypted/mailer-service-passphrase"])
def test_where_credentials_cannot_be_looked_at_nobody_says_that_all_is_well(tmp_path: Path, closed: str) -> None:
    credential = tmp_path / "etc/credstore.encrypted/mailer-service-passphrase"
    credential.parent.mkdir(parents=True)
    credential.write_text("Whxqht+dQJax1aZeCGLxmiAAAAABAAAA\n")
    mode = (tmp_path / closed).stat().st_mode
    (tmp_path / closed).chmod(0)

    async def look() -> list[Finding]:
        return list(files.passphrases(scene))

    scene: Any = SimpleNamespace(
        at=lambda path: tmp_path / str(path).lstrip("/"), instance=SimpleNamespace(folder=tmp_path)
    )
    [found] = run_unprivileged(look)
    assert (found.ok, found.is_left_out) == (None, False)
    assert "/etc/credstore.encrypted" in found.what
    (tmp_path / closed).chmod(mode)
    [found] = run_unprivileged(look)
    assert found.ok is False
