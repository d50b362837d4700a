"""Letters about keys that answer no letter: a reader's key runs out, or the list has another one. Sealed, both."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypedDict

from mailer.crypto import openpgp
from mailer.crypto.keyring import Keyring
from mailer.crypto.openpgp import ListKey
from mailer.errors import SecretsOutdated
from mailer.letters import seal
from mailer.letters.seal import Identity, Sealed
from mailer.letters.write import Attachment, Wording
from mailer.model import warning
from mailer.model.address import Address
from mailer.model.certificate import grouped
from mailer.model.mailing_list import MailingList
from mailer.model.means import OpenPgp, means_of
from mailer.model.subscriber import Method, State
from mailer.outward import announce, expiring
from mailer.outward.announce import Succession
from mailer.store.ledger import Entry

_WARNING = {Method.OPENPGP: "key-expires", Method.SMIME: "certificate-expires"}


class How(TypedDict):
    """What every letter of ours to one person is given."""

    recipient: Address
    identity: Identity
    now: datetime
    message_id: str
    reply_to: Address | None
    envelope_sender: Address
    is_reply: bool


def warn(mailing_list: MailingList, entry: Entry, facts: Mapping[str, str], how: How) -> Sealed | None:
    """Return the letter that somebody's key runs out; None where it does not any more. Raises CertificateUnusable."""
    subscriber, now = entry.subscriber, how["now"]
    ends = expiring.expiry(subscriber.method, entry.drawer)
    means = means_of(subscriber.method, entry.drawer)
    if subscriber.state is not State.ACTIVE or ends is None or means is None or ends - now > warning.FIRST:
        return None
    own = {
        "key_fingerprint": grouped(entry.drawer.fingerprint),
        "expires": f"{ends:%Y-%m-%d}",
        "days": str(warning.days_left(ends, now)),
    }
    wording = Wording(mailing_list.wording)
    draft = wording.write(_WARNING[subscriber.method], subscriber.language, {**facts, **own})
    return seal.seal(draft, means=means, **how)


def tell_of_list_key(
    keyring: Keyring, mailing_list: MailingList, entry: Entry, kind: str, facts: Mapping[str, str], how: How
) -> Sealed | None:
    """Return the letter that the list has another key, signed by both keys: PGP/MIME, whatever form they read.

    Raises SecretsOutdated where this process does not know that key, CertificateUnusable.
    """
    found = announce.find(keyring, mailing_list, kind, how["now"])
    if found is None:
        raise SecretsOutdated
    subscriber = entry.subscriber
    means = means_of(subscriber.method, entry.drawer)
    if subscriber.state is not State.ACTIVE or not isinstance(means, OpenPgp):
        return None
    former = found.former
    template = "list-key-replaced" if former is not None and former.is_compromised else "list-key-changed"
    own = {"list": str(found.shown.address), "fingerprint": grouped(found.key.fingerprint)}
    if former is not None:
        own |= {
            "former_fingerprint": grouped(openpgp.fingerprint(former.certificate)),
            "until": f"{former.until:%Y-%m-%d}",
        }
    wording = Wording(mailing_list.wording)
    draft = wording.write(template, subscriber.language, {**facts, **own}, _certificates(found))
    signers = _signers(found, how["identity"])  # in every form that was asked for: text alone has one signature
    return seal.seal_signed_by(draft, certificate=means.certificate, signers=signers, **how)


def _signers(found: Succession, identity: Identity) -> list[ListKey]:
    """Return who signs: the former key, which the reader knows, the new one, and whoever the letter is from."""
    former = found.former
    keys = [ListKey.from_secret(former.secret)] if former is not None and not former.is_compromised else []
    known = {found.key.fingerprint: found.key, identity.key.fingerprint: identity.key}
    return [*keys, *known.values()]


def _certificates(found: Succession) -> list[Attachment]:
    """Return the new certificate, certified by the former key; and the former one where it was revoked."""
    former = found.former
    introduced = former.introduction if former is not None else b""
    is_of_key = bool(introduced) and openpgp.fingerprint(introduced) == found.key.fingerprint
    files = [_attachment("list-key.asc", introduced if is_of_key else found.key.public)]
    if former is not None and former.is_compromised:
        files.append(_attachment("revoked-key.asc", former.certificate))
    return files


def _attachment(name: str, certificate: bytes) -> Attachment:
    return Attachment(name, "application/pgp-keys", openpgp.armor_certificate(certificate).encode())
