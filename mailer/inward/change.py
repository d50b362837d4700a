"""How a decision changes the register: one small function for each act, all inside the letter's one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import date

from mailer.crypto.service_secrets import ServiceSecrets
from mailer.crypto.vault import RosterPublic
from mailer.errors import StoreConflict
from mailer.inward.look_up import Standing
from mailer.inward.states import ON_LIST, Act, after
from mailer.model.certificate import Certificate
from mailer.model.provider import Providers
from mailer.model.request import Request
from mailer.model.subscriber import Drawer
from mailer.store import pending, queue, roster
from mailer.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Change:
    """What an act needs. request: with its language for SET_LANGUAGE. new: whom MOVE leads to."""

    act: Act
    standing: Standing
    request: Request | None
    key: Certificate | None
    new: roster.Person | None
    secrets: ServiceSecrets
    public: RosterPublic
    providers: Providers
    random: Callable[[int], bytes]
    today: date

    def __repr__(self) -> str:
        return f"Change({self.act})"


async def carry_out(tx: Transaction, change: Change) -> bool:
    """Do what was decided. Raises StoreConflict where they stand elsewhere by now, StoreError.

    Return False, doing nothing, where a token was used up in between, and for what is not in the table of states.
    """
    standing, mark = change.standing, change.standing.mark
    state = after(standing.state, change.act)
    if state is None or (mark is not None and not await pending.settle(tx, mark)):
        return False
    if standing.subscriber is not None and await roster.has_changed(tx, standing.subscriber):
        raise StoreConflict  # another letter of theirs was read at the same time: this one is decided about anew
    await _ACTS[change.act](tx, change)
    if standing.subscriber is not None and {standing.state, state} <= ON_LIST and state is not standing.state:
        await roster.set_state(tx, standing.subscriber.id, state)
    return True


async def _nothing_more(_tx: Transaction, _change: Change) -> None:
    """The reply, and where the table of states leads, is all there is to do."""


async def _join(tx: Transaction, change: Change) -> None:
    request, key = change.request, change.key
    if request is None or key is None:
        return
    if change.standing.found is not None:  # invited, and now here
        await roster.erase(tx, change.standing.found.subscriber.id, change.today, leave_mark=False)
    provider = change.providers.name_of(request.address)
    drawer = Drawer(key.blob, key.fingerprint)
    new = roster.Newcomer.draw(change.random, drawer, request.language, provider, change.today)
    await roster.add(tx, change.secrets, change.public, change.standing.person, new)


async def _leave(tx: Transaction, change: Change) -> None:
    await _erase(tx, change, leave_mark=True)


async def _forget(tx: Transaction, change: Change) -> None:
    await _erase(tx, change, leave_mark=False)
    await roster.forget_mark(tx, change.standing.person)  # of an earlier leaving, if they were invited to come back


async def _erase(tx: Transaction, change: Change, leave_mark: bool) -> None:
    if change.standing.subscriber is not None:
        await roster.erase(tx, change.standing.subscriber.id, change.today, leave_mark)


async def _forget_mark(tx: Transaction, change: Change) -> None:
    await roster.forget_mark(tx, change.standing.person)


async def _set_key(tx: Transaction, change: Change) -> None:
    found, key = change.standing.found, change.key
    if found is None or key is None:
        return
    await roster.put_in_drawer(tx, found, replace(found.drawer, certificate=key.blob, fingerprint=key.fingerprint))
    await queue.drop_notices(tx, found.subscriber.id)


async def _drop_key(tx: Transaction, change: Change) -> None:
    found = change.standing.found
    if found is not None:
        await roster.put_in_drawer(tx, found, replace(found.drawer, certificate=b"", fingerprint=""))


async def _set_language(tx: Transaction, change: Change) -> None:
    if change.standing.subscriber is not None and change.request is not None:
        await roster.set_language(tx, change.standing.subscriber.id, change.request.language)


async def _move(tx: Transaction, change: Change) -> None:
    found, new = change.standing.found, change.new
    if found is None or new is None:
        return
    await roster.move(tx, change.public, found, new, change.providers.name_of(new.address))
    await roster.forget_mark(tx, new)
    await pending.drop_all_of(tx, new.index.look_up)
    await pending.drop_all_of(tx, change.standing.person.index.look_up)


_ACTS: dict[Act, Callable[[Transaction, Change], Awaitable[None]]] = {
    Act.NOTHING: _nothing_more,
    Act.ASK: _nothing_more,  # the request is stored beside the letter that holds its token
    Act.JOIN: _join,
    Act.LEAVE: _leave,
    Act.FORGET: _forget,
    Act.FORGET_MARK: _forget_mark,
    Act.SET_KEY: _set_key,
    Act.DROP_KEY: _drop_key,
    Act.SET_LANGUAGE: _set_language,
    Act.PAUSE: _nothing_more,
    Act.RESUME: _nothing_more,
    Act.MOVE: _move,
}
