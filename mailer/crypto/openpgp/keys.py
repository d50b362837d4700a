"""The lists' own OpenPGP keys.."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import pysequoia
from pysequoia import Cert, CipherSuite, Profile, PyDecryptor, PySigner, SignatureMode, Tsk

from mailer.crypto.openpgp import claims, gnupg, minimal, packets
from mailer.crypto.openpgp.claims import Flag
from mailer.crypto.openpgp.failing import failing_as
from mailer.crypto.openpgp.packets import Malformed, Packet, Tag
from mailer.errors import KeyNotMade, VaultError
from mailer.model.address import Address


def with_crlf(text: bytes) -> bytes:
    """Return armored text with the line ends that mail has."""
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@dataclass(frozen=True, eq=False)
class ListKey:
    """A key of ours, with its secret half, unprotected: the key file around it is sealed."""

    secret: bytes = field(repr=False)

    @classmethod
    def from_secret(cls, secret: bytes) -> ListKey:
        """Return the key that `secret` is (binary transferable secret key). Raises VaultError."""
        key = cls(secret)
        with failing_as(VaultError("An OpenPGP key in it cannot be read.")):
            if next(packets.walk(secret)).tag != Tag.SECRET_KEY or not key.public:
                raise Malformed
        return key

    @cached_property
    def fingerprint(self) -> str:
        """Of the primary key, lower-case hexadecimal."""
        return claims.read_key(next(packets.walk(self.public))).fingerprint

    @cached_property
    def public(self) -> bytes:
        """The certificate, binary: for Autocrypt and for export."""
        return bytes(self._tsk.extract_certificate())

    @property
    def micalg(self) -> str:
        """The hash that `sign_detached` uses, as RFC 3156 §5 names it."""
        return "pgp-sha512"

    @cached_property
    def can_primary_sign(self) -> bool:
        """Whether the primary key itself signs; Delta Chat verifies with no other."""
        sheaf = minimal.read(self.public)
        return sheaf is not None and any(one.may(Flag.SIGN) for one in sheaf.self_signatures)

    def sign_detached(self, payload: bytes) -> bytes:
        """Return an armored binary-document signature over the very bytes of `payload`, CRLF line ends."""
        with failing_as(VaultError("The list key in it cannot sign.")):
            signature = pysequoia.sign(self.signer, payload, mode=SignatureMode.DETACHED)
        return with_crlf(signature)

    @cached_property
    def _tsk(self) -> Tsk:
        return Tsk.from_bytes(self.secret)

    @cached_property
    def signer(self) -> PySigner:
        """pysequoia's handle; of no use outside the door."""
        return self._tsk.signer()

    @property
    def certificate(self) -> Cert:
        """pysequoia's handle on the certificate; of no use outside the door."""
        return self._tsk.extract_certificate()

    @property
    def certifier(self) -> PySigner:
        """pysequoia's handle; of no use outside the door."""
        return self._tsk.certifier()

    @cached_property
    def decryptor(self) -> PyDecryptor:
        """pysequoia's handle; of no use outside the door."""
        return self._tsk.decryptor()

    def __repr__(self) -> str:
        return "ListKey(…)"


def generate_list_key(address: Address) -> ListKey:
    """Return a new key whose one user ID is `<address>`. It does not expire. Raises KeyNotMade.

    Without GnuPG here, `can_primary_sign` is False.
    """
    if gnupg.is_installed():
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)  # tells no more than the day
        return ListKey.from_secret(gnupg.make_key(f"<{address}>", midnight))
    return generate_plain_key(address)


def generate_plain_key(address: Address) -> ListKey:
    """Return a new key of pysequoia's own making: [C] primary, subkeys that sign and encrypt; version 4."""
    with failing_as(KeyNotMade):
        tsk = Tsk.generate(f"<{address}>", profile=Profile.RFC4880, cipher_suite=CipherSuite.Cv25519)
        return ListKey.from_secret(bytes(tsk))


def rename_list_key(key: ListKey, address: Address) -> ListKey:
    """Return the same key with `<address>` as its one user ID. Raises KeyNotMade; needs GnuPG.

    What pysequoia adds to a key is a user ID that says nothing of its use and preferences: GnuPG encrypts to such a
    key with 3DES, and pysequoia does not open that.
    """
    name = f"<{address}>"
    named = _find_user_id(key.secret, name)
    if not named:
        if not gnupg.is_installed():
            raise KeyNotMade("(This needs GnuPG: install Debian's gnupg.)")
        named = _find_user_id(gnupg.add_user_id(key.secret, name), name)
    kept: list[Packet] = []
    is_old = False
    for packet in packets.walk(key.secret):
        is_old = packet.tag == Tag.USER_ID or (is_old and packet.tag == Tag.SIGNATURE)
        kept += [] if is_old else [packet]
    at = next((at for at, one in enumerate(kept) if one.tag == Tag.SECRET_SUBKEY), len(kept))
    return ListKey.from_secret(b"".join(packet.raw for packet in [*kept[:at], *named, *kept[at:]]))


def _find_user_id(key: bytes, name: str) -> list[Packet]:
    """Return the packet of a user ID and the signature after it, or none."""
    found = list(packets.walk(key))
    at = next((at for at, one in enumerate(found) if one.tag == Tag.USER_ID and one.body == name.encode()), len(found))
    return found[at : at + 2]
