"""Somebody who can forge senders, or change letters on their way, tries to have digests encrypted to their own key."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

import pytest

from mailer.crypto import openpgp
from mailer.model.address import Address
from mailer.model.subscriber import State
from mailer.store import roster
from tests.conftest import Gnupg
from tests.conversations import post
from tests.conversations.stage import Holder, expiring, revoked
from tests.house import LIST, House, Person, open_house, reply_to

ADA, MALLORY = "ada@reader.example", "mallory@evil.example"


async def found(house: House, address: str = ADA) -> roster.Found:
    person = await roster.identify(house.secrets, "news", Address.parse(address))
    async with house.database.read() as tx:
        one = await roster.find(tx, person)
    assert one is not None
    return one


async def has_key_of(house: House, person: Person) -> bool:
    assert person.key is not None
    one = await found(house)
    is_theirs = one.drawer.fingerprint == person.key.extract_certificate().fingerprint
    return is_theirs and openpgp.is_usable(one.drawer.certificate, house.clock()) is None


def forge(ada: Person, mallory: Person, text: str, *, to: str = LIST, **fields: str) -> bytes:
    """A letter in Ada's name with Mallory's key."""
    people = {"Mallory": mallory, "Ada": ada}
    in_her_name = Person(ada.address, mallory.key)
    return post.write(in_her_name, to, {"Subject": "hello", **fields}, text, people)


@pytest.mark.parametrize("where", ["attached", "in the text", "Autocrypt"])
async def test_a_forged_letter_with_a_key_asks_the_owner_and_changes_nothing(where: str, tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, mallory = Person.with_key(ADA), Person.with_key(MALLORY)
        await house.join(ada)
        for command in ("my key", "subscribe", "resume", "訂閱", "更换公钥"):
            for how in ({"Key": where}, {"Key": where, "Signed": "by Mallory"}):
                letters = await house.write(forge(ada, mallory, command, **how))
                assert {post.recipient(one) for one in letters} <= {ADA}
                assert await has_key_of(house, ada)
                assert (await found(house)).subscriber.state is State.ACTIVE


async def test_only_when_the_owner_answers_the_key_changes_and_the_old_key_is_told(tmp_path: Path) -> None:
    """The control for the tests above: what they send is a letter that could change a key."""
    async with open_house(tmp_path / "instance") as house:
        ada, mallory = Person.with_key(ADA), Person.with_key(MALLORY)
        await house.join(ada)
        [question] = await house.write(forge(ada, mallory, "my key", Key="attached"))
        letters = await house.write(ada.letter("Re: [...]", "?"), to=reply_to(question))
        assert await has_key_of(house, mallory)
        assert "Your key was changed" in [post.subject_for(one, ada) for one in letters]


async def test_another_key_beside_a_text_that_is_signed_inline_is_not_signed_with_it(tmp_path: Path) -> None:
    """Ada clear-signs "my key" and attaches it; on the way Mallory swaps the attachment."""
    async with open_house(tmp_path / "instance") as house:
        ada, mallory = Person.with_key(ADA), Person.with_key(MALLORY)
        await house.join(ada)
        text = clearsign(ada, "my key")
        for where, subject in (("attached", "Is this your new key? Please reply"), ("Autocrypt", None)):
            letters = await house.write(forge(ada, mallory, text, Key=where))
            subjects = [post.subject_for(one, mallory) for one in letters]
            assert subjects == ([subject] if subject else [])  # the second is the same signed letter, sent again
            assert await has_key_of(house, ada)


def clearsign(person: Person, text: str) -> str:
    return post.clearsign(text, post.signer_of(person))


async def test_another_autocrypt_header_around_a_signed_letter_is_not_signed_with_it(tmp_path: Path) -> None:
    """Ada's program signs the text and puts her key into the header, which anybody on the way can change."""
    async with open_house(tmp_path / "instance") as house:
        ada, mallory = Person.with_key(ADA), Person.with_key(MALLORY)
        await house.join(ada)
        letters = await house.write(forge(ada, mallory, "my key", Key="Autocrypt", Signed="by Ada"))
        assert [post.subject_for(one, mallory) for one in letters] == ["Is this your new key? Please reply"]
        assert await has_key_of(house, ada)


