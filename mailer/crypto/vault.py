"""Sealing of what the register and the database hold (DESIGN §5). Every value opens in its own row and field only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from mailer.crypto.aead import KEY_BYTES, derive_key, label, new_key, seal, unseal
from mailer.crypto.fields import pack, pad, text, unpack
from mailer.crypto.hybrid import HybridPrivate, HybridPublic
from mailer.crypto.index import Index, index, suppression_mark
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.crypto.transit import TransitKey, TransitPublic
from mailer.errors import BadAddress, SealBroken
from mailer.model.address import Address
from mailer.model.subscriber import Drawer, Format, Record

__all__ = [
    "DataKey",
    "Index",
    "RosterKey",
    "RosterPublic",
    "ServiceSecrets",
    "TransitKey",
    "TransitPublic",
    "index",
    "new_key",
    "open_at_rest",
    "open_drawer",
    "open_under_token",
    "seal_at_rest",
    "seal_drawer",
    "seal_under_token",
    "suppression_mark",
    "unwrap_drawer_key",
    "wrap_drawer_key",
]

DATA_KEY_ID_BYTES = 16
# The length of a sealed value would help to test guesses: nearly every address fits the first bucket (84 characters
# without the @), and drawers differ by a few steps only.
RECORD_BUCKET = 128
DRAWER_BUCKET = 256
_DRAWER_FORM = b"mailer/2/drawer"  # first part of a drawer; no certificate begins so


# --- Records: who it is ---------------------------------------------------------------------------------------------


class RosterPublic(HybridPublic):
    """What the intake has: keys/roster.pub. It seals records and opens none."""

    kind: ClassVar[str] = "roster"

    def seal_record(self, record: Record, list_id: str, subscriber_id: bytes) -> bytes:
        """Return the record as *fresh*: sealed to the roster key. 1,265 bytes for nearly every address."""
        return self.encrypt(_pack_record(record), _record_label(list_id, subscriber_id))


class RosterKey(HybridPrivate):
    """The private half: keys/roster.key. It opens the register; the deliverer alone has it."""

    kind: ClassVar[str] = "roster"

    @property
    def public(self) -> RosterPublic:
        """The half that the intake gets."""
        return RosterPublic(self.public_raw)

    def open_record(self, blob: bytes, list_id: str, subscriber_id: bytes) -> Record:
        """Return a fresh record. Raises SealBroken."""
        drawer_key, local, domain = unpack(self.decrypt(blob, _record_label(list_id, subscriber_id)), 3)
        # looked at again: whoever writes to the database can seal a record, with line breaks in the address too
        if len(drawer_key) != KEY_BYTES:
            raise SealBroken
        try:
            return Record(Address.parse(f"{text(local)}@{text(domain)}"), drawer_key)
        except BadAddress:
            raise SealBroken from None

    def new_data_key(self) -> tuple[DataKey, bytes]:
        """Return a new data key, and the same sealed, to be stored."""
        data_key = DataKey(os.urandom(DATA_KEY_ID_BYTES), new_key())
        return data_key, self.seal_data_key(data_key)

    def seal_data_key(self, data_key: DataKey) -> bytes:
        """Return the data key sealed under this roster key: what rotation does to it. 61 bytes.

        Under a key derived from the private half, not to the public one: otherwise whoever writes to the database
        could put in a data key that he knows, and the deliverer would absorb the register into it.
        """
        return seal(self._data_key_key(), data_key.key, label("roster/data-key", data_key.id))

    def open_data_key(self, sealed: bytes, key_id: bytes) -> DataKey:
        """Return the data key that was sealed under this id. Raises SealBroken."""
        return DataKey(key_id, unseal(self._data_key_key(), sealed, label("roster/data-key", key_id)))

    def _data_key_key(self) -> bytes:
        return derive_key(self.raw, label("roster/data-key-key"))


@dataclass(frozen=True, slots=True)
class DataKey:
    """The key of *absorbed* records: quick to open, and sealed under the roster key while it is stored."""

    id: bytes
    key: bytes

    def seal_record(self, record: Record, list_id: str, subscriber_id: bytes) -> bytes:
        """Return the record as absorbed. 157 bytes for nearly every address."""
        return seal(self.key, _pack_record(record), _record_label(list_id, subscriber_id, self.id))

    def open_record(self, blob: bytes, list_id: str, subscriber_id: bytes) -> Record:
        """Return an absorbed record. Raises SealBroken."""
        packed = unseal(self.key, blob, _record_label(list_id, subscriber_id, self.id))
        drawer_key, local, domain = unpack(packed, 3)
        # not parsed again: only a holder of the roster key can have sealed this, after opening it as fresh
        return Record(Address(text(local), text(domain)), drawer_key)

    def __repr__(self) -> str:
        return "DataKey(…)"


def _pack_record(record: Record) -> bytes:
    # the normalised form is not kept beside it: NFKC and case folding of assigned characters never change (Unicode
    # stability policy), and Address.parse refuses unassigned ones
    return pad(pack(record.drawer_key, record.address.local, record.address.domain), RECORD_BUCKET)


def _record_label(list_id: str, subscriber_id: bytes, data_key_id: bytes = b"") -> bytes:
    return label("roster/record", list_id, subscriber_id, data_key_id)


# --- Drawers: what a letter to them needs ---------------------------------------------------------------------------


def wrap_drawer_key(wrapping_key: bytes, drawer_key: bytes, list_id: str, subscriber_id: bytes) -> bytes:
    """Return the drawer key for whoever knows the address (index gives the wrapping key). 61 bytes."""
    return seal(wrapping_key, drawer_key, label("drawer/key", list_id, subscriber_id))


def unwrap_drawer_key(wrapping_key: bytes, wrapped: bytes, list_id: str, subscriber_id: bytes) -> bytes:
    """Return the drawer key. Raises SealBroken."""
    return unseal(wrapping_key, wrapped, label("drawer/key", list_id, subscriber_id))


def seal_drawer(drawer: Drawer, drawer_key: bytes, list_id: str, subscriber_id: bytes) -> bytes:
    """Return the drawer, sealed; its size is a multiple of 256 bytes, and 29 more."""
    what = (drawer.certificate, drawer.fingerprint, drawer.x509, drawer.passphrase, drawer.format)
    packed = pad(pack(_DRAWER_FORM, *what), DRAWER_BUCKET)
    return seal(drawer_key, packed, label("drawer/content", list_id, subscriber_id))


def open_drawer(sealed: bytes, drawer_key: bytes, list_id: str, subscriber_id: bytes) -> Drawer:
    """Return the drawer. Raises SealBroken."""
    packed = unseal(drawer_key, sealed, label("drawer/content", list_id, subscriber_id))
    if not packed.startswith(pack(_DRAWER_FORM)):  # the first form: certificate and fingerprint
        certificate, fingerprint = unpack(packed, 2)
        return Drawer(certificate, text(fingerprint))
    _, certificate, fingerprint, x509, passphrase, wanted = unpack(packed, 6)
    try:
        return Drawer(certificate, text(fingerprint), x509, text(passphrase), Format(text(wanted)))
    except ValueError:
        raise SealBroken from None


# --- Everything else that lies in the database ----------------------------------------------------------------------


def seal_at_rest(rest_key: bytes, plaintext: bytes, kind: str, *row: str | bytes) -> bytes:
    """Return `plaintext` sealed for one place: `kind` names table and column, `row` its primary key. 29 bytes more."""
    bound = label("rest", kind, *row)
    return seal(derive_key(rest_key, label("rest-key", kind)), plaintext, bound)


def open_at_rest(rest_key: bytes, sealed: bytes, kind: str, *row: str | bytes) -> bytes:
    """Return what was sealed for this place. Raises SealBroken."""
    bound = label("rest", kind, *row)
    return unseal(derive_key(rest_key, label("rest-key", kind)), sealed, bound)


def seal_under_token(rest_key: bytes, token: str, plaintext: bytes, *row: str | bytes) -> bytes:
    """Return `plaintext` sealed so that neither the service secrets nor the token open it alone."""
    return seal(derive_key(rest_key, label("token-key", token)), plaintext, label("under-token", *row))


def open_under_token(rest_key: bytes, token: str, sealed: bytes, *row: str | bytes) -> bytes:
    """Return what was sealed under this token for this row. Raises SealBroken."""
    return unseal(derive_key(rest_key, label("token-key", token)), sealed, label("under-token", *row))
