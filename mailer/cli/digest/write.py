"""mailer digest new, preview, test: before anything is sent."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from mailer.app import open_routes
from mailer.cli import options
from mailer.cli.digest.desk import Desk, DigestId, say, utc_now
from mailer.cli.recorded import recorded
from mailer.crypto import tokens
from mailer.errors import DigestUnusable, RelayUnusable
from mailer.instance import read_certificate
from mailer.model.address import Address
from mailer.model.digest import DigestState, DigestStatus, Edition
from mailer.model.language import Language
from mailer.model.means import means_of_key
from mailer.model.retry import Answer
from mailer.outward import proof, publish
from mailer.outward.compose import Corrected, compose, proofread
from mailer.outward.routes import Outlet

LanguageChoice = Annotated[Language | None, typer.Option("--language", help="Which edition; all if left out.")]


@recorded("digest new", "list_id")
def new(
    files: Annotated[list[Path], typer.Argument(help="One file for each language: issue.md issue.zh-Hant.md …")],
    corrects: Annotated[str | None, typer.Option("--corrects", help="The id of the digest that it puts right.")] = None,
    list_id: options.ListName = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a digest from Markdown or plain text; nothing is sent. Front matter holds `subject` and `language`.

    With --corrects it says which letter it puts right, and goes to everybody. `digest send` then pauses what is left
    of the wrong one.
    Example: mailer digest new issue.md issue.zh-Hant.md
    """
    desk = Desk.open_for(corrects, instance_folder, service_file) if corrects else None
    desk = desk or Desk.open(instance_folder, service_file, list_id)
    wrong = _begun(desk, corrects, list_id) if corrects else None
    known_as = _corrected(desk, wrong) if wrong else None
    editions = [_compose(desk, file, len(files), known_as) for file in files]
    for file, edition in zip(files, editions, strict=True):
        for remark in proofread(file, language=edition.language):
            print(f"Note: {remark}", file=sys.stderr)
    digest_id = tokens.new_token(os.urandom)[:10]
    save = (desk.keyring.secrets, digest_id, desk.list.id, editions, utc_now(), corrects)
    desk.run(lambda database: publish.save(database, *save))
    languages = ", ".join(edition.language for edition in editions)
    facts = {"id": digest_id, "languages": languages, "corrects": corrects}
    say(facts, as_json, f"Digest {digest_id} ({languages}). Not sent yet.", _warn_of(wrong))


def preview(
    digest_id: DigestId,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the letters, as .eml files.")] = Path(),
    language: LanguageChoice = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Write exactly what readers will see once it is decrypted to a file for each edition, and print the text.

    Example: mailer digest preview 4k7qj2xw5t --output /tmp
    """
    desk = Desk.open_for(digest_id, instance_folder, service_file)
    own = publish.identity(desk.keyring, desk.list)
    for edition in desk.editions(digest_id, language):
        path = output / f"{digest_id}.{edition.language}.eml"
        path.write_bytes(proof.preview(edition, own, utc_now()))
        print(f"{path}\n\nSubject: {edition.subject}\n\n{edition.text}")


@recorded("digest test", "digest_id")
def send_test(
    digest_id: DigestId,
    to: Annotated[str, typer.Option("--to", help="The address to send it to.")],
    key: Annotated[Path, typer.Option("--key", help="That reader's certificate, OpenPGP or X.509.")],
    language: LanguageChoice = None,
    relay: Annotated[str | None, typer.Option("--relay", help="Over which relay; the first if left out.")] = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Send each edition, or one, to a single address: signed and encrypted as every copy will be.

    Example: mailer digest test 4k7qj2xw5t --to me@example.org --key me.asc
    """
    desk = Desk.open_for(digest_id, instance_folder, service_file)
    reader, means = Address.parse(to), means_of_key(read_certificate(key, may_be_x509=True))
    editions = desk.editions(digest_id, language)

    async def send_each() -> None:
        async with AsyncExitStack() as stack:
            outlet = _outlet((await open_routes(stack, desk.instance)).outlets, relay)
            for edition in editions:
                letter = proof.copy_for(reader, means, desk.keyring, desk.list, edition, outlet.identity)
                async with outlet.relay.connection() as connection:
                    outcome = await connection.send(outlet.prepare(letter))
                if outcome.answer is not Answer.ACCEPTED:
                    raise RelayUnusable(f"(It answered {outcome.code} {outcome.status}.)")
                print(f"The edition in {edition.language} was taken by the relay {outlet.name}.")

    asyncio.run(send_each())


def _outlet(outlets: Mapping[str, Outlet], name: str | None) -> Outlet:
    if name is not None and name not in outlets:
        raise RelayUnusable(f"(There is no relay of this name with a host or folder: {', '.join(outlets) or 'none'}.)")
    if not outlets:
        raise RelayUnusable("(It has no host yet.)")
    return outlets[name or next(iter(outlets))]


def _compose(desk: Desk, file: Path, files: int, corrects: Mapping[Language, Corrected] | None) -> Edition:
    """Return the edition of one of so many files. A single one may leave its language to the list's default."""
    return compose(
        file,
        default=desk.list.default_language if files == 1 else None,
        list_name=desk.list.display_name,
        list_address=desk.list.address,
        corrects=corrects,
    )


def _corrected(desk: Desk, wrong: DigestStatus) -> dict[Language, Corrected]:
    """Return what readers of each language know a digest by: those without an edition of their own got the default."""
    subjects = {one.language: one.subject for one in desk.editions(wrong.id)}
    day = (wrong.started or wrong.created).date()
    return {one: Corrected(subjects.get(one) or subjects[desk.list.default_language], day) for one in Language}


def _begun(desk: Desk, digest_id: str, list_id: str | None) -> DigestStatus:
    """Return a digest that can be corrected. Raises DigestUnusable."""
    found = desk.run(lambda database: publish.status(database, digest_id))
    if list_id not in (None, found.list_id):
        raise DigestUnusable("What it corrects went to another list.")
    if found.started is None:
        raise DigestUnusable("What it corrects was not sent, so nobody needs a correction: write that one anew.")
    return found


def _warn_of(wrong: DigestStatus | None) -> str:
    if wrong is None or wrong.state is not DigestState.SENDING:
        return ""
    stop = f"`mailer digest pause {wrong.id}` stops it now, and sending this one does so too"
    return f"{wrong.id} is still on its way: {stop}."