async def test_a_key_inside_the_signature_is_set_at_once_wherever_it_stands(tmp_path: Path) -> None:
    """The control for the tests around this one."""
    async with open_house(tmp_path / "instance") as house:
        ada, second, third = (Person.with_key(ADA) for _ in range(3))
        await house.join(ada)
        keydata = base64.encodebytes(second.certificate).decode().replace("\n", "\r\n ").rstrip()
        header = f"Autocrypt: addr={ADA}; keydata=\r\n {keydata}\r\nContent-Type: text/plain\r\n\r\nmy key\r\n"
        head = f"From: {ADA}\r\nTo: {LIST}\r\nMIME-Version: 1.0\r\n".encode()
        await house.write(head + post.sign(header.encode(), post.signer_of(ada)))
        assert await has_key_of(house, second)
        pasted = post.clearsign(f"my key\n\n{third.armored}", post.signer_of(second))
        text = b"Content-Type: text/plain\r\n\r\n" + post.with_crlf(pasted.encode())
        await house.write(head + text)
        assert await has_key_of(house, third)


async def test_another_autocrypt_header_around_an_encrypted_letter_is_not_signed_with_it(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, mallory = Person.with_key(ADA), Person.with_key(MALLORY)
        await house.join(ada)
        entity = b"Content-Type: text/plain\r\n\r\nmy key\r\n"
        sealed = post.encrypt(entity, house.keyring.list_key("news").public, post.signer_of(ada))
        header = base64.encodebytes(mallory.certificate).decode().replace("\n", "\r\n ").rstrip()
        head = f"From: {ADA}\r\nTo: {LIST}\r\nSubject: ...\r\nAutocrypt: addr={ADA}; keydata=\r\n {header}\r\n"
        letters = await house.write(head.encode() + b"MIME-Version: 1.0\r\n" + sealed)
        assert [post.subject_for(one, mallory) for one in letters] == ["Is this your new key? Please reply"]
        assert await has_key_of(house, ada)


async def test_a_signed_letter_put_beside_another_key_is_not_signed_any_more(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, mallory = Person.with_key(ADA), Person.with_key(MALLORY)
        await house.join(ada)
        genuine = post.sign(b"Content-Type: text/plain\r\n\r\nmy key\r\n", post.signer_of(ada))
        key = b"Content-Type: application/pgp-keys\r\n\r\n" + post.with_crlf(mallory.armored.encode())
        wrapped = post.multipart("mixed", "", (genuine, key))
        letters = await house.write(f"From: {ADA}\r\nTo: {LIST}\r\nMIME-Version: 1.0\r\n".encode() + wrapped)
        assert {post.recipient(one) for one in letters} <= {ADA}
        assert await has_key_of(house, ada)


async def test_a_signed_letter_sent_again_changes_nothing_a_second_time(tmp_path: Path) -> None:
    """Ada changes from her first key to her second and back; Mallory sends the first of the two letters again."""
    async with open_house(tmp_path / "instance") as house:
        ada, second = Person.with_key(ADA), Person.with_key(ADA)
        await house.join(ada)
        people = {"first": ada, "second": second}
        to_second = post.write(ada, LIST, {"Key": "attached, second's", "Signed": "by first"}, "my key", people)
        back = post.write(ada, LIST, {"Key": "attached, first's", "Signed": "by second"}, "my key", people)
        assert len(await house.write(to_second)) == 2 and await has_key_of(house, second)
        assert len(await house.write(back)) == 2 and await has_key_of(house, ada)
        assert await house.write(to_second) == [] and await has_key_of(house, ada)


def pasted(certificate: bytes) -> bytes:
    """A letter in Ada's name, signed by nobody, with a certificate in its text."""
    head = f"From: {ADA}\r\nTo: {LIST}\r\nSubject: my key\r\nContent-Type: text/plain\r\n\r\n".encode()
    return head + post.with_crlf(post.armored(certificate))


async def test_an_older_copy_of_the_key_on_file_changes_nothing(tmp_path: Path) -> None:
    """Ada extended her key; whoever sends what it was like before does not shorten it again."""
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key(ADA)
        older = expiring(ada, house.clock() + timedelta(days=30))
        newer = expiring(older, house.clock() + timedelta(days=900))
        await house.join(newer)
        before = (await found(house)).drawer.certificate
        [answer] = await house.write(pasted(older.certificate))
        assert post.subject_for(answer, ada) == "We use this key from now on"
        assert (await found(house)).drawer.certificate == before


async def test_a_key_that_only_goes_on_longer_is_taken_without_a_question(tmp_path: Path) -> None:
    """The control for the test above: nobody but Ada's own key can have signed that."""
    async with open_house(tmp_path / "instance") as house:
        ada = expiring(Person.with_key(ADA), house.clock() + timedelta(days=30))
        await house.join(ada)
        await house.write(pasted(expiring(ada, house.clock() + timedelta(days=900)).certificate))
        house.clock.pass_(days=100)
        assert openpgp.is_usable((await found(house)).drawer.certificate, house.clock()) is None


async def test_a_subkey_that_was_given_up_does_not_come_back_without_an_answer(tmp_path: Path, gnupg: Gnupg) -> None:
    """Ada lost a subkey, revoked it and told us so; somebody who has it sends the key as it was before."""
    async with open_house(tmp_path / "instance") as house:
        made = house.clock() - timedelta(days=2)
        name = gnupg.make_key(ADA, made=made)
        gnupg.run("--quick-add-key", name, "cv25519", "encr", "0", at=made)
        before = gnupg.certificate(name)
        gnupg.run("--command-fd", "0", "--edit-key", name, stdin=b"key 2\nrevkey\ny\n0\n\ny\nsave\n")
        ada = Holder(ADA, blob=gnupg.certificate(name))
        [question] = await house.write(pasted_to_join(ada.certificate))
        await house.write(Person(ADA).letter("Re: [...]", "ok"), to=reply_to(question))
        kept = (await found(house)).drawer.certificate
        [question] = await house.write(pasted(before))
        assert "+confirm-" in reply_to(question)
        assert (await found(house)).drawer.certificate == kept


def pasted_to_join(certificate: bytes) -> bytes:
    return pasted(certificate).replace(b"Subject: my key", b"Subject: subscribe")


async def test_a_revocation_by_somebody_else_does_not_silence_a_subscriber(tmp_path: Path) -> None:
    """pysequoia calls a certificate revoked whose revocation anybody signed, in case its owner had asked them to."""
    async with open_house(tmp_path / "instance") as house:
        ada, mallory = Person.with_key(ADA), Person.with_key(MALLORY)
        await house.join(ada)
        false = revoked(ada, mallory)
        await house.write(post.write(false, LIST, {"Subject": "my key", "Key": "attached"}, "", {}))
        assert (await found(house)).subscriber.state is State.ACTIVE
        assert await has_key_of(house, ada)


async def test_a_key_in_a_confirmation_of_something_else_is_not_set(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, mallory = Person.with_key(ADA), Person.with_key(MALLORY)
        await house.join(ada)
        [question] = await house.write(ada.letter("pause"))
        await house.write(forge(ada, mallory, "yes", to=reply_to(question), Key="attached"), to=reply_to(question))
        assert (await found(house)).subscriber.state is State.PAUSED
        assert await has_key_of(house, ada)


async def test_a_key_in_the_confirmation_of_a_joining_is_not_used_instead_of_the_first(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, mallory = Person.with_key(ADA), Person.with_key(MALLORY)
        [question] = await house.write(ada.letter("subscribe", with_key=True))
        await house.write(forge(ada, mallory, "yes", to=reply_to(question), Key="attached"), to=reply_to(question))
        assert await has_key_of(house, ada)
