"""What the serving process and the confined child say to each other: lengths, bytes and JSON, never pickle.

The child has touched a stranger's bytes and may be in a stranger's hands. So whatever it says is read here as strictly
as a stranger's letter: every type, size and character is checked before a value is made of it.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mailer.errors import BadAddress, ReaderDied, Unreadable
from mailer.model.address import Address
from mailer.model.certificate import Certificate, Found, Refusal, Refused
from mailer.model.failure import Failure
from mailer.model.letter import Automatic, Letter, Unopened, Unreadability
from mailer.model.report import Kind, Report

ANSWER_OCTETS = 16 * 1024 * 1024
CHUNKS = 200
TEXT_CHARACTERS = 1_000_000
LINE_CHARACTERS = 2_000
OFFERS = 256

_COUNT = struct.Struct(">I")
_FINGERPRINT = re.compile(r"[0-9a-f]{32,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}", re.ASCII)
_TOKEN = re.compile(r"[a-z2-7]{24}")
_ALGORITHM = re.compile(r"[\w. ()+/-]{1,40}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL_IN_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")

Offer = Certificate | Refused


@dataclass(frozen=True, slots=True)
class Request:
    """What the child is asked: to read a letter (purpose "read"), or to examine a certificate ("examine").

    Or whether a letter's sender is true ("authenticate"): keys holds the question then (inward/testimony).
    keys: the list's, OpenPGP in binary and S/MIME in PEM. authorities: PEM; one of them must vouch for X.509
    certificates, if there are any.
    """

    purpose: str
    content: bytes
    keys: tuple[bytes, ...] = ()
    certificate: bytes | None = None
    now: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    authorities: bytes = b""

    def __repr__(self) -> str:  # it holds secret keys
        return "Request(…)"


def pack(*chunks: bytes) -> bytes:
    """Return one frame: the length of all that follows, then each chunk behind its own length (32 bits, big-endian)."""
    body = b"".join(_COUNT.pack(len(chunk)) + chunk for chunk in chunks)
    return _COUNT.pack(len(body)) + body


def unpack(body: bytes) -> list[bytes]:
    """Return the chunks of a frame's body. Raises ReaderDied where the lengths do not add up."""
    chunks: list[bytes] = []
    at = 0
    while at < len(body):
        if at + _COUNT.size > len(body) or len(chunks) >= CHUNKS:
            raise ReaderDied
        (length,) = _COUNT.unpack_from(body, at)
        at += _COUNT.size + length
        if at > len(body):
            raise ReaderDied
        chunks.append(body[at - length : at])
    return chunks


def write_request(request: Request) -> bytes:
    """Return the frame of a request."""
    head = json.dumps([request.purpose, request.now.timestamp(), request.certificate is not None])
    return pack(head.encode(), request.content, request.certificate or b"", request.authorities, *request.keys)


def read_request(body: bytes) -> Request:
    """Return the request of a frame that the serving process sent."""
    head, content, certificate, authorities, *keys = unpack(body)
    purpose, now, has_certificate = json.loads(head)
    moment = datetime.fromtimestamp(now, UTC)
    return Request(purpose, content, tuple(keys), certificate if has_certificate else None, moment, authorities)


def write_answer(answer: Letter | Unreadable | Sequence[Offer]) -> bytes:
    """Return the frame of an answer."""
    if isinstance(answer, Letter):
        return pack(b"letter", _dump(_from_letter(answer)))
    if isinstance(answer, Unopened):
        return pack(b"unopened", _dump(_from_letter(answer.letter)))
    if isinstance(answer, Unreadable):
        return pack(b"unreadable", answer.reason.encode())
    return pack(b"offers", _dump([_from_offer(offer) for offer in answer]))


def read_letter(body: bytes) -> Letter:
    """Return the letter of an answer; raises Unreadable as the child did, ReaderDied where the answer is no answer."""
    try:
        kind, content = unpack(body)
        if kind == b"letter":
            return _to_letter(json.loads(content))
        if kind == b"unopened":
            raise Unopened(_to_letter(json.loads(content)))
        if kind == b"unreadable":
            raise Unreadable(Unreadability(content.decode("ascii")))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, BadAddress):
        raise ReaderDied from None
    raise ReaderDied


def read_offers(body: bytes) -> tuple[Offer, ...]:
    """Return what was found in an examined file; raises as `read_letter`."""
    try:
        kind, content = unpack(body)
        if kind == b"offers":
            return _to_offers(json.loads(content))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise ReaderDied from None
    raise ReaderDied


def _dump(value: object) -> bytes:
    return json.dumps(value).encode("ascii")


