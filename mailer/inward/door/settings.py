"""What a door is made with."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from mailer.inward.door.limits import Limits
from mailer.model.letter import Envelope

Accept = Callable[[list[Envelope], bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """Where the door listens and how much it takes. tls: for STARTTLS; None offers none. Sizes in bytes."""

    listen: tuple[tuple[str, int], ...]
    hostname: str
    max_letter_bytes: int
    max_connections: int
    max_connections_per_host: int
    max_recipients: int
    timeout_s: float
    lmtp_socket: Path | None = None
    tls: ssl.SSLContext | None = None
    limits: Limits = field(default_factory=Limits)
