"""What the serving process and the confined child say to each other about who really sent a letter.

The child reads the stranger's signatures and records but has no network; this process has one but reads nothing of a
stranger's. So the child says which names it wants looked up, is asked again with what was found, and at last says yes
or no. What it says is read as strictly as in inward/frames.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mailer.errors import ReaderDied
from mailer.inward import frames

KINDS = ("A", "AAAA", "MX", "PTR", "TXT")
WANTED = 40  # names in one answer
NAME = re.compile(r"[A-Za-z0-9._=+/-]{1,253}")

Name = tuple[str, str]  # kind and name, without the last dot
Records = Mapping[Name, tuple[str, ...] | None]  # "" no record; None: nobody could say


@dataclass(frozen=True, slots=True)
class Question:
    """What the child is told. from_domain: of From. helo, ip: of the peer, "" where a server of ours handed it on.

    mail_from: the envelope sender. authserv_id: of our own server in front, whose word is taken; "" for none.
    """

    from_domain: str
    mail_from: str = ""
    ip: str = ""
    helo: str = ""
    authserv_id: str = ""
    records: Records = field(default_factory=dict)

    def __repr__(self) -> str:
        return "Question(…)"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether From is shown to be true; where `wanted` is not empty, nothing is settled yet."""

    is_true: bool = False
    wanted: tuple[Name, ...] = ()

    def __repr__(self) -> str:
        return f"Verdict({self.is_true}, {len(self.wanted)})"


def write_question(question: Question) -> bytes:
    """Return a question for the child."""
    records = [[*name, found if found is None else list(found)] for name, found in question.records.items()]
    facts = (question.from_domain, question.mail_from, question.ip, question.helo, question.authserv_id)
    return json.dumps([*facts, records]).encode("ascii")


def read_question(raw: bytes) -> Question:
    """Return the question that the serving process wrote."""
    from_domain, mail_from, ip, helo, authserv_id, found = json.loads(raw)
    records = {(kind, name): None if values is None else tuple(values) for kind, name, values in found}
    return Question(from_domain, mail_from, ip, helo, authserv_id, records)


def write_verdict(verdict: Verdict) -> bytes:
    """Return the frame of an answer."""
    return frames.pack(b"verdict", json.dumps([verdict.is_true, verdict.wanted[:WANTED]]).encode("ascii"))


def read_verdict(body: bytes) -> Verdict:
    """Return the answer. Raises ReaderDied where it is none."""
    try:
        kind, content = frames.unpack(body)
        is_true, wanted = json.loads(content)
        names = tuple((str(kind), str(name)) for kind, name in wanted)
    except (ValueError, TypeError, RecursionError):
        raise ReaderDied from None
    is_sound = all(kind in KINDS and NAME.fullmatch(name) for kind, name in names)
    if kind != b"verdict" or not isinstance(is_true, bool) or not is_sound or len(names) > WANTED:
        raise ReaderDied
    return Verdict(is_true and not names, names)
