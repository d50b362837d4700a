"""The people of the demonstration: their addresses, their keys, and the letters that they write."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from pathlib import Path

from mailer.crypto import openpgp
from mailer.crypto.openpgp import ListKey
from mailer.model.address import Address
from mailer.model.language import Language

TEXTS = Path(__file__).parent / "texts"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a mailbox. wish: the word that they write to join. key: a ListKey is an OpenPGP key like any."""

    name: str
    address: str
    language: Language
    wish: str
    key: ListKey

    @classmethod
    def draw(cls, name: str, address: str, language: Language, wish: str) -> Person:
        """Return somebody with a new key."""
        return cls(name, address, language, wish, openpgp.generate_list_key(Address.parse(address)))

    @property
    def certificate(self) -> bytes:
        """Their public key, armored, as a mail program attaches it."""
        return openpgp.armor_certificate(self.key.public).encode()


def draw() -> tuple[Person, Person, Person]:
    """Return the three who join, one for each language."""
    return (
        Person.draw("Ada", "ada.lindqvist@post.example", Language.EN, "subscribe"),
        Person.draw("美玲", "mei-ling.ho@mail.example", Language.ZH_HANT, "訂閱"),
        Person.draw("赵林", "zhao.lin@webmail.example", Language.ZH_HANS, "订阅"),
    )


@dataclass(frozen=True, slots=True)
class Expired:
    """Somebody whose key has expired, and who is refused for that."""

    name: str = "Dana"
    address: str = "dana.moreau@elsewhere.example"
    wish: str = "subscribe"

    @property
    def certificate(self) -> bytes:
        """The expired public key, armored."""
        return (TEXTS / "expired-key.asc").read_bytes()


def write(sender: str, to: str, subject: str, text: str = "", certificate: bytes | None = None) -> EmailMessage:
    """Return a letter such as a mail program sends, with a public key attached or without."""
    letter = EmailMessage(policy=policy.SMTP)
    letter["From"], letter["To"], letter["Subject"] = sender, to, subject
    letter["Date"] = datetime.now(UTC)
    letter["Message-ID"] = f"<{secrets.token_hex(12)}@{sender.partition('@')[2]}>"
    letter["MIME-Version"] = "1.0"
    letter.set_content(text + "\n")
    if certificate is not None:
        letter.add_attachment(certificate, maintype="application", subtype="pgp-keys", filename="my-key.asc")
    return letter
