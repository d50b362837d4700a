"""Somebody sends their secret key by mistake: it is stored nowhere, handed on to nobody, and they are told at once."""

from __future__ import annotations

import base64
from email.message import EmailMessage
from pathlib import Path

import pysequoia
import pytest
from sqlalchemy import func, select

from mailer.store.tables import inbox, outbox, requests, subscribers
from tests.house import CONTACT, House, Person, open_house, open_text

ADA = "ada@reader.example"


def secret_of(ada: Person) -> bytes:
    assert ada.key is not None
    return bytes(ada.key)


def armored(ada: Person) -> str:
    return str(pysequoia.armor(secret_of(ada), pysequoia.ArmorKind.SecretKey))


def with_secret(ada: Person, how: str, subject: str, *, with_key: bool = False) -> EmailMessage:
    letter = ada.letter(subject, armored(ada) if how == "in the text" else "hello", with_key=with_key)
    if how == "attached":
        letter.add_attachment(secret_of(ada), "application", "octet-stream", filename="secring.gpg")
    if how == "armored":
        letter.add_attachment(armored(ada).encode(), "application", "pgp-keys", filename="secret.asc")
    if how == "as text":
        letter.add_attachment(armored(ada), filename="key.txt")
    return letter


async def rows(house: House) -> list[int]:
    async with house.database.read() as tx:
        tables = (inbox, outbox, requests, subscribers)
        return [(await tx.execute(select(func.count()).select_from(one))).scalar_one() for one in tables]


@pytest.mark.parametrize("how", ["attached", "armored", "as text", "in the text"])
async def test_a_secret_key_is_answered_with_a_warning_and_nothing_of_it_stays(how: str, tmp_path: Path) -> None:
    ada = Person.with_key(ADA)
    async with open_house(tmp_path / "instance") as house:
        before = {path for path in tmp_path.rglob("*") if "mailer.db" not in path.name}
        for subject in ("subscribe", "hello, a question"):  # the second is for the list's contact
            [warning] = await house.write(with_secret(ada, how, subject))
            assert "SECRET key" in open_text(warning)
            assert ADA in warning.rcpt
            assert base64.b64encode(secret_of(ada))[40:80] not in warning.content
            assert await rows(house) == [0, 0, 0, 0]
            house.clock.pass_(days=1)
        assert {path for path in tmp_path.rglob("*") if "mailer.db" not in path.name} == before


async def test_the_public_half_beside_it_does_not_make_it_good(tmp_path: Path) -> None:
    ada = Person.with_key(ADA)
    async with open_house(tmp_path / "instance") as house:
        [warning] = await house.write(with_secret(ada, "attached", "subscribe", with_key=True))
        assert "SECRET key" in open_text(warning)
        assert await rows(house) == [0, 0, 0, 0]


async def test_a_question_without_one_reaches_the_contact(tmp_path: Path) -> None:
    """The positive control."""
    ada = Person.with_key(ADA)
    async with open_house(tmp_path / "instance") as house:
        [passed_on] = await house.write(ada.letter("hello, a question", "hello"))
        assert CONTACT in passed_on.rcpt
