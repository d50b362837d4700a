"""A letter that lies in a file, as SMTP would have brought it: line ends, envelope sender and recipient."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailer.errors import BadAddress
from mailer.model.address import Address
from mailer.model.letter import Envelope
from mailer.model.mailing_list import Directory

HEADER_OCTETS = 256 * 1024
RECIPIENTS = 100

_FIELD = re.compile(rb"^([A-Za-z-]{1,40})[ \t]*:((?:.*(?:\r?\n[ \t].*)*))", re.MULTILINE)
_MAILBOX = re.compile(r"[^\s<>(),;:\"@]{1,64}@[\w.-]{1,255}")
_ENVELOPE_FIELDS = ("x-envelope-to", "envelope-to", "x-original-to", "delivered-to", "to", "cc")  # the surest first


def as_sent(raw: bytes) -> bytes:
    """Return a saved letter with the line ends that SMTP brings (RFC 5321 §2.3.8), without an mbox's first line."""
    if raw.count(b"\r") > 3 * raw.count(b"\n"):  # saved on an old Macintosh
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if raw.startswith((b"From ", b">From ")):
        raw = raw.partition(b"\n")[2]
    return re.sub(rb"(?<!\r)\n", b"\r\n", raw)


def envelope_of(
    raw: bytes, directory: Directory, mail_from: Address | str | None = None, rcpt_to: Address | None = None
) -> Envelope:
    """Return the envelope of a saved letter: as given, else as its header tells, else to the first list.

    mail_from: "" for the null reverse-path. directory: with one list at least.
    """
    header = _header(raw)
    recipient = rcpt_to or _recipient(header, directory)
    sender = _sender(header) if mail_from is None else mail_from
    return Envelope(sender if isinstance(sender, Address) else None, recipient)


def _recipient(header: list[tuple[str, str]], directory: Directory) -> Address:
    named = (address for field in _ENVELOPE_FIELDS for address in _addresses(header, field))
    return next((one for one in named if directory.find(one) is not None), directory.lists[0].address)


def _sender(header: list[tuple[str, str]]) -> Address | str:
    """Return what Return-Path says, else From; who names no address there gets one that is nobody's."""
    paths = [value for name, value in header if name == "return-path"]
    if paths and paths[0].strip() in ("<>", ""):
        return ""
    named = [*_addresses(header, "return-path"), *_addresses(header, "from")]
    return next(iter(named), Address("somebody", "nobody.invalid"))


def _addresses(header: list[tuple[str, str]], name: str) -> Iterator[Address]:
    values = " ".join(value for key, value in header if key == name)
    for found in list(_MAILBOX.finditer(values[: HEADER_OCTETS // 4]))[:RECIPIENTS]:
        try:
            yield Address.parse(found[0])
        except BadAddress:
            continue


def _header(raw: bytes) -> list[tuple[str, str]]:
    end = re.search(rb"(?:\A|\n)\r?\n", raw[:HEADER_OCTETS])
    top = raw[: end.start()] if end else raw[:HEADER_OCTETS]
    return [(name.decode().lower(), value.decode("utf-8", "replace")) for name, value in _FIELD.findall(top)]
