"""People with X.509 certificates, whose program is OpenSSL."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

from mailer.crypto.smime import SmimeKey
from tests import opening
from tests.authority import Authority, pem, rsa_key
from tests.conftest import needs
from tests.house import LIST, House, Person
from tests.walks.far_server import Received

AUTHORITY = Authority.root()
_numbers: dict[str, int] = {}


@dataclass
class Holder(Person):
    """Somebody with an X.509 certificate and no OpenPGP key. of_list: the list's certificate, PEM."""

    x509: SmimeKey = field(kw_only=True)
    of_list: bytes = field(default=b"", kw_only=True)

    @classmethod
    def at(cls, address: str, **how: object) -> Holder:
        """Return somebody whose certificate the authority of the tests has issued; how: what is bad about it."""
        number = _numbers.setdefault(address, 20 + len(_numbers))
        return cls(address, x509=AUTHORITY.issue(address=address, **{"key": rsa_key(number), **how}))

    def letter_with(
        self, subject: str = "", text: str = "", *, blob: bytes = b"", name: str = "me.cer", to: str = LIST
    ) -> EmailMessage:
        """Return a letter with a file attached: the certificate, if no other is given."""
        message = self.letter(subject, text, to=to)
        message.add_attachment(blob or self.x509.der, maintype="application", subtype="pkix-cert", filename=name)
        return message

    def signed_letter(self, subject: str = "", text: str = "", *, to: str = LIST, is_opaque: bool = False) -> bytes:
        """Return a letter signed by OpenSSL, the text inside or beside the signature."""
        message = self.letter(subject, text, to=to)
        head, _, _ = message.as_bytes().partition(b"Content-Type:")
        return head.replace(b"MIME-Version: 1.0\r\n", b"") + self.sign(_entity(text), is_opaque=is_opaque)

    def sign(self, entity: bytes, *, is_opaque: bool = False) -> bytes:
        """Return an entity signed by OpenSSL, CRLF, from MIME-Version on."""
        chain, how = pem(*self.x509.chain), ["-nodetach"] if is_opaque else []
        return _openssl(["-sign", *how], entity, {"-signer": self.x509.to_pem(), "-certfile": chain})

    def encrypt(self, entity: bytes, certificate: bytes, *, is_streamed: bool = False) -> bytes:
        """Return an entity enveloped by OpenSSL for a certificate, PEM, CRLF, from MIME-Version on."""
        how = ["-stream"] if is_streamed else []
        return _openssl(["-encrypt", "-aes256", *how], entity, {"-recip": certificate})

    def open(self, received: Received) -> EmailMessage:
        """Open a letter with the key, to the message inside, its signature verified; PDFs as everybody does."""
        if opening.form_of(received.content) is opening.Form.PDF:
            return super().open(received)
        return opening.open_smime(received.content, self.x509.to_pem(), AUTHORITY.pem)


def give_key(house: House, number: int = 90) -> SmimeKey:
    """Give the list of a house an X.509 key, as `mailer keys smime` does, and let the service know it."""
    key = AUTHORITY.issue(address=LIST, key=rsa_key(number))
    house.secrets = house.secrets.with_smime_key("news", key.to_pem())
    house.keyring.unlock(house.secrets)
    return key


def _entity(text: str) -> bytes:
    message = EmailMessage()
    message.set_content(f"{text}\n", cte="quoted-printable")
    del message["MIME-Version"]
    return message.as_bytes()


def _openssl(options: list[str], entity: bytes, files: dict[str, bytes]) -> bytes:
    """Run `openssl cms` on an entity; files: options that name one with this content."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.write_bytes(content)
            options = [*options, name, str(path)]
        command = [needs("openssl"), "cms", *options]
        done = subprocess.run(command, input=entity, capture_output=True, check=True)
    return done.stdout.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
