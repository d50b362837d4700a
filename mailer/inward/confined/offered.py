"""The certificates that a letter brings: attached, in its text, or in Autocrypt. Best first, each once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from mailer.crypto import openpgp
from mailer.errors import BadAddress, Unreadable
from mailer.inward.confined import armored, fields, parts, visible
from mailer.inward.confined.parts import Part
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Refusal, Refused

BLOBS = 4  # a hostile one may take two seconds

_LABELS = ("PUBLIC KEY BLOCK", "PRIVATE KEY BLOCK", "SECRET KEY BLOCK", "ARMORED FILE")
_ARMORED = tuple(f"-----BEGIN PGP {label}-----".encode() for label in _LABELS)
_SUFFIXES = (".asc", ".gpg", ".key", ".pgp")
_NOT_KEYS = ("application/pgp-signature", "application/pgp-encrypted")
_ATTRIBUTE = re.compile(r"\s*([A-Za-z_-]{1,40})\s*=\s*(.*)", re.DOTALL)

Offer = Certificate | Refused


def find(
    payload: Part | None,
    text: str,
    autocrypt: Iterable[bytes],
    sender: Address,
    own: Collection[str],
    now: datetime,
    on_file: bytes = b"",
) -> tuple[Certificate | Refused, ...]:
    """Return what the letter offers as the sender's certificate, best first. payload: where attachments are, if any.

    own: fingerprints of the list's keys, which come back in replies and are nobody's offer. Several usable ones that
    are attached or in the text, of different fingerprints, say nothing unless just one has the sender's address as a
    user ID: Refused(SEVERAL). Beside a secret key nothing counts: Refused(SECRET). on_file: the sender's certificate as
    we hold it, minimal; where the letter brings that one, the offer is both put together.
    """
    blobs = [*(_attached(payload) if payload else ()), *_in_text(text)]
    given = [offer for offer in _examine(blobs, now, on_file) if offer.fingerprint not in own]
    secret = next((offer for offer in given if _is(offer, Refusal.SECRET)), None)
    if secret:  # whatever else there is: its owner has to hear of this
        return (secret,)
    usable = {offer.fingerprint for offer in given if isinstance(offer, Certificate)}
    if len(usable) > 1:
        usable &= {name for blob in blobs[:BLOBS] for name in openpgp.bearers(blob, sender)}
        if len(usable) != 1:
            return (Refused(Refusal.SEVERAL),)
        given = [offer for offer in given if offer.fingerprint in usable]
    header = _autocrypt(autocrypt, sender)
    announced = _examine([header], now, on_file) if header else []
    # of a damaged header its writer knows nothing
    return _each_once([*given, *(offer for offer in announced if not _is(offer, Refusal.NOT_A_CERTIFICATE))])


def in_file(content: bytes) -> list[bytes]:
    """Return what a letter that was saved as a file may hold of certificates, whoever wrote it; best first."""
    try:
        root = parts.read(content)
    except Unreadable:
        return []
    headers = (_read_attributes(raw) for raw in root.all("autocrypt"))
    announced = [fields.decode_base64(said["keydata"].encode()) for said in headers if "keydata" in said]
    return [*_attached(root), *_in_text(visible.text_of(root)), *announced][:BLOBS]


def _examine(blobs: Iterable[bytes], now: datetime, on_file: bytes) -> list[Offer]:
    few = [blob for _, blob in zip(range(BLOBS), blobs, strict=False)]
    if not on_file:
        return [offer for blob in few for offer in openpgp.examine(blob, now)]
    return [offer for blob in few for offer in openpgp.examine_beside(blob, on_file, now)]


def _is(offer: Offer, reason: Refusal) -> bool:
    return isinstance(offer, Refused) and offer.reason is reason


def _each_once(offers: Iterable[Offer]) -> tuple[Offer, ...]:
    """Return usable ones first, one for each fingerprint."""
    ordered = sorted(offers, key=lambda offer: isinstance(offer, Refused))
    seen: dict[object, Offer] = {}
    for offer in ordered:
        seen.setdefault(offer.fingerprint or offer, offer)
    return tuple(seen.values())


def _attached(payload: Part) -> Iterator[bytes]:
    for part in payload.walk():
        if part.children or part.type in _NOT_KEYS or not (part.is_attachment or _may_be_key(part)):
            continue
        content = part.decoded()
        if any(mark in content for mark in _ARMORED):
            yield from _in_text(content.decode("latin-1"))
        elif _may_be_key(part) and content[:1] and _is_key_packet(content[0]):
            yield content


def _may_be_key(part: Part) -> bool:
    name = part.filename.lower()
    return part.type in ("application/pgp-keys", "application/octet-stream") or name.endswith(_SUFFIXES)


def _is_key_packet(octet: int) -> bool:
    """Whether a binary file begins with a public or secret key packet (RFC 9580 §4.2: tags 6 and 5)."""
    tag = octet & 0x3F if octet & 0x40 else (octet & 0x3C) >> 2
    return bool(octet & 0x80) and tag in (5, 6)


def _in_text(text: str) -> Iterator[bytes]:
    """Yield armored blocks, mended where mail programs break them: indented, double-spaced, quoted-printable left."""
    for begin, end in (place for label in _LABELS for place in armored.blocks(text, label)):
        block = text[begin:end].replace("\r", "").replace("\xa0", " ")
        if "=3D" in block:  # no base64 has this: quoted-printable was left undone
            block = block.replace("=\n", "").replace("=3D", "=")
        lines = [line.strip().removeprefix("- ") for line in block.split("\n")]
        yield "\r\n".join(_mend(lines)).encode("utf-8", "replace")


def _mend(lines: list[str]) -> list[str]:
    """Return BEGIN, an empty line, the base64 lines and END: armor headers mean nothing to us and get mangled."""
    body = [line for line in lines[1:-1] if line and ":" not in line]
    return [lines[0], "", *body, lines[-1], ""]


def _autocrypt(headers: Iterable[bytes], sender: Address) -> bytes | None:
    """Return the key data of the one valid Autocrypt header; several valid ones count as none (Autocrypt 1.1 §2.3)."""
    keys = [key for raw in headers if (key := _read_autocrypt(raw, sender)) is not None]
    return keys[0] if len(keys) == 1 else None


def _read_autocrypt(raw: bytes, sender: Address) -> bytes | None:
    """Return the key data of a header that is for `sender` and has no critical attribute unknown to us (§2.1)."""
    said = _read_attributes(raw)
    known = {"addr", "prefer-encrypt", "keydata"}
    if any(name not in known and not name.startswith("_") for name in said) or "keydata" not in said:
        return None
    try:
        is_for_sender = Address.parse(said.get("addr", "").strip()).normalised == sender.normalised
    except BadAddress:
        return None
    return fields.decode_base64(said["keydata"].encode()) if is_for_sender else None


def _read_attributes(raw: bytes) -> dict[str, str]:
    """Return the attributes of an Autocrypt header; none of one that is not well-formed or says something twice."""
    attributes: dict[str, str] = {}
    for piece in fields.unfold(raw).decode("ascii", "replace").split(";"):
        found = _ATTRIBUTE.fullmatch(piece)
        if (piece.strip() and not found) or (found and found[1] in attributes):
            return {}
        if found:
            attributes[found[1]] = found[2]
    return attributes
