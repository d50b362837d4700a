"""How a decision changes the register: one small function for each act, all inside the letter's one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import date

from mailer.crypto.service_secrets import ServiceSecrets
from mailer.crypto.vault import RosterPublic
from mailer.errors import StoreConflict
from mailer.inward.look_up import Standing
from mailer.inward.states import ON_LIST, Act, after_all
from mailer.model.card import Card
from mailer.model.certificate import Certificate
from mailer.model.means import with_format, with_key, without_key
from mailer.model.provider import Providers
from mailer.model.request import Request
from mailer.model.subscriber import Drawer, Format, Method
from mailer.store import invitations, marks, pending, queue, roster
from mailer.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Change:
    """What an act needs. request: with what SET_LANGUAGE and SET_FORMAT set. new: whom MOVE leads to.

    words: the passphrase of whoever has none and wants PDFs.
    """

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
    words: str = ""
    further: tuple[Act, ...] = ()

    def __repr__(self) -> str:
        return f"Change({self.act})"


async def carry_out(tx: Transaction, change: Change) -> bool:
    """Do what was decided. Raises StoreConflict where they stand elsewhere by now, StoreError.

    Return False, doing nothing, where a token was used up in between, and for what is not in the table of states.
    """
    standing, mark = change.standing, change.standing.mark
    acts = (change.act, *change.further)
    state = after_all(standing.state, acts)
    if state is None or (mark is not None and not await pending.settle(tx, mark)):
        return False
    if standing.subscriber is not None and await roster.has_changed(tx, standing.subscriber):
        raise StoreConflict  # another letter of theirs was read at the same time: this one is decided about anew
    for act in acts:
        await _ACTS[act](tx, change)
    if standing.subscriber is not None and {standing.state, state} <= ON_LIST and state is not standing.state:
        await roster.set_state(tx, standing.subscriber.id, state)
    return True


async def _nothing_more(_tx: Transaction, _change: Change) -> None:
    """The reply, and where the table of states leads, is all there is to do."""


async def _join(tx: Transaction, change: Change) -> None:
    request, key, card = change.request, change.key, change.standing.card
    if request is None or (key is None and card is None):
        return
    invited, method, drawer = change.standing.found, Method.OPENPGP, Drawer()
    if invited is not None:  # and now here
        method, drawer = invited.subscriber.method, invited.drawer
        await roster.erase(tx, invited.subscriber.id, change.today, leave_mark=False)
    provider = change.providers.name_of(request.address)
    if card is not None:
        await _use(tx, card)
        method, drawer = _read_with(card, drawer)
    elif key is not None:
        method, drawer = with_key(method, drawer, key)
    new = roster.Newcomer.draw(change.random, drawer, request.language, provider, change.today, method)
    await roster.add(tx, change.secrets, change.public, change.standing.person, new)


async def _take_card(tx: Transaction, change: Change) -> None:
    found, card = change.standing.found, change.standing.card
    if found is None or card is None:
        return
    await _use(tx, card)
    await roster.alter_drawer(tx, found, lambda _, drawer: _read_with(card, drawer))
    await queue.drop_notices(tx, found.subscriber.id)


async def _use(tx: Transaction, card: Card) -> None:
    if not await invitations.use(tx, card.mark):
        raise StoreConflict  # somebody else was quicker: this letter is decided about anew


def _read_with(card: Card, drawer: Drawer) -> tuple[Method, Drawer]:
    return Method.PDF, replace(drawer, passphrase=card.words, format=Format.PDF)


async def _leave(tx: Transaction, change: Change) -> None:
    await _erase(tx, change, leave_mark=True)


async def _forget(tx: Transaction, change: Change) -> None:
    await _erase(tx, change, leave_mark=False)
    await _forget_mark(tx, change)  # of an earlier leaving, if they were invited to come back


async def _erase(tx: Transaction, change: Change, leave_mark: bool) -> None:
    if change.standing.subscriber is not None:
        await roster.erase(tx, change.standing.subscriber.id, change.today, leave_mark)


async def _forget_mark(tx: Transaction, change: Change) -> None:
    person = change.standing.person
    await roster.forget_mark(tx, person)
    await marks.note_forgotten(tx, person.list_id, person.suppression, change.today)  # a backup may still hold them


async def _set_key(tx: Transaction, change: Change) -> None:
    found, key = change.standing.found, change.key
    if found is None or key is None:
        return
    await roster.alter_drawer(tx, found, lambda method, drawer: with_key(method, drawer, key))
    await queue.drop_notices(tx, found.subscriber.id)


async def _drop_key(tx: Transaction, change: Change) -> None:
    found = change.standing.found
    if found is not None:
        await roster.alter_drawer(tx, found, without_key)


async def _set_language(tx: Transaction, change: Change) -> None:
    if change.standing.subscriber is not None and change.request is not None:
        await roster.set_language(tx, change.standing.subscriber.id, change.request.language)


async def _set_format(tx: Transaction, change: Change) -> None:
    found, wanted = change.standing.found, change.request.format if change.request else None
    if found is None or wanted is None:
        return

    def alter(method: Method, drawer: Drawer) -> tuple[Method, Drawer]:
        return with_format(drawer, wanted, change.words) or (method, drawer)

    await roster.alter_drawer(tx, found, alter)


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
    Act.SET_FORMAT: _set_format,
    Act.TAKE_CARD: _take_card,
    Act.PAUSE: _nothing_more,
    Act.RESUME: _nothing_more,
    Act.MOVE: _move,
}
