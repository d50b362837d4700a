"""Letters that look as if somebody else had written them: nothing is done, and nobody is written to but the address
that the one From names, by every reading.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailer.errors import Unreadable
from mailer.inward.confined import parse
from mailer.model.address import Address
from mailer.model.subscriber import State
from mailer.store import roster
from tests.conversations import post
from tests.house import LIST, House, Person, new_key, open_house

ADA, MALLORY, BUECHER = "ada@reader.example", "mallory@evil.example", "ada@bücher.example"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
TO_ADA, TO_MALLORY, TO_NOBODY = {ADA}, {MALLORY}, set[str]()


async def state_of(house: House, address: str = ADA) -> State | None:
    person = await roster.identify(house.secrets, "news", Address.parse(address))
    async with house.database.read() as tx:
        found = await roster.find(tx, person)
    return found.subscriber.state if found else None


# --- Who the sender is ------------------------------------------------------------------------------------------------

TRICKS: dict[str, tuple[str, set[str]]] = {
    "an address for a name": ('From: "ada@reader.example" <mallory@evil.example>', TO_MALLORY),
    "a mailbox for a name": ('From: "Ada <ada@reader.example>" <mallory@evil.example>', TO_MALLORY),
    "a name without quotes": ("From: ada@reader.example <mallory@evil.example>", TO_MALLORY),
    "a quote within the name": (r'From: "Ada \" <ada@reader.example>" <mallory@evil.example>', TO_MALLORY),
    "a quote that never ends": (r'From: "Ada <ada@reader.example>\" <mallory@evil.example>', TO_NOBODY),
    "an encoded name": ("From: =?utf-8?q?ada=40reader=2Eexample?= <mallory@evil.example>", TO_MALLORY),
    "an encoded mailbox": ("From: =?utf-8?q?=3Cada=40reader.example=3E?= <mallory@evil.example>", TO_MALLORY),
    "an encoded mailbox in base64": (
        "From: =?utf-8?b?PGFkYUByZWFkZXIuZXhhbXBsZT4=?= <mallory@evil.example>",
        TO_MALLORY,
    ),
    "an encoded address alone": ("From: =?utf-8?q?ada=40reader.example?=", TO_NOBODY),
    "an encoded word for the address": ("From: <=?utf-8?q?ada=40reader.example?=>", TO_NOBODY),
    "an encoded word within the address": ("From: <=?utf-8?q?ada?=@reader.example>", TO_NOBODY),
    "an encoded line break": ("From: =?utf-8?q?x=0D=0AFrom:_ada=40reader.example?= <mallory@evil.example>", TO_MALLORY),
    "an encoded NUL": ("From: =?utf-8?q?ada=40reader.example=00?= <mallory@evil.example>", TO_MALLORY),
    "a comment": ("From: (ada@reader.example) mallory@evil.example", TO_MALLORY),
    "a comment behind": ("From: mallory@evil.example (Ada <ada@reader.example>)", TO_MALLORY),
    "comments in comments": ("From: (a (b) <ada@reader.example>) <mallory@evil.example>", TO_MALLORY),
    "a comment within the address": ("From: <ada(x)@reader.example>", TO_ADA),
    "a comment that hides an address": ("From: ada@reader.example(\r\n ) <mallory@evil.example>", TO_MALLORY),
    "a comment that never ends": ("From: mallory@evil.example (ada@reader.example", TO_NOBODY),
    "two fields": ("From: mallory@evil.example\r\nFrom: ada@reader.example", TO_NOBODY),
    "two fields, otherwise spelt": ("From: mallory@evil.example\r\nfROM : ada@reader.example", TO_NOBODY),
    "two fields, one empty": ("From:\r\nFrom: ada@reader.example", TO_NOBODY),
    "two addresses": ("From: mallory@evil.example, ada@reader.example", TO_NOBODY),
    "two addresses and a sender": (
        "From: mallory@evil.example, ada@reader.example\r\nSender: ada@reader.example",
        TO_NOBODY,
    ),
    "two addresses, folded": ("From: mallory@evil.example\r\n ,ada@reader.example", TO_NOBODY),
    "two mailboxes": ("From: <mallory@evil.example> <ada@reader.example>", TO_NOBODY),
    "a mailbox and an address": ("From: <mallory@evil.example> ada@reader.example", TO_NOBODY),
    "an empty mailbox first": ("From: <> ada@reader.example", TO_NOBODY),
    "a semicolon": ("From: mallory@evil.example; ada@reader.example", TO_NOBODY),
    "a group": ("From: friends: ada@reader.example;", TO_NOBODY),
    "a group of two": ("From: friends: mallory@evil.example, ada@reader.example;", TO_NOBODY),
    "an empty group": ("From: ada@reader.example:;", TO_NOBODY),
    "a source route": ("From: <@reader.example:mallory@evil.example>", TO_NOBODY),
    "a source route the other way": ("From: <@evil.example,@x.example:ada@reader.example>", TO_NOBODY),
    "a quoted local part": ('From: "ada"@reader.example', TO_NOBODY),
    "a quoted address for a local part": ('From: "ada@reader.example"@evil.example', TO_NOBODY),
    "two at signs": ("From: ada@reader.example@evil.example", TO_NOBODY),
    "a percent sign": ("From: ada%reader.example@evil.example", {"ada%reader.example@evil.example"}),
    "an exclamation mark": ("From: reader.example!ada@evil.example", {"reader.example!ada@evil.example"}),
    "a space within": ("From: ada @reader.example x@evil.example", TO_NOBODY),
    "a tab within": ("From: <ada\t@reader.example>", TO_NOBODY),
    "a control character": ("From: <ada\x0b@reader.example>", TO_NOBODY),
    "an escape sequence": ("From: <mallory@evil.example\x1b[2K>", TO_NOBODY),
    "a domain in brackets": ("From: ada@[127.0.0.1]", TO_NOBODY),
    "full-width letters": ("From: <ａｄａ@reader.example>", TO_ADA),
    "a full-width domain": ("From: <ada@ｒｅａｄｅｒ．example>", TO_ADA),
    "a full-width at sign": ("From: <ada＠reader.example@evil.example>", TO_NOBODY),
    "full-width angle brackets": ("From: ＜ada@reader.example＞ <mallory@evil.example>", TO_MALLORY),
    "a zero-width space": ("From: <a\u200bda@reader.example>", TO_NOBODY),
    "a zero-width space in the domain": ("From: <ada@read\u200ber.example>", TO_NOBODY),
    "a soft hyphen in the domain": ("From: <ada@read\u00ader.example>", TO_NOBODY),
    "a variation selector in the domain": ("From: <ada@read\ufe0fer.example>", TO_NOBODY),
    "written backwards": ("From: <\u202eelpmaxe.redaer@ada>", TO_NOBODY),
    "a Cyrillic letter": ("From: <аda@reader.example>", {"аda@reader.example"}),
    "a Cyrillic letter in the domain": ("From: <ada@reаder.example>", {"ada@xn--reder-5ve.example"}),
    "letters of the same looks": ("From: <ad\u0251@reader.example>", {"ad\u0251@reader.example"}),
    "a ligature": ("From: <adaﬀ@reader.example>", {"adaff@reader.example"}),
    "a dotless i": ("From: <adaı@reader.example>", {"adaı@reader.example"}),
    "Sender": ("From: mallory@evil.example\r\nSender: ada@reader.example", TO_MALLORY),
    "Reply-To": ("From: mallory@evil.example\r\nReply-To: ada@reader.example", TO_MALLORY),
    "Resent-From": ("From: mallory@evil.example\r\nResent-From: ada@reader.example", TO_MALLORY),
    "Return-Path": ("Return-Path: <ada@reader.example>\r\nFrom: mallory@evil.example", TO_MALLORY),
    "X-From": ("X-From: ada@reader.example\r\nFrom: mallory@evil.example", TO_MALLORY),
    "Apparently-From": ("Apparently-From: ada@reader.example", TO_NOBODY),
    "no From at all": ("Sender: ada@reader.example", TO_NOBODY),
    "a line of mbox": ("From ada@reader.example Sun Nov 22 2026\r\nFrom: mallory@evil.example", TO_MALLORY),
    "From in the victim's name": ("From: ada@reader.example", TO_ADA),
    "From in the victim's name, capitals": ("From: ADA@READER.EXAMPLE", TO_ADA),
}
COMMANDS = ("unsubscribe", "pause", "forget me", "language 简体中文", f"address {MALLORY}")


async def test_no_spelling_of_a_sender_makes_us_act_or_write_to_anybody_else(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await house.join(Person.with_key(ADA))
        for trick, (head, expected) in TRICKS.items():
            house.clock.pass_(days=1)
            for command in COMMANDS[:2]:
                letter = f"{head}\r\nTo: {LIST}\r\nSubject: {command}\r\n\r\n{command}\r\n".encode()
                letters = await house.write(letter, sender=MALLORY)
                reached = {_normalised(post.recipient(one)) for one in letters}
                assert reached <= {_normalised(one) for one in expected}, trick
                assert await state_of(house) is State.ACTIVE, trick


def _normalised(address: str) -> str:
    return Address.parse(address).normalised


@pytest.mark.parametrize(("head", "expected"), TRICKS.values(), ids=TRICKS.keys())
def test_a_sender_is_read_in_one_way_or_not_at_all(head: str, expected: set[str]) -> None:
    try:
        found = {parse.read_letter(f"{head}\r\n\r\nx\r\n".encode(), (), None, NOW).sender.normalised}
    except Unreadable:
        found = set()
    assert found == {_normalised(one) for one in expected}


async def test_two_spellings_of_one_domain_are_one_subscriber(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key("ada@xn--bcher-kva.example")
        await house.join(ada)
        assert await state_of(house, BUECHER) is State.ACTIVE
        for spelling in (BUECHER, "ada@BÜCHER.example", "ada@bu\u0308cher.example", "ada@XN--BCHER-KVA.example"):
            house.clock.pass_(days=1)
            letter = f"From: {spelling}\r\nTo: {LIST}\r\nSubject: subscribe\r\n\r\nx\r\n".encode()
            [one] = await house.write(letter, sender=MALLORY)
            assert post.recipient(one) == ada.address
        assert await state_of(house, "ada@bucher.example") is None


# --- What is signed ---------------------------------------------------------------------------------------------------


def text(words: str, kind: str = "plain") -> bytes:
    return post.with_crlf(f"Content-Type: text/{kind}; charset=utf-8\n\n{words}\n".encode())


def signed_by_ada(ada: Person, words: str = "hello") -> bytes:
    return post.sign(text(words), post.signer_of(ada))


def mixed(*parts: bytes, kind: str = "mixed") -> bytes:
    return post.multipart(kind, "", parts)


def clearsigned(ada: Person, words: str) -> str:
    return post.clearsign(words, post.signer_of(ada))


def forwarded(ada: Person) -> bytes:
    inner = (
        b"Content-Type: message/rfc822\r\n\r\nFrom: mallory@evil.example\r\nSubject: unsubscribe\r\n\r\nunsubscribe\r\n"
    )
    return post.sign(inner, post.signer_of(ada))


def in_a_file(ada: Person) -> bytes:
    inner = b'Content-Type: text/plain; name="a.txt"\r\nContent-Disposition: attachment\r\n\r\nunsubscribe\r\n'
    return post.sign(inner, post.signer_of(ada))


WRAPS: dict[str, Callable[[Person], bytes]] = {
    "a signed part behind another": lambda ada: mixed(text("unsubscribe"), signed_by_ada(ada)),
    "a signed part before another": lambda ada: mixed(signed_by_ada(ada), text("unsubscribe")),
    "a signed command behind other words": lambda ada: mixed(text("hello there"), signed_by_ada(ada, "unsubscribe")),
    "a signed part among alternatives": lambda ada: mixed(text("unsubscribe"), signed_by_ada(ada), kind="alternative"),
    "a signed part within HTML": lambda ada: mixed(
        text("<b>unsubscribe</b><div style='display:none'>", "html"), signed_by_ada(ada), text("</div>", "html")
    ),
    "a signed part related to HTML": lambda ada: mixed(
        text("<p>unsubscribe</p><img src='cid:x'>", "html"), signed_by_ada(ada), kind="related"
    ),
    "a signed part two levels down": lambda ada: mixed(text("unsubscribe"), mixed(mixed(signed_by_ada(ada)))),
    "a signed file beside a text": lambda ada: mixed(text("unsubscribe"), in_a_file(ada)),
    "somebody else's letter, forwarded and signed": forwarded,
    "a signature of other words": lambda ada: signed_by_ada(ada).replace(b"hello", b"unsubscribe"),
    "a signed letter within a letter": lambda ada: (
        b"Content-Type: message/rfc822\r\n\r\n" + signed_by_ada(ada, "unsubscribe")
    ),
    "the parts the other way round": lambda ada: _swapped(signed_by_ada(ada, "unsubscribe")),
    "a third part": lambda ada: signed_by_ada(ada).replace(b"application/pgp-signature", b"text/plain", 1),
    "text in front of a clear signature": lambda ada: text("unsubscribe\r\n\r\n" + clearsigned(ada, "hello")),
    "text below a clear signature": lambda ada: text(clearsigned(ada, "hello") + "\r\nunsubscribe"),
    "a clear signature in quotes": lambda ada: text(
        "unsubscribe\r\n\r\n" + "\r\n".join(f"> {line}" for line in clearsigned(ada, "unsubscribe").splitlines())
    ),
    "two clear signatures": lambda ada: text(
        clearsigned(ada, "hello") + "\r\n" + clearsigned(ada, "unsubscribe").replace("SHA", "sha")
    ),
    "a header line of armor": lambda ada: text(
        clearsigned(ada, "hello").replace("MESSAGE-----", "MESSAGE-----\r\nunsubscribe: yes", 1)
    ),
    "a clear signature hidden in HTML": lambda ada: text(
        f"<p>unsubscribe</p><pre style='display:none'>{clearsigned(ada, 'hello')}</pre>", "html"
    ),
    "a signed subject that is not there": lambda ada: signed_by_ada(ada, "see the subject"),
}


def _swapped(signed: bytes) -> bytes:
    head, _, rest = signed.partition(b"\r\n--")
    boundary, _, body = rest.partition(b"\r\n")
    parts = body.split(b"\r\n--" + boundary)
    return (
        head
        + b"\r\n--"
        + boundary
        + b"\r\n"
        + parts[1].lstrip(b"\r\n")
        + b"\r\n--"
        + boundary
        + b"\r\n"
        + parts[0]
        + (b"\r\n--" + boundary + b"--\r\n")
    )


async def test_a_true_signature_proves_nothing_but_its_own_words_from_the_root(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key(ADA)
        await house.join(ada)
        for number, (name, wrap) in enumerate(WRAPS.items()):
            house.clock.pass_(hours=1 if number % 20 else 0)
            head = f"From: {ADA}\r\nTo: {LIST}\r\nSubject: unsubscribe\r\nMessage-ID: <{number}@x.example>\r\n"
            letters = await house.write(head.encode() + b"MIME-Version: 1.0\r\n" + wrap(ada), sender=MALLORY)
            assert {post.recipient(one) for one in letters} <= {ADA, house.contact.address}, name
            assert await state_of(house) is State.ACTIVE, name


async def test_a_signature_over_the_words_themselves_proves_them(tmp_path: Path) -> None:
    """The control for the test above."""
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key(ADA)
        await house.join(ada)
        head = f"From: {ADA}\r\nTo: {LIST}\r\nSubject: x\r\nMIME-Version: 1.0\r\n".encode()
        await house.write(head + signed_by_ada(ada, "unsubscribe"), sender=MALLORY)
        assert await state_of(house) is None


async def test_another_key_with_the_victims_name_on_it_proves_nothing(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await house.join(Person.with_key(ADA))
        forger = Person(ADA, new_key(ADA))
        for command in ("pause", "unsubscribe", "my key"):
            for key in ("", "attached"):
                letter = post.write(forger, LIST, {"Signed": "by forger", "Key": key}, command, {"forger": forger})
                letters = await house.write(letter, sender=MALLORY)
                assert {post.recipient(one) for one in letters} <= {ADA}
                assert await state_of(house) is State.ACTIVE


async def test_what_one_subscriber_signed_proves_nothing_for_another(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada, mallory = Person.with_key(ADA), Person.with_key(MALLORY)
        await house.join(ada)
        await house.join(mallory)
        as_ada = Person(ADA, mallory.key)
        await house.write(post.write(as_ada, LIST, {"Signed": "by me"}, "unsubscribe", {"me": mallory}), sender=MALLORY)
        assert await state_of(house) is State.ACTIVE and await state_of(house, MALLORY) is State.ACTIVE


async def test_no_spoofed_letter_of_the_corpora_makes_us_act_or_write(corpora: Path, tmp_path: Path) -> None:
    """They show themselves as the manager's; with each of them we are asked to leave in the manager's name."""
    paths = sorted((corpora / "signature-spoofing").rglob("*.eml"))
    async with open_house(tmp_path / "instance") as house:
        await house.join(Person.with_key(ADA))
        for path in paths:
            raw = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            for name in (b"manager@work", b"johnny@work", b"manager@bigcorporation", b"Subject: "):
                raw = raw.replace(name, b"Subject: unsubscribe " if name == b"Subject: " else b"ada@reader.example")
            letters = await house.write(raw, sender=MALLORY, to=LIST)
            assert len([one for one in letters if post.recipient(one) == ADA]) <= 1, path.name
            assert await state_of(house) is State.ACTIVE, path.name
    assert len(paths) > 10


# --- Line breaks ------------------------------------------------------------------------------------------------------

BREAKS = ("=0D=0A", "=0A", "=0D", "=00", "=C2=85", "=E2=80=A8", "=0B", "=0C")


async def test_no_encoded_break_in_any_field_becomes_a_line_of_ours(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key(ADA)
        await house.join(ada)
        for number, encoded in enumerate(BREAKS):
            house.clock.pass_(days=1)
            word = f"=?utf-8?q?address_new{number}=40other.example{encoded}Bcc:_eve=40evil.example?="
            name = f"=?utf-8?q?Ada{encoded}Bcc:_eve=40evil.example?="
            head = f"From: {name} <{ADA}>\r\nSubject: {word}\r\nMessage-ID: {word}\r\n"
            for letter in await house.write(f"{head}\r\n{head}".encode(), sender=MALLORY):
                assert post.recipient(letter) in (ADA, house.contact.address)
                assert b"\r\nbcc:" not in letter.content.lower()
            assert await state_of(house) is State.ACTIVE
