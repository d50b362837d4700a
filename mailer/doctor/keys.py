"""OpenPGP keys: those that letters are encrypted to, and the lists' own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from mailer.crypto import openpgp
from mailer.crypto.keyring import Keyring
from mailer.crypto.service_secrets import key_name
from mailer.crypto.smime import SmimeKey
from mailer.doctor.finding import Finding, fault, left_out, unseen
from mailer.doctor.scene import Scene
from mailer.errors import ListUnknown
from mailer.model.certificate import Certificate, Refusal, Refused

_GONE = {
    Refusal.EXPIRED: "has expired",
    Refusal.EXPIRED_SUBKEY: "can no longer be encrypted to: its subkey has expired",
    Refusal.REVOKED: "was revoked",
}


def expiry(scene: Scene) -> Iterator[Finding]:
    """Can letters be encrypted to each of the organisers' and admins' keys, for some time to come?"""
    config = scene.instance.config
    named = [(f"The contact key of the list {one.id}", one.contact_key) for one in config.lists]
    named += [(f"The key of seed mailbox {number}", one.key) for number, one in enumerate(config.seeds, 1)]
    named += [(f"The key of admin {number}", one.key) for number, one in enumerate(config.admins, 1)]
    for whose, path in named:
        if path is not None:
            yield from _judge(scene, whose, path)


def _judge(scene: Scene, whose: str, path: Path) -> Iterator[Finding]:
    ask = f"Ask its owner for a new one and put it into {path}."
    try:
        verdicts = openpgp.examine(path.read_bytes(), scene.now)
    except PermissionError:
        yield unseen(f"{whose}, {path}, cannot be read by this user.", "Run this as the service's user.")
        return
    except OSError as error:
        yield fault(f"{whose} cannot be read: {path}: {error.strerror}.", "Correct its path in config.toml.")
        return
    soon = scene.now + timedelta(days=scene.instance.config.doctor.key_days)
    usable = [one for one in verdicts if isinstance(one, Certificate)]
    refused = [one for one in verdicts if isinstance(one, Refused)]
    if not usable:
        why = (
            _GONE.get(refused[0].reason, f"cannot be used ({refused[0].reason})") if refused else "holds no certificate"
        )
        yield fault(f"{whose} {why}.", ask)
    elif usable[0].expires is not None and usable[0].expires <= soon:
        yield fault(f"{whose} expires on {usable[0].expires:%Y-%m-%d}.", ask)


def own_keys(scene: Scene) -> Iterator[Finding]:
    """Has each list, and each of its identities, a key that all mail programs can verify?"""
    if scene.secrets is None:
        yield left_out("The lists' own keys are sealed.", "Give --service-passphrase-file to have them looked at.")
        return
    keyring = Keyring(scene.secrets)
    for one in scene.instance.config.lists:
        for identity in ("", *(each.name for each in one.identities)):
            name = key_name(one.id, identity)
            try:
                key = keyring.list_key(one.id, identity)
            except ListUnknown:
                yield fault(
                    f"{name} has no OpenPGP key, so nothing can be signed or read in its name.",
                    "Make it with `mailer lists add` or `mailer lists identity`; sections written by hand have none.",
                )
                continue
            if not key.can_primary_sign:
                yield fault(
                    f"The key of {name} has a primary that does not sign: Delta Chat drops its letters unread.",
                    "Install gnupg and make a new one: `mailer keys rotate`.",
                )
            refusal = openpgp.is_usable(key.public, scene.now)
            if refusal is not None:
                yield fault(f"The key of {name} cannot be used ({refusal}).", "Make a new one: `mailer keys rotate`.")
            yield from _smime(scene, keyring.smime_key(one.id, identity), name)


def _smime(scene: Scene, key: SmimeKey | None, name: str) -> Iterator[Finding]:
    """Readers with S/MIME get nothing that was signed with a certificate that has ended."""
    soon = scene.now + timedelta(days=scene.instance.config.doctor.key_days)
    if key is not None and key.certificate.not_valid_after_utc <= soon:
        ends = f"{key.certificate.not_valid_after_utc:%Y-%m-%d}"
        yield fault(f"The S/MIME certificate of {name} ends on {ends}.", "Get a new one: `mailer keys smime --help`.")
