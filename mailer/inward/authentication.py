"""Whether a letter comes from where its From says: by DKIM or SPF, aligned as DMARC has it (RFC 6376, 7208, 9989).

Only for `require_authenticated_sender` in [limits]. It happens in the inward walk, never at the door, whose time would
tell; the DNS is asked without holding up the event loop, and with a limit of time for all questions of a letter.
Whatever goes wrong, the sender counts as not shown to be true: the answer is left out, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import dns.asyncresolver
import dns.exception
import dns.resolver

from mailer.errors import ReaderDied
from mailer.inward import testimony
from mailer.inward.reader import Reader
from mailer.inward.testimony import Name, Question
from mailer.model.address import Address
from mailer.model.letter import Envelope

TIME_S = 10.0  # RFC 7208 §4.6.4 allows 20; but whoever has slow name servers must not hold up everybody
LOOK_UP_S = 4.0
LANES = 16  # letters that wait for the DNS at once
ROUNDS = 30
NAMES = 80  # in all: five signatures, SPF's ten terms with what they lead to, two walks up the tree
VALUES, VALUE_CHARACTERS = 50, 4096

LookUp = Callable[[str, str], Awaitable[Sequence[str] | None]]


class Authenticator:
    """Asks the confined child, and the DNS for what the child wants to know.

    look_up: given a kind of record and a name, returns the values (of TXT, octets as Latin-1), none where there is no
    such record, and None where nobody could say. authserv_id: see `testimony.Question`.
    """

    def __init__(
        self, reader: Reader, authserv_id: str = "", look_up: LookUp | None = None, time_s: float = TIME_S
    ) -> None:
        self._reader, self._authserv_id, self._time_s = reader, authserv_id, time_s
        self._look_up = look_up or look_up_in_dns

    async def is_true(self, envelope: Envelope, raw: bytes, sender: Address) -> bool:
        """Return whether DKIM or SPF shows that `sender`, the From of `raw`, is true."""
        try:
            async with asyncio.timeout(self._time_s):
                return await self._ask(envelope, raw, sender)
        except (TimeoutError, ReaderDied):
            return False

    async def _ask(self, envelope: Envelope, raw: bytes, sender: Address) -> bool:
        records: dict[Name, tuple[str, ...] | None] = {}
        peer = envelope.peer
        for _ in range(ROUNDS):
            question = Question(
                from_domain=sender.domain,
                mail_from=str(envelope.mail_from) if envelope.mail_from else "",
                ip=peer.ip if peer else "",
                helo=peer.helo if peer else "",
                authserv_id=self._authserv_id,
                records=records,
            )
            answer = await self._reader.authenticate(raw, testimony.write_question(question))
            verdict = testimony.read_verdict(answer)
            fresh = [name for name in dict.fromkeys(verdict.wanted) if name not in records]
            if not fresh or len(records) + len(fresh) > NAMES:
                return verdict.is_true
            found = await asyncio.gather(*(self._look_up(*name) for name in fresh))
            records |= {name: _bounded(values) for name, values in zip(fresh, found, strict=True)}
        return False


def _bounded(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(value[:VALUE_CHARACTERS] for value in values[:VALUES])


async def look_up_in_dns(kind: str, name: str) -> tuple[str, ...] | None:
    """Return what the DNS says, by the name servers of this machine."""
    try:
        resolver = dns.asyncresolver.Resolver()
        answer = await resolver.resolve(f"{name}.", kind, lifetime=LOOK_UP_S, raise_on_no_answer=False)
    except dns.resolver.NXDOMAIN:
        return ()
    except (dns.exception.DNSException, ValueError, OSError):
        return None
    return tuple(_value(kind, record) for record in answer)


def _value(kind: str, record: object) -> str:
    strings = getattr(record, "strings", None)
    if kind == "TXT" and strings is not None:
        return b"".join(strings).decode("latin-1")  # RFC 7208 §3.3, RFC 6376 §3.6.2.2: put together without spaces
    return str(record).removesuffix(".")
