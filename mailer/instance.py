"""The folder of an instance: where its settings, keys and database lie, and how they are made and opened."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mailer import config
from mailer.config import Config, NamedRelay, Relay
from mailer.crypto import certificates, keyfile, openpgp, smime
from mailer.crypto.dkim import DkimKey
from mailer.crypto.keyfile import SLOT_KDF, KeyFile, Purpose, SlotKdf, private_file
from mailer.crypto.keyfile.passphrase import read_new_passphrase
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.crypto.transit import TransitPublic
from mailer.crypto.vault import RosterKey, RosterPublic
from mailer.errors import (
    ConfigError,
    DkimKeyUnusable,
    FileUnusable,
    InstanceBusy,
    InstanceError,
    RelayUnusable,
    VaultError,
)
from mailer.model.address import Address
from mailer.model.admin import Admin
from mailer.model.certificate import ENDED, Certificate, Refused
from mailer.model.mailing_list import Directory, MailingList, Sender
from mailer.model.policy import Policy
from mailer.model.provider import Providers
from mailer.model.retention import Retention
from mailer.model.seed import Seed
from mailer.store.database import Database

PASSPHRASE_SLOT = "passphrase"
RECOVERY_SLOT = "recovery"
SEED_ID_BYTES = 12  # as many as a subscriber's
FORMER_ROSTER = "former"  # in roster.key while a rotation is not finished: the payload of the key before


@dataclass(frozen=True)
class Instance:
    """An instance, with its settings read and nothing secret opened."""

    folder: Path
    config: Config

    @classmethod
    def open(cls, folder: Path) -> Instance:
        """Return the instance in a folder. Raises InstanceError, ConfigError."""
        if not (folder / "config.toml").is_file() or not (folder / "keys").is_dir():
            raise InstanceError
        return cls(folder, config.load(folder / "config.toml"))

    @property
    def config_path(self) -> Path:
        """The settings."""
        return self.folder / "config.toml"

    @property
    def service_key_path(self) -> Path:
        """The service secrets, for the intake."""
        return self.folder / "keys" / "service.key"

    @property
    def roster_key_path(self) -> Path:
        """What opens the register, for the deliverer alone."""
        return self.folder / "keys" / "roster.key"

    @property
    def control_path(self) -> Path:
        """The socket by which commands reach the running service."""
        return self.folder / "run" / "control.sock"

    @property
    def policy(self) -> Policy:
        """The limits."""
        limits = self.config.limits
        return Policy(
            confirmations_per_day=limits.confirmations_per_address_per_day,
            replies_per_day=limits.replies_per_address_per_day,
            letters_per_sender=limits.letters_per_sender_per_day,
            letters_per_domain=limits.letters_per_domain_per_day,
            letters_per_network=limits.letters_per_network_per_day,
            letters_per_day=limits.letters_per_day,
            contact_letters_per_day=limits.letters_to_contact_per_day,
            large_domains=frozenset(self.config.providers.large),
            front_servers=limits.front_servers,
            needs_authentication=limits.require_authenticated_sender,
            authserv_id=limits.authentication_results_from,
            pending_days=limits.pending_days,
        )

    @property
    def retention(self) -> Retention:
        """How long things are kept."""
        return Retention(pending_days=self.config.limits.pending_days, **self.config.retention.model_dump())

    @property
    def providers(self) -> Providers:
        """The mail providers that the register tells apart."""
        return Providers(frozenset(self.config.providers.large), self.config.providers.buckets)

    def database(self) -> Database:
        """Return the database, not opened yet."""
        return Database(self.config.store.url)

    def directory(self) -> Directory:
        """Return the lists, their contacts' certificates read. Raises FileUnusable, ConfigError.

        A contact's key that has ended stops nobody else: letters for the contact are set aside meanwhile.
        """
        return Directory(tuple(_mailing_list(one) for one in self.config.lists), self.config.door.hostname)

    def seeds(self) -> tuple[Seed, ...]:
        """Return the organisers' own mailboxes that get a copy of each digest, in the order of config.toml.

        A key that can no longer be used stops nobody else's copy: it is kept, and its delivery ends as unusable.
        Raises FileUnusable, ConfigError.
        """
        return tuple(_seed(one) for one in self.config.seeds)

    def admins(self) -> tuple[Admin, ...]:
        """Return who is told when a person is needed. A key that cannot be used is found when a letter is sealed.

        Raises FileUnusable, ConfigError.
        """
        return tuple(_admin(one) for one in self.config.admins)

    def transit_public(self) -> TransitPublic:
        """Return what the door seals to. Raises VaultError."""
        return TransitPublic.from_bytes(_read(self.folder / "keys" / "transit.pub"))

    def roster_public(self) -> RosterPublic:
        """Return what the intake seals records to. Raises VaultError."""
        return RosterPublic.from_bytes(_read(self.folder / "keys" / "roster.pub"))

    def authorities(self) -> bytes:
        """Return the certificate authorities of [smime] ca_file, PEM; b"" where none is named.

        Raises FileUnusable, CertificateAuthoritiesUnusable.
        """
        path = self.config.smime.ca_file
        if path is None:
            return b""
        content = read_file(path)
        smime.read_authorities(content)
        return content

    def relay_password(self, relay: Relay) -> str | None:
        """Return the first line of a relay's password file, or None. Raises RelayUnusable."""
        path = relay.password_file
        if path is None:
            return None
        try:
            return path.read_text(encoding="utf-8").split("\n", 1)[0].strip()
        except (OSError, UnicodeError) as error:
            raise RelayUnusable("The password_file cannot be read.") from error

    def dkim(self, relay: Relay) -> DkimKey | None:
        """Return what signs the letters that leave over a relay; None where it signs. Raises DkimKeyUnusable."""
        if relay.dkim_key is None:
            return None
        try:
            return DkimKey.load(private_file.read(relay.dkim_key), relay.dkim_selector)
        except (DkimKeyUnusable, VaultError) as error:
            section = f'[[relays]] "{relay.name}"' if isinstance(relay, NamedRelay) else "[relay]"
            raise DkimKeyUnusable(f"{section} dkim_key: {error.detail}") from error

    def open_service(self, passphrase: str) -> tuple[KeyFile, ServiceSecrets]:
        """Return the service secrets and their file. Slow by intent: call it in a thread. Raises WrongPassphrase."""
        opened = self.open_key_file("service", passphrase)
        return opened, ServiceSecrets.from_payload(opened.payload)

    def erase_past_keys(self, opened: KeyFile, secrets: ServiceSecrets, now: datetime) -> ServiceSecrets:
        """Return the secrets without the list keys whose overlap is over, erased from the file where it can be written.

        It cannot where it is a copy that belongs to somebody else; past keys open and sign nothing in any case.
        """
        kept = secrets.without_past_keys(now)
        if kept is not secrets:
            with suppress(VaultError):
                opened.save(kept.to_payload())
        return kept

    def open_roster(self, passphrase: str) -> RosterKey:
        """Return the roster key. Slow by intent: call it in a thread. Raises WrongPassphrase, VaultError."""
        payload = dict(self.open_key_file("roster", passphrase).payload)
        if FORMER_ROSTER in payload:
            raise VaultError("A rotation of it is not finished. Run `mailer keys rotate roster` again.")
        return RosterKey.from_payload(payload)

    def open_key_file(self, purpose: Purpose, passphrase: str) -> KeyFile:
        """Return one of the two key files, opened. Raises WrongPassphrase, VaultError."""
        path = self.service_key_path if purpose == "service" else self.roster_key_path
        return keyfile.open_file(path, purpose, passphrase)

    @contextmanager
    def roster_in_use(self, *, alone: bool = False) -> Iterator[None]:
        """Hold the register open for reading, or alone for a rotation. Raises InstanceBusy where that cannot be."""
        path = self.folder / "run" / "roster.lock"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with path.open("a") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except OSError as error:
                raise InstanceBusy from error
            yield


