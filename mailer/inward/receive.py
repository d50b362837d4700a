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
from mailer.crypto import tokens, vault, words
from mailer.crypto.keyring import Keyring
from mailer.inward import allowance, answer, bounces, change
from mailer.inward.allowance import Limit
from mailer.inward.authentication import Authenticator
from mailer.inward.bounces import Returned
from mailer.inward.case import Heard, Listener, case_of
from mailer.inward.decide import Decision, To, decide
from mailer.inward.key_search import KeySearch
from mailer.inward.states import Act
from mailer.inward.understand import guess_language
from mailer.letters import seal
from mailer.letters.seal import Identity, Open, Sealed
from mailer.letters.write import Wording
from mailer.model.certificate import Certificate, Refused
from mailer.model.command import Verb
from mailer.model.language import Language
from mailer.model.letter import Letter
from mailer.model.mailing_list import MailingList
from mailer.model.policy import Policy
from mailer.model.provider import Providers
from mailer.model.request import Request
from mailer.model.subscriber import Format
from mailer.store import inbox, outbox, pending
from mailer.store.database import Database, Transaction

ROW_ID_BYTES = 12
REMEMBERED = timedelta(days=3650)  # signed letters, by a digest: in some nothing says when they were signed


class ContactFull(answer.NoContact):
    """A letter is for the list's contact, who has had as many today as [limits] allows. It is set aside."""


@dataclass
class Receiver:
    """What the walk needs. public: the roster's public half; nothing here opens a record.

    authenticator: looks whether senders are true, where [limits] asks for it. key_search: finds keys, where [wkd] does.
    """

    database: Database
    keyring: Keyring
    listener: Listener
    public: vault.RosterPublic
    policy: Policy = field(default_factory=Policy)
    providers: Providers = field(default_factory=Providers)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    random: Callable[[int], bytes] = os.urandom
    authenticator: Authenticator | None = None
    key_search: KeySearch | None = None
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
        if self.key_search is not None:
            heard = await self.key_search.complete(heard)
        is_true = await self._is_true(heard)
        with metrics.stage("decide"):
            decision = decide(case_of(heard, self.clock()))
            occasion = self._occasion(heard, decision)
            letters = await asyncio.to_thread(answer.write_and_seal, occasion, decision.replies)
            due = await allowance.bill(heard, decision, self.keyring.secrets, self.policy, self.clock())
            await self._store(waiting, heard, decision, occasion, letters, replace(due, is_true=is_true))
        return decision

    # --- write and seal ---------------------------------------------------------------------------------------------

    def _occasion(self, heard: Heard, decision: Decision) -> answer.Occasion:
        mailing_list = heard.arrival.mailing_list
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
            words=self._words(heard, decision, request),
            algorithms=heard.key.algorithms if isinstance(heard.key, Refused) else (),
        )

    def _words(self, heard: Heard, decision: Decision, request: Request) -> str:
        """Return the passphrase for somebody who wants PDFs from now on; "" for everybody else."""
        found = heard.standing.found
        if decision.act is not Act.SET_FORMAT or request.format is not Format.PDF or found is None:
            return ""
        return found.drawer.passphrase or words.new_passphrase(self.random)

    def _token(self, heard: Heard, decision: Decision) -> str | None:
        if decision.is_waiting:
            return heard.command.token
        return tokens.new_token(self.random) if decision.act is Act.ASK else None

    def _identity(self, mailing_list: MailingList) -> Identity:
        key = self.keyring.list_key(mailing_list.id, mailing_list.identity)
        smime = self.keyring.smime_key(mailing_list.id, mailing_list.identity)
        shown = (mailing_list.id, mailing_list.address, mailing_list.display_name)
        return Identity(*shown, key, mailing_list.is_shy, smime)

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
        due: allowance.Bill,
    ) -> None:
        async with self.database.write() as tx:
            if not await inbox.remove(tx, waiting.id):
                return  # another process was quicker
            if heard.is_signed and not await self._is_new(tx, heard.letter):
                return
            may_act, may_reply = await self._within_limits(tx, decision, due)
            if may_act and await change.carry_out(tx, self._change(heard, decision, occasion)):
                await self._queue(tx, occasion, letters if may_reply else [])

    async def _within_limits(self, tx: Transaction, decision: Decision, due: allowance.Bill) -> tuple[bool, bool]:
        """Count what the answers cost; return (may act, may reply): no question is kept unsent. Raises ContactFull."""
        limit = await allowance.pay(tx, due)
        if limit is Limit.CONTACT:
            raise ContactFull
        return limit is None or decision.act is not Act.ASK, limit is None

    async def _is_true(self, heard: Heard) -> bool:
        """Whether the sender may be answered: for all alike, whoever they are, but for those who proved it."""
        is_proven = heard.is_signed or heard.standing.has_token or heard.standing.request is not None
        if is_proven or not self.policy.needs_authentication:
            return True
        arrival, asked = heard.arrival, self.authenticator
        return asked is not None and await asked.is_true(arrival.envelope, arrival.raw, heard.letter.sender)

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
            words=occasion.words,
            further=decision.further,
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
        format=command.format,
        card=heard.standing.card,
        also=tuple(one.verb for one in command.also),
    )


def _language(heard: Heard) -> Language:
    """Return the language to write in: the subscriber's, else the one of the letter, else the list's."""
    if heard.standing.subscriber is not None:
        return heard.standing.subscriber.language
    if heard.standing.request is not None:
        return heard.standing.request.language
    if heard.standing.card is not None:
        return heard.standing.card.language
    return heard.command.language or guess_language(heard.letter) or heard.arrival.mailing_list.default_language


def _reply_language(heard: Heard, decision: Decision, request: Request) -> Language:
    if any(reply.to is To.CONTACT for reply in decision.replies):
        return heard.arrival.mailing_list.default_language
    return request.language if decision.act is Act.SET_LANGUAGE else _language(heard)
