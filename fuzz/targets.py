"""One function for each target: it takes any bytes, and raises where what must hold does not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from mailer.crypto import openpgp
from mailer.errors import BadAddress, DecryptionFailed, Unreadable
from mailer.inward import admission, frames
from mailer.inward.confined import fields, parse, parts, report
from mailer.inward.understand import understand
from mailer.model.address import Address
from mailer.model.certificate import Certificate
from mailer.model.letter import Letter, Unopened

ROOT = Path(__file__).parents[1]
NOW = datetime(2026, 11, 22, tzinfo=UTC)
OWN = Address("news", "list.example")
KEYS = ROOT / "tests" / "unit" / "letters" / "keys"
PLAIN = Letter(Address("ada", "reader.example"), "", "")
LIST_SECRET = (KEYS / "list-secret.pgp").read_bytes()


def letter(raw: bytes) -> None:
    """A whole letter, read with a key that may open it and a certificate that may have signed it."""
    try:
        found = parse.read_letter(raw, [LIST_SECRET], _alice(), NOW)
    except Unopened as unopened:
        found = unopened.letter
    except Unreadable:
        return
    _check_letter(found)
    asked = understand(found, "", OWN)
    assert asked == understand(found, "", OWN)
    assert frames.read_letter(frames.write_answer(found)[4:]) == found


def asked(raw: bytes) -> None:
    """What a letter asks for, of which each part may hold anything that the reader lets through."""
    subject, _, rest = raw.decode("utf-8", "replace").partition("\n")
    detail, _, text = rest.partition("\n")
    line = fields.decode_value(subject.encode())
    letter_ = Letter(Address("ada", "reader.example"), line, text, signed_by="ab" * 20)
    command = understand(letter_, detail.lower()[:64], OWN).command
    assert command == understand(letter_, detail.lower()[:64], OWN).command
    if command.token is not None:
        assert command.token.isascii()
        assert command.token.isalnum()


def openpgp_bytes(raw: bytes) -> None:
    """Certificates, encrypted messages and signatures, armored or binary."""
    for offer in openpgp.examine(raw, NOW):
        if isinstance(offer, Certificate):
            openpgp.encrypt(b"x", offer.blob, NOW)
    key = openpgp.ListKey.from_secret(LIST_SECRET)
    with suppress(DecryptionFailed):
        openpgp.decrypt(raw, (key,), (_alice(),), NOW)
    with suppress(DecryptionFailed):
        openpgp.verify_cleartext(raw, (_alice(),), NOW)
    with suppress(DecryptionFailed):
        openpgp.verify_detached(b"x", raw, (_alice(),), NOW)


def report_bytes(raw: bytes) -> None:
    """A bounce or a complaint, in any form."""
    with suppress(Unreadable):
        root = parts.read(raw)
        report.sender_of(root)
        found = report.read(root)
        if found is not None:
            carried = replace(PLAIN, report=found)
            assert frames.read_letter(frames.write_answer(carried)[4:]) == carried


def address(raw: bytes) -> None:
    """An address as it stands in a form, in From, and between SMTP's angle brackets."""
    text = raw.decode("utf-8", "surrogateescape")
    with suppress(BadAddress):
        _check_address(Address.parse(text))
    with suppress(Unreadable):
        _check_address(fields.mailbox(raw))
    path = admission.read_path(text)
    if path is not None:
        for has_smtputf8 in (False, True):
            found = admission.read_sender(path[0], has_smtputf8=has_smtputf8)
            if isinstance(found, Address):
                _check_address(found)


def _check_address(found: Address) -> None:
    assert Address.parse(str(found)) == found
    again = Address.parse(found.normalised)
    assert again.normalised == found.normalised
    assert not any(char.isspace() or char in "<>\x00\r\n" for char in str(found))


def _check_letter(found: Letter) -> None:
    for line in (found.subject, found.message_id or "", str(found.sender)):
        assert len(line.splitlines()) <= 1
        assert "\x00" not in line
    assert "\r" not in found.text
    assert "\x00" not in found.text
    found.text.encode()
    _check_address(found.sender)


def _alice() -> bytes:
    """The certificate, which is read once: `examine` is what other targets look at."""
    if not _ALICE:
        (one,) = openpgp.examine((KEYS / "alice.asc").read_bytes(), NOW)
        assert isinstance(one, Certificate)
        _ALICE.append(one.blob)
    return _ALICE[0]


_ALICE: list[bytes] = []
TARGETS: dict[str, Callable[[bytes], None]] = {
    "letter": letter,
    "asked": asked,
    "openpgp": openpgp_bytes,
    "report": report_bytes,
    "address": address,
}
