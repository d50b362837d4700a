"""The leak test for readers with X.509 certificates: their key, name and letters stand nowhere, nor our secret key."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailer.crypto.smime import SmimeKey
from tests import opening
from tests.attacks.test_leak import (
    DIGEST_SUBJECT,
    DIGEST_TEXT,
    NAMES,
    TEXT,
    Session,
    named,
    session,
    talkative,
    temporary,
)
from tests.authority import to_pkcs12
from tests.house import Person, reply_to
from tests.walks.crowd import publish_digest
from tests.x509_people import Holder, give_key

__all__ = ["talkative", "temporary"]  # fixtures
OCTETS = 24


def hold(here: Session, what: str, key: SmimeKey) -> None:
    """Plant a certificate: its modulus, its fingerprint, and a prime of its secret half."""
    numbers = key.private.private_numbers()
    here.keys[f"modulus of {what}"] = numbers.public_numbers.n.to_bytes(256, "big")[:OCTETS]
    here.keys[f"fingerprint of {what}"] = bytes.fromhex(key.fingerprint)
    here.keys[f"secret of {what}"] = numbers.p.to_bytes(128, "big")[:OCTETS]


async def test_a_session_by_smime_leaves_nobodys_name_anywhere(
    tmp_path: Path, temporary: Path, talkative: pytest.LogCaptureFixture
) -> None:
    async with session(tmp_path, temporary) as here:
        own = give_key(here.house)
        here.keys["secret of the list"] = own.private.private_numbers().p.to_bytes(128, "big")[:OCTETS]
        ada = Holder.at("ada.kumquat@reader-ada.example")
        here.meet(Person(ada.address), NAMES[0])
        hold(here, "ada", ada.x509)
        [question] = await here.write(named(ada.letter_with("subscribe", TEXT), NAMES[0]), sender=ada.address)
        assert await here.write(named(ada.letter("Re: [...]", TEXT), NAMES[0]), to=reply_to(question))
        for command in ("status", "pause", "help", "key"):
            assert await here.write(ada.letter(command))
        letter = ada.letter("my key", TEXT)
        letter.add_attachment(to_pkcs12(ada.x509), maintype="application", subtype="x-pkcs12", filename="ada.p12")
        assert await here.write(letter)
        source = f"---\nsubject: {DIGEST_SUBJECT}\nlanguage: en\n---\n\n{DIGEST_TEXT}\n"
        await publish_digest(here.house, "d1", source)
        here.look("published")
        [copy] = await here.house.deliver()
        assert DIGEST_TEXT in ada.read(copy)
        sealed = [one for one in here.house.far.letters if opening.form_of(one.content) is opening.Form.SMIME]
        assert len(sealed) > 5 and TEXT not in ada.read(sealed[0])
        here.look("before the end")
        await here.house.database.close()
        here.look("closed")
        here.look_at_the_end(talkative.records)
        assert here.found == []


async def test_what_was_planted_of_a_certificate_is_found_where_it_stands(tmp_path: Path, temporary: Path) -> None:
    async with session(tmp_path, temporary) as here:
        key = Holder.at("ada.kumquat@reader-ada.example").x509
        hold(here, "ada", key)
        (temporary / "left-behind").write_bytes(key.der + key.to_pem())
        here.look("planted")
        assert {leak.secret for _, leak in here.found} >= {"modulus of ada", "secret of ada"}
