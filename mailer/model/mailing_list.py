"""A list, as its parts need to know it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mailer.model.address import Address
from mailer.model.language import Language


@dataclass(frozen=True, slots=True)
class MailingList:
    """A campaign's list. contact_certificate: binary OpenPGP, or None: then what is no command is set aside.

    formerly: addresses that the list had; mail to them still arrives. wording: a folder that overrides templates.
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


@dataclass(frozen=True, slots=True)
class Directory:
    """The lists of an instance, found by address. hostname: of the machine, whose postmaster is the first list's."""

    lists: tuple[MailingList, ...]
    hostname: str = ""

    def find(self, address: Address) -> MailingList | None:
        """Return the list that a recipient belongs to, whatever its `+detail`; postmaster@ is its first list's."""
        mailbox, _ = address.split_detail()
        for one in self.lists:
            if mailbox.normalised in {own.normalised for own in (one.address, *one.formerly)}:
                return one
        if not is_postmaster(mailbox):
            return None
        of_domain = (one for one in self.lists if mailbox.domain in (one.address.domain, self.hostname))
        return next(of_domain, None)  # RFC 5321 §4.5.1

    def by_id(self, list_id: str) -> MailingList | None:
        """Return the list with an id."""
        return next((one for one in self.lists if one.id == list_id), None)


def is_postmaster(mailbox: Address) -> bool:
    """Return whether mail goes to the people who run the host (RFC 5321 §4.5.1)."""
    return mailbox.split_detail()[0].local.casefold() == "postmaster"
