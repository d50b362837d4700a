"""How the replies that were decided on become letters: to whom, in which words, sealed to which key."""

from __future__ import annotations

import secrets as chance
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mailer.crypto import openpgp, tokens
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.errors import CertificateUnusable
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
from mailer.model.request import Request

# What is sealed cannot be said to somebody without a usable key; they are told that much, in the clear, and how to
# mend it, but not how to confirm what they cannot read. Farewells are then left unsaid.
_INSTEAD_OF_SEALED = "key-no-longer-usable"
_FAREWELLS = frozenset({"goodbye", "forgotten", "address-changed-old"})


@dataclass(frozen=True, slots=True)
class Occasion:
    """What the replies to one letter are made from.

    writer: whom the letter named as its sender. key: the new certificate in question, if there is one. token: of the
    request that waits for a confirmation from now on. raw: the letter itself, for the list's contact.
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

    def __repr__(self) -> str:
        return "Occasion(…)"


@dataclass(frozen=True, slots=True)
class _Addressee:
    address: Address
    certificate: bytes | None

    def __repr__(self) -> str:
        return "_Addressee(…)"


def write_and_seal(occasion: Occasion, replies: Sequence[Reply]) -> list[Sealed | Open]:
    """Return the letters to queue; a reply that reaches nobody is left out. Raises TemplateError."""
    letters = []
    for reply in replies:
        addressee = _addressee(occasion, reply.to)
        if addressee is not None:
            letters.append(_letter(occasion, reply, addressee))
    return [letter for letter in letters if letter is not None]


def _letter(occasion: Occasion, reply: Reply, addressee: _Addressee) -> Sealed | Open | None:
    draft = _write(occasion, reply.template, _attachments(occasion, reply))
    if addressee.certificate is not None:
        return _seal(occasion, draft, addressee, addressee.certificate)
    if draft.may_be_open:
        return _leave_open(occasion, draft, addressee)
    if reply.template in _FAREWELLS or reply.to is To.CONTACT:
        return None
    return _leave_open(replace(occasion, token=None), _write(occasion, _INSTEAD_OF_SEALED, ()), addressee)


def _addressee(occasion: Occasion, to: To) -> _Addressee | None:
    standing, request = occasion.standing, occasion.request
    on_file = _key_on_file(standing, occasion.now)
    asker = request.address if request else occasion.writer
    if to is To.CONTACT:
        contact = occasion.mailing_list.contact
        return _Addressee(contact, occasion.mailing_list.contact_certificate) if contact else None
    if to is To.NEW_ADDRESS:
        new_address = request.new_address if request else None
        return _Addressee(new_address, on_file) if new_address else None
    if to is To.SENDER_IN_CLEAR:
        return _Addressee(asker, None)
    if to is To.NEW_KEY:
        return _Addressee(asker, occasion.key.blob if occasion.key else None)
    if standing.has_token and standing.found is None:
        return None  # an unsubscribe token from another address: whose it is, only the roster key tells
    in_letter = occasion.key.blob if occasion.key and standing.found is None else None
    return _Addressee(asker, on_file or (in_letter if to is To.SENDER else None))


def _key_on_file(standing: Standing, now: datetime) -> bytes | None:
    blob = standing.found.drawer.certificate if standing.found else b""
    return blob if blob and openpgp.is_usable(blob, now) is None else None


def _write(occasion: Occasion, template: str, attachments: Sequence[Attachment]) -> Draft:
    return occasion.wording.write(template, occasion.language, _facts(occasion), attachments)


def _facts(occasion: Occasion) -> dict[str, str]:
    standing, mailing_list = occasion.standing, occasion.mailing_list
    drawer = standing.found.drawer if standing.found else None
    own = mailing_list.address
    facts = {
        "list": str(own),
        "help_address": str(own.with_detail("help")),
        "fingerprint": grouped(occasion.identity.key.fingerprint),
        "days": str(occasion.pending_days),
        "state": str(standing.state),
        "language": str(standing.subscriber.language if standing.subscriber else occasion.language),
        "address": str(standing.person.address),
        "key_fingerprint": grouped(drawer.fingerprint) if drawer else "",
        "joined": standing.subscriber.joined.isoformat() if standing.subscriber else "",
    }
    if occasion.token:
        facts["confirm"] = str(own.with_detail(f"confirm-{occasion.token}"))
    if occasion.key:
        facts["new_fingerprint"] = grouped(occasion.key.fingerprint)
    if occasion.request and occasion.request.verb is Verb.SET_LANGUAGE:
        facts["new_language"] = str(occasion.request.language)
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


def _attachments(occasion: Occasion, reply: Reply) -> list[Attachment]:
    if reply.to is To.CONTACT:
        # not message/rfc822: that may not be encoded (RFC 2046 §5.2.1), and a stranger's letter has any octets in it
        return [Attachment("letter.eml", "application/octet-stream", occasion.raw)]
    if reply.with_list_key:
        return [occasion.identity.key_attachment]
    return []


def _seal(occasion: Occasion, draft: Draft, addressee: _Addressee, certificate: bytes) -> Sealed | None:
    try:
        return seal.seal(
            draft,
            recipient=addressee.address,
            certificate=certificate,
            identity=occasion.identity,
            now=occasion.now,
            message_id=_message_id(occasion),
            reply_to=_reply_to(occasion),
            envelope_sender=_envelope_sender(occasion),
        )
    except CertificateUnusable:
        return None  # it expired between the look-up and now: nothing is sent that cannot be read


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
