"""What a program reports about a letter of ours: that it came back, or that its reader complained."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mailer.model.failure import Failure


class Kind(StrEnum):
    """What a report is about: a letter that did not arrive (RFC 3464), or an unwelcome one that did (RFC 5965)."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"


@dataclass(frozen=True, slots=True)
class Report:
    """A report, read. It holds no word and no address of the letter that it came in.

    failures: of a bounce, one for each recipient that it names. status: the first one's enhanced code (RFC 3463) or "".
    is_delayed: the letter may still arrive, so nothing has failed yet. tokens: of ours, those found in what is
    reported, each 24 letters and digits; not authenticated yet.
    """

    kind: Kind
    failures: tuple[Failure, ...] = ()
    status: str = ""
    is_delayed: bool = False
    tokens: tuple[str, ...] = ()

    @property
    def failure(self) -> Failure:
        """Why the letter came back, as the first recipient's server says."""
        return next(iter(self.failures), Failure.UNKNOWN)

    @property
    def counted(self) -> Failure:
        """Why it came back to one subscriber: of several mailboxes behind an address the last one must be gone, too."""
        return next((failure for failure in self.failures if failure is not Failure.GONE), self.failure)

    def __repr__(self) -> str:
        return f"Report({self.kind})"
