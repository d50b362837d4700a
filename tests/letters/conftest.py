"""A list and a reader with keys made by GnuPG, a reply and a digest's copy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailer.crypto.openpgp import ListKey
from mailer.letters import mime, seal
from mailer.letters.write import Attachment, Draft
from mailer.model.address import Address
from mailer.model.digest import Edition
from mailer.model.language import Language
from mailer.model.means import OpenPgp
from tests.conftest import Gnupg

LIST = "news@list.example"
READER = "reader@provider.example"


@dataclass(frozen=True)
class Keys:
    """Secret and public keys made by gpg, binary: the list's ([SC] and [E]) and the reader's."""

    list_secret: bytes
    list_public: bytes
    reader_secret: bytes
    reader_public: bytes


@pytest.fixture(scope="session")
def keys() -> Iterator[Keys]:
    gnupg = Gnupg(Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp")))  # a path short enough for the agent's sockets
    made = [gnupg.make_key(address) for address in (LIST, READER)]
    yield Keys(*(export(fingerprint) for fingerprint in made for export in (gnupg.secret, gnupg.certificate)))
    gnupg.close()


@pytest.fixture(scope="session")
def identity(keys: Keys) -> seal.Identity:
    return seal.Identity("k7f3", Address.parse(LIST), "", ListKey.from_secret(keys.list_secret))


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)  # gpg judges a signature by the real clock


@pytest.fixture
def make_reply(keys: Keys, identity: seal.Identity, now: datetime) -> Callable[..., seal.Sealed]:
    """Make a reply to the reader; named arguments of seal, and `draft`, may be given."""

    def make(draft: Draft | None = None, **given: object) -> seal.Sealed:
        draft = draft or Draft("Your settings", "Zebras are weekly.\n", Language.EN, may_be_open=False)
        fixed: dict[str, object] = {
            "recipient": Address.parse(READER),
            "means": OpenPgp(keys.reader_public),
            "identity": identity,
            "now": now,
            "message_id": "<q1w2e3@list.example>",
        }
        return seal.seal(draft, **{**fixed, **given})  # type: ignore[arg-type]

    return make


@pytest.fixture
def edition() -> Edition:
    """An edition in Chinese with HTML, a picture and an attachment."""
    text = "斑馬罷工\n\nFrom here  \nThe zebra strike goes on. 「大家一起來」\n"
    html = "<html><body><h1>斑馬罷工</h1><p>The zebra strike goes on.</p><img src='cid:p1@mail'></body></html>"
    body = mime.alternative(text, html, [mime.InlineImage("p1@mail", "image/png", bytes(range(256)) * 20)])
    payload = mime.mixed(body, [Attachment("zebra.pdf", "application/pdf", bytes(range(255, -1, -1)) * 9)])
    return Edition(Language.ZH_HANT, "斑馬罷工第十二期：大家一起來，把這個消息告訴所有人", text, payload)


@pytest.fixture
def make_copy(keys: Keys, identity: seal.Identity, edition: Edition, now: datetime) -> Callable[..., seal.Sealed]:
    """Make the reader's copy of the edition; named arguments of seal_copy, and `signed`, may be given."""

    def make(signed: seal.SignedEdition | None = None, **given: object) -> seal.Sealed:
        fixed: dict[str, object] = {
            "recipient": Address.parse(READER),
            "means": OpenPgp(keys.reader_public),
            "identity": identity,
            "message_id": "<z9y8x7@list.example>",
            "envelope_sender": Address.parse("news+bounce-aaaabbbbccccddddeeeeffff@list.example"),
            "unsubscribe": Address.parse("news+unsubscribe-gggghhhhiiiijjjjkkkkllll@list.example"),
            "now": now,
            "padding_chance": 0.0,
        }
        signed = signed or seal.sign_edition(edition, identity, now)
        return seal.seal_copy(signed, **{**fixed, **given})  # type: ignore[arg-type]

    return make


@pytest.fixture
def reader(gnupg: Gnupg, keys: Keys) -> Gnupg:
    """The reader's own GnuPG: their secret key, and the list's certificate."""
    gnupg.import_key(keys.reader_secret)
    gnupg.import_key(keys.list_public)
    return gnupg
