"""Signed letters as GnuPG writes them, and as programs that sign and encrypt in one go do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mailer.model.address import Address
from mailer.store import roster
from tests.conftest import Gnupg
from tests.conversations import post
from tests.house import LIST, House, Person, open_house, reply_to

ADA = "ada@reader.example"
COMMAND = b"Content-Type: text/plain; charset=utf-8\r\n\r\nunsubscribe\r\n"


def head(sender: str = ADA, subject: str = "Farewell") -> bytes:
    return f"From: {sender}\r\nTo: {LIST}\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n".encode()


async def is_on_list(house: House, address: str = ADA) -> bool:
    person = await roster.identify(house.secrets, "news", Address.parse(address))
    async with house.database.read() as tx:
        return await roster.find(tx, person) is not None


async def join_with_gpg(house: House, gnupg: Gnupg) -> str:
    """Take Ada in with a key that GnuPG made; return its fingerprint."""
    gnupg.import_key(house.keyring.list_key("news").public)
    fingerprint = gnupg.make_key(ADA)
    pasted = b"Content-Type: text/plain\r\n\r\n" + post.with_crlf(gnupg.certificate(fingerprint, armored=True))
    [question] = await house.write(head(subject="subscribe") + pasted)
    assert b"Please reply" in gnupg.decrypt(post.message_in(question)).plaintext
    [welcome] = await house.write(
        head(subject="Re: [...]") + COMMAND.replace(b"unsubscribe", b"ok"), to=reply_to(question)
    )
    opened = gnupg.decrypt(post.message_in(welcome))
    assert b"Welcome" in opened.plaintext
    assert await is_on_list(house)
    return fingerprint


def clearsigned(gnupg: Gnupg, signer: str) -> bytes:
    text = gnupg.run("--local-user", signer, "--clear-sign", stdin=b"unsubscribe\n")
    return b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + post.with_crlf(text)


def detached(gnupg: Gnupg, signer: str) -> bytes:
    return post.signed(COMMAND, gnupg.sign_detached(COMMAND, signer))


WAYS = [pytest.param(clearsigned, id="cleartext"), pytest.param(detached, id="detached")]


@pytest.mark.parametrize("way", WAYS)
async def test_a_letter_signed_by_gnupg_acts_at_once(
    way: Callable[[Gnupg, str], bytes], tmp_path: Path, gnupg: Gnupg
) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = await join_with_gpg(house, gnupg)
        [goodbye] = await house.write(head() + way(gnupg, ada))
        assert b"Goodbye" in gnupg.decrypt(post.message_in(goodbye)).plaintext
        assert not await is_on_list(house)


@pytest.mark.parametrize("way", WAYS)
async def test_a_letter_signed_by_another_key_of_gnupg_asks_first(
    way: Callable[[Gnupg, str], bytes], tmp_path: Path, gnupg: Gnupg
) -> None:
    async with open_house(tmp_path / "instance") as house:
        await join_with_gpg(house, gnupg)
        mallory = gnupg.make_key("mallory@evil.example")
        [question] = await house.write(head() + way(gnupg, mallory))
        assert "+confirm-" in reply_to(question)
        assert await is_on_list(house)


async def test_a_letter_that_gnupg_signed_and_encrypted_in_one_go_acts_at_once(tmp_path: Path, gnupg: Gnupg) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = await join_with_gpg(house, gnupg)
        [own] = gnupg.fingerprints(LIST)
        sealed = post.encrypted(gnupg.encrypt(COMMAND, own, signer=ada))
        [goodbye] = await house.write(head(subject="...") + sealed)
        assert b"Goodbye" in gnupg.decrypt(post.message_in(goodbye)).plaintext
        assert not await is_on_list(house)


async def test_who_signs_and_encrypts_in_one_go_with_another_key_is_asked(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, mallory = Person.with_key(ADA), Person.with_key("mallory@evil.example")
        await house.join(ada)
        own = house.keyring.list_key("news").public
        forged = post.encrypt(COMMAND, own, post.signer_of(mallory))
        [question] = await house.write(head(subject="...") + forged)
        assert "+confirm-" in reply_to(question)
        assert await is_on_list(house)
        [goodbye] = await house.write(head(subject="...") + post.encrypt(COMMAND, own, post.signer_of(ada)))
        assert "Goodbye" in post.subject_for(goodbye, ada)
        assert not await is_on_list(house)


async def test_a_signature_counts_only_for_the_address_that_the_key_belongs_to(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, bob = Person.with_key(ADA), Person.with_key("bob@reader.example")
        await house.join(ada)
        await house.join(bob)
        as_bob = head(sender=bob.address) + post.sign(COMMAND, post.signer_of(ada))
        [question] = await house.write(as_bob)
        assert post.recipient(question) == bob.address and "+confirm-" in reply_to(question)
        assert await is_on_list(house) and await is_on_list(house, bob.address)
