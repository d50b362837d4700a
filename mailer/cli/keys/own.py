"""The lists' own OpenPGP keys: which there are, and their certificates."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import lists, options, passphrases
from mailer.cli.keys import wkd
from mailer.crypto import keyfile, openpgp
from mailer.crypto.keyring import Keyring
from mailer.crypto.service_secrets import FormerKey, key_name
from mailer.crypto.smime import SmimeKey
from mailer.errors import FileUnusable, ListUnknown
from mailer.instance import Instance
from mailer.model.certificate import grouped
from mailer.model.mailing_list import MailingList

START_AGAIN = "Start `mailer work` again; on other machines too, and the service there, once service.key is copied."
IdentityName = Annotated[str, typer.Option("--identity", help="The name of an identity of the list.")]


def show(
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the list's OpenPGP keys, and which passphrases open the key files (their names, not the passphrases).

    Example: mailer keys show --json
    """
    instance = Instance.open(instance_folder)
    mailing_list = lists.find(instance, list_id)
    _, secrets = instance.open_service(passphrases.read("service", service_file))
    key, *others = [_own_key(Keyring(secrets), one) for one in _with_identities(mailing_list)]
    service, roster = _slots(instance.service_key_path), _slots(instance.roster_key_path)
    if as_json:
        slots = {"service_slots": service, "roster_slots": roster}
        identities = {"identities": [{"name": one.list.identity, **one.facts} for one in others]}
        print(json.dumps({"list": mailing_list.id, **key.facts, **identities, **slots}, indent=2))
        return
    for one in (key, *others):
        print(one.lines)
    print(f"service.key opens with: {', '.join(service)}")
    print(f"roster.key opens with:  {', '.join(roster or ['(it is not in this folder)'])}")


def export(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; standard output if left out.")] = None,
    list_id: options.ListName = None,
    identity: IdentityName = "",
    wkd_folder: Annotated[
        Path | None, typer.Option("--wkd", help="A folder, for a web server: all addresses of the list, as WKD has it.")
    ] = None,
    is_smime: Annotated[
        bool, typer.Option("--smime", help="The X.509 certificate instead, with its chain, PEM.")
    ] = False,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Write the OpenPGP certificate of the list, or of one of its identities, armored, for people to import.

    While a rotation overlaps, the one before comes behind it. Example: mailer keys export --wkd /var/www/html
    """
    if wkd_folder is not None and (output is not None or identity or is_smime):
        raise typer.BadParameter("--wkd writes all addresses of the list into its folder; leave the others out")
    instance, now = Instance.open(instance_folder), datetime.now(UTC)
    shown = find(instance, list_id, identity)
    _, secrets = instance.open_service(passphrases.read("service", service_file))
    keyring = Keyring(secrets)
    if wkd_folder is not None:
        for line in wkd.write(wkd_folder, list(wkd.entries(keyring, shown, now))):
            print(line)
        return
    if is_smime:
        _write(_x509(keyring, shown), output)
        return
    own = next(one for one in wkd.entries(keyring, shown, now) if one.address == shown.address)
    armored = "".join(map(openpgp.armor_certificate, own.certificates))
    _write(armored, output)


def _x509(keyring: Keyring, shown: MailingList) -> str:
    key = keyring.smime_key(shown.id, shown.identity)
    if key is None:
        raise FileUnusable("The list has no X.509 key; `mailer keys smime` makes one.")
    return key.public_pem.decode("ascii")


def _write(armored: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(armored)
    else:
        with output.open("x", encoding="ascii") as file:  # what is there is never overwritten
            file.write(armored)


@dataclass(frozen=True, slots=True)
class _OwnKey:
    list: MailingList
    key: openpgp.ListKey
    former: FormerKey | None
    x509: SmimeKey | None

    @property
    def facts(self) -> dict[str, object]:
        return {
            "address": str(self.list.address),
            "fingerprint": self.key.fingerprint,
            "primary_signs": self.key.can_primary_sign,
            "former": self._former,
            "smime": {"fingerprint": self.x509.fingerprint, "expires": self.x509.expires.isoformat()}
            if self.x509
            else None,
        }

    @property
    def _former(self) -> dict[str, object] | None:
        if self.former is None:
            return None
        return {
            "fingerprint": openpgp.fingerprint(self.former.certificate),
            "until": self.former.until.isoformat(),
            "compromised": self.former.is_compromised,
        }

    @property
    def lines(self) -> str:
        said = f"{key_name(self.list.id, self.list.identity)}\t{self.list.address}\n{grouped(self.key.fingerprint)}"
        if self.x509 is not None:
            said += f"\n{grouped(self.x509.fingerprint)} (S/MIME, until {self.x509.expires:%Y-%m-%d})"
        if self.former is None:
            return said
        how = "revoked, published" if self.former.is_compromised else "the key before, which opens letters"
        former = grouped(openpgp.fingerprint(self.former.certificate))
        return f"{said}\n{former} ({how} until {self.former.until:%Y-%m-%d})"


def _own_key(keyring: Keyring, shown: MailingList) -> _OwnKey:
    former = keyring.former_key(shown.id, shown.identity, datetime.now(UTC))
    own = keyring.list_key(shown.id, shown.identity), former, keyring.smime_key(shown.id, shown.identity)
    return _OwnKey(shown, *own)


def _with_identities(mailing_list: MailingList) -> list[MailingList]:
    return [mailing_list, *(mailing_list.sending_as(one.name) for one in mailing_list.identities)]


def find(instance: Instance, list_id: str | None, identity: str) -> MailingList:
    """The list as it shows itself under an identity. Raises ListUnknown."""
    shown = lists.find(instance, list_id).sending_as(identity)
    if shown.identity != identity:
        raise ListUnknown("(The list has no identity of this name.)")
    return shown


def _slots(path: Path) -> list[str]:
    """The names of a key file's slots; none where the file is kept elsewhere, as the deliverer's may be."""
    return list(keyfile.slot_names(path)) if path.exists() else []
