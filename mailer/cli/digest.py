"""mailer digest: new, preview, test, send, status, list."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from mailer.app import relay_settings
from mailer.cli import lists, options, passphrases
from mailer.cli.progress import watch
from mailer.crypto import tokens
from mailer.crypto.keyring import Keyring
from mailer.errors import DigestUnusable, RelayUnusable
from mailer.instance import Instance, read_certificate
from mailer.model.address import Address
from mailer.model.digest import DigestStatus, Edition
from mailer.model.language import Language
from mailer.model.mailing_list import MailingList
from mailer.model.retry import Answer
from mailer.outward import publish
from mailer.outward.compose import compose, proofread
from mailer.outward.relay import Relay
from mailer.store import digests
from mailer.store.database import Database

commands = typer.Typer(no_args_is_help=True, help="Write digests, look at them, and send them.")

T = TypeVar("T")
DigestId = Annotated[str, typer.Argument(help="The digest's id, as `digest new` printed it.")]
LanguageChoice = Annotated[Language | None, typer.Option("--language", help="Which edition; all if left out.")]


@commands.command()
def new(
    files: Annotated[list[Path], typer.Argument(help="One file for each language: issue.md issue.zh-Hant.md …")],
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a digest from Markdown or plain text; nothing is sent. Front matter holds `subject` and `language`.

    Example: mailer digest new issue.md issue.zh-Hant.md
    """
    desk = _Desk.open(instance_folder, service_file, list_id)
    editions = [desk.compose(file, len(files)) for file in files]
    for file, edition in zip(files, editions, strict=True):
        for remark in proofread(file, language=edition.language):
            print(f"Note: {remark}", file=sys.stderr)
    digest_id = tokens.new_token(os.urandom)[:10]
    now = datetime.now(UTC)
    desk.run(lambda database: publish.save(database, desk.keyring.secrets, digest_id, desk.list.id, editions, now))
    languages = ", ".join(edition.language for edition in editions)
    _say({"id": digest_id, "languages": languages}, as_json, f"Digest {digest_id} ({languages}). Not sent yet.")


