"""Write the vectors of the present forms: `PYTHONPATH=. .venv/bin/python tests/unit/vectors/freeze.py`.

A file that is there is never written again: what it holds was sealed by the release that froze it, and must open for
ever. When a form changes, give its version byte and its file here the next number, and keep the old one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from mailer.crypto import keyfile, tokens, vault
from mailer.crypto.keyfile.passphrase import SlotKdf
from mailer.model.address import Address
from mailer.model.letter import Envelope, Peer
from mailer.model.subscriber import Drawer, Format, Record

HERE = Path(__file__).parent
LIST = "k3v9"
ADDRESS = Address.parse("Zoë.陳+news@bücher.example")


def freeze_vault() -> dict[str, object]:
    secrets, roster = vault.ServiceSecrets.generate().with_list_key(LIST, b"a secret key"), vault.RosterKey.generate()
    subscriber, inbox, drawer_key = os.urandom(16), os.urandom(16), vault.new_key()
    record, drawer = Record(ADDRESS, drawer_key), Drawer(b"certificate" * 40, "0123456789abcdef" * 2)
    data_key, sealed_data_key = roster.new_data_key()
    index = vault.index(secrets.index_key, LIST, ADDRESS)
    envelope = Envelope(None, Address.parse("news@example.org"), Peer("2001:db8::1", "mail.example.org"))
    return {
        "service": secrets.to_payload(),
        "roster": roster.to_payload(),
        "roster.pub": roster.public.to_bytes().decode(),
        "transit.pub": secrets.transit_private.public.to_bytes().decode(),
        "list_id": LIST,
        "address": str(ADDRESS),
        "subscriber_id": subscriber.hex(),
        "inbox_id": inbox.hex(),
        "drawer_key": drawer_key.hex(),
        "certificate": drawer.certificate.hex(),
        "fingerprint": drawer.fingerprint,
        "data_key_id": data_key.id.hex(),
        "data_key": data_key.key.hex(),
        "look_up": index.look_up.hex(),
        "wrapping_key": index.wrapping_key.hex(),
        "suppression_mark": vault.suppression_mark(secrets.suppression_key, LIST, ADDRESS).hex(),
        "sealed": {
            "fresh": roster.public.seal_record(record, LIST, subscriber).hex(),
            "absorbed": data_key.seal_record(record, LIST, subscriber).hex(),
            "data_key": sealed_data_key.hex(),
            "drawer_key": vault.wrap_drawer_key(index.wrapping_key, drawer_key, LIST, subscriber).hex(),
            "drawer": vault.seal_drawer(drawer, drawer_key, LIST, subscriber).hex(),
            "letter": secrets.transit_private.public.seal(envelope, b"Subject: hello\r\n\r\n", inbox).hex(),
            "rest": vault.seal_at_rest(secrets.rest_key, b"a draft", "outbox.letter", LIST, subscriber).hex(),
        },
    }


def freeze_drawer() -> dict[str, object]:
    """The second form of a drawer: the first held a certificate and its fingerprint alone."""
    subscriber, drawer_key = os.urandom(16), vault.new_key()
    drawer = Drawer(b"certificate" * 40, "0123456789abcdef" * 2, b"\x30x509" * 90, "水 five words of it", Format.PDF)
    return {
        "list_id": LIST,
        "subscriber_id": subscriber.hex(),
        "drawer_key": drawer_key.hex(),
        "certificate": drawer.certificate.hex(),
        "fingerprint": drawer.fingerprint,
        "x509": drawer.x509.hex(),
        "passphrase": drawer.passphrase,
        "format": drawer.format,
        "sealed": vault.seal_drawer(drawer, drawer_key, LIST, subscriber).hex(),
    }


def freeze_tokens() -> dict[str, object]:
    token_key, subscriber = os.urandom(32), os.urandom(16)
    unsubscribe = tokens.derive_token(token_key, tokens.Purpose.UNSUBSCRIBE, LIST, subscriber)
    bounce = tokens.derive_token(token_key, tokens.Purpose.BOUNCE, LIST, subscriber)
    return {
        "token_key": token_key.hex(),
        "list_id": LIST,
        "subscriber_id": subscriber.hex(),
        "derived": {"unsubscribe": unsubscribe, "bounce": bounce},
        "marks": {str(purpose): tokens.mark(token_key, purpose, LIST, bounce).hex() for purpose in tokens.Purpose},
        "message_id": tokens.message_id(token_key, "example.org", b"digest", subscriber),
    }


def freeze_keyfile() -> dict[str, object]:
    path, cheap = HERE / "freezing.key", SlotKdf(memory_kib=64, iterations=1, lanes=1)
    passphrases = {"first": "Ångström 長城 correct horse", "recovery": keyfile.recovery_phrase(os.urandom)}
    keyfile.create(path, "roster", {"answer": 42}, passphrases, cheap)
    text = path.read_text(encoding="ascii")
    path.unlink()
    return {"purpose": "roster", "payload": {"answer": 42}, "passphrases": passphrases, "file": text}


def main() -> None:
    for name, freeze in (
        ("vault-1", freeze_vault),
        ("drawer-2", freeze_drawer),
        ("tokens-1", freeze_tokens),
        ("keyfile-1", freeze_keyfile),
    ):
        path = HERE / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(freeze(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
