"""The lists' own X.509 keys, for readers with S/MIME."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from mailer.cli import options, passphrases
from mailer.cli.keys.own import START_AGAIN, IdentityName, find
from mailer.cli.recorded import recorded
from mailer.crypto import smime as x509
from mailer.crypto.keyfile import KeyFile
from mailer.crypto.service_secrets import ServiceSecrets, key_name
from mailer.crypto.smime import SmimeKey
from mailer.errors import CertificateNotTaken, FileUnusable
from mailer.instance import Instance, read_file
from mailer.model.certificate import grouped
from mailer.model.mailing_list import MailingList


@recorded("keys smime", "list_id", "identity")
def smime(
    request: Annotated[
        Path | None, typer.Option("--request", help="Make a key, and write a request for an authority to this file.")
    ] = None,
    answer: Annotated[
        Path | None, typer.Option("--answer", help="Take in what the authority answered: certificate and chain.")
    ] = None,
    yes: options.Yes = False,
    list_id: options.ListName = None,
    identity: IdentityName = "",
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Make the list an X.509 key with a certificate of its own, or one that an authority vouches for.

    Without --request and --answer the certificate vouches for itself: readers then have to trust it by hand. One that
    is there is replaced, and letters encrypted to it do not open any more.
    Example: mailer keys smime
    """
    if request is not None and answer is not None:
        raise typer.BadParameter("give --request first, and --answer once the authority has answered")
    instance = Instance.open(instance_folder)
    shown = find(instance, list_id, identity)
    opened, secrets = instance.open_service(passphrases.read("service", service_file))
    place = _Place(opened, secrets, shown)
    if request is None and answer is None and place.is_taken and not yes:
        typer.confirm("There is a key already. Replace it?", abort=True)
    if request is not None:
        place.ask(request)
    elif answer is not None:
        place.take(read_file(answer))
    else:
        place.make()


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write; what is there is never overwritten, and nothing is left where it goes wrong."""
    try:
        with path.open("xb") as file:
            try:
                yield file
                file.flush()
            except BaseException:
                path.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise FileUnusable(f"{path.name}: {error.strerror}.") from error


class _Place:
    """Where the key of a list, or of one of its identities, is kept."""

    def __init__(self, opened: KeyFile, secrets: ServiceSecrets, shown: MailingList) -> None:
        self._opened, self._secrets, self._shown = opened, secrets, shown
        self._name = key_name(shown.id, shown.identity)

    @property
    def is_taken(self) -> bool:
        """Whether there is a key in use."""
        return self._name in self._secrets.smime_keys

    def make(self) -> None:
        """Make a key that vouches for itself."""
        self._keep(x509.self_signed(x509.generate_private(), self._shown.address, datetime.now(UTC)))

    def ask(self, path: Path) -> None:
        """Make a key that waits for its certificate, and write the request."""
        private = x509.generate_private()
        asked = x509.request(private, self._shown.address)
        with _new_file(path) as file:
            self._save(self._secrets.with_smime_request(self._name, x509.private_pem(private)))
            file.write(asked)
        print(f"Wrote the request for {self._shown.address} to {path}. Nothing else has changed so far.")
        print("Send it to the authority, and give what comes back to: mailer keys smime --answer FILE")

    def take(self, answer: bytes) -> None:
        """Take in the answer to the request that waits, or to the key that is in use: authorities renew, too."""
        waiting, current = self._secrets.smime_requests.get(self._name), self._secrets.smime_keys.get(self._name)
        keys = [key for key in (waiting, current) if key is not None]
        if not keys:
            raise CertificateNotTaken("There is no request that it could answer: make one with --request.")
        self._keep(self._first_taken(keys, answer))

    def _first_taken(self, keys: list[bytes], answer: bytes) -> SmimeKey:
        *others, last = keys
        for key in others:
            try:
                return x509.take_answer(key, answer, self._shown.address, datetime.now(UTC))
            except CertificateNotTaken:
                continue
        return x509.take_answer(last, answer, self._shown.address, datetime.now(UTC))

    def _keep(self, key: SmimeKey) -> None:
        self._save(self._secrets.with_smime_key(self._name, key.to_pem()))
        print(f"{self._name}\t{self._shown.address}\n{grouped(key.fingerprint)}\tuntil {key.expires:%Y-%m-%d}")
        print("Unlock a running service anew (mailer unlock, or mailer unlock --deliver), so that it knows the key.")
        print(START_AGAIN)

    def _save(self, changed: ServiceSecrets) -> None:
        self._opened.save(changed.to_payload())
