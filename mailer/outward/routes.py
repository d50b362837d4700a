"""Routes: which relays are tried for a provider's subscribers, in which order, and which are out of order.

A relay that cannot be reached is left alone for everybody, and one that a provider does not like is left alone for
that provider; both are tried again, by one letter at a time, after a wait that doubles.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mailer.letters import seal
from mailer.letters.seal import Open, Sealed
from mailer.model.failure import Failure
from mailer.model.health import Health
from mailer.model.retry import Answer, Outcome
from mailer.outward.relay import Relay

EVERYBODY = "*"
DISLIKES = 5  # refusals in a row, of letters to different people, until they count as meant for the relay
_ABOUT_THE_RELAY = frozenset({Failure.POLICY, Failure.CENSORED, Failure.AUTHENTICATION})


@dataclass
class Outlet:
    """A relay, and the identity that it stands for ("": the list's own). busy: letters on their way over it.

    sign: returns the DKIM field for a letter's content and the domain that it is from; None where the relay signs.
    """

    relay: Relay
    identity: str = ""
    sign: Callable[[bytes, str], bytes] | None = None
    busy: int = 0

    @property
    def name(self) -> str:
        """The relay's name."""
        return self.relay.name

    @property
    def has_room(self) -> bool:
        """Whether to begin a letter for it: half as many as it has places are made ready meanwhile."""
        places = self.relay.places
        return self.busy < places + places // 2

    def prepare(self, letter: Sealed | Open) -> Sealed | Open:
        """Return the letter as this relay is to carry it."""
        if self.sign is None:
            return letter
        return seal.with_field(letter, self.sign(letter.content, letter.envelope_sender.domain))


@dataclass(frozen=True, slots=True)
class Route:
    """How mail to one provider goes. outlets: names, in order. connections, per_minute, max_octets: 0 for no limit."""

    outlets: tuple[str, ...]
    connections: int = 0
    per_minute: int = 0
    max_octets: int = 0


@dataclass
class Routes:
    """All outlets by name, the routes by provider (EVERYBODY for those without one), and how the outlets fare."""

    outlets: Mapping[str, Outlet]
    routes: Mapping[str, Route]
    clock: Callable[[], datetime]
    chance: random.Random = field(default_factory=random.SystemRandom)
    _reached: defaultdict[str, Health] = field(default_factory=lambda: defaultdict(Health))
    _liked: defaultdict[tuple[str, str], Health] = field(
        default_factory=lambda: defaultdict(lambda: Health(DISLIKES, first_wait_s=30.0, longest_wait_s=900.0))
    )

    def route(self, provider: str) -> Route:
        """Return the route of a provider."""
        return self.routes.get(provider) or self.routes.get(EVERYBODY) or Route(tuple(self.outlets))

    @property
    def have_room(self) -> bool:
        """Whether a letter could leave at once over any relay."""
        return any(outlet.has_room for outlet in self.outlets.values())

    def open_to(self, provider: str) -> list[Outlet]:
        """Return the outlets to try now for a provider, the best first."""
        now, names = self.clock(), self.route(provider).outlets
        return [self.outlets[name] for name in names if self._is_open(name, provider, now)]

    def is_open(self, outlet: Outlet, provider: str) -> bool:
        """Return whether an outlet is to be tried now for a provider."""
        return self._is_open(outlet.name, provider, self.clock())

    def is_in_doubt(self, outlet: Outlet) -> bool:
        """Return whether an outlet failed lately and has not been reached since."""
        return self._reached[outlet.name].failures > 0

    def begin(self, outlet: Outlet, provider: str) -> None:
        """Note that a letter is about to be given to an outlet."""
        self._reached[outlet.name].begin()
        self._liked[outlet.name, provider].begin()

    def note(self, outlet: Outlet, provider: str, began: datetime, outcome: Outcome) -> None:
        """Note how an outlet dealt with a letter that was begun then."""
        reached, liked = self._reached[outlet.name], self._liked[outlet.name, provider]
        if outcome.is_connection_lost:
            reached.fail(began, self.clock(), self.chance.random())
            liked.abandon()
            return
        reached.succeed()
        if outcome.failure in _ABOUT_THE_RELAY:
            liked.fail(began, self.clock(), self.chance.random())
        elif outcome.answer is Answer.LATER:
            liked.abandon()  # greylisting and full disks say nothing about the relay
        else:
            liked.succeed()

    def drop(self, outlet: Outlet, provider: str) -> None:
        """Note that a letter was not given to an outlet after all."""
        self._reached[outlet.name].abandon()
        self._liked[outlet.name, provider].abandon()

    async def send(self, letter: Sealed | Open, provider: str) -> tuple[Outcome, str]:
        """Give one letter to the first outlet that is open and takes it; return what it said and its name.

        Without an outlet the outcome is LATER, connection lost. Raises LetterUnusable.
        """
        outcome, name = Outcome(Answer.LATER, is_connection_lost=True), ""
        for outlet in self.open_to(provider):
            began = self.clock()
            self.begin(outlet, provider)
            try:
                async with outlet.relay.connection() as connection:
                    outcome, name = await connection.send(outlet.prepare(letter), lambda: True), outlet.name
            except BaseException:
                self.drop(outlet, provider)
                raise
            self.note(outlet, provider, began, outcome)
            if not is_for_another(outcome):
                break
        return outcome, name

    def _is_open(self, name: str, provider: str, now: datetime) -> bool:
        return self._reached[name].is_open(now) and self._liked[name, provider].is_open(now)


def is_for_another(outcome: Outcome) -> bool:
    """Return whether another relay may do better: this one has not got the letter, and the reason lies with it.

    Where the connection broke after the final dot, the relay may have the letter: another would send it twice.
    """
    if outcome.is_connection_lost:
        return not outcome.is_in_doubt
    return outcome.answer is not Answer.ACCEPTED and outcome.failure in _ABOUT_THE_RELAY


def shared_out(connections: int, number: int, processes: int) -> int:
    """Return how many of so many connections the process with this number has; number 0 has one at least."""
    return connections // processes + (number < connections % processes)
