"""What an organiser looks at before a digest is sent: its editions as readers see them, a copy, and how large it is."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mailer.crypto import tokens
from mailer.crypto.keyring import Keyring
from mailer.letters import mime, seal
from mailer.letters.seal import CHANCE_SHARE, Identity, Sealed
from mailer.model.address import Address
from mailer.model.digest import Edition
from mailer.model.language import Language
from mailer.model.mailing_list import MailingList
from mailer.model.means import Means
from mailer.outward import publish

SIGNATURE_OCTETS = 2048  # protected fields, boundaries and an armored signature
HEAD_OCTETS = 4096  # outer fields with the Autocrypt key, and the packet that holds the session key
ARMOR_LINE = (48, 66)  # octets before and after: 64 characters and CRLF (RFC 9580 §6)


@dataclass(frozen=True, slots=True)
class TooLarge:
    """An edition of which a provider takes not even the light form."""

    language: Language
    octets: int


def preview(edition: Edition, own: Identity, now: datetime) -> bytes:
    """Return what a reader has once the edition is decrypted: a whole message, signed, for any mail program."""
    return seal.sign_edition(edition, own, now).entity


def copy_for(
    reader: Address, means: Means, keyring: Keyring, mailing_list: MailingList, edition: Edition, sender: str = ""
) -> Sealed:
    """Return one edition for one reader who need not be a subscriber. Raises CertificateUnusable, FormUnavailable."""
    now, own = datetime.now(UTC), publish.identity(keyring, mailing_list, sender)
    return seal.seal_copy(
        seal.sign_edition(edition, own, now, seal.form_for(means)),
        recipient=reader,
        means=means,
        identity=own,
        message_id=tokens.message_id(keyring.secrets.token_key, own.address.domain, "test", os.urandom(16)),
        envelope_sender=own.address.with_detail("bounce"),
        unsubscribe=own.address.with_detail("unsubscribe"),
        now=now,
        padding_chance=random.SystemRandom().random(),
    )


def too_large(editions: Sequence[Edition], max_octets: int) -> list[TooLarge]:
    """Return the editions whose smallest form may make a letter of more than so many octets; 0 is no limit."""
    sizes = [TooLarge(one.language, largest_copy(one.light or one.payload)) for one in editions]
    return [one for one in sizes if 0 < max_octets < one.octets]


def largest_copy(payload: bytes) -> int:
    """Return how many octets the largest copy of an edition may have: padded by chance, encrypted and armored."""
    signed = len(payload) + SIGNATURE_OCTETS
    padded = mime.padme(signed + 2 + int(signed * CHANCE_SHARE))
    before, after = ARMOR_LINE
    return (padded // before + 1) * after + HEAD_OCTETS
