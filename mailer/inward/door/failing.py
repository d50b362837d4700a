"""What the operator is told when the door itself fails."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

_log = logging.getLogger("mailer.inward.door")


def log_failure(error: Exception) -> None:
    """Log where something failed; its text may hold what the peer said."""
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f"{Path(place[0].filename).name}:{place[0].lineno}" if place else "?"
    _log.error("The door failed: %s at %s; the sender tries again. Report it", type(error).__name__, where)
