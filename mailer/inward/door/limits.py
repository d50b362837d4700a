"""How much one connection may ask of the door before it is sent away. Pure: the moment is an argument.

Each is far above what any mail server does, and far below what would hurt: a connection holds one of a limited number
of places, and whoever keeps it busy for nothing keeps others out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

LINE_BYTES = 64 * 1024  # RFC 5321 §4.5.3.1.6 says 998; whole bodies without a line end are seen in real mail
COMMAND_BYTES = 1024  # RFC 5321 §4.5.3.1.4 says 512 and lets each extension add to it
LEAST_S = 0.001  # aiosmtpd takes 0 for "as usual"
LINGER_S = 5.0  # for a peer to read our last words
COMMANDS = {"*": 20, "MAIL": 1000, "RCPT": 10_000, "DATA": 1000, "RSET": 1000}  # in one connection, of each kind


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a connection may go on. The timeout for each command and for each piece of a letter is a setting.

    progress_bytes: a sender that needs longer than the timeout for so little is cut off. letter_s: for one letter,
    from 354 to its final dot. between_letters_s: for all commands up to DATA, from the greeting or the last letter on.
    commands: between two letters. errors: replies that begin with 5, in the whole connection.
    """

    progress_bytes: int = 64 * 1024
    letter_s: float = 1800.0
    between_letters_s: float = 900.0
    commands: int = 1100  # 1000 recipients is the most that max_recipients may be
    errors: int = 50


class Conduct:
    """How one peer behaves. now: seconds of any steady clock."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._counts: Counter[str] = Counter()
        self._deadline = now + limits.between_letters_s

    def begin_letter(self, now: float) -> None:
        """The peer was told to go ahead."""
        self._deadline = now + self._limits.letter_s

    def end_letter(self, now: float) -> None:
        """The letter was stored or refused, and another one may follow."""
        self._deadline = now + self._limits.between_letters_s
        self._counts["commands"] = 0

    def left_s(self, now: float, timeout_s: float) -> float:
        """Return how long the peer may take for what comes next."""
        return max(LEAST_S, min(timeout_s, self._deadline - now))

    def count_command(self) -> bool:
        """Count one; return whether that is too many."""
        self._counts["commands"] += 1
        return self._counts["commands"] > self._limits.commands

    def count_reply(self, reply: str) -> bool:
        """Count a reply; return whether the peer has made too many mistakes."""
        self._counts["errors"] += reply.startswith("5")
        return self._counts["errors"] > self._limits.errors