def _from_letter(letter: Letter) -> dict[str, object]:
    return {
        "sender": str(letter.sender),
        "subject": letter.subject,
        "text": letter.text,
        "message_id": letter.message_id,
        "was_encrypted": letter.was_encrypted,
        "is_signed": letter.is_signed,
        "signed_by": letter.signed_by,
        "signed_at": letter.signed_at.timestamp() if letter.signed_at else None,
        "signed_digest": letter.signed_digest.hex() if letter.signed_digest else None,
        "subject_is_signed": letter.subject_is_signed,
        "offered": [_from_offer(offer) for offer in letter.offered],
        "offer_is_signed": letter.offer_is_signed,
        "automatic": letter.automatic,
        "report": _from_report(letter.report) if letter.report else None,
    }


def _to_letter(found: dict[str, object]) -> Letter:
    automatic = found["automatic"]
    return Letter(
        sender=Address.parse(_line(found["sender"])),
        subject=_line(found["subject"]),
        text=_text(found["text"]),
        message_id=_line(found["message_id"]) if found["message_id"] is not None else None,
        was_encrypted=_truth(found["was_encrypted"]),
        is_signed=_truth(found["is_signed"]),
        signed_by=_fingerprint(found["signed_by"]),
        signed_at=_moment(found["signed_at"]),
        signed_digest=_digest(found["signed_digest"]),
        subject_is_signed=_truth(found["subject_is_signed"]),
        offered=_to_offers(found["offered"]),
        offer_is_signed=_truth(found["offer_is_signed"]),
        automatic=Automatic(_line(automatic)) if automatic is not None else None,
        report=_to_report(found["report"]) if found["report"] is not None else None,
    )


def _from_report(report: Report) -> dict[str, object]:
    return {
        "kind": report.kind,
        "failures": list(report.failures),
        "status": report.status,
        "is_delayed": report.is_delayed,
        "tokens": list(report.tokens),
    }


def _to_report(found: object) -> Report:
    if not isinstance(found, dict):
        raise TypeError
    status, tokens = _line(found["status"]), tuple(_lines(found["tokens"]))
    if (status and not _STATUS.fullmatch(status)) or not all(_TOKEN.fullmatch(token) for token in tokens):
        raise TypeError
    failures = tuple(Failure(one) for one in _lines(found["failures"]))
    return Report(Kind(_line(found["kind"])), failures, status, _truth(found["is_delayed"]), tokens)


def _from_offer(offer: Offer) -> dict[str, object]:
    shared = {
        "fingerprint": offer.fingerprint,
        "expires": offer.expires.timestamp() if offer.expires else None,
        "algorithms": list(offer.algorithms),
    }
    if isinstance(offer, Refused):
        return {"reason": offer.reason, "is_x509": offer.is_x509, "found": offer.found, **shared}
    return {"blob": base64.b64encode(offer.blob).decode(), "version": offer.version, **shared}


def _to_offers(found: object) -> tuple[Offer, ...]:
    if not isinstance(found, list) or len(found) > OFFERS:
        raise TypeError
    return tuple(_to_offer(offer) for offer in found)


def _to_offer(found: dict[str, object]) -> Offer:
    fingerprint, expires = _fingerprint(found["fingerprint"]), _moment(found["expires"])
    algorithms = found["algorithms"]
    if not isinstance(algorithms, list) or len(algorithms) > OFFERS:
        raise TypeError
    names = tuple(name for name in map(_line, algorithms) if _ALGORITHM.fullmatch(name))
    if "reason" in found:
        instead = Found(_line(found["found"])) if found["found"] is not None else None
        reason, is_x509 = Refusal(_line(found["reason"])), _truth(found["is_x509"])
        return Refused(reason, fingerprint, names, expires, is_x509, instead)
    version = found["version"]
    if fingerprint is None or not isinstance(version, int) or not isinstance(found["blob"], str):
        raise TypeError
    return Certificate(base64.b64decode(found["blob"], validate=True), fingerprint, expires, names, version)


def _line(value: object) -> str:
    if not isinstance(value, str) or len(value) > LINE_CHARACTERS or _CONTROL.search(value):
        raise TypeError
    return value


def _lines(value: object) -> list[str]:
    if not isinstance(value, list) or len(value) > OFFERS:
        raise TypeError
    return [_line(one) for one in value]


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS or _CONTROL_IN_TEXT.search(value):
        raise TypeError
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _fingerprint(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _FINGERPRINT.fullmatch(value):
        raise TypeError
    return value


def _digest(value: object) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise TypeError
    return bytes.fromhex(value)


def _moment(value: object) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError
    return datetime.fromtimestamp(value, UTC)
