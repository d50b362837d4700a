"""Another OpenPGP key for a list or one of its identities: the one before is known for an overlap, and then erased.

What there is stands in service.key alone, which is replaced as a whole: killed at any moment, the key is rotated or it
is not. What follows from it – the announcement – is planned from there (outward/announce).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from mailer.crypto import openpgp
from mailer.crypto.keyfile import KeyFile
from mailer.crypto.openpgp import ListKey
from mailer.crypto.service_secrets import FormerKey, ServiceSecrets, key_name
from mailer.errors import RotationUnderWay
from mailer.model.mailing_list import MailingList

OVERLAP = timedelta(days=30)


def renew(opened: KeyFile, shown: MailingList, now: datetime, overlap: timedelta = OVERLAP) -> ServiceSecrets:
    """Give the list, as it shows itself under an identity, a new key; return the secrets, saved.

    Until now + overlap letters to the former key still open. Raises RotationUnderWay where the last overlap has not
    ended, ListUnknown, KeyNotMade, VaultError.
    """
    secrets, name = _opened(opened, shown, now)
    before = secrets.former_keys.get(name)
    if before is not None and not before.is_compromised:
        raise RotationUnderWay(f"(Until {before.until:%Y-%m-%d}.)")
    old, new = ListKey.from_secret(secrets.list_keys[name]), openpgp.generate_list_key(shown.address)
    until = (now + overlap).replace(microsecond=0)
    former = FormerKey(old.secret, old.public, openpgp.introduce(new, old), until)
    return _save(opened, secrets, shown, new, former)


def give_up(opened: KeyFile, shown: MailingList, now: datetime, overlap: timedelta = OVERLAP) -> ServiceSecrets:
    """Give the list a new key at once, and revoke every key before it; return the secrets, saved.

    Their secret halves are erased. Their revoked certificates are published until now + overlap. Raises as renew does.
    """
    secrets, name = _opened(opened, shown, now)
    before = secrets.former_keys.get(name)
    secret = before.secret if before is not None else b""
    revoked = openpgp.revoke(ListKey.from_secret(secrets.list_keys[name]))
    revoked += openpgp.revoke(ListKey.from_secret(secret)) if secret else b""
    until = (now + overlap).replace(microsecond=0)
    return _save(opened, secrets, shown, openpgp.generate_list_key(shown.address), FormerKey(b"", revoked, b"", until))


def finish(opened: KeyFile, shown: MailingList) -> bool:
    """Erase the former key, whether its overlap is over or not; return whether there was one. Raises VaultError."""
    secrets, name = ServiceSecrets.from_payload(opened.payload), key_name(shown.id, shown.identity)
    if name not in secrets.former_keys:
        return False
    opened.save(secrets.with_former_key(name, None).to_payload())
    return True


def _opened(opened: KeyFile, shown: MailingList, now: datetime) -> tuple[ServiceSecrets, str]:
    name = key_name(shown.id, shown.identity)
    return ServiceSecrets.from_payload(opened.payload).without_past_keys(now), name


def _save(
    opened: KeyFile, secrets: ServiceSecrets, shown: MailingList, new: ListKey, former: FormerKey
) -> ServiceSecrets:
    changed = secrets.with_list_key(shown.id, new.secret, shown.identity)
    changed = changed.with_former_key(key_name(shown.id, shown.identity), former)
    opened.save(changed.to_payload())
    return changed