@dataclass(frozen=True, slots=True)
class Recovery:
    """The phrases to write on paper: each opens one key file, should its passphrase be lost."""

    service: str
    roster: str

    def __repr__(self) -> str:
        return "Recovery(…)"


def create(
    folder: Path,
    service_passphrase: str,
    roster_passphrase: str,
    kdf: SlotKdf = SLOT_KDF,
    random: Callable[[int], bytes] = os.urandom,
) -> Recovery:
    """Make an instance without a list: folders 0700, files 0600. Raises InstanceError where there is something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InstanceError(f"{folder} is there already and not empty; nothing was changed.")
    service, roster_meant = read_new_passphrase(service_passphrase), read_new_passphrase(roster_passphrase)
    if service == roster_meant:
        raise VaultError(
            "The two passphrases must differ: the intake is given one of them and must not have the other."
        )
    keys = folder / "keys"
    keys.mkdir(mode=0o700, parents=True)
    folder.chmod(0o700)
    recovery = Recovery(keyfile.recovery_phrase(random), keyfile.recovery_phrase(random))
    secrets, roster = ServiceSecrets.generate(), RosterKey.generate()
    slots = {PASSPHRASE_SLOT: service_passphrase, RECOVERY_SLOT: recovery.service}
    keyfile.create(keys / "service.key", "service", secrets.to_payload(), slots, kdf)
    slots = {PASSPHRASE_SLOT: roster_passphrase, RECOVERY_SLOT: recovery.roster}
    keyfile.create(keys / "roster.key", "roster", roster.to_payload(), slots, kdf)
    _write_private(keys / "transit.pub", secrets.transit_private.public.to_bytes())
    _write_private(keys / "roster.pub", roster.public.to_bytes())
    _write_private(folder / "config.toml", config.shipped_config().read_bytes())
    return recovery


def add_list(instance: Instance, opened: KeyFile, list_id: str, address: Address) -> ServiceSecrets:
    """Make a list's OpenPGP key and keep it among the service secrets; return those. Raises VaultError."""
    secrets = ServiceSecrets.from_payload(opened.payload)
    changed = secrets.with_list_key(list_id, openpgp.generate_list_key(address).secret)
    opened.save(changed.to_payload())
    return changed


