"""mailer keys check: a verdict on each certificate in a file."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import options
from mailer.crypto import openpgp
from mailer.errors import ReaderDied
from mailer.inward.reader import Reader
from mailer.model.certificate import Certificate, Refusal, Refused, grouped

FILE_OCTETS = 16 << 20  # of a longer one no more is read: it is too large
MEMORY_OCTETS = 192 << 20  # a fifth of it is Python itself
TIME_S = 2.0
UNREADABLE = "unreadable"

Verdict = Certificate | Refused | str  # str: why the file cannot be read


def check(
    files: Annotated[list[Path], typer.Argument(help="Certificates, armored or binary, several in one file, letters.")],
    as_json: options.AsJson = False,
    instance_folder: Annotated[
        Path | None,
        typer.Option(
            "--instance", "-i", envvar="MAILER_INSTANCE", help="Judge as this instance does, by its [smime] ca_file."
        ),
    ] = None,
) -> None:
    """Say of each OpenPGP or X.509 certificate in a file whether letters can be encrypted to it, and if not, why.

    Exit code 1 if one cannot. Example: mailer keys check ada.asc --json
    """
    verdicts = asyncio.run(_examine(files, _authorities(instance_folder)))
    if as_json:
        print(json.dumps([_to_json(file, verdict) for file, verdict in verdicts], indent=2))
    else:
        for file, verdict in verdicts:
            print(_to_line(file, verdict))
    if not all(isinstance(verdict, Certificate) for _, verdict in verdicts):
        raise typer.Exit(1)


def _authorities(instance_folder: Path | None) -> bytes:
    """Return the certificate authorities of an instance, PEM; b"" without one. Raises InstanceError, FileUnusable."""
    if instance_folder is None:
        return b""
    from mailer.instance import Instance  # here: it takes a second to load, and most need none

    return Instance.open(instance_folder).authorities()


async def _examine(files: list[Path], authorities: bytes) -> list[tuple[Path, Verdict]]:
    """Certificates are strangers' bytes: they are read in the confined child, like letters."""
    async with Reader(MEMORY_OCTETS, TIME_S, authorities=authorities) as reader:
        return [(file, verdict) for file in files for verdict in await _examine_one(file, reader)]


async def _examine_one(file: Path, reader: Reader) -> tuple[Verdict, ...]:
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_OCTETS)
    except OSError as error:
        return (error.strerror or UNREADABLE,)
    try:
        return await reader.examine(content)
    except ReaderDied:  # it took more memory or time than anybody's certificate needs
        return (Refused(Refusal.TOO_LARGE),)


def _to_json(file: Path, verdict: Verdict) -> dict[str, object]:
    if isinstance(verdict, str):
        return {
            "file": os.fsdecode(file),
            "usable": False,
            "reason": UNREADABLE,
            "detail": verdict,
            **_to_json_of(None),
        }
    refused = verdict if isinstance(verdict, Refused) else None
    return {
        "file": os.fsdecode(file),
        "usable": refused is None,
        "reason": str(refused.reason) if refused else None,
        "detail": refused.found if refused else None,
        **_to_json_of(verdict),
    }


def _to_json_of(verdict: Certificate | Refused | None) -> dict[str, object]:
    return {
        "fingerprint": verdict.fingerprint if verdict else None,
        "algorithms": list(verdict.algorithms) if verdict else [],
        "expires": verdict.expires.isoformat() if verdict and verdict.expires else None,
        "form": _form(verdict) or None,
    }


def _to_line(file: Path, verdict: Verdict) -> str:
    if isinstance(verdict, str):
        return f"{file}: refused ({UNREADABLE}: {verdict})"
    fingerprint = grouped(verdict.fingerprint) if verdict.fingerprint else "-"
    algorithms = ", ".join(verdict.algorithms) or "-"
    expires = f"until {verdict.expires:%Y-%m-%d}" if verdict.expires else "no expiry"
    if isinstance(verdict, Certificate):
        return f"{file}: usable\t{fingerprint}\t{algorithms}\t{expires}\t{_form(verdict)}"
    detail = f": {verdict.found}" if verdict.found else ""
    return f"{file}: refused ({verdict.reason}{detail})\t{fingerprint}\t{algorithms}\t{expires}"


def _form(verdict: Certificate | Refused | None) -> str:
    if not isinstance(verdict, Certificate):
        return ""
    return "CMS, AES-256" if verdict.is_x509 else openpgp.message_form(verdict.blob, datetime.now(UTC))
