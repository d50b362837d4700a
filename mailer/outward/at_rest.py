"""Editions as they lie in the database: sealed under the service secrets, and bound to digest, language and version."""

from __future__ import annotations

import base64
import json

from mailer.crypto import vault
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.letters.seal import SignedEdition
from mailer.model.digest import Edition
from mailer.model.language import Language
from mailer.store.digests import Version


def seal_edition(secrets: ServiceSecrets, digest_id: str, edition: Edition) -> bytes:
    """Return an edition as composed, sealed."""
    fields = {
        "subject": edition.subject,
        "text": edition.text,
        "payload": base64.b64encode(edition.payload).decode(),
    }
    if edition.light is not None:
        fields["light"] = base64.b64encode(edition.light).decode()
    return vault.seal_at_rest(secrets.rest_key, json.dumps(fields).encode(), "edition", digest_id, edition.language)


def open_edition(secrets: ServiceSecrets, digest_id: str, language: Language, sealed: bytes) -> Edition:
    """Return what seal_edition was given. Raises SealBroken."""
    fields = json.loads(vault.open_at_rest(secrets.rest_key, sealed, "edition", digest_id, language))
    light = base64.b64decode(fields["light"]) if "light" in fields else None
    return Edition(language, fields["subject"], fields["text"], base64.b64decode(fields["payload"]), light)


def seal_signed(secrets: ServiceSecrets, digest_id: str, version: Version, signed: SignedEdition) -> bytes:
    """Return an edition as signed, sealed."""
    return vault.seal_at_rest(secrets.rest_key, signed.to_bytes(), *_place(digest_id, version))


def open_signed(secrets: ServiceSecrets, digest_id: str, version: Version, sealed: bytes) -> SignedEdition:
    """Return what seal_signed was given. Raises SealBroken."""
    return SignedEdition.from_bytes(vault.open_at_rest(secrets.rest_key, sealed, *_place(digest_id, version)))


def _place(digest_id: str, version: Version) -> tuple[str, ...]:
    return ("signed edition", digest_id, version.language, version.identity, version.form)
