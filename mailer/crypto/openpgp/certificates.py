"""Judges certificates: usable, or refused for a named reason; and reduces them to what is needed.

The packets are read here; signatures are checked by the Checker that is given (`crypto.openpgp` gives Sequoia): a
component counts only if a trial with it and its own signatures succeeds. Nothing here trusts an unverified signature,
except where that makes a certificate *less* usable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from mailer.crypto.openpgp import likeness, minimal, nameless, packets, sheaves
from mailer.crypto.openpgp.claims import CERTIFICATIONS, Flag, Key, Kind, Signature
from mailer.crypto.openpgp.sheaves import Component, Sheaf, TooLarge
from mailer.errors import BadAddress
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Refusal, Refused

MINIMAL_OCTETS_MAX = 1 << 17
SUBKEYS_MAX = 8  # of each kind, the newest: every one makes each letter to this subscriber dearer
SIGNING_BINDINGS_MAX = 2  # Sequoia checks them when it verifies a letter
BUDGET = 6000  # units of one signature check with Ed25519, below 0.1 ms, in one call of `examine`
_DEAR = {"rsa3": 2, "rsa4": 3, "dsa": 12, "nistp": 8, "ed448": 4, "mldsa65": 2, "mldsa87": 8, "slhdsa": 20}
_WORTH_SAYING = (*(Refusal.EXPIRED_SUBKEY, Refusal.REVOKED, Refusal.WEAK, Refusal.NOT_YET_VALID, Refusal.UNSUPPORTED),)


class Checker(Protocol):
    """Checks the signatures of a certificate that was put together for the purpose."""

    def expiry(self, certificate: bytes) -> tuple[bool, datetime | None]:
        """Return whether a valid self-signature vouches for the primary key, and until when."""

    def is_revoked(self, certificate: bytes) -> bool:
        """Return whether the primary key is revoked."""

    def recipients(self, certificate: bytes) -> frozenset[bytes]:
        """Return the IDs of the keys that a message would be encrypted to, alive or not; none where none can."""


def examine(blob: bytes, now: datetime, checker: Checker) -> tuple[Certificate | Refused, ...]:
    """Return a verdict on each certificate in `blob`, binary or armored, whatever stands around it; at least one."""
    try:
        gathered = sheaves.gather(blob)
    except TooLarge:
        return (Refused(Refusal.TOO_LARGE),)
    budgeted = _Budgeted(checker)
    verdicts = [_judge(sheaf, now, budgeted) for sheaf in gathered.sheaves]
    if gathered.has_secret and not any(sheaf.is_secret for sheaf in gathered.sheaves):
        verdicts.append(Refused(Refusal.SECRET))
    return tuple(verdicts) or (likeness.refuse(blob),)


def bearers(blob: bytes, address: Address, checker: Checker) -> frozenset[str]:
    """Return the fingerprints of the certificates in `blob` that have this address as a user ID, vouched for."""
    try:
        found = sheaves.gather(blob).sheaves
        budgeted = _Budgeted(checker)
        return frozenset(sheaf.key.fingerprint for sheaf in found if _bears(sheaf, address, budgeted))
    except TooLarge:
        return frozenset()


def _bears(sheaf: Sheaf, address: Address, budgeted: _Budgeted) -> bool:
    for name, user_id in sheaf.user_ids.items():
        vouching = user_id.of(*CERTIFICATIONS)
        if not vouching or user_id.of(Kind.USER_ID_REVOCATION) or _mailbox(name) != address.normalised:
            continue
        alone = sheaf.primary.packet.raw + user_id.with_only(vouching)
        if budgeted(len(vouching), sheaf.key).expiry(alone)[0]:
            return True
    return False


def _mailbox(user_id: bytes) -> str | None:
    """Return the address in a user ID, normalised (RFC 9580 §5.11: `Name <address>` by convention, or the address)."""
    text = user_id.decode("utf-8", "replace").strip()
    if text.endswith(">"):
        text = text[text.rfind("<") + 1 : -1]
    try:
        return Address.parse(text).normalised
    except BadAddress:
        return None


def _judge(sheaf: Sheaf, now: datetime, budgeted: _Budgeted) -> Certificate | Refused:
    key = sheaf.key
    if sheaf.is_secret:
        return Refused(Refusal.SECRET)
    if not key.fingerprint:
        return Refused(key.weakness or Refusal.UNSUPPORTED, None, (key.algorithm,))
    try:
        return _Judgement(sheaf, int(now.timestamp()), budgeted).verdict()
    except TooLarge:
        return Refused(Refusal.TOO_LARGE, key.fingerprint, (key.algorithm,))


class _Budgeted:
    """A checker that gives up before it takes too long."""

    def __init__(self, checker: Checker) -> None:
        self._checker = checker
        self._left = BUDGET

    def __call__(self, signatures: int, key: Key) -> Checker:
        price = next((price for name, price in _DEAR.items() if key.algorithm.startswith(name)), 1)
        self._left -= (signatures + 2) * price
        if self._left < 0:
            raise TooLarge
        return self._checker


@dataclass
class _Kept:
    """A subkey that goes into the minimal certificate. dies: seconds, or None."""

    component: Component
    key: Key
    bindings: list[Signature]
    dies: int | None = None


@dataclass
class _Judgement:
    """One certificate's way to its verdict. head: primary key and what vouches for it, minimal. weak_hash: to blame."""

    sheaf: Sheaf
    now: int
    checker: _Budgeted
    head: bytes = b""
    weak_hash: str = ""
    primary_dies: int | None = None

    def verdict(self) -> Certificate | Refused:
        key = self.sheaf.key
        if self.sheaf.is_nameless and not key.weakness and not self._is_revoked():
            return self._judge_nameless()
        reason = self._judge_primary()
        if reason:
            return self._refused(reason, self.primary_dies)
        outcomes = [self._judge_subkey(subkey) for subkey in self.sheaf.subkeys.values()]
        usable = _newest([outcome for outcome in outcomes if isinstance(outcome, _Kept)])
        primary_id = {key.key_id} if key.can_encrypt and key.key_id in self._recipients(self.head, 2) else set()
        if not usable and not primary_id:
            return self._refuse_subkeys([outcome for outcome in outcomes if isinstance(outcome, Refused)])
        kept = [*usable, *self._signing_subkeys(usable)]
        blob = self.head + b"".join(each.component.with_only(each.bindings) for each in kept)
        if len(blob) > MINIMAL_OCTETS_MAX:
            raise TooLarge
        reached = self._recipients(blob, len(kept) + 2)
        if not reached or not reached <= primary_id | {each.key.key_id for each in usable}:
            return self._refused(Refusal.UNSUPPORTED)
        subkeys_die = None if primary_id else minimal.latest(each.dies for each in usable)
        expires = _as_datetime(minimal.earliest(self.primary_dies, subkeys_die))
        return Certificate(blob, key.fingerprint, expires, self._algorithms(usable), key.version)

    def _algorithms(self, usable: Iterable[_Kept]) -> tuple[str, ...]:
        return (self.sheaf.key.algorithm, *(each.key.algorithm for each in usable))

    def _refused(self, reason: Refusal, dies: int | None = None, subkey: Key | None = None) -> Refused:
        expires = _as_datetime(dies) if reason in {Refusal.EXPIRED, Refusal.EXPIRED_SUBKEY} else None
        names = [key.algorithm for key in (self.sheaf.key, subkey) if key]
        names += [self.weak_hash] if self.weak_hash and reason is Refusal.WEAK else []
        return Refused(reason, self.sheaf.key.fingerprint, tuple(names), expires)

    # --- Without any signature about the primary key, as some key servers hand certificates out.

    def _judge_nameless(self) -> Certificate | Refused:
        outcomes = [self._judge_nameless_subkey(subkey) for subkey in self.sheaf.subkeys.values()]
        usable = _newest([outcome for outcome in outcomes if isinstance(outcome, _Kept)])
        if not usable:
            refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
            return self._refuse_subkeys(refused) if refused else self._refused(Refusal.NOT_A_CERTIFICATE)
        blob = self.sheaf.primary.packet.raw + b"".join(each.component.with_only(each.bindings) for each in usable)
        reached = self._recipients(nameless.adopt(blob), len(usable) + 2)
        if reached != {each.key.key_id for each in usable}:
            return self._refused(Refusal.UNSUPPORTED)
        expires = _as_datetime(minimal.latest(each.dies for each in usable))
        return Certificate(blob, self.sheaf.key.fingerprint, expires, self._algorithms(usable), self.sheaf.key.version)

    def _judge_nameless_subkey(self, subkey: Component) -> _Kept | Refused | None:
        key, bindings = minimal.read_key(subkey), self._valid_bindings(subkey)
        if key is None or not bindings or not bindings[0].may(Flag.ENCRYPT):
            return None
        if key.weakness or not key.can_encrypt or key.version != self.sheaf.key.version:
            return self._refused(key.weakness, subkey=key) if key.weakness else None
        if subkey.of(Kind.SUBKEY_REVOCATION):
            return self._refused(Refusal.REVOKED, subkey=key)
        dies = minimal.death_by(key, bindings[0])
        is_dead = minimal.is_past(dies, self.now)
        return self._refused(Refusal.EXPIRED_SUBKEY, dies, key) if is_dead else _Kept(subkey, key, bindings[:1], dies)

    def _valid_bindings(self, subkey: Component) -> list[Signature]:
        primary, body = self.sheaf.primary.packet.body, subkey.packet.body
        found = []
        for one in subkey.of(Kind.BINDING):
            self.checker(1, self.sheaf.key)  # it is counted like those that Sequoia checks
            is_now = (one.created or 0) <= self.now and not one.weak_hash
            if is_now and nameless.is_bound(primary, body, next(packets.walk(one.raw)).body):
                found.append(one)
        return found

    # --- The primary key: not revoked, vouched for by a signature of its own, alive.

    def _judge_primary(self) -> Refusal | None:
        if self._is_revoked():
            return Refusal.REVOKED
        if self.sheaf.key.weakness:
            return self.sheaf.key.weakness
        candidates = self.sheaf.self_signatures
        is_valid, dies = self._expiry(self._whole_head(), len(candidates))
        if not is_valid:
            return self._why_unvouched(candidates)
        self.head = self._least_head(dies)
        (least,) = sheaves.sort(packets.walk(self.head))
        self.primary_dies = minimal.earliest(_as_seconds(dies), minimal.death_of_primary(least))
        return Refusal.EXPIRED if minimal.is_past(self.primary_dies, self.now) else None

    def _is_revoked(self) -> bool:
        primary = self.sheaf.primary
        revocations = primary.of(Kind.KEY_REVOCATION)
        if not revocations:
            return False
        checker = self.checker(2 * len(revocations), self.sheaf.key)
        # Alone first: for Sequoia a later self-signature undoes "superseded" or "retired", for GnuPG nothing does. Then
        # with those that may name somebody else as revoker (RFC 9580 §5.2.3.23), whose signature nobody here can check.
        tries = (revocations, revocations + primary.of(Kind.DIRECT))
        return any(checker.is_revoked(primary.with_only(signatures)) for signatures in tries)

    def _whole_head(self) -> bytes:
        user_ids = (user_id.with_only(user_id.signatures) for user_id in self.sheaf.user_ids.values())
        return self.sheaf.primary.with_only(self.sheaf.primary.of(Kind.DIRECT)) + b"".join(user_ids)

    def _least_head(self, dies: datetime | None) -> bytes:
        """Return the primary key with as few self-signatures as give it the same life and preferences."""
        primary = self.sheaf.primary
        direct = self._newest_valid(primary, primary.of(Kind.DIRECT))
        head = primary.with_only([direct] if direct else [])
        if direct and direct.flags is not None and direct.features is not None and self._expiry(head, 1)[1] == dies:
            return head
        heads = []
        for user_id in sorted(self.sheaf.user_ids.values(), key=_precedence, reverse=True):
            newest = self._newest_valid(user_id, user_id.of(*CERTIFICATIONS))
            if newest:
                heads.append(head + user_id.with_only([newest]))
                if self._expiry(heads[-1], 2)[1] == dies:
                    return heads[-1]
        return heads[0] if heads else head

    def _newest_valid(self, component: Component, candidates: Iterable[Signature]) -> Signature | None:
        before = b"" if component is self.sheaf.primary else self.sheaf.primary.packet.raw
        return next((one for one in candidates if self._expiry(before + component.with_only([one]), 1)[0]), None)

    def _why_unvouched(self, candidates: list[Signature]) -> Refusal:
        if not candidates:
            return Refusal.NOT_A_CERTIFICATE  # a bare key
        newest = max(candidates, key=lambda one: one.created or 0)
        if (newest.created or 0) > self.now:
            return Refusal.NOT_YET_VALID
        # Not verified, but an owner who extends it mends a weak hash as well.
        self.primary_dies = minimal.death_by(self.sheaf.key, newest)
        if minimal.is_past(self.primary_dies, self.now):
            return Refusal.EXPIRED
        if all(one.weak_hash for one in candidates):
            self.weak_hash = newest.weak_hash
            return Refusal.WEAK
        return Refusal.NOT_A_CERTIFICATE  # damaged or forged

    # --- Subkeys: each alone with its own signatures, so that none hides behind another.

    def _judge_subkey(self, subkey: Component) -> _Kept | Refused | None:
        """None for a subkey that was never meant for encryption, or that the primary key does not vouch for."""
        key = minimal.read_key(subkey)
        bindings = subkey.of(Kind.BINDING)
        if key is None or not any(one.flags is None or one.may(Flag.ENCRYPT) for one in bindings):
            return None
        if key.weakness or not key.can_encrypt or key.version != self.sheaf.key.version:
            return self._refused(key.weakness, subkey=key) if key.weakness else None
        if not self._reaches(key, subkey, bindings):
            return self._why_unreached(key, bindings)
        valid = (one for one in bindings if self._reaches(key, subkey, [one]))
        binding = next(valid, None)
        if binding is None:
            return self._refused(Refusal.UNSUPPORTED, subkey=key)
        if self._is_subkey_revoked(key, subkey, [binding, *valid] if subkey.of(Kind.SUBKEY_REVOCATION) else []):
            return self._refused(Refusal.REVOKED, subkey=key)
        dies = minimal.death_by(key, binding)
        is_dead = minimal.is_past(dies, self.now)
        return self._refused(Refusal.EXPIRED_SUBKEY, dies, key) if is_dead else _Kept(subkey, key, [binding], dies)

    def _is_subkey_revoked(self, key: Key, subkey: Component, bindings: Iterable[Signature]) -> bool:
        """Whether a revocation undoes any of the valid bindings; a later one makes no difference, as with GnuPG."""
        revocations = subkey.of(Kind.SUBKEY_REVOCATION)
        return any(not self._reaches(key, subkey, [*revocations, one]) for one in bindings)

    def _reaches(self, key: Key, subkey: Component, signatures: list[Signature]) -> bool:
        return key.key_id in self._recipients(self.head + subkey.with_only(signatures), len(signatures) + 1)

    def _why_unreached(self, key: Key, bindings: list[Signature]) -> Refused | None:
        dies = minimal.death_by(key, bindings[0])
        if minimal.is_past(dies, self.now):
            return self._refused(Refusal.EXPIRED_SUBKEY, dies, key)
        if all(one.weak_hash for one in bindings):
            self.weak_hash = bindings[0].weak_hash
            return self._refused(Refusal.WEAK, subkey=key)
        if (bindings[0].created or 0) > self.now:
            return self._refused(Refusal.NOT_YET_VALID, subkey=key)
        is_strange = all(one.flags is None for one in bindings)
        return self._refused(Refusal.UNSUPPORTED, subkey=key) if is_strange else None

    def _refuse_subkeys(self, refused: list[Refused]) -> Refused:
        for reason in _WORTH_SAYING:
            those = [one for one in refused if one.reason is reason]
            if those:
                return max(those, key=lambda one: one.expires or datetime.min.replace(tzinfo=UTC))
        return self._refused(Refusal.SIGN_ONLY)

    def _signing_subkeys(self, usable: list[_Kept]) -> list[_Kept]:
        """Return those that verify the subscriber's letters. One with a revocation, valid or not, is left out."""
        taken = {id(each.component) for each in usable}
        kept = []
        for subkey in self.sheaf.subkeys.values():
            key, bindings = minimal.read_key(subkey), subkey.of(Kind.BINDING)[:SIGNING_BINDINGS_MAX]
            if key is None or key.weakness or id(subkey) in taken or subkey.of(Kind.SUBKEY_REVOCATION):
                continue
            is_signing = any(one.may(Flag.SIGN) for one in bindings)
            if is_signing and not minimal.is_past(minimal.death_by(key, bindings[0]), self.now):
                kept.append(_Kept(subkey, key, bindings))
        return _newest(kept)

    def _expiry(self, certificate: bytes, signatures: int) -> tuple[bool, datetime | None]:
        return self.checker(signatures, self.sheaf.key).expiry(certificate)

    def _recipients(self, certificate: bytes, signatures: int) -> frozenset[bytes]:
        return self.checker(signatures, self.sheaf.key).recipients(certificate)


def _newest(subkeys: list[_Kept]) -> list[_Kept]:
    return sorted(subkeys, key=lambda each: each.key.created)[-SUBKEYS_MAX:]


def _precedence(user_id: Component) -> tuple[bool, bool, int]:
    """The user ID that speaks for the key: not revoked, marked as primary, signed last (RFC 9580 §5.2.3.27)."""
    newest = next(iter(user_id.of(*CERTIFICATIONS)), None)
    is_revoked = bool(user_id.of(Kind.USER_ID_REVOCATION))
    return not is_revoked, bool(newest and newest.is_primary_user_id), (newest.created or 0) if newest else 0


def _as_datetime(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(min(seconds, _LAST_SECOND), UTC)


def _as_seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


_LAST_SECOND = int(datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp())