def add_identity(opened: KeyFile, list_id: str, name: str, address: Address) -> ServiceSecrets:
    """Make the OpenPGP key of a list's identity, as add_list does the list's."""
    secrets = ServiceSecrets.from_payload(opened.payload)
    changed = secrets.with_list_key(list_id, openpgp.generate_list_key(address).secret, name)
    opened.save(changed.to_payload())
    return changed


def with_renamed_list(opened: KeyFile, list_id: str, address: Address) -> ServiceSecrets:
    """Return the secrets with a list's OpenPGP key named after its new address; nothing is saved. Raises KeyNotMade."""
    secrets = ServiceSecrets.from_payload(opened.payload)
    key = openpgp.ListKey.from_secret(secrets.list_keys[list_id])
    return secrets.with_list_key(list_id, openpgp.rename_list_key(key, address).secret)


def read_certificate(path: Path, *, may_be_x509: bool = False) -> Certificate:
    """Return the usable certificate in a file that an organiser or admin gave. Raises ConfigError."""
    examine = certificates.examine if may_be_x509 else openpgp.examine
    usable = [one for one in examine(read_file(path), datetime.now(UTC)) if isinstance(one, Certificate)]
    if not usable:
        raise ConfigError(f"{path.name} holds no certificate that can be used; `mailer keys check` says why.")
    return usable[0]


def _mailing_list(settings: config.MailingList) -> MailingList:
    contact_key = settings.contact_key
    return MailingList(
        id=settings.id,
        address=settings.address,
        formerly=settings.formerly,
        display_name=settings.display_name,
        is_shy=settings.header_protection == "hcp_shy",
        languages=settings.languages,
        default_language=settings.default_language,
        contact=settings.contact,
        contact_certificate=_contact_certificate(contact_key) if contact_key else None,
        wording=settings.templates,
        is_retired=settings.state == "retired",
        identities=tuple(Sender(one.name, one.address, one.display_name) for one in settings.identities),
    )


def _contact_certificate(path: Path) -> bytes:
    content = read_file(path)
    verdicts = list(openpgp.examine(content, datetime.now(UTC)))
    usable = [one.blob for one in verdicts if isinstance(one, Certificate)]
    has_ended = any(isinstance(one, Refused) and one.reason in ENDED for one in verdicts)
    return content if has_ended and not usable else read_certificate(path).blob


def _admin(settings: config.Admin) -> Admin:
    if settings.key is None:
        raise ConfigError("(Each of the [[admins]] needs a key: in the clear nothing is sent.)")
    content = read_file(settings.key)
    usable = [one for one in openpgp.examine(content, datetime.now(UTC)) if isinstance(one, Certificate)]
    return Admin(settings.address, usable[0].blob if usable else content, settings.language)


def _seed(settings: config.Seed) -> Seed:
    if settings.key is None:
        raise ConfigError("(Each of the [[seeds]] needs a key: without one nothing can be encrypted to it.)")
    content = read_file(settings.key)
    usable = [one for one in openpgp.examine(content, datetime.now(UTC)) if isinstance(one, Certificate)]
    seed_id = hashlib.sha256(b"mailer/1/seed" + settings.address.normalised.encode()).digest()[:SEED_ID_BYTES]
    certificate = usable[0].blob if usable else content
    return Seed(seed_id, settings.address, certificate, settings.language, settings.lists)


def read_file(path: Path) -> bytes:
    """Return a file that was named on the command line. Raises FileUnusable."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileUnusable(f"{path.name}: {error.strerror}.") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VaultError(f"{path.name}: {error.strerror}.") from error


def replace_roster_public(instance: Instance, public: RosterPublic) -> None:
    """Write what the intake seals records to, as a whole."""
    path = instance.folder / "keys" / "roster.pub"
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    _write_private(fresh, public.to_bytes())
    fresh.replace(path)


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
