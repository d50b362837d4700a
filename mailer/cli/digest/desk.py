"""An organiser's place: the instance, a list and its opened secrets; and what the commands of this noun share."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from mailer.cli import lists, passphrases
from mailer.cli.opened import run
from mailer.crypto.keyring import Keyring
from mailer.errors import DigestUnusable, ListUnknown
from mailer.instance import Instance
from mailer.model.digest import Edition
from mailer.model.language import Language
from mailer.model.mailing_list import MailingList
from mailer.outward import publish
from mailer.store.database import Database

T = TypeVar("T")
DigestId = Annotated[str, typer.Argument(help="The digest's id, as `digest new` printed it.")]


class Desk:
    """What an organiser works with."""

    def __init__(self, instance: Instance, keyring: Keyring, mailing_list: MailingList) -> None:
        self.instance, self.keyring, self.list = instance, keyring, mailing_list

    @classmethod
    def open(cls, folder: Path, service_file: Path | None, list_id: str | None) -> Desk:
        """Return the desk of one list. Raises InstanceError, ListUnknown, PassphraseMissing, WrongPassphrase."""
        instance = Instance.open(folder)
        return cls._unlock(instance, lists.find(instance, list_id), service_file)

    @classmethod
    def open_for(cls, digest_id: str, folder: Path, service_file: Path | None) -> Desk:
        """Return the desk of a digest's list. Raises DigestUnusable where there is no such digest, and as `open`."""
        instance = Instance.open(folder)
        found = run(instance, lambda database: publish.status(database, digest_id))
        mailing_list = instance.directory().by_id(found.list_id)
        if mailing_list is None:
            raise ListUnknown("(It was taken out of config.toml.)")
        return cls._unlock(instance, mailing_list, service_file)

    @classmethod
    def _unlock(cls, instance: Instance, mailing_list: MailingList, service_file: Path | None) -> Desk:
        _, secrets = instance.open_service(passphrases.read("service", service_file))
        return cls(instance, Keyring(secrets), mailing_list)

    def editions(self, digest_id: str, language: Language | None = None) -> list[Edition]:
        """Return a digest's editions, or the one in a language. Raises DigestUnusable."""
        found = self.run(lambda database: publish.load(database, self.keyring.secrets, digest_id))
        if language is not None and language not in found:
            raise DigestUnusable(f"It has no edition in {language}.")
        return [edition for one, edition in found.items() if language in (None, one)]

    def run(self, do: Callable[[Database], Awaitable[T]]) -> T:
        """Do something with the database."""
        return run(self.instance, do)


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def say(facts: Mapping[str, object], as_json: bool, *sentences: str) -> None:
    """Print facts for a program, or sentences for people; the empty ones are left out."""
    if as_json:
        print(json.dumps(dict(facts)))
        return
    for sentence in filter(None, sentences):
        print(sentence)
