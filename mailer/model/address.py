"""E-mail addresses, normalised once and compared once."""

from __future__ import annotations

import re
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
        local = unicodedata.normalize("NFC", local)
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
        """The form under which two spellings of one mailbox compare equal: NFKC, case folded."""
        return f"{unicodedata.normalize('NFKC', self.local).casefold()}@{self.domain}"

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
    try:
        ascii_domain = domain.strip(".").encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise BadAddress from error
    labels = ascii_domain.split(".")
    if len(labels) < 2 and ascii_domain != "localhost":
        raise BadAddress
    if len(ascii_domain) > DOMAIN_OCTETS or not all(_LABEL.match(label) for label in labels):
        raise BadAddress
    return ascii_domain
