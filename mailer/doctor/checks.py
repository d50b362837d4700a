"""The table of all checks. docs/operations.md says of each what it looks at and what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mailer.doctor import addresses, database, door, files, keys, machine, queues, relays, senders, service, wording
from mailer.doctor.finding import Finding
from mailer.doctor.scene import Scene

Look = Callable[[Scene], Iterator[Finding] | AsyncIterator[Finding]]


class Alert(StrEnum):
    """What admins are told by letter; each has its words in templates/sealed/*/alert.txt."""

    ASIDE = "aside"
    HELD = "held"
    CENSORED = "censored"
    DISK = "disk"
    RELAY = "relay"
    LOCKED = "locked"
    KEY = "key"
    POISONED = "poisoned"
    CERTIFICATE = "certificate"
    HOME = "home"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is looked at. well: what is said when nothing is found. needs_network: `--offline` skips it.

    alert: what admins are told. is_lasting: only once it has been so for `[alerts] after_min`. news: what is looked at
    for alerts instead, where the rest would be told again every day.
    """

    name: str
    look: Look
    well: str
    needs_network: bool = False
    alert: Alert | None = None
    is_lasting: bool = False
    news: Look | None = None


CHECKS = (
    Check("config", wording.settings, "The settings fit together."),
    Check("identities", wording.identities, "A relay stands for each identity."),
    Check("templates", wording.templates, "There is wording for every letter in every language."),
    Check("locked", service.locked, "The service runs and is unlocked.", alert=Alert.LOCKED, is_lasting=True),
    Check("root", machine.users, "The service does not run as root."),
    Check("port", door.ports, "Our door answers where it should."),
    Check("tls-certificate", door.certificate, "The door's certificate is in order.", alert=Alert.CERTIFICATE),
    Check("relay", relays.relays, "The relays answer.", needs_network=True, alert=Alert.RELAY, is_lasting=True),
    Check("mx", addresses.mail_exchangers, "Mail to the lists comes here.", needs_network=True),
    Check("ptr", addresses.reverse_name, "Name and address of the door fit.", needs_network=True),
    Check("spf", senders.spf_records, "SPF allows the relays.", needs_network=True),
    Check("dkim", senders.dkim_records, "The DKIM records are those of our keys.", needs_network=True),
    Check("dmarc", senders.dmarc_records, "DMARC refuses forged letters.", needs_network=True),
    Check("file-modes", files.modes, "Only the service's user reads what is secret."),
    Check("passphrase-file", files.passphrases, "No passphrase lies on a disk."),
    Check("clock", machine.clock, "The clock seems right."),
    Check("clock-database", database.moments, "The database knows of nothing that is to come."),
    Check("disk-space", machine.disk, "There is room on the disk.", alert=Alert.DISK),
    Check("swap", machine.swap, "What is in memory stays there."),
    Check("postfix", machine.postfix, "No Postfix beside us keeps addresses."),
    Check("versions", machine.versions, "The libraries are new enough."),
    Check("font", wording.typesetter, "PDFs can be made."),
    Check("key-expiry", keys.expiry, "The keys of contacts, admins and seed mailboxes are usable.", alert=Alert.KEY),
    Check("list-key", keys.own_keys, "The lists' keys can be verified by all programs."),
    Check("database", database.opens, "The database opens."),
    Check("integrity", database.integrity, "The database's file is whole."),
    Check("instance-id", database.at_home, "The database is where it delivers from.", alert=Alert.HOME),
    Check("database-tls", database.encrypted_way, "The way to the database is encrypted."),
    Check("backup-age", database.backup, "There is a fresh backup, or nothing to lose yet."),
    Check("queue-age", queues.inbox, "Letters are read."),
    Check("outbox-age", queues.outbox, "Replies leave."),
    Check("delivery-age", queues.deliveries, "Digests leave."),
    Check("set-aside", queues.aside, "No letter is set aside.", alert=Alert.ASIDE, news=queues.aside_lately),
    Check("poisoned", queues.poisoned, "No delivery is set aside.", alert=Alert.POISONED),
    Check("held", queues.held, "No digest is held.", alert=Alert.HELD),
    Check("censored", queues.censored, "No provider refuses more than it may.", alert=Alert.CENSORED),
    Check("seeds", queues.seeds, "Copies arrive in the seed mailboxes."),
)
