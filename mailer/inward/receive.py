"""A letter's way in, from the inbox to the outbox: parse, understand (inward/case), decide, write, seal, store.

One transaction at the end holds the change, the replies and the removal of the letter; until it commits, nothing has
happened, and a process that dies begins again (inward/worker).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from mailer import metrics
from mailer.crypto import tokens, vault
from mailer.crypto.keyring import Keyring
from mailer.errors import SealBroken
from mailer.inward import answer, bounces, change
from mailer.inward.bounces import Returned
from mailer.inward.case import Heard, Listener, case_of
from mailer.inward.decide import Decision, To, decide
from mailer.inward.states import ON_LIST, Act
from mailer.inward.understand import guess_language
from mailer.letters import seal
from mailer.letters.seal import Identity, Open, Sealed
from mailer.letters.write import Wording
from mailer.model.certificate import Certificate
from mailer.model.command import Verb
from mailer.model.language import Language
from mailer.model.letter import Letter
from mailer.model.mailing_list import MailingList
from mailer.model.policy import Policy
from mailer.model.provider import Providers
from mailer.model.request import Request
from mailer.store import inbox, outbox, pending
from mailer.store.database import Database, Transaction

ROW_ID_BYTES = 12
REMEMBERED = timedelta(days=3650)  # signed letters, by a digest: in some nothing says when they were signed


class NoContact(SealBroken):
    """A letter is for the list's contact, but config.toml names no contact_key for the list. It is set aside."""


