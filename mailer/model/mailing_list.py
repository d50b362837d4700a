"""A list, as its parts need to know it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mailer.model.address import Address
from mailer.model.language import Language


@dataclass(frozen=True, slots=True)
class Sender:
    """Another address that a list sends from, with an OpenPGP key of its own; relays stand for it by name."""

    name: str
    address: Address
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class MailingList:
    """A campaign's list. contact_certificate: binary OpenPGP, or None: then what is no command is set aside.

    formerly: addresses that the list had; mail to them still arrives. wording: a folder that overrides templates.
    identity: the name of the one that address and display_name are of, "" for the list's own. is_shy: the display name
    stands inside the encryption alone.
    """

    id: str
    address: Address
    formerly: tuple[Address, ...] = ()
    display_name: str = ""
    languages: tuple[Language, ...] = (Language.EN,)
    default_language: Language = Language.EN
    contact: Address | None = None
    contact_certificate: bytes | None = None
    wording: Path | None = None
    is_retired: bool = False
    identities: tuple[Sender, ...] = ()
    identity: str = ""
    is_shy: bool = False

    @property
    def own_addresses(self) -> tuple[Address, ...]:
        """Every address at which mail is for this list, without details."""
        return (self.address, *self.formerly, *(one.address for one in self.identities))

    def sending_as(self, identity: str) -> MailingList:
        """Return the list as it shows itself under that identity, or as it is if it has none of this name.

        Its OpenPGP key is then `Keyring.list_key(id, identity)` of what is returned.
        """
        sender = next((one for one in self.identities if one.name == identity), None)
        if sender is None:
            return self
        formerly = (*self.formerly, self.address)
        name = sender.display_name
        return replace(self, address=sender.address, display_name=name, formerly=formerly, identity=sender.name)

    def known_at(self, mailbox: Address) -> MailingList:
        """Return the list as whoever wrote to `mailbox`, an address without detail, knows it: under that identity."""
        names = (one.name for one in self.identities if one.address.normalised == mailbox.normalised)
        return self.sending_as(next(names, ""))


@dataclass(frozen=True, slots=True)
class Directory:
    """The lists of an instance, found by address. hostname: of the machine, whose postmaster is the first list's."""

    lists: tuple[MailingList, ...]
    hostname: str = ""

    def find(self, address: Address) -> MailingList | None:
        """Return the list that a recipient belongs to, whatever its `+detail`; postmaster@ is its first list's.

        Mail to an identity finds the list under that identity: whoever wrote there is answered from there.
        """
        mailbox, _ = address.split_detail()
        for one in self.lists:
            if mailbox.normalised in {own.normalised for own in one.own_addresses}:
                return one.known_at(mailbox)
        if not is_postmaster(mailbox):
            return None
        of_domain = (one for one in self.lists if mailbox.domain in (self.hostname, *_domains(one)))
        return next(of_domain, None)  # RFC 5321 §4.5.1

    def by_id(self, list_id: str) -> MailingList | None:
        """Return the list with an id."""
        return next((one for one in self.lists if one.id == list_id), None)


def _domains(mailing_list: MailingList) -> list[str]:
    """Where the list's mail comes in today; a domain that it had may be somebody else's by now."""
    return [mailing_list.address.domain, *(one.address.domain for one in mailing_list.identities)]


def is_postmaster(mailbox: Address) -> bool:
    """Return whether mail goes to the people who run the host (RFC 5321 §4.5.1)."""
    return mailbox.split_detail()[0].local.casefold() == "postmaster"
