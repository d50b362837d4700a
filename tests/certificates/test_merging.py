"""A certificate that comes again: what is newer is taken, what is older undoes nothing, what is added is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailer.crypto import openpgp
from mailer.crypto.openpgp import News
from mailer.model.certificate import Certificate, Refused
from tests.certificates.forge import (
    CERTIFY,
    CV25519,
    FEATURES,
    FLAGS,
    KEY_EXPIRES,
    SIGN,
    STORAGE,
    TRANSPORT,
    Forge,
    Key,
    period,
    subpacket,
)

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
MADE = NOW - 100 * DAY
READER = "<reader@example.org>"
CERTIFIES = (subpacket(FLAGS, bytes([CERTIFY | SIGN])), subpacket(FEATURES, b"\x01"))
ENCRYPTS = subpacket(FLAGS, bytes([TRANSPORT | STORAGE]))
SIGNS = subpacket(FLAGS, bytes([SIGN]))


def lives(days: float) -> bytes:
    return subpacket(KEY_EXPIRES, period(days * DAY))


class Owner:
    """Somebody who signs their certificate anew now and then; what it looks like after each step."""

    def __init__(self, ends_after: float = 200) -> None:
        self.forge = Forge(MADE).user_id(READER, *CERTIFIES, lives(ends_after))
        self.key = Key(MADE, CV25519)
        self.forge.subkey(self.key).bind(self.key, ENCRYPTS)

    def __bytes__(self) -> bytes:
        return bytes(self.forge)

    def extend(self, days: float, after: timedelta) -> Owner:
        """The user ID comes a second time in the file, with its newer signature, as programs write it."""
        self.forge.user_id(READER, *CERTIFIES, lives(days), created=MADE + after)
        return self

    def add_subkey(self, after: timedelta, flags: bytes = ENCRYPTS, *more: bytes) -> Key:
        key = Key(MADE + after, CV25519)
        self.forge.subkey(key).bind(key, flags, *more, created=MADE + after)
        return key

    def revoke_subkey(self, key: Key, after: timedelta) -> None:
        self.forge.subkey(key).bind(key, created=MADE + after, kind=0x28)


def taken(blob: bytes | Owner, now: datetime = NOW) -> Certificate:
    (verdict,) = openpgp.examine(bytes(blob), now)
    assert isinstance(verdict, Certificate), verdict
    return verdict


def again(ours: Certificate, blob: bytes | Owner, now: datetime = NOW) -> Certificate | Refused:
    (verdict,) = openpgp.examine_beside(bytes(blob), ours.blob, now)
    return verdict


def news(ours: Certificate, blob: bytes | Owner, now: datetime = NOW) -> News:
    merged = again(ours, blob, now)
    assert isinstance(merged, Certificate), merged
    return openpgp.compare(ours.blob, merged.blob, now)


def test_what_is_extended_lives_longer_and_needs_nobodys_word() -> None:
    owner = Owner()
    ours = taken(owner)
    owner.extend(900, 50 * DAY)
    assert news(ours, owner) is News.LATER
    merged = again(ours, owner)
    assert merged.expires == (MADE + 900 * DAY).replace(microsecond=0)


@pytest.mark.parametrize("is_armored", [False, True])
def test_an_older_copy_shortens_nothing(is_armored: bool) -> None:
    owner = Owner()
    older = bytes(owner)
    ours = taken(owner.extend(900, 50 * DAY))
    blob = openpgp.armor_certificate(older).encode() if is_armored else older
    merged = again(ours, blob)
    assert merged.expires == ours.expires
    assert news(ours, blob) is News.NONE


def test_the_same_certificate_is_no_news() -> None:
    owner = Owner()
    assert news(taken(owner), owner) is News.NONE


def test_an_expired_copy_of_what_is_usable_is_no_news() -> None:
    owner = Owner(ends_after=50)
    older = bytes(owner)
    ours = taken(owner.extend(900, 50 * DAY))
    assert isinstance(again(ours, older), Certificate)
    assert news(ours, older) is News.NONE


def test_a_copy_from_which_a_subkey_was_taken_out_takes_nothing_away() -> None:
    owner = Owner()
    stripped = bytes(owner)
    owner.add_subkey(10 * DAY)
    ours = taken(owner)
    merged = again(ours, stripped)
    assert isinstance(merged, Certificate) and merged.algorithms == ours.algorithms
    assert news(ours, stripped) is News.NONE


def test_a_subkey_more_is_asked_about() -> None:
    """It may be one that was given up long ago."""
    owner = Owner()
    ours = taken(owner)
    owner.add_subkey(10 * DAY)
    assert news(ours, owner) is News.OTHER
    merged = again(ours, owner)
    assert merged.algorithms == ("ed25519", "cv25519", "cv25519")


def test_a_revoked_subkey_goes_and_is_asked_about_and_does_not_come_back_by_an_old_copy() -> None:
    owner = Owner()
    lost = owner.add_subkey(10 * DAY)
    with_both = bytes(owner)
    ours = taken(owner)
    owner.revoke_subkey(lost, 20 * DAY)
    merged = again(ours, owner)
    assert isinstance(merged, Certificate) and merged.algorithms == ("ed25519", "cv25519")
    assert news(ours, owner) is News.OTHER
    assert news(merged, with_both) is News.OTHER


def test_a_false_revocation_of_a_signing_subkey_is_asked_about() -> None:
    """Whose revocation that is nobody checks, so it must not take the subscriber's signature away by itself."""
    owner = Owner()
    signing = Key(MADE)
    owner.forge.subkey(signing).bind(signing, SIGNS)
    ours = taken(owner)
    stranger = Key(MADE)
    owner.forge.subkey(signing).bind(signing, kind=0x28, by=stranger)
    owner.forge.packets[-1] = owner.forge.packets[-1].replace(stranger.key_id, owner.forge.primary.key_id)
    assert news(ours, owner) is News.OTHER


def test_a_subkey_that_ran_out_meanwhile_does_not_stand_in_the_way() -> None:
    owner = Owner()
    owner.add_subkey(DAY, ENCRYPTS, lives(60))
    ours = taken(owner, MADE + 5 * DAY)
    owner.extend(900, 90 * DAY)
    assert news(ours, owner) is News.LATER


def test_an_owner_may_also_end_a_key_sooner() -> None:
    owner = Owner()
    ours = taken(owner)
    merged = again(ours, owner.extend(120, 50 * DAY))
    assert merged.expires == (MADE + 120 * DAY).replace(microsecond=0)
    assert news(ours, owner) is News.LATER


def test_a_signature_that_somebody_else_made_in_the_owners_name_is_no_news() -> None:
    owner = Owner()
    ours = taken(owner)
    forger = Forge(MADE).user_id(READER, *CERTIFIES, lives(9000), created=MADE + 50 * DAY)
    forged = forger.packets[-1].replace(forger.primary.key_id, owner.forge.primary.key_id)
    assert forged != forger.packets[-1]
    owner.forge.packets.insert(3, forged)
    assert news(ours, owner) is News.NONE


def test_a_revoked_certificate_is_revoked_beside_ours_as_well() -> None:
    owner = Owner()
    ours = taken(owner)
    owner.forge.revoke(created=MADE + 50 * DAY)
    assert getattr(again(ours, owner), "reason", None) == "revoked"


def test_another_certificate_is_left_alone() -> None:
    ours, other = taken(Owner()), Owner()
    assert again(ours, other) == taken(other)
    assert openpgp.compare(ours.blob, taken(other).blob, NOW) is News.OTHER
