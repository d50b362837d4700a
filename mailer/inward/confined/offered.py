"""The certificates that a letter brings: attached, in its text, or in Autocrypt. Best first, each once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from mailer.crypto import openpgp
from mailer.errors import BadAddress
from mailer.inward.confined import armored, fields
from mailer.inward.confined.parts import Part
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Refusal, Refused

BLOBS = 4  # a hostile one may take two seconds

_LABELS = ("PUBLIC KEY BLOCK", "PRIVATE KEY BLOCK")
_SUFFIXES = (".asc", ".gpg", ".key", ".pgp")
_NOT_KEYS = ("application/pgp-signature", "application/pgp-encrypted")
_ATTRIBUTE = re.compile(r"\s*([A-Za-z_-]{1,40})\s*=\s*(.*)", re.DOTALL)

_NO_CERTIFICATE = Refused(Refusal.NOT_A_CERTIFICATE)  # in Autocrypt: a damaged header, of which nobody knows

Offer = Certificate | Refused


def find(
    payload: Part | None, text: str, autocrypt: Iterable[bytes], sender: Address, own: Collection[str], now: datetime
) -> tuple[Certificate | Refused, ...]:
    """Return what the letter offers as the sender's certificate, best first. payload: where attachments are, if any.

    own: fingerprints of the list's keys, which come back in replies and are nobody's offer. Several usable ones that
    are attached or in the text, of different fingerprints, say nothing: Refused(SEVERAL).
    """
    blobs = [*(_attached(payload) if payload else ()), *_in_text(text)]
    given = [offer for offer in _examine(blobs, now) if offer.fingerprint not in own]
    usable = {offer.fingerprint for offer in given if isinstance(offer, Certificate)}
    if len(usable) > 1:
        return (Refused(Refusal.SEVERAL),)
    header = _autocrypt(autocrypt, sender)
    announced = _examine([header], now) if header else []
    return _each_once([*given, *(offer for offer in announced if offer != _NO_CERTIFICATE)])


def _examine(blobs: Iterable[bytes], now: datetime) -> list[Offer]:
    return [offer for _, blob in zip(range(BLOBS), blobs, strict=False) for offer in openpgp.examine(blob, now)]


def _each_once(offers: Iterable[Offer]) -> tuple[Offer, ...]:
    """Return usable ones first, one for each fingerprint."""
    ordered = sorted(offers, key=lambda offer: isinstance(offer, Refused))
    seen: dict[object, Offer] = {}
    for offer in ordered:
        seen.setdefault(offer.fingerprint or offer, offer)
    return tuple(seen.values())


def _attached(payload: Part) -> Iterator[bytes]:
    for part in payload.walk():
        if part.children or part.type in _NOT_KEYS or not _may_be_key(part):
            continue
        content = part.decoded()
        if b"-----BEGIN PGP " in content[:10_000]:
            yield from _in_text(content.decode("latin-1"))
        elif content[:1] and _is_key_packet(content[0]):
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
    attributes: dict[str, str] = {}
    for piece in fields.unfold(raw).decode("ascii", "replace").split(";"):
        found = _ATTRIBUTE.fullmatch(piece)
        if piece.strip() and not found:
            return None
        if found and found[1] in attributes:
            return None
        if found:
            attributes[found[1]] = found[2]
    known = {"addr", "prefer-encrypt", "keydata"}
    if any(name not in known and not name.startswith("_") for name in attributes) or "keydata" not in attributes:
        return None
    try:
        is_for_sender = Address.parse(attributes.get("addr", "").strip()).normalised == sender.normalised
    except BadAddress:
        return None
    return fields.decode_base64(attributes["keydata"].encode()) if is_for_sender else None
