"""Decrypting and verifying, in the confined reader only.."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pysequoia
from pysequoia import Cert, Decrypted, Sig

from mailer.crypto.openpgp import armor, claims, minimal, packets
from mailer.crypto.openpgp.armor import BlockKind
from mailer.crypto.openpgp.failing import failing_as
from mailer.crypto.openpgp.keys import ListKey
from mailer.crypto.openpgp.packets import Malformed, Packet, Tag
from mailer.errors import DecryptionFailed

SIGNATURES_MAX = 8  # in one letter
CLOCK_SKEW = timedelta(minutes=5)
_TAIL_OCTETS = 64


@dataclass(frozen=True, slots=True)
class Signature:
    """A valid signature. fingerprint: of the certificate (its primary key), lower-case hexadecimal.

    created: UTC; None where it stood inside a message, of which pysequoia does not tell. digest: 32 octets, the same
    whenever this signature comes again, however it is framed, armored or wrapped then.
    """

    fingerprint: str
    created: datetime | None
    digest: bytes = field(repr=False)

    def __repr__(self) -> str:  # a fingerprint in a log line names a person
        return "Signature(…)"


@dataclass(frozen=True, slots=True)
class Opened:
    """What a message says. signature: valid, over all of plaintext. is_signed: there may be one, valid or not.

    Inside a message only the certificate that made it shows a signature. So `is_signed` is always true of those, and
    whoever has that certificate at hand only later reads the message again.
    """

    plaintext: bytes
    signature: Signature | None
    is_signed: bool = True

    def __repr__(self) -> str:
        return "Opened(…)"


def decrypt(
    message: bytes, keys: Sequence[ListKey], certificates: Sequence[bytes], now: datetime | None = None
) -> Opened:
    """Return what `message`, armored or binary, says to one of `keys`. Raises DecryptionFailed.

    A signature counts if a key in `certificates` made it that was alive then and is alive at `now`. None is seen
    inside compression, which our keys' preferences ask for none of; a message compressed with BZip2 does not open. In
    the confined reader only: a few octets may decrypt to hundreds of megabytes.
    """
    binary = _dearmor(message)
    for key in keys:
        if certificates:
            verified = _decrypt(binary, key, certificates)
            if verified is not None:
                return Opened(verified.bytes or b"", _accept_sealed(verified, binary, certificates, now))
        opened = _decrypt(binary, key, ())
        if opened is not None:
            return Opened(opened.bytes or b"", None)
    raise DecryptionFailed


def _decrypt(message: bytes, key: ListKey, certificates: Sequence[bytes]) -> Decrypted | None:
    """With certificates pysequoia opens what is validly signed by one of them, and nothing else."""
    try:
        with failing_as(DecryptionFailed):
            store = _Store(certificates) if certificates else None
            return pysequoia.decrypt(message, decryptor=key.decryptor, store=store)
    except DecryptionFailed:
        return None


def _accept_sealed(
    verified: Decrypted, message: bytes, certificates: Sequence[bytes], now: datetime | None
) -> Signature | None:
    signer = _live_signer(verified, certificates, now or datetime.now(UTC))
    digest = _digest_of_sealed(message)
    return Signature(signer, None, digest) if signer and digest else None


def _digest_of_sealed(message: bytes) -> bytes | None:
    """Return the digest of the end of the ciphertext, which nobody can alter so that it still opens.

    Around it they can: other headers and partial lengths, and packets before and after it that readers pass over.
    """
    try:
        sealed = [packet.body for packet in packets.walk(message) if packet.tag == Tag.SEIPD]
    except Malformed:
        return None
    return hashlib.sha256(b"mailer/1/sealed" + sealed[0][-_TAIL_OCTETS:]).digest() if len(sealed) == 1 else None


def verify_detached(
    payload: bytes, signature: bytes, certificates: Sequence[bytes], now: datetime | None = None
) -> Signature | None:
    """Return the first valid signature over `payload` in `signature`, armored or binary, or None."""
    for packet in _signatures(signature)[:SIGNATURES_MAX]:
        try:
            with failing_as(DecryptionFailed):
                sig = Sig.from_bytes(packet.raw)
                verified = pysequoia.verify(payload, store=_Store(certificates), signature=sig)
        except DecryptionFailed:
            continue
        accepted = _accept(verified, packet, payload, certificates, now)
        if accepted:
            return accepted
    return None


def verify_cleartext(message: bytes, certificates: Sequence[bytes], now: datetime | None = None) -> Opened:
    """Return the text of a message under the cleartext signature framework (RFC 9580 §7), and who signed it.

    What stands before or after the framework is not part of the text. Of several signatures none counts: which of them
    is the valid one pysequoia does not tell. Raises DecryptionFailed if there is no such message.
    """
    pieces = armor.split_cleartext(message)
    if pieces is None:
        raise DecryptionFailed
    whole, text, signature = pieces
    found = _signatures(signature)
    try:
        with failing_as(DecryptionFailed):
            verified = pysequoia.verify(whole, store=_Store(certificates))
    except DecryptionFailed:
        return Opened(text, None)
    said = verified.bytes or b""
    return Opened(said, _accept(verified, found[0], said, certificates, now) if len(found) == 1 else None)


class _Store:
    """Hands Sequoia the certificates in which it looks for a signature's key."""

    def __init__(self, certificates: Sequence[bytes]) -> None:
        self._certs = [Cert.from_bytes(certificate) for certificate in certificates]

    def __call__(self, key_ids: Sequence[str]) -> list[Cert]:
        return self._certs


def _accept(
    verified: Decrypted, packet: Packet, payload: bytes, certificates: Sequence[bytes], now: datetime | None
) -> Signature | None:
    """Return the one signature that was verified, if its key is alive at `now` too and it is not from the future."""
    now = now or datetime.now(UTC)
    signer, created = _live_signer(verified, certificates, now), _created(packet)
    if signer is None or created is None or created > now + CLOCK_SKEW:
        return None
    # The same words may be signed again, so the time belongs to it. Spaces and line ends may be changed on the way.
    said = f"mailer/1/signed {signer} {created.isoformat()} ".encode() + b"".join(payload.split())
    return Signature(signer, created, hashlib.sha256(said).digest())


def _live_signer(verified: Decrypted, certificates: Sequence[bytes], now: datetime) -> str | None:
    """Return the fingerprint of the first certificate that validly signed and whose key is alive at `now` too."""
    for one in verified.valid_sigs:
        fingerprint, signing_key = str(getattr(one, "certificate", "")), str(getattr(one, "signing_key", ""))
        if any(minimal.is_signer_alive(certificate, fingerprint, signing_key, now) for certificate in certificates):
            return fingerprint
    return None


def _created(packet: Packet) -> datetime | None:
    try:
        created = claims.read_signature(packet).created
    except Malformed:
        return None
    return None if created is None else datetime.fromtimestamp(created, UTC)


def _signatures(signature: bytes) -> list[Packet]:
    try:
        return [packet for packet in packets.walk(_dearmor(signature)) if packet.tag == Tag.SIGNATURE]
    except Malformed:
        return []


def _dearmor(message: bytes) -> bytes:
    wanted = {BlockKind.MESSAGE, BlockKind.SIGNATURE}
    blocks = (block for block in armor.find_blocks(message, SIGNATURES_MAX) if block.kind in wanted)
    return next((block.content or b"" for block in blocks), message)
