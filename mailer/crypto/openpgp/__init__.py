"""OpenPGP: the one door to pysequoia, in this folder. What `keys` and `read` hold can be had from here too.

Sequoia falls back to expired subkeys, overlooks some revocations and takes a certificate without Features for a modern
one; so who may be encrypted to is decided in `certificates`, and what came out is looked at again here. Its
exceptions carry fingerprints and stack traces and its panics are no Exception: neither leaves these files.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache

import pysequoia
from pysequoia import ArmorKind, Cert, PySigner

from mailer.crypto.openpgp import armor, merging, minimal, nameless, packets
from mailer.crypto.openpgp.certificates import bearers as find_bearers
from mailer.crypto.openpgp.certificates import examine as judge
from mailer.crypto.openpgp.claims import to_key_id
from mailer.crypto.openpgp.failing import failing_as
from mailer.crypto.openpgp.heap import keep_heap
from mailer.crypto.openpgp.keys import ListKey, generate_list_key, generate_plain_key, rename_list_key
from mailer.crypto.openpgp.merging import News, compare
from mailer.crypto.openpgp.minimal import Usable, is_usable
from mailer.crypto.openpgp.packets import Malformed, Outline, Packet, Tag
from mailer.crypto.openpgp.read import Opened, Signature, decrypt, verify_cleartext, verify_detached
from mailer.crypto.openpgp.succession import fingerprint, introduce, issuers, key_ids, revoke, sign_by_all
from mailer.errors import CertificateUnusable
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Refusal, Refused

__all__ = [
    "ListKey",
    "News",
    "Opened",
    "Signature",
    "armor_certificate",
    "bearers",
    "compare",
    "decrypt",
    "encrypt",
    "examine",
    "examine_beside",
    "fingerprint",
    "generate_list_key",
    "generate_plain_key",
    "introduce",
    "is_usable",
    "issuers",
    "keep_heap",
    "key_ids",
    "message_form",
    "rename_list_key",
    "revoke",
    "sign_by_all",
    "verify_cleartext",
    "verify_detached",
]

_SEIPD_HEAD = 7  # octets: tag, five of length, version


def examine(blob: bytes, now: datetime) -> tuple[Certificate | Refused, ...]:
    """Return a verdict on each certificate in `blob`, at least one; usable ones are reduced to what is needed.

    blob: a stranger's bytes, binary or armored, whatever stands around the armor. Never raises and takes less than
    two seconds; yet call it in the confined reader only.
    """
    return judge(blob, now, _Sequoia())


def bearers(blob: bytes, address: Address) -> frozenset[str]:
    """Return the fingerprints of the certificates in `blob` that have this address as a user ID. In the reader only."""
    return find_bearers(blob, address, _Sequoia())


def message_form(certificate: bytes, now: datetime) -> str:
    """Return in which packets `encrypt` writes to a minimal certificate (RFC 9580 §5.1, §5.13); "" if not at all."""
    verdict = minimal.judge(certificate, now)
    if isinstance(verdict, Refusal):
        return ""
    return "PKESK v3, SEIPD v1" if verdict.reads_only_seipd_v1 else "PKESK v6, SEIPD v2"


def examine_beside(blob: bytes, ours: bytes, now: datetime) -> tuple[Certificate | Refused, ...]:
    """Return the same, where the certificate that we have is in `blob` too as both together are; see `compare`.

    ours: minimal. In the confined reader only.
    """
    verdicts = examine(blob, now)
    mine = fingerprint(ours)
    if all(one.fingerprint != mine or (isinstance(one, Certificate) and one.blob == ours) for one in verdicts):
        return verdicts
    return examine(merging.put_together(blob, ours, armor_certificate(ours)), now)


class _Sequoia:
    """Checks signatures by asking Sequoia to use the certificate that they are in."""

    def expiry(self, certificate: bytes) -> tuple[bool, datetime | None]:
        try:
            with failing_as(CertificateUnusable):
                return True, Cert.from_bytes(certificate).expiration
        except CertificateUnusable:
            return False, None

    def is_revoked(self, certificate: bytes) -> bool:
        try:
            with failing_as(CertificateUnusable):
                return Cert.from_bytes(certificate).is_revoked
        except CertificateUnusable:
            return True

    def recipients(self, certificate: bytes) -> frozenset[bytes]:
        try:
            with failing_as(CertificateUnusable):
                message = pysequoia.encrypt(b"", [Cert.from_bytes(certificate)], armor=False)
        except CertificateUnusable:
            return frozenset()
        return frozenset(_recipient(packet) for packet in packets.walk(message) if packet.tag == Tag.PKESK)


def _recipient(packet: Packet) -> bytes:
    """The key ID that a PKESK names (RFC 9580 §5.1.1, §5.1.2)."""
    body = packet.body
    if body[0] == 3:
        return body[1:9]
    return to_key_id(body[3 : 2 + body[1]].hex())


def armor_certificate(blob: bytes) -> str:
    """Return a binary certificate in ASCII armor, LF line ends."""
    with failing_as(CertificateUnusable):
        return pysequoia.armor(blob, ArmorKind.PublicKey)


def encrypt(plaintext: bytes, certificate: bytes, now: datetime, signer: ListKey | None = None) -> bytes:
    """Return `plaintext` encrypted to a minimal certificate of `examine`'s: armored, no header lines, CRLF line ends.

    Fresh session key, no compression. With a signer the message is signed inside (RFC 3156 §6.2). Raises
    CertificateUnusable when nothing may be encrypted to the certificate at `now`: it never falls back to anything.
    """
    verdict = minimal.judge(certificate, now)
    if isinstance(verdict, Refusal):
        raise CertificateUnusable
    with failing_as(CertificateUnusable):
        return _encrypt(plaintext, certificate, verdict, signer.signer if signer else None).replace(b"\n", b"\r\n")


def _encrypt(plaintext: bytes, certificate: bytes, verdict: Usable, signer: PySigner | None) -> bytes:
    recipient = Cert.from_bytes(nameless.adopt(certificate) if verdict.is_nameless else certificate)
    is_v1 = verdict.reads_only_seipd_v1
    if is_v1 and verdict.features is not None:
        armored = pysequoia.encrypt(plaintext, [recipient], signer=signer)
        _check_shape(_outline(armored, len(certificate)), is_v1)
        return armored
    recipients = [recipient, _witness()] if is_v1 else [recipient]
    message = pysequoia.encrypt(plaintext, recipients, signer=signer, armor=False)
    message = _without_witness(message) if is_v1 else message
    _check_shape(packets.outline(message, len(message)), is_v1)
    return pysequoia.armor(message, ArmorKind.Message).encode()


# Made once by GnuPG 2.2.40 (--quick-gen-key witness ed25519 cert,sign never; --quick-add-key … cv25519 encr never) in a
# folder that was removed with the secret in it.
_WITNESS = b"""\
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEX+5mABYJKwYBBAHaRw8BAQdAo4laF+5mDbv59CBz38KHQrV7R8Z5MdtJBWGr
hF5OEAu0B3dpdG5lc3OIkAQTFggAOBYhBDhhdLtz9ifuhEvW98cfGybcOIT9BQJf
7mYAAhsDBQsJCAcCBhUKCQgLAgQWAgMBAh4BAheAAAoJEMcfGybcOIT9FRUBAO7u
sMJxFZrhTkI/d7hnXcQm0mfICqulyetkQIqqy9t5AQDIpSTg7LrpNLHpYGIQ0Isn
W+lOKlDZujcV/VD7bpf9Dbg4BF/uZgASCisGAQQBl1UBBQEBB0B3AX1EwB6Wl/X2
mYcnN1XLrQpDG1Is2ZVLds00Bn21YwMBCAeIeAQYFggAIBYhBDhhdLtz9ifuhEvW
98cfGybcOIT9BQJf7mYAAhsMAAoJEMcfGybcOIT9yAABAJU+BpQYLAaoGW8Q/1i0
D+V5h/t3NtVzc3H451YijQDRAPsGi7PiTczr1m6w96pBLKreCmXylGMyGVz9JLgM
j3dzAg==
=0y/J
-----END PGP PUBLIC KEY BLOCK-----
"""


@cache
def _witness() -> Cert:
    """A second recipient that reads SEIPD version 1 only.

    Sequoia takes a certificate without Features for one that reads version 2, which the old programs that make such
    certificates cannot. It writes what *all* recipients can read. The witness's session key packet is taken out again.
    """
    return Cert.from_bytes(_WITNESS)


@cache
def _witness_ids() -> frozenset[bytes]:
    return _Sequoia().recipients(bytes(_witness()))


def _without_witness(message: bytes) -> bytes:
    key_ids = _witness_ids()
    found = packets.walk(message)
    return b"".join(each.raw for each in found if each.tag != Tag.PKESK or _recipient(each) not in key_ids)


def _outline(armored: bytes, certificate_octets: int) -> Outline:
    try:
        # a session key is shorter than the key that it is for, with its binding
        return packets.outline(*armor.peek(armored, certificate_octets + _SEIPD_HEAD))
    except Malformed:  # of more than 4 MB Sequoia makes a packet in several pieces
        return packets.outline(*armor.peek(armored, len(armored)))


def _check_shape(outline: Outline, is_v1: bool) -> None:
    """Raise CertificateUnusable unless a message is session keys and one SEIPD, in versions its reader knows."""
    session_keys = len(outline) - 1
    if is_v1:
        is_right = outline == [(Tag.PKESK, 3)] * session_keys + [(Tag.SEIPD, 1)]
    else:
        is_right = [tag for tag, _ in outline] == [Tag.PKESK] * session_keys + [Tag.SEIPD]
    if session_keys < 1 or not is_right:
        raise CertificateUnusable