@dataclass
class Receiver:
    """What the walk needs. public: the roster's public half; nothing here opens a record."""

    database: Database
    keyring: Keyring
    listener: Listener
    public: vault.RosterPublic
    policy: Policy = field(default_factory=Policy)
    providers: Providers = field(default_factory=Providers)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    random: Callable[[int], bytes] = os.urandom
    _wordings: dict[str, Wording] = field(default_factory=dict)

    async def receive(self, waiting: inbox.Waiting) -> Decision:
        """Walk one letter from the inbox to its replies; return what was decided.

        Raises Unreadable, SealBroken, NoContact, TemplateError (set the letter aside), Locked, StoreError (later).
        """
        with metrics.stage("read"):
            heard = await self.listener.hear(waiting)
        if heard is None:
            return await self._drop(waiting)
        if isinstance(heard, Returned):
            return await self._take_back(waiting, heard)
        with metrics.stage("decide"):
            decision = decide(case_of(heard, self.clock()))
            occasion = self._occasion(heard, decision)
            letters = await asyncio.to_thread(answer.write_and_seal, occasion, decision.replies)
            await self._store(waiting, heard, decision, occasion, letters)
        return decision

    # --- write and seal ---------------------------------------------------------------------------------------------

    def _occasion(self, heard: Heard, decision: Decision) -> answer.Occasion:
        mailing_list = heard.arrival.mailing_list
        if any(reply.to is To.CONTACT for reply in decision.replies) and mailing_list.contact_certificate is None:
            raise NoContact
        request = _request(heard, decision)
        return answer.Occasion(
            mailing_list=mailing_list,
            identity=self._identity(mailing_list),
            wording=self._wording(mailing_list),
            secrets=self.keyring.secrets,
            language=_reply_language(heard, decision, request),
            writer=heard.letter.sender,
            standing=heard.standing,
            key=heard.key if isinstance(heard.key, Certificate) else None,
            request=request,
            token=self._token(heard, decision),
            pending_days=self.policy.pending_days,
            raw=heard.arrival.raw,
            now=self.clock(),
        )

    def _token(self, heard: Heard, decision: Decision) -> str | None:
        if decision.is_waiting:
            return heard.command.token
        return tokens.new_token(self.random) if decision.act is Act.ASK else None

    def _identity(self, mailing_list: MailingList) -> Identity:
        key = self.keyring.list_key(mailing_list.id, mailing_list.identity)
        return Identity(mailing_list.id, mailing_list.address, mailing_list.display_name, key)

    def _wording(self, mailing_list: MailingList) -> Wording:
        if mailing_list.id not in self._wordings:
            self._wordings[mailing_list.id] = Wording(mailing_list.wording)
        return self._wordings[mailing_list.id]

    # --- store ------------------------------------------------------------------------------------------------------

    async def _drop(self, waiting: inbox.Waiting) -> Decision:
        async with self.database.write() as tx:
            await inbox.remove(tx, waiting.id)
        return Decision(Act.NOTHING, reason="automatic")

    async def _take_back(self, waiting: inbox.Waiting, returned: Returned) -> Decision:
        async with self.database.write() as tx:
            if await inbox.remove(tx, waiting.id):
                await bounces.settle(tx, returned, self.clock())
        return Decision(Act.NOTHING, reason=returned.report.kind)

    async def _store(
        self,
        waiting: inbox.Waiting,
        heard: Heard,
        decision: Decision,
        occasion: answer.Occasion,
        letters: list[Sealed | Open],
    ) -> None:
        async with self.database.write() as tx:
            if not await inbox.remove(tx, waiting.id):
                return  # another process was quicker
            if heard.is_signed and not await self._is_new(tx, heard.letter):
                return
            may_act, may_reply = await self._within_limits(tx, heard, decision)
            if may_act and await change.carry_out(tx, self._change(heard, decision, occasion)):
                await self._queue(tx, occasion, letters if may_reply else [])

    async def _within_limits(self, tx: Transaction, heard: Heard, decision: Decision) -> tuple[bool, bool]:
        """Count against the limits of whoever a letter of ours would reach; return (may act, may reply)."""
        standing, policy, now = heard.standing, self.policy, self.clock()
        day, expires = now.date().isoformat(), now + timedelta(days=2)
        if decision.act is Act.ASK:
            is_to_new = any(reply.to is To.NEW_ADDRESS for reply in decision.replies)
            who = heard.new if is_to_new and heard.new else standing.person
            is_known = standing.state in ON_LIST and not is_to_new
            what = f"confirm/{decision.request}" if is_known else "confirm"
            limit = policy.confirmations_per_day
            may_ask = await pending.take(tx, who.index.look_up, what, day, limit, expires)
            return may_ask, may_ask
        if decision.act is not Act.NOTHING and (standing.request or standing.has_token):
            return True, True  # a token changes something once
        known = standing.state in ON_LIST
        for reply in decision.replies:
            what, limit = ("reply", policy.replies_per_day) if known else (f"reply/{reply.template}", 1)
            is_counted = reply.to is not To.CONTACT
            if is_counted and not await pending.take(tx, standing.person.index.look_up, what, day, limit, expires):
                return True, False
        return True, True

    async def _is_new(self, tx: Transaction, letter: Letter) -> bool:
        """Whether a signed letter comes for the first time: whoever saw one pass by could send it again."""
        assert letter.signed_digest is not None
        return await pending.take(tx, letter.signed_digest, "signed letter", "", 1, self.clock() + REMEMBERED)

    def _change(self, heard: Heard, decision: Decision, occasion: answer.Occasion) -> change.Change:
        return change.Change(
            act=decision.act,
            standing=heard.standing,
            request=occasion.request,
            key=occasion.key,
            new=heard.new,
            secrets=self.keyring.secrets,
            public=self.public,
            providers=self.providers,
            random=self.random,
            today=self.clock().date(),
        )

    async def _queue(self, tx: Transaction, occasion: answer.Occasion, letters: list[Sealed | Open]) -> None:
        secrets, now = self.keyring.secrets, self.clock()
        if occasion.token is not None and occasion.request is not None:
            mark, sealed = pending.seal_request(secrets, occasion.standing.person, occasion.request, occasion.token)
            await pending.ask(tx, mark, sealed, now + timedelta(days=self.policy.pending_days))
        for letter in letters:
            row_id = self.random(ROW_ID_BYTES)
            sealed_letter = vault.seal_at_rest(secrets.rest_key, seal.to_bytes(letter), "outbox", row_id)
            await outbox.add(tx, row_id, sealed_letter, now)


def _request(heard: Heard, decision: Decision) -> Request:
    """Return what a decision is about: what is confirmed now, or what is asked for."""
    if heard.standing.request is not None:
        return replace(heard.standing.request, is_second_step=decision.is_second_step)
    verb, command = decision.request or heard.command.verb, heard.command
    key = heard.key if isinstance(heard.key, Certificate) else None
    wanted = command.language if command.verb is Verb.SET_LANGUAGE else None
    return Request(
        verb=verb,
        address=heard.letter.sender,
        language=wanted or _language(heard),
        certificate=key if verb in (Verb.SUBSCRIBE, Verb.SET_KEY) else None,
        new_address=command.new_address,
        is_second_step=decision.is_second_step,
    )


def _language(heard: Heard) -> Language:
    """Return the language to write in: the subscriber's, else the one of the letter, else the list's."""
    if heard.standing.subscriber is not None:
        return heard.standing.subscriber.language
    if heard.standing.request is not None:
        return heard.standing.request.language
    return heard.command.language or guess_language(heard.letter) or heard.arrival.mailing_list.default_language


def _reply_language(heard: Heard, decision: Decision, request: Request) -> Language:
    if any(reply.to is To.CONTACT for reply in decision.replies):
        return heard.arrival.mailing_list.default_language
    return request.language if decision.act is Act.SET_LANGUAGE else _language(heard)
