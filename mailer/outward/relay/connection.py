"""A connection to a relay that speaks SMTP; opened when there is a letter, opened anew when the relay ended it."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from mailer.letters.seal import Open, Sealed
from mailer.model.retry import Outcome
from mailer.outward.relay.opening import TROUBLES, open_session, read_trouble
from mailer.outward.relay.parcel import Parcel, pack
from mailer.outward.relay.session import Session
from mailer.outward.relay.settings import RelaySettings

_log = logging.getLogger(__name__)


class SmtpConnection:
    """A Connection, for one task at a time."""

    def __init__(self, settings: RelaySettings, tls: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._tls = tls
        self._session: Session | None = None

    async def send(self, letter: Sealed | Open, may_finish: Callable[[], bool] = lambda: True) -> Outcome:
        """As Connection.send. At False from may_finish the connection is dropped and the relay has nothing."""
        parcel = pack(letter)
        was_open = self._is_open
        try:
            outcome = await self._attempt(parcel, may_finish)
            if outcome.is_connection_lost and was_open and not self._has_begun:
                outcome = await self._attempt(parcel, may_finish)  # the relay had ended an idle connection
        except BaseException:
            self.abort()
            raise
        return outcome

    async def _attempt(self, parcel: Parcel, may_finish: Callable[[], bool]) -> Outcome:
        try:
            if self._session is None or not self._session.is_open:
                self.abort()
                self._session = await open_session(self._settings, self._tls)
            return await self._session.give(parcel, may_finish)
        except TROUBLES as error:
            what = type(error.__cause__ or error).__name__  # never its text, which may quote the relay
            _log.warning("relay %s failed: %s; what waits is tried again", self._settings.name, what)
            if self._session is None:
                return read_trouble(error)
            self._session.abort()
            return replace(read_trouble(error), is_in_doubt=self._session.is_in_doubt)

    @property
    def _is_open(self) -> bool:
        return self._session is not None and self._session.is_open

    @property
    def _has_begun(self) -> bool:
        return self._session is not None and self._session.has_begun

    def abort(self) -> None:
        """Drop the connection at once."""
        session, self._session = self._session, None
        if session is not None:
            session.abort()

    async def close(self) -> None:
        """Say goodbye and hang up."""
        if self._session is not None and self._session.is_open:
            with suppress(*TROUBLES):
                await self._session.close()
        self.abort()
