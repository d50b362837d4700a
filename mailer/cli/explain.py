"""mailer explain: what would the service do with a letter, and why?"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mailer.app import utc_now
from mailer.cli import options, passphrases
from mailer.crypto.keyring import Keyring
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.errors import InstanceError
from mailer.instance import Instance
from mailer.inward import explain as walk
from mailer.inward import saved
from mailer.inward.case import Listener
from mailer.inward.confined.parse import LETTER_OCTETS
from mailer.inward.explain import Explainer, Explanation, Kind
from mailer.inward.reader import Reader
from mailer.model.address import Address
from mailer.model.mailing_list import Directory

Folder = Annotated[
    Path | None,
    typer.Option("--instance", "-i", envvar="MAILER_INSTANCE", help="The folder of the instance.", show_default="."),
]


def explain(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.eml…", help="Letters, or folders of letters.")],
    mail_from: Annotated[
        str | None, typer.Option(help="The envelope sender, <> for none. Default: Return-Path, else From.")
    ] = None,
    rcpt_to: Annotated[
        str | None, typer.Option(help="The recipient. Default: the list that the header names, else the first.")
    ] = None,
    as_json: options.AsJson = False,
    instance_folder: Folder = None,
    service_file: options.ServiceFile = None,
) -> None:
    """Say what the service would do with letters, and why; nothing is done.

    With the service passphrase it looks into the register, and without it takes everybody for a stranger. Outside an
    instance it makes up a list: the one of --rcpt-to, or news@lists.example.org. Exit code 1 if a file could not be
    opened.
    Example: mailer explain letter.eml --rcpt-to news+subscribe@lists.example.org
    """
    instance = _instance(instance_folder)
    secrets = _secrets(instance, service_file)
    sender = None if mail_from is None else _address(mail_from) if mail_from not in ("", "<>") else ""
    recipient = _address(rcpt_to) if rcpt_to else None
    described = asyncio.run(_explain_all(instance, secrets, list(_letters(files)), sender, recipient))
    if as_json:
        print(json.dumps(described, indent=2, ensure_ascii=False))
    else:
        for one in described:
            print(_sentence(one))
    if any("error" in one for one in described):
        sys.exit(1)


def _instance(folder: Path | None) -> Instance | None:
    """Return the instance that is named, or the one here if there is one. Raises InstanceError, ConfigError."""
    try:
        return Instance.open(folder or Path())
    except InstanceError:
        if folder is not None:
            raise
        return None


def _secrets(instance: Instance | None, file: Path | None) -> ServiceSecrets | None:
    """Return the service secrets where their passphrase lies in a file; nobody is asked for it."""
    if instance is None or not (file or passphrases.credential("service")):
        return None
    return instance.open_service(passphrases.read("service", file, may_ask=False))[1]


def _address(text: str) -> Address:
    return Address.parse(text.strip().removeprefix("<").removesuffix(">"))


def _letters(files: list[Path]) -> Iterator[Path]:
    for path in files:
        if path.is_dir():
            yield from sorted(one for one in path.rglob("*") if one.is_file())
        else:
            yield path


async def _explain_all(
    instance: Instance | None,
    secrets: ServiceSecrets | None,
    paths: list[Path],
    mail_from: Address | str | None,
    rcpt_to: Address | None,
) -> list[dict[str, object]]:
    described: list[dict[str, object]] = []
    directory = walk.with_example(instance.directory() if instance else None, rcpt_to)
    async with _explainer(instance, secrets, directory) as explainer:
        for path in paths:
            try:
                raw = saved.as_sent(_read(path))
            except OSError as error:
                described.append(_unopened(path, error))
                continue
            envelope = saved.envelope_of(raw, directory, mail_from, rcpt_to)
            described.append(_describe(path, await explainer.explain(raw, envelope)))
    return described


@asynccontextmanager
async def _explainer(
    instance: Instance | None, secrets: ServiceSecrets | None, directory: Directory
) -> AsyncIterator[Explainer]:
    """Give what explains, with a reader of its own; with the secrets, the register too."""
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(Reader())
        if instance is None or secrets is None:
            yield Explainer(reader, directory, datetime.now(UTC))
            return
        database = instance.database()
        await database.open()
        stack.push_async_callback(database.close)
        listener = Listener(database, Keyring(secrets), reader, directory, utc_now)
        yield Explainer(reader, directory, utc_now(), listener)


def _read(path: Path) -> bytes:
    """Return a file, of one that is no letter by its size the beginning only."""
    with path.open("rb") as file:
        return file.read(LETTER_OCTETS + 1)


def _describe(path: Path, explanation: Explanation) -> dict[str, object]:
    described: dict[str, object] = {
        "file": str(path),
        "kind": explanation.kind,
        "command": explanation.command,
        "proof": explanation.proof,
        "acts": explanation.acts,
        "reply": explanation.reply,
        "reason": explanation.reason,
    }
    return described | ({"class": explanation.failure} if explanation.kind is Kind.BOUNCE else {})


def _unopened(path: Path, error: OSError) -> dict[str, object]:
    unread = _describe(path, Explanation(Kind.UNREADABLE, f"the file cannot be opened: {error.strerror}"))
    return unread | {"error": error.strerror}


def _sentence(one: dict[str, object]) -> str:
    what = " ".join(str(part) for part in (one["kind"], one["command"] or one.get("class")) if part)
    facts = [f"proof {one['proof']}", "acts" if one["acts"] else "does not act", f"reply {one['reply'] or 'none'}"]
    return f"{one['file']}: {what}; {', '.join(facts)} ({one['reason']})"
