"""Judges DKIM signatures, SPF records and Authentication-Results: in the confined child, which has no network.

Every name is looked up in what the question brings along. What is missing is asked for, and all begins anew.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from typing import Any

import authres  # type: ignore[import-untyped]
import dkim  # type: ignore[import-untyped]
import nacl.signing
import spf  # type: ignore[import-untyped]
from dkim.util import InvalidTagValueList, parse_tag_value  # type: ignore[import-untyped]

from mailer.inward import testimony
from mailer.inward.testimony import Name, Question, Verdict

SIGNATURES = 5  # RFC 6376 §6.1 leaves the number to us; each costs a look-up and a public-key operation
LEAST_RSA_BITS = 1024  # RFC 8301 §3.2
TREE_LABELS = 8  # RFC 9989 §4.10
RESULTS_OCTETS = 8 * 1024

_HEADER_END = re.compile(rb"\r?\n\r?\n")
_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:((?:.*(?:\r?\n[ \t].*)*))", re.MULTILINE)
_DMARC = re.compile(r"\s*v\s*=\s*DMARC1\s*(;|$)")
_PSD = re.compile(r";\s*psd\s*=\s*([ynu])", re.IGNORECASE)


class _Missing(Exception):
    """A name that was not looked up yet."""


def judge(raw: bytes, question: Question) -> Verdict:
    """Return whether the From of a letter is shown to be true, or what must be looked up to tell."""
    zone = _Zone(question)
    if question.authserv_id:
        claims: Iterator[str] = _told_by_front(raw, question)
    else:
        claims = _shown(raw, question, zone)
    for domain in claims:
        if _is_aligned(domain.lower().rstrip("."), question.from_domain, zone):
            return Verdict(is_true=True)
    return Verdict(wanted=tuple(zone.wanted)[: testimony.WANTED])


def load_everything() -> None:
    """Judge a letter of our own, so that every library is loaded while files may still be opened."""
    pair = nacl.signing.SigningKey(bytes(32))
    key = base64.b64encode(bytes(pair.verify_key)).decode("ascii")
    unsigned = b"From: a@example.org\r\nSubject: hello\r\n\r\nhello\r\n"
    secret = base64.b64encode(bytes(32))
    signature = dkim.sign(unsigned, b"s", b"example.org", secret, signature_algorithm=b"ed25519-sha256")
    records = {
        ("TXT", "s._domainkey.example.org"): (f"v=DKIM1; k=ed25519; p={key}",),
        ("TXT", "example.net"): ("v=spf1 mx a:%{d} ip6:2001:db8::/32 -all",),
        ("MX", "example.net"): (),
        ("A", "example.net"): (),
    }
    told = b"Authentication-Results: mx.example.org; dkim=pass header.d=example.com\r\n"
    for raw, authserv_id in ((signature + unsigned, ""), (unsigned, ""), (told + unsigned, "mx.example.org")):
        judge(raw, Question("example.org", "a@example.net", "192.0.2.1", "mx.example.net", authserv_id, records))


class _Zone:
    """The DNS, as far as it is known."""

    def __init__(self, question: Question) -> None:
        self.known = question.records
        self.wanted: dict[Name, None] = {}

    def look_up(self, kind: str, name: str) -> tuple[str, ...] | None:
        """Return the values, none, or None where nobody could say. Raises _Missing."""
        key = (kind, name.rstrip(".").lower())
        if not testimony.NAME.fullmatch(key[1]):
            return ()
        if key not in self.known:
            self.wanted[key] = None
            raise _Missing
        return self.known[key]


def _shown(raw: bytes, question: Question, zone: _Zone) -> Iterator[str]:
    """Yield each domain that answers for the letter: of good DKIM signatures first, then of SPF."""
    for attempt in (lambda: _signers(raw, zone), lambda: _permitting(question, zone)):
        yield from _unless_missing(attempt)


def _unless_missing(attempt: Callable[[], Iterator[str]]) -> Iterator[str]:
    try:
        yield from attempt()
    except _Missing:
        return


# --- DKIM -----------------------------------------------------------------------------------------------------------


def _signers(raw: bytes, zone: _Zone) -> Iterator[str]:
    try:
        message = dkim.DKIM(raw, minkey=LEAST_RSA_BITS)
    except dkim.MessageFormatError:
        return
    fields = [value for name, value in message.headers if name.lower() == b"dkim-signature"][:SIGNATURES]
    domains = [_signer(value) for value in fields]
    keys = [_key_of(value, zone) for value in fields]
    if not all(keys):
        raise _Missing  # all of them are asked for together
    for number, domain in enumerate(domains):
        if domain and _is_good(message, number, zone):
            yield domain


def _signer(value: bytes) -> str:
    """Return the domain of a signature that covers the whole letter, else "".

    One with l= lets anybody go on writing below (RFC 6376 §8.2), and SHA-1 is no signature any more (RFC 8301 §3.1).
    """
    try:
        tags = parse_tag_value(value)
    except InvalidTagValueList:
        return ""
    is_whole = b"l" not in tags and tags.get(b"a", b"").strip() != b"rsa-sha1"
    return tags.get(b"d", b"").strip().decode("ascii", "replace") if is_whole else ""


def _key_of(value: bytes, zone: _Zone) -> bool:
    """Return whether the key of a signature was looked up, asking for it otherwise."""
    try:
        tags = parse_tag_value(value)
        selector, domain = tags[b"s"].strip().decode("ascii"), tags[b"d"].strip().decode("ascii")
        zone.look_up("TXT", f"{selector}._domainkey.{domain}")
    except (InvalidTagValueList, KeyError, UnicodeDecodeError):
        return True
    except _Missing:
        return False
    return True


def _is_good(message: Any, number: int, zone: _Zone) -> bool:
    def key(name: bytes, timeout: float = 0) -> bytes | None:
        found = zone.look_up("TXT", name.decode("ascii", "replace"))
        return found[0].encode("latin-1") if found else None

    try:
        return bool(message.verify(idx=number, dnsfunc=key))
    except _Missing:
        raise
    except Exception:  # noqa: BLE001 - dkimpy lets what a stranger wrote raise almost anything
        return False


# --- SPF ------------------------------------------------------------------------------------------------------------


def _permitting(question: Question, zone: _Zone) -> Iterator[str]:
    """Yield the domain of the envelope sender where its SPF record permits the peer (RFC 7208)."""
    if not question.ip or not question.mail_from:
        return

    def look_up(name: str, kind: str, *_limits: object) -> list[tuple[Name, object]]:
        found = zone.look_up(kind, str(name)) if kind in testimony.KINDS else ()
        if found is None:
            raise spf.TempError("DNS")
        return [((name, kind), _as_spf_has_it(kind, value)) for value in found]

    spf.DNSLookup = look_up  # the child does one thing at a time
    try:
        query = spf.query(i=question.ip, s=question.mail_from, h=question.helo or "unknown.invalid", querytime=0)
        result, _, _ = query.check()
    except _Missing:
        raise
    except Exception:  # noqa: BLE001 - as above
        return
    if result == "pass":
        yield question.mail_from.rpartition("@")[2]


def _as_spf_has_it(kind: str, value: str) -> object:
    if kind == "TXT":
        return (value.encode("latin-1"),)
    if kind == "MX":
        preference, _, host = value.partition(" ")
        return int(preference) if preference.isdecimal() else 0, host
    return value


# --- Authentication-Results -----------------------------------------------------------------------------------------


def _told_by_front(raw: bytes, question: Question) -> Iterator[str]:
    """Yield what our own server in front found good, by its topmost field; those of others are theirs (RFC 8601 §5)."""
    header = _HEADER_END.split(raw, maxsplit=1)[0]
    fields = (found for found in _FIELD.finditer(header) if found[1].lower() == b"authentication-results")
    topmost = next(fields, None)
    if topmost is None or len(topmost[2]) > RESULTS_OCTETS:
        return
    line = re.sub(r"[\r\n]+[ \t]*", " ", topmost[2].decode("ascii", "replace"))
    try:
        told = authres.AuthenticationResultsHeader.parse(f"Authentication-Results:{line}")
    except Exception:  # noqa: BLE001 - as above
        return
    if str(told.authserv_id).lower() != question.authserv_id.lower():
        return
    for result in told.results:
        if result.result.lower() == "pass" and (domain := _domain_of(result)):
            yield domain


_PROPERTIES = {"dkim": ("d", "i"), "spf": ("mailfrom",), "dmarc": ("from",)}


def _domain_of(result: Any) -> str:
    """Return the domain that a result is about: header.d or header.i, smtp.mailfrom, header.from."""
    told = {one.name.lower(): str(one.value or "") for one in result.properties}
    names = _PROPERTIES.get(result.method.lower(), ())
    return next((told[name].rpartition("@")[2] for name in names if told.get(name)), "")


# --- Alignment ------------------------------------------------------------------------------------------------------


def _is_aligned(domain: str, from_domain: str, zone: _Zone) -> bool:
    """Whether a domain that answers for a letter may answer for its From (RFC 9989 §4.4, relaxed).

    A parent may in any case, DMARC record or not: it has power over all names below it.
    """
    if not domain or "." not in domain:
        return False
    if domain == from_domain or from_domain.endswith(f".{domain}"):
        return True
    own = _organizational(from_domain, zone)
    other = _organizational(domain, zone)
    return own is not None and own == other


def _organizational(domain: str, zone: _Zone) -> str | None:
    """Return the Organizational Domain by walking up the DNS tree (RFC 9989 §4.10.2), None where it must be asked."""
    labels = domain.split(".")
    skipped = len(labels) - TREE_LABELS + 1 if len(labels) > TREE_LABELS else 1
    walk = [".".join(labels[start:]) for start in (0, *range(skipped, len(labels)))]
    records = [_dmarc_record(name, zone) for name in walk]
    if any(record is None for record in records):
        return None
    found = [(name, record) for name, record in zip(walk, records, strict=True) if record]
    for name, record in found:
        psd = _PSD.search(record)
        if psd and psd[1].lower() == "n":
            return name
        if psd and psd[1].lower() == "y" and name != domain:
            return ".".join(labels[-len(name.split(".")) - 1 :])
    return found[-1][0] if found else domain


def _dmarc_record(domain: str, zone: _Zone) -> str | None:
    """Return the DMARC record of a domain, "" for none, None where it was not looked up or could not be."""
    try:
        values = zone.look_up("TXT", f"_dmarc.{domain}")
    except _Missing:
        return None
    records = [value for value in values or () if _DMARC.match(value)]
    return records[0] if len(records) == 1 else "" if values is not None else None
