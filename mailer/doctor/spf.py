"""Who may send for a domain (RFC 7208). One of the doors to pyspf."""

from __future__ import annotations

from typing import Any

import spf  # type: ignore[import-untyped]

from mailer.doctor.names import Names, Unanswered


class _Query(spf.query):  # type: ignore[misc]
    """pyspf's evaluation over our own resolver."""

    def __init__(self, names: Names, address: str, domain: str) -> None:
        self._names = names
        self._seen: dict[tuple[str, str], list[Any]] = {}
        super().__init__(address, f"postmaster@{domain}", domain)

    def dns(self, name: str, qtype: str, cnames: object = None, ignore_void: bool = False) -> list[Any]:
        """As pyspf's own, without its cache of what came unasked."""
        key = (str(name).rstrip(".").lower(), qtype)
        if key not in self._seen:
            self._seen[key] = [_plain(each, qtype) for each in self._ask(*key)]
        if not self._seen[key] and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError("void")
        return self._seen[key]

    def _ask(self, name: str, qtype: str) -> list[Any]:
        try:
            return self._names.ask(name, qtype)
        except Unanswered as error:
            raise spf.TempError("no answer") from error


def _plain(record: Any, qtype: str) -> Any:
    if qtype in ("A", "AAAA"):
        return record.address
    if qtype == "MX":
        return record.preference, record.exchange.to_text(omit_final_dot=True)
    return record.strings if qtype in ("TXT", "SPF") else record.target.to_text(omit_final_dot=True)


def allows(names: Names, address: str, domain: str) -> str:
    """Return the result for a letter of a domain's from an IP address: "pass", "fail", "permerror" and so on (§2.6).

    Raises Unanswered.
    """
    result = str(_Query(names, address, domain).check()[0])
    if result == "temperror":
        raise Unanswered
    return result
