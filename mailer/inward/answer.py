"""How the replies that were decided on become letters: to whom, in which words, sealed to which key."""

from __future__ import annotations

import logging
import secrets as chance
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mailer.crypto import tokens
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.errors import CertificateUnusable, FormUnavailable, SealBroken
from mailer.inward.decide import Reply, To
from mailer.inward.look_up import Standing
from mailer.letters import seal
from mailer.letters.seal import Identity, Open, Sealed
from mailer.letters.write import Attachment, Draft, Wording
from mailer.model.address import Address
from mailer.model.certificate import Certificate, grouped
from mailer.model.command import Verb
from mailer.model.language import Language
from mailer.model.mailing_list import MailingList
from mailer.model.means import Means, OpenPgp, Passphrase, format_of, means_of, means_of_key, with_format
from mailer.model.request import Request

log = logging.getLogger("mailer.inward")

# What is sealed cannot be said to somebody without a usable key; they are told that much, in the clear, and how to
# mend it, but not how to confirm what they cannot read. Farewells are then left unsaid.
_INSTEAD_OF_SEALED = "key-no-longer-usable"
_FAREWELLS = frozenset({"goodbye", "forgotten", "address-changed-old"})


class NoContact(SealBroken):
    """A letter is for the list's contact, but there is no contact_key that it can be sealed to. It is set aside."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """What the replies to one letter are made from.

    writer: whom the letter named as its sender. key: the new certificate in question, if there is one. token: of the
    request that waits for a confirmation from now on. words: the passphrase of whoever wants PDFs. raw: the letter
    itself, for the list's contact.
    """

    mailing_list: MailingList
    identity: Identity
    wording: Wording
    secrets: ServiceSecrets
    language: Language
    writer: Address
    standing: Standing
    key: Certificate | None
    request: Request | None
    token: str | None
    pending_days: int
    raw: bytes
    now: datetime
    words: str = ""
    algorithms: tuple[str, ...] = ()  # of a certificate that is refused

    def __repr__(self) -> str:
        return "Occasion(…)"


@dataclass(frozen=True, slots=True)
class _Addressee:
    address: Address
    means: Means | None

    def __repr__(self) -> str:
        return "_Addressee(…)"


def write_and_seal(occasion: Occasion, replies: Sequence[Reply]) -> list[Sealed | Open]:
    """Return the letters to queue; a reply that reaches nobody is left out.

    Raises TemplateError; NoContact, where a letter would otherwise reach nobody and be gone; FormUnavailable, where a
    question cannot be asked in its reader's form.
    """
    letters = []
    for reply in replies:
        addressee = _addressee(occasion, reply.to)
        letter = _letter(occasion, reply, addressee) if addressee is not None else None
        if letter is not None:
            letters.append(letter)
        elif reply.to is To.CONTACT:
            raise NoContact
    return letters


def _letter(occasion: Occasion, reply: Reply, addressee: _Addressee) -> Sealed | Open | None:
    draft = _write(occasion, reply.template, _attachments(occasion, reply, addressee.means), addressee.means)
    if addressee.means is not None:
        return _seal(occasion, draft, addressee, addressee.means)
    if draft.may_be_open:
        return _leave_open(occasion, draft, addressee)
    if reply.template in _FAREWELLS or reply.to is To.CONTACT:
        return None
    return _leave_open(replace(occasion, token=None), _write(occasion, _INSTEAD_OF_SEALED, ()), addressee)


def _addressee(occasion: Occasion, to: To) -> _Addressee | None:
    standing, request = occasion.standing, occasion.request
    on_file = standing.means(occasion.now)
    asker = request.address if request else occasion.writer
    if to is To.CONTACT:
        contact, certificate = occasion.mailing_list.contact, occasion.mailing_list.contact_certificate
        return _Addressee(contact, OpenPgp(certificate) if certificate else None) if contact else None
    if to is To.NEW_ADDRESS:
        new_address = request.new_address if request else None
        return _Addressee(new_address, on_file) if new_address else None
    if to is To.NEW_FORMAT:
        return _Addressee(asker, _means_in_new_format(occasion))
    if to is To.CARD:
        return _Addressee(asker, Passphrase(standing.card.words) if standing.card else None)
    if to is To.SENDER_IN_CLEAR:
        return _Addressee(asker, None)
    if to is To.NEW_KEY:
        return _Addressee(asker, _means_of_new_key(occasion))
    if standing.has_token and standing.found is None:
        return None  # an unsubscribe token from another address: whose it is, only the roster key tells
    in_letter = _means_of_new_key(occasion) if standing.found is None else None
    return _Addressee(asker, on_file or (in_letter if to is To.SENDER else None))


def _means_of_new_key(occasion: Occasion) -> Means | None:
    drawer = occasion.standing.found.drawer if occasion.standing.found else None
    return means_of_key(occasion.key, drawer) if occasion.key else None


def _means_in_new_format(occasion: Occasion) -> Means | None:
    found, wanted = occasion.standing.found, occasion.request.format if occasion.request else None
    held = with_format(found.drawer, wanted, occasion.words) if found and wanted else None
    return means_of(*held) if held else None


def _write(occasion: Occasion, template: str, attachments: Sequence[Attachment], means: Means | None = None) -> Draft:
    return occasion.wording.write(template, occasion.language, _facts(occasion, means), attachments)


def _facts(occasion: Occasion, means: Means | None) -> dict[str, str]:
    standing, mailing_list = occasion.standing, occasion.mailing_list
    drawer = standing.found.drawer if standing.found else None
    own = mailing_list.address
    facts = {
        "list": str(own),
        "help_address": str(own.with_detail("help")),
        "fingerprint": grouped(occasion.identity.fingerprint_for(means)),
        "days": str(occasion.pending_days),
        "state": str(standing.state),
        "language": str(standing.subscriber.language if standing.subscriber else occasion.language),
        "address": str(standing.person.address),
        "key_fingerprint": grouped(drawer.fingerprint) if drawer else "",
        "format": str(format_of(standing.subscriber.method, drawer)) if standing.subscriber and drawer else "",
        "has_words": "yes" if drawer and drawer.passphrase else "",
        "method": str(standing.subscriber.method) if standing.subscriber else "",
        "joined": standing.subscriber.joined.isoformat() if standing.subscriber else "",
        "algorithms": ", ".join(occasion.algorithms),
    }
    if occasion.token:
        facts["confirm"] = str(own.with_detail(f"confirm-{occasion.token}"))
    if occasion.key:
        facts["new_fingerprint"] = grouped(occasion.key.fingerprint)
    if occasion.request and occasion.request.verb is Verb.SET_LANGUAGE:
        facts["new_language"] = str(occasion.request.language)
    if occasion.request and occasion.request.also:
        facts["asks_pause"] = "yes" if Verb.PAUSE in occasion.request.also else ""
    if occasion.request and occasion.request.format:
        facts["new_format"] = str(occasion.request.format)
    if occasion.words:
        facts["passphrase"] = occasion.words
    if occasion.request and occasion.request.new_address:
        facts["new_address"] = str(occasion.request.new_address)
    if standing.subscriber:
        facts["unsubscribe"] = str(unsubscribe_address(occasion.secrets, mailing_list, standing.subscriber.id))
    return facts


def unsubscribe_address(secrets: ServiceSecrets, mailing_list: MailingList, subscriber_id: bytes) -> Address:
    """Return the address at which mail ends one subscription at once (RFC 2369 §3.2)."""
    purpose: tokens.Lasting = tokens.Purpose.UNSUBSCRIBE
    token = tokens.derive_token(secrets.token_key, purpose, mailing_list.id, subscriber_id)
    return mailing_list.address.with_detail(f"unsubscribe-{token}")


def _attachments(occasion: Occasion, reply: Reply, means: Means | None) -> Sequence[Attachment]:
    if reply.to is To.CONTACT:
        # not message/rfc822: that may not be encoded (RFC 2046 §5.2.1), and a stranger's letter has any octets in it
        return [Attachment("letter.eml", "application/octet-stream", occasion.raw)]
    if reply.with_list_key:
        return occasion.identity.attachments_for(means)
    return []


def _seal(occasion: Occasion, draft: Draft, addressee: _Addressee, means: Means) -> Sealed | Open | None:
    try:
        return seal.seal(
            draft,
            recipient=addressee.address,
            means=means,
            identity=occasion.identity,
            now=occasion.now,
            message_id=_message_id(occasion),
            reply_to=_reply_to(occasion),
            envelope_sender=_envelope_sender(occasion),
        )
    except CertificateUnusable:
        return None  # it expired between the look-up and now: nothing is sent that cannot be read
    except FormUnavailable as error:
        if draft.may_be_open:
            return _leave_open(occasion, draft, addressee)  # as to somebody without a key: one word must be enough
        if occasion.token is not None:
            raise  # what is not asked, nobody can confirm: the letter is kept, and read again
        log.error("a reply was left unsaid: %s", error)  # what was asked is done: leaving must work without a font
        return None


def _leave_open(occasion: Occasion, draft: Draft, addressee: _Addressee) -> Open:
    return seal.leave_open(
        draft,
        recipient=addressee.address,
        identity=occasion.identity,
        now=occasion.now,
        message_id=_message_id(occasion),
        reply_to=_reply_to(occasion),
        envelope_sender=_envelope_sender(occasion),
    )


def _envelope_sender(occasion: Occasion) -> Address:
    """Where bounces go: they are counted there, and nothing automatic is ever answered (RFC 3834 §3.3)."""
    return occasion.mailing_list.address.with_detail("bounce")


def _reply_to(occasion: Occasion) -> Address | None:
    if occasion.token is None:
        return None
    return occasion.mailing_list.address.with_detail(f"confirm-{occasion.token}")


def _message_id(occasion: Occasion) -> str:
    drawn = chance.token_bytes(16)
    return tokens.message_id(occasion.secrets.token_key, occasion.mailing_list.address.domain, drawn)