@commands.command()
def preview(
    digest_id: DigestId,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the letters, as .eml files.")] = Path(),
    language: LanguageChoice = None,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Write exactly what readers will see once it is decrypted to a file for each edition, and print the text.

    Example: mailer digest preview 4k7qj2xw5t --output /tmp
    """
    desk = _Desk.open(instance_folder, service_file, list_id)
    own = publish.identity(desk.keyring, desk.list)
    for edition in desk.editions(digest_id, language):
        path = output / f"{digest_id}.{edition.language}.eml"
        path.write_bytes(publish.preview(edition, own, datetime.now(UTC)))
        print(f"{path}\n\nSubject: {edition.subject}\n\n{edition.text}")


@commands.command("test")
def send_test(
    digest_id: DigestId,
    to: Annotated[str, typer.Option("--to", help="The address to send it to.")],
    key: Annotated[Path, typer.Option("--key", help="That reader's OpenPGP certificate.")],
    language: LanguageChoice = None,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Send each edition, or one, to a single address: signed and encrypted as every copy will be.

    Example: mailer digest test 4k7qj2xw5t --to me@example.org --key me.asc
    """
    desk = _Desk.open(instance_folder, service_file, list_id)
    reader, certificate = Address.parse(to), read_certificate(key)
    settings, editions = relay_settings(desk.instance), desk.editions(digest_id, language)

    async def send_each() -> None:
        async with Relay(settings) as relay:
            for edition in editions:
                letter = publish.test_copy(desk.keyring, desk.list, edition, reader, certificate.blob)
                outcome = await relay.send(letter)
                if outcome.answer is not Answer.ACCEPTED:
                    raise RelayUnusable(f"(It answered {outcome.code} {outcome.status}.)")
                print(f"The edition in {edition.language} was taken by the relay.")

    asyncio.run(send_each())


@commands.command()
def send(
    digest_id: DigestId,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Show progress until it is all sent.")] = True,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Sign a digest and plan a delivery to each subscriber. `serve --deliver` or `work` then delivers it.

    Example: mailer digest send 4k7qj2xw5t
    """
    desk = _Desk.open(instance_folder, service_file, list_id)
    now = datetime.now(UTC)
    planned = desk.run(lambda database: publish.send(database, desk.keyring, desk.list, digest_id, now))
    _say({"id": digest_id, "planned": planned}, as_json, f"Digest {digest_id} goes to {planned} subscribers.")
    if wait and planned and sys.stderr.isatty():
        desk.run(lambda database: watch(database, digest_id))


@commands.command()
def status(
    digest_id: DigestId,
    instance_folder: options.InstanceFolder = Path(),
    as_json: options.AsJson = False,
) -> None:
    """Show how far a digest has come.

    Example: mailer digest status 4k7qj2xw5t
    """
    instance = Instance.open(instance_folder)
    found = asyncio.run(_with_database(instance, lambda database: _status(database, digest_id)))
    facts = _to_json(found)
    counts = ", ".join(f"{number} {state}" for state, number in sorted(found.counts.items())) or "no delivery planned"
    _say(facts, as_json, f"{found.id}\t{found.state}\t{', '.join(found.languages)}\t{counts} (of {found.planned})")


@commands.command("list")
def list_all(instance_folder: options.InstanceFolder = Path(), as_json: options.AsJson = False) -> None:
    """Show all digests, newest first.

    Example: mailer digest list
    """
    instance = Instance.open(instance_folder)
    found = asyncio.run(_with_database(instance, _statuses))
    if as_json:
        print(json.dumps([_to_json(one) for one in found], indent=2))
        return
    for one in found:
        print(f"{one.id}\t{one.created:%Y-%m-%d %H:%M}\t{one.list_id}\t{one.state}\t{one.planned} planned")


class _Desk:
    """An organiser's place: instance, list and opened secrets."""

    def __init__(self, instance: Instance, keyring: Keyring, mailing_list: MailingList) -> None:
        self.instance, self.keyring, self.list = instance, keyring, mailing_list

    @classmethod
    def open(cls, folder: Path, service_file: Path | None, list_id: str | None) -> _Desk:
        instance = Instance.open(folder)
        mailing_list = lists.find(instance, list_id)
        _, secrets = instance.open_service(passphrases.read("service", service_file))
        return cls(instance, Keyring(secrets), mailing_list)

    def compose(self, file: Path, files: int) -> Edition:
        """Return the edition of one of so many files. A single one may leave its language to the list's default."""
        named = self.list
        default = named.default_language if files == 1 else None
        return compose(file, default=default, list_name=named.display_name, list_address=named.address)

    def editions(self, digest_id: str, language: Language | None) -> list[Edition]:
        found = self.run(lambda database: publish.load(database, self.keyring.secrets, digest_id))
        if language is not None and language not in found:
            raise DigestUnusable(f"It has no edition in {language}.")
        return [edition for one, edition in found.items() if language in (None, one)]

    def run(self, do: Callable[[Database], Awaitable[T]]) -> T:
        return asyncio.run(_with_database(self.instance, do))


async def _with_database(instance: Instance, do: Callable[[Database], Awaitable[T]]) -> T:
    async with AsyncExitStack() as stack:
        database = instance.database()
        stack.push_async_callback(database.close)
        await database.open()
        return await do(database)


async def _status(database: Database, digest_id: str) -> DigestStatus:
    async with database.read() as tx:
        found = await digests.status(tx, digest_id)
    if found is None:
        raise DigestUnusable("There is no such digest; `mailer digest list` shows those that there are.")
    return found


async def _statuses(database: Database) -> list[DigestStatus]:
    async with database.read() as tx:
        return [one for digest_id in await digests.ids(tx) if (one := await digests.status(tx, digest_id))]


def _to_json(one: DigestStatus) -> dict[str, object]:
    return {
        "id": one.id,
        "list": one.list_id,
        "state": one.state,
        "created": one.created.isoformat(),
        "languages": list(one.languages),
        "planned": one.planned,
        "counts": {str(state): number for state, number in one.counts.items()},
    }


def _say(facts: dict[str, object], as_json: bool, sentence: str) -> None:
    print(json.dumps(facts) if as_json else sentence)
