"""E-mail addresses, normalised once and compared once."""

from __future__ import annotations

import re
import stringprep
import unicodedata
from dataclasses import dataclass

from mailer.errors import BadAddress

LOCAL_OCTETS = 64  # RFC 5321 §4.5.3.1.1
DOMAIN_OCTETS = 255  # RFC 5321 §4.5.3.1.2
PATH_OCTETS = 254  # RFC 5321 §4.5.3.1.3, less the angle brackets

# RFC 5321 §4.1.2 Dot-string; RFC 6531 §3.3 adds everything above ASCII. Quoted local parts are refused: nobody's
# mailbox needs one, and every program in between reads them differently.
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u00a1-\U0010ffff]"
_LOCAL = re.compile(rf"{_ATEXT}+(\.{_ATEXT}+)*\Z")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_INVISIBLE = ("C", "Z")  # Unicode categories: controls, formats, surrogates, unassigned; every kind of space
_FULL_STOP = "\u3002"  # RFC 3490 §3.1: a dot between labels; full-width ones become a dot by themselves
_DEVIATIONS = frozenset("ßς")  # UTS #46 §2.3: IDNA 2003 makes another domain of them, with another owner

# Large providers at which several spellings are one mailbox by their own rules: which characters do not count, and
# under which domain it is known. Only for counting: mail always goes to the address as it was given.
_ALIKE = {
    **dict.fromkeys(("gmail.com", "googlemail.com"), (".", "gmail.com")),
    **dict.fromkeys(("proton.me", "protonmail.com", "protonmail.ch", "pm.me"), (".-_", "proton.me")),
}


@dataclass(frozen=True, slots=True)
class Address:
    """An address that mail can be sent to. The domain is in lower-case A-labels (RFC 5890 §2.3.2.1)."""

    local: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the address that `text` is, without angle brackets or a name. Raises BadAddress (RFC 5321 §4.1.2)."""
        local, at, domain = text.strip(" ").rpartition("@")
        if not at:
            raise BadAddress
        return cls._checked(local, _a_labels(domain))

    @classmethod
    def _checked(cls, local: str, a_labels: str) -> Address:
        # NFKC: a full-width spelling means the ordinary one. Were it kept and only compared as equal, it could be the
        # mailbox of somebody else, who would get the letters of whoever has the ordinary one.
        local = local if local.isascii() else unicodedata.normalize("NFKC", local)
        if not _LOCAL.match(local) or len(local.encode(errors="replace")) > LOCAL_OCTETS:
            raise BadAddress
        if not local.isascii() and any(unicodedata.category(char)[0] in _INVISIBLE for char in local):
            raise BadAddress
        address = cls(local, a_labels)
        if len(str(address).encode()) > PATH_OCTETS:
            raise BadAddress
        return address

    @property
    def normalised(self) -> str:
        """The form under which two spellings of one mailbox compare equal: NFKC, lower case.

        Not case folded: that makes "ss" of "ß" and "σ" of "ς", which are other people's mailboxes.
        """
        if self.local.isascii():
            return f"{self.local.lower()}@{self.domain}"
        return f"{unicodedata.normalize('NFKC', unicodedata.normalize('NFKC', self.local).lower())}@{self.domain}"

    @property
    def counted_as(self) -> Address:
        """The mailbox that limits count letters to: without detail, and without what its provider does not look at."""
        mailbox = Address(self.normalised.rpartition("@")[0], self.domain).split_detail()[0]
        ignored, domain = _ALIKE.get(self.domain, ("", self.domain))
        local = mailbox.local.translate(dict.fromkeys(map(ord, ignored)))
        return Address(local or mailbox.local, domain)

    @property
    def is_ascii(self) -> bool:
        """Whether a relay without SMTPUTF8 (RFC 6531) can carry mail for it."""
        return self.local.isascii()

    def split_detail(self) -> tuple[Address, str]:
        """Return the mailbox itself and what stands behind the first `+`, in lower case (RFC 5233 §4)."""
        local, _, detail = self.local.partition("+")
        return Address(local or self.local, self.domain), detail.lower()

    def with_detail(self, detail: str) -> Address:
        """Return the address with `+detail`; raises BadAddress where that is longer than RFC 5321 allows."""
        return self._checked(f"{self.local}+{detail}", self.domain)

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    def __repr__(self) -> str:  # an address in a traceback or a log line is a leak
        return "Address(…)"


def _a_labels(domain: str) -> str:
    ascii_domain = domain.lower() if domain.isascii() else ".".join(map(_a_label, _u_labels(domain)))
    ascii_domain = ascii_domain.removesuffix(".")
    labels = ascii_domain.split(".")
    if len(labels) < 2 and ascii_domain != "localhost":
        raise BadAddress
    if len(ascii_domain) > DOMAIN_OCTETS or not all(_LABEL.match(label) for label in labels):
        raise BadAddress
    return ascii_domain


def _u_labels(domain: str) -> list[str]:
    """Return the labels of a domain that is not ASCII. What a reader cannot see is refused: IDNA would drop it."""
    if any(unicodedata.category(char)[0] in _INVISIBLE or stringprep.in_table_b1(char) for char in domain):
        raise BadAddress
    return unicodedata.normalize("NFKC", domain).lower().replace(_FULL_STOP, ".").split(".")


def _a_label(label: str) -> str:
    """Return a label as the DNS has it (RFC 3490 §4.1, RFC 5891 §4.4)."""
    if label.isascii():
        return label
    try:
        if not _DEVIATIONS.isdisjoint(label):
            return f"xn--{label.encode('punycode').decode('ascii')}"
        return label.encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise BadAddress from error
