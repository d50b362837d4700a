"""A signed letter acts once. Who saw it pass by can send it again, under another envelope and in other armor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pysequoia
import pytest

from mailer.model.subscriber import State
from mailer.store import roster
from tests.conftest import Gnupg
from tests.house import LIST, House, Person, open_house, reply_to
from tests.walks.far_server import Received

ADA = "ada@reader.example"


@dataclass
class Writer:
    """Ada, who is on the list and signs by gpg; and whoever reads her mail on its way."""

    house: House
    gnupg: Gnupg
    signer: str
    count: int = 0

    def letter(self, header: str, body: str) -> bytes:
        self.count += 1
        top = f"From: {ADA}\nTo: {LIST}\nSubject: ...\nMessage-ID: <{self.count}@reader.example>\nMIME-Version: 1.0\n"
        return f"{top}{header}\n\n{body}".replace("\r\n", "\n").replace("\n", "\r\n").encode()

    def sealed(self, plaintext: str, at: datetime | None = None) -> str:
        to = self.house.keyring.list_key("news").fingerprint
        options = ["--armor", "--trust-model", "always", "--sign", "--local-user", self.signer, "--encrypt", "-r", to]
        return self.gnupg.run(*options, stdin=plaintext.replace("\n", "\r\n").encode(), at=at).decode()

    def inline_sealed(self, word: str) -> bytes:
        return self.letter("Content-Type: text/plain", self.sealed(f"{word}\n"))

    def mime_sealed(self, word: str, date: datetime | None = None) -> bytes:
        """As Thunderbird writes: header fields stand inside, under the signature."""
        protected = f"From: {ADA}\nTo: {LIST}\nSubject: {word}\nDate: {format_datetime(date or self.house.clock())}\n"
        text = f"Content-Type: text/plain; charset=UTF-8\n\n{word}\n"
        kind = 'Content-Type: multipart/mixed; boundary="in"; protected-headers="v1"'
        message = self.sealed(f"{kind}\n{protected}\n--in\n{text}\n--in--\n")
        parts = (
            "Content-Type: application/pgp-encrypted\n\nVersion: 1\n",
            f"Content-Type: application/octet-stream; name=encrypted.asc\n\n{message}",
        )
        header = 'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary="out"'
        return self.letter(header, "".join(f"--out\n{part}\n" for part in parts) + "--out--\n")

    def inline_signed(self, word: str) -> bytes:
        signed = self.gnupg.run("--clearsign", "--local-user", self.signer, stdin=f"{word}\n".encode())
        return self.letter("Content-Type: text/plain", signed.decode())

    def mime_signed(self, word: str) -> bytes:
        payload = f"Content-Type: text/plain\r\n\r\n{word}\r\n"
        signature = self.gnupg.sign_detached(payload.encode(), self.signer).decode()
        parts = (payload, f"Content-Type: application/pgp-signature\n\n{signature}")
        header = 'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary="out"'
        return self.letter(header, "".join(f"--out\n{part}\n" for part in parts) + "--out--\n")

    async def say(self, letter: bytes) -> list[Received]:
        return await self.house.write(letter, sender=ADA)

    async def state(self) -> State:
        house = self.house
        person = await roster.identify(house.secrets, "news", house.instance.directory().lists[0].address.parse(ADA))
        async with house.database.read() as tx:
            found = await roster.find(tx, person)
        assert found is not None
        return found.subscriber.state


@pytest.fixture
async def ada(tmp_path: Path, gnupg: Gnupg) -> AsyncIterator[Writer]:
    async with open_house(tmp_path / "instance") as house:
        signer = gnupg.make_key(ADA, made=house.clock() - timedelta(days=30))
        await house.join(Person(ADA, pysequoia.Tsk.from_bytes(gnupg.secret(signer))))
        gnupg.import_key(house.keyring.list_key("news").public)
        yield Writer(house, gnupg, signer)


FORMS: dict[str, Callable[[Writer, str], bytes]] = {
    "sealed in the text": Writer.inline_sealed,
    "sealed by PGP/MIME": Writer.mime_sealed,
    "signed in the text": Writer.inline_signed,
    "signed by PGP/MIME": Writer.mime_signed,
}


def disguised(letter: bytes) -> bytes:
    """The same letter with another header, and with other lines around the same base64."""
    letter = letter.replace(b"@reader.example>\r\nMIME", b".again@reader.example>\r\nX-Again: yes\r\nMIME")
    return letter.replace(b"-----\r\n\r\nhF4D", b"-----\r\nComment: again\r\n\r\nhF4D")


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
async def test_a_signed_pause_that_is_sent_again_after_a_resume_has_no_effect(
    ada: Writer, form: Callable[[Writer, str], bytes]
) -> None:
    pause = form(ada, "pause")
    assert len(await ada.say(pause)) == 1
    assert await ada.state() is State.PAUSED
    assert len(await ada.say(form(ada, "resume"))) == 1
    assert await ada.state() is State.ACTIVE
    for again in (pause, disguised(pause)):
        assert await ada.say(again) == []
        assert await ada.state() is State.ACTIVE


@pytest.mark.parametrize("form", [Writer.inline_sealed, Writer.mime_sealed], ids=["text", "PGP/MIME"])
async def test_a_sealed_letter_is_remembered_for_as_long_as_nothing_says_when_it_was_signed(
    ada: Writer, form: Callable[[Writer, str], bytes]
) -> None:
    pause = form(ada, "pause")
    await ada.say(pause)
    await ada.say(form(ada, "resume"))
    ada.house.clock.pass_(days=200)
    await ada.say(pause)
    assert await ada.state() is State.ACTIVE


async def test_the_same_words_signed_anew_act_again(ada: Writer) -> None:
    for word, state in (("pause", State.PAUSED), ("resume", State.ACTIVE)):
        assert len(await ada.say(ada.mime_signed(word))) == 1
        assert await ada.state() is state
    words = ("pause", "resume")
    later = [ada.house.clock() - timedelta(minutes=number) for number in (20, 10)]
    for word, at in zip(words, later, strict=True):
        signed = ada.gnupg.run("--clearsign", "--local-user", ada.signer, stdin=f"{word}\n".encode(), at=at)
        assert len(await ada.say(ada.letter("Content-Type: text/plain", signed.decode()))) == 1
    assert await ada.state() is State.ACTIVE


async def test_a_sealed_letter_whose_own_date_is_old_asks_for_confirmation(ada: Writer) -> None:
    [question] = await ada.say(ada.mime_sealed("pause", ada.house.clock() - timedelta(days=3)))
    assert "+confirm-" in reply_to(question)
    assert await ada.state() is State.ACTIVE
    [done] = await ada.say(ada.mime_sealed("pause", ada.house.clock() - timedelta(days=1)))
    assert "Reply-To" not in done.content.decode() or "+confirm-" not in reply_to(done)
    assert await ada.state() is State.PAUSED
