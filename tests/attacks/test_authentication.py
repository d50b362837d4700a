"""Only true senders are answered: DKIM and SPF, real and forged, and what a mail server in front says about them."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import dkim  # type: ignore[import-untyped]
import nacl.signing
import pytest

from mailer.errors import ReaderDied
from mailer.inward import frames, testimony
from mailer.inward.authentication import Authenticator
from mailer.inward.confined import authentic
from mailer.inward.reader import Reader
from mailer.inward.testimony import Question
from mailer.model.address import Address
from mailer.model.letter import Envelope, Peer
from mailer.store import inbox, pending
from tests.conversations import post
from tests.house import House, Person, open_house, reply_to
from tests.letters.own_dns import look_up_in

Zone = Mapping[tuple[str, str], Sequence[str] | None]

SEED = bytes(range(32))
KEY = base64.b64encode(bytes(nacl.signing.SigningKey(SEED).verify_key)).decode()
SIGNED_BY = {("TXT", "s._domainkey.reader.example"): [f"v=DKIM1; k=ed25519; p={KEY}"]}
LETTER = b"From: ada@reader.example\r\nTo: news@lists.example\r\nSubject: help\r\n\r\nhello\r\n"


def signed(letter: bytes = LETTER, domain: bytes = b"reader.example", **more: object) -> bytes:
    secret = base64.b64encode(SEED)
    field = dkim.sign(letter, b"s", domain, secret, signature_algorithm=b"ed25519-sha256", **more)
    return bytes(field) + letter


def judge(raw: bytes, zone: Zone, question: Question) -> bool:
    """Ask as Authenticator does, in this process."""
    records: dict[tuple[str, str], tuple[str, ...] | None] = {}
    for _ in range(40):
        asked = testimony.read_question(testimony.write_question(replace(question, records=records)))
        verdict = testimony.read_verdict(testimony.write_verdict(authentic.judge(raw, asked))[4:])
        if not verdict.wanted:
            return verdict.is_true
        for name in verdict.wanted:
            found = zone.get(name, ())
            records[name] = None if found is None else tuple(found)
    raise AssertionError("it asks for ever")


# --- DKIM -----------------------------------------------------------------------------------------------------------

ADA = Question("reader.example")


def test_a_good_signature_of_the_senders_domain_shows_the_sender_to_be_true() -> None:
    assert judge(signed(), SIGNED_BY, ADA)


FORGED = {
    "none": LETTER,
    "text added": signed() + b"Click here\r\n",
    "another From": signed().replace(b"ada@", b"eve@"),
    "another subject": signed().replace(b"help", b"pills"),
    "of another domain": signed(domain=b"evil.example"),
    "of a part of the text": signed(length=True),
    "of a part, and text added": signed(length=True) + b"Click here\r\n",
    "without From": signed().replace(b"h=from", b"h=xfrom"),
    "over a second From": b"From: eve@evil.example\r\n" + signed(),
    "no tags": b"DKIM-Signature: nonsense\r\n" + LETTER,
    "empty": b"DKIM-Signature:\r\n" + LETTER,
    "only a domain": b"DKIM-Signature: v=1; d=reader.example; s=s\r\n" + LETTER,
    "bad base64": b"DKIM-Signature: v=1; a=rsa-sha256; d=reader.example; s=s; h=from; bh=!; b=!\r\n" + LETTER,
    "no algorithm": signed().replace(b"a=ed25519-sha256; ", b""),
    "another algorithm": signed().replace(b"a=ed25519-sha256", b"a=rsa-sha256"),
    "sha1": signed().replace(b"a=ed25519-sha256", b"a=rsa-sha1"),
    "a name that is none": signed().replace(b"s=s;", b"s=s\xff\x00;"),
    "run out": signed().replace(b"; t=", b"; x=1000000000; t="),
}


@pytest.mark.parametrize("raw", FORGED.values(), ids=FORGED.keys())
def test_no_other_signature_does(raw: bytes) -> None:
    evil = {("TXT", "s._domainkey.evil.example"): SIGNED_BY["TXT", "s._domainkey.reader.example"]}
    assert not judge(raw, SIGNED_BY | evil, ADA)


@pytest.mark.parametrize(
    "found",
    [
        *([], None, [""], ["v=DKIM1; p="], ["nonsense"], ["v=DKIM1; k=ed25519; p=AAAA"], ["v=DKIM1; k=rsa; p=AAAA"]),
        *([f"v=DKIM1; k=ed25519; p={base64.b64encode(bytes(32)).decode()}"], ["\xff" * 4000], ["v=DKIM1; k=x; p=AA=="]),
    ],
)
def test_a_key_that_is_not_there_or_is_no_key_shows_nothing(found: list[str] | None) -> None:
    assert not judge(signed(), {("TXT", "s._domainkey.reader.example"): found}, ADA)


def test_a_thousand_signatures_cost_five_look_ups_and_no_time() -> None:
    began = perf_counter()
    raw = b"".join(
        b"DKIM-Signature: v=1; a=rsa-sha256; d=d%d.example; s=s; h=from; bh=AA==; b=AA==\r\n" % n for n in range(1000)
    )
    assert len(authentic.judge(raw + LETTER, ADA).wanted) == authentic.SIGNATURES
    assert not judge(raw + LETTER, {}, ADA)
    assert perf_counter() - began < 2.0


# --- Alignment ------------------------------------------------------------------------------------------------------

DMARC = "v=DMARC1; p=none"


@pytest.mark.parametrize(
    ("signer", "sender", "records", "is_aligned"),
    [
        ("reader.example", "reader.example", {}, True),
        ("READER.example", "reader.example", {}, True),
        ("reader.example", "mail.reader.example", {}, True),  # a parent speaks for what is below it
        ("mail.reader.example", "reader.example", {}, False),
        ("mail.reader.example", "reader.example", {"reader.example": DMARC}, True),
        ("mail.reader.example", "news.reader.example", {"reader.example": DMARC}, True),
        ("eve.pages.example", "pages.example", {"pages.example": f"{DMARC}; psd=y"}, False),
        ("eve.pages.example", "ada.pages.example", {"pages.example": f"{DMARC}; psd=y"}, False),
        ("a.eve.pages.example", "b.eve.pages.example", {"pages.example": f"{DMARC}; psd=y"}, True),
        (
            "a.dep.reader.example",
            "b.reader.example",
            {"reader.example": DMARC, "dep.reader.example": f"{DMARC}; psd=n"},
            False,
        ),
        ("evilreader.example", "reader.example", {}, False),
        ("example", "reader.example", {}, False),
        ("", "reader.example", {}, False),
        ("evil.example", "reader.example", {"evil.example": DMARC, "reader.example": DMARC}, False),
        ("evil.example", "reader.example", {"example": DMARC}, True),  # who has the top has all
    ],
)
def test_a_domain_answers_for_its_own_organization_alone(
    signer: str, sender: str, records: dict[str, str], is_aligned: bool
) -> None:
    letter = LETTER.replace(b"reader.example", sender.encode(), 1)
    zone = {("TXT", f"_dmarc.{name}"): [value] for name, value in records.items()}
    zone["TXT", f"s._domainkey.{signer.lower()}"] = [f"v=DKIM1; k=ed25519; p={KEY}"]
    raw = signed(letter, signer.encode()) if signer else b"DKIM-Signature: v=1; d=; s=s\r\n" + letter
    assert judge(raw, zone, Question(sender)) is is_aligned


# --- SPF ------------------------------------------------------------------------------------------------------------

MAIL = Question("reader.example", "ada@reader.example", "192.0.2.1", "mail.reader.example")


@pytest.mark.parametrize(
    ("record", "more", "is_true"),
    [
        ("v=spf1 ip4:192.0.2.0/24 -all", {}, True),
        (
            "v=spf1 mx -all",
            {("MX", "reader.example"): ["10 mx.reader.example"], ("A", "mx.reader.example"): ["192.0.2.1"]},
            True,
        ),
        ("v=spf1 a:x.example -all", {("A", "x.example"): ["192.0.2.1"]}, True),
        ("v=spf1 include:spf.other.example -all", {("TXT", "spf.other.example"): ["v=spf1 ip4:192.0.2.1 -all"]}, True),
        ("v=spf1 redirect=spf.other.example", {("TXT", "spf.other.example"): ["v=spf1 ip4:192.0.2.1 -all"]}, True),
        ("v=spf1 exists:%{i}.x.example -all", {("A", "192.0.2.1.x.example"): ["127.0.0.2"]}, True),
        ("v=spf1 ip4:198.51.100.0/24 -all", {}, False),
        ("v=spf1 ~all", {}, False),
        ("v=spf1 ?all", {}, False),
        ("v=spf1 -all ip4:192.0.2.1", {}, False),
        ("v=spf1 nonsense:192.0.2.1 +all", {}, False),
        ("v=spf1 include:reader.example", {}, False),
        ("v=spf1 redirect=reader.example", {}, False),
        ("v=spf1 a:x.example -all", {("A", "x.example"): None}, False),
        ("v=spf1 " + " ".join(f"a:h{number}.example" for number in range(30)) + " +all", {}, False),
        ("v=spf1 exists:%{l}%{o}%{d9}%{", {}, False),
        ("spf1 +all", {}, False),
    ],
)
def test_a_peer_that_the_record_permits_shows_the_sender_to_be_true(
    record: str, more: dict[tuple[str, str], list[str] | None], is_true: bool
) -> None:
    assert judge(LETTER, {("TXT", "reader.example"): [record], **more}, MAIL) is is_true


@pytest.mark.parametrize(
    "question",
    [
        replace(MAIL, ip=""),  # handed on by a server in front
        replace(MAIL, ip="192.0.2.9"),
        replace(MAIL, ip="2001:db8::1"),
        replace(MAIL, mail_from="eve@evil.example"),  # whose record permits everybody
        replace(MAIL, mail_from=""),
        replace(MAIL, mail_from="eve@evil.example", helo="reader.example"),
    ],
)
def test_spf_speaks_of_this_peer_and_of_the_envelope_sender_alone(question: Question) -> None:
    zone = {("TXT", "reader.example"): ["v=spf1 ip4:192.0.2.1 -all"], ("TXT", "evil.example"): ["v=spf1 +all"]}
    assert not judge(LETTER, zone, question)


# --- What a server in front says --------------------------------------------------------------------------------------

FRONT = Question("reader.example", authserv_id="mx.lists.example")


def told(*fields: str, above: bytes = b"Received: from x by mx.lists.example\r\n") -> bytes:
    return above + "".join(f"Authentication-Results: {one}\r\n" for one in fields).encode() + LETTER


@pytest.mark.parametrize(
    "field",
    [
        "mx.lists.example; dkim=pass header.d=reader.example",
        "MX.LISTS.EXAMPLE 1; spf=fail smtp.mailfrom=eve@evil.example;\r\n\tdkim=pass (good) header.d=reader.example",
        "mx.lists.example; spf=pass smtp.mailfrom=ada@reader.example",
        "mx.lists.example; dmarc=pass (p=none) header.from=reader.example",
        "mx.lists.example; dkim=pass header.i=@reader.example",
    ],
)
def test_the_word_of_our_own_server_in_front_is_taken(field: str) -> None:
    assert judge(told(field), {}, FRONT)


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("mx.lists.example; none",),
        ("mx.lists.example; dkim=fail header.d=reader.example",),
        ("mx.lists.example; dkim=pass header.d=evil.example",),
        ("mx.lists.example; spf=pass smtp.mailfrom=eve@evil.example",),
        ("mx.lists.example; spf=pass smtp.helo=reader.example",),
        ("mx.lists.example; auth=pass smtp.auth=ada@reader.example",),
        ("mx.evil.example; dkim=pass header.d=reader.example",),
        ("mx.lists.example.evil.example; dkim=pass header.d=reader.example",),
        ("mx.evil.example (mx.lists.example); dkim=pass header.d=reader.example",),
        ('"mx.lists.example x"; dkim=pass header.d=reader.example',),
        ("mx.lists.example; dkim=fail (dkim=pass header.d=reader.example)",),
        ('mx.lists.example; dkim=fail reason="; dkim=pass header.d=reader.example" header.d=x.example',),
        ("mx.lists.example; dkim=fail", "mx.lists.example; dkim=pass header.d=reader.example"),
        ("mx.evil.example; dkim=pass header.d=x.example", "mx.lists.example; dkim=pass header.d=reader.example"),
        ("mx.lists.example" + "; dkim=none" * 2000 + "; dkim=pass header.d=reader.example",),
        ("\xff\xfe; dkim=pass header.d=reader.example",),
        ("((((((((((",),
    ],
)
def test_no_other_word_is_and_of_ours_only_the_topmost(fields: tuple[str, ...]) -> None:
    assert not judge(told(*fields), SIGNED_BY, FRONT)


def test_with_a_server_in_front_we_do_not_look_ourselves_and_else_believe_nobody() -> None:
    assert not judge(signed(), SIGNED_BY, FRONT)
    assert not judge(told("mx.lists.example; dkim=pass header.d=reader.example"), SIGNED_BY, ADA)


def test_a_field_in_the_text_of_a_letter_is_text() -> None:
    raw = LETTER + b"\r\nAuthentication-Results: mx.lists.example; dkim=pass header.d=reader.example\r\n"
    assert not judge(raw, {}, FRONT)


# --- The letters of others --------------------------------------------------------------------------------------------


def test_the_spf_suite_of_the_corpora_is_judged_as_it_expects(corpora: Path) -> None:
    judged = passed = 0
    for path in sorted((corpora / "dkim-arc-auth/stalwart-mail-auth/spf").glob("*.yml")):
        for question, zone, expected in _cases(path.read_text(encoding="utf-8")):
            is_true = judge(LETTER, zone, question)
            assert is_true is (expected == "pass"), (path.name, zone, expected)
            judged, passed = judged + 1, passed + is_true
    assert judged > 20 < passed


def _cases(text: str) -> Iterator[tuple[Question, Zone, str]]:
    """Read the lines in order: records until further notice, who sends from where, and what to expect of that."""
    zone: dict[tuple[str, str], list[str]] = {}
    sender = ip = ""
    for line in text.splitlines():
        key, _, value = line.strip().removeprefix("- ").partition(": ")
        name, _, content = value.strip().partition(" ")
        if line.startswith("name:"):
            zone, sender, ip = {}, "", ""
        elif key in ("spf", "txt", "exp"):
            zone["TXT", name.lower()] = [content]
        elif key == "mx":
            hosts = {f"mx{number}.{name.lower()}": host.strip() for number, host in enumerate(content.split(","))}
            zone["MX", name.lower()] = [f"10 {host}" for host in hosts]
            zone |= {("AAAA" if ":" in address else "A", host): [address] for host, address in hosts.items()}
        elif key in ("a", "aaaa"):
            addresses = [address.strip() for address in content.split(",")]
            zone["A", name.lower()] = [address for address in addresses if ":" not in address]
            zone["AAAA", name.lower()] = [address for address in addresses if ":" in address]
        elif key == "ptr":
            zone["PTR", ipaddress.ip_address(name).reverse_pointer] = [content]
        elif key == "sender":
            sender = value.strip()
        elif key == "ip":
            ip = value.strip()
        elif key == "expect" and sender:
            yield Question(sender.rpartition("@")[2], sender, ip, "mail.example.org"), dict(zone), value.strip()


def test_dkim_letters_of_the_corpora_are_judged_by_their_domain(corpora: Path) -> None:
    record, _, raw = (corpora / "dkim-arc-auth/stalwart-mail-auth/dkim/003.txt").read_bytes().partition(b"\n\n")
    name, _, value = record.decode().partition(" ")
    zone = {("TXT", name): [value]}
    raw = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert judge(raw, zone, Question("ietf.org"))
    assert not judge(raw, zone, Question("jck.com"))  # it is a list that signs, and not who writes
    example = (corpora / "dkim-arc-auth/mimekit/rfc8463-example.msg").read_bytes()
    key = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="  # RFC 8463 §A.2
    brisbane = {("TXT", "brisbane._domainkey.football.example.com"): [key]}
    example = example.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert judge(example, brisbane, Question("football.example.com"))
    assert not judge(example.replace(b"hungry", b"thirsty"), brisbane, Question("football.example.com"))


def test_no_letter_of_the_corpora_is_true_without_its_key_or_fells_the_judge(corpora: Path) -> None:
    paths = [path for path in (corpora / "dkim-arc-auth").rglob("*") if path.is_file()]
    for path in paths:
        for zone in ({}, {name: ["v=DKIM1; k=rsa; p=AAAA"] for name in authentic.judge(path.read_bytes(), ADA).wanted}):
            assert not judge(path.read_bytes(), zone, replace(MAIL, from_domain="example.com")), path.name
    assert len(paths) > 30


# --- The two sides ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"nonsense", frames.pack(b"verdict", b"[true]")[4:], frames.pack(b"verdict", b"[1, []]")[4:]),
        *(frames.pack(b"letter", b"[true, []]")[4:], frames.pack(b"verdict", b'[false, [["TXT", "a b"]]]')[4:]),
        *(frames.pack(b"verdict", b'[false, [["ANY", "a"]]]')[4:], frames.pack(b"verdict", b"[" * 5000)[4:]),
        frames.pack(b"verdict", b'[false, [["TXT", "a\\u0000"]]]')[4:],
    ],
)
def test_an_answer_of_the_child_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(ReaderDied):
        testimony.read_verdict(body)


class FakeDns:
    """The far name servers: what they have, how often they were asked, and whether they answer at all."""

    def __init__(self, zone: Zone, *, is_silent: bool = False) -> None:
        self.zone, self.is_silent, self.asked = zone, is_silent, 0

    async def __call__(self, kind: str, name: str) -> Sequence[str] | None:
        self.asked += 1
        if self.is_silent:
            await asyncio.Event().wait()
        return self.zone.get((kind, name), ())


async def test_the_confined_child_judges_without_opening_a_file() -> None:
    envelope = Envelope(
        Address("ada", "reader.example"), Address("news", "lists.example"), Peer("192.0.2.1", "x.example")
    )
    permitted = {("TXT", "reader.example"): ["v=spf1 mx -all"], ("MX", "reader.example"): ["5 mx.reader.example"]}
    permitted |= {("A", "mx.reader.example"): ["192.0.2.1"]}
    async with Reader(can_authenticate=True) as reader:
        for raw, zone, is_true in (
            (signed(), SIGNED_BY, True),
            (signed(), {}, False),
            (LETTER, permitted, True),
            (LETTER, {}, False),
            (FORGED["bad base64"], SIGNED_BY, False),
        ):
            authenticator = Authenticator(reader, look_up=FakeDns(zone))
            assert await authenticator.is_true(envelope, raw, Address("ada", "reader.example")) is is_true
        in_front = Authenticator(reader, "mx.lists.example", look_up=FakeDns({}))
        for field, is_true in (("dkim=pass header.d=reader.example", True), ("dkim=fail", False)):
            raw = told(f"mx.lists.example; {field}")
            assert await in_front.is_true(envelope, raw, Address("ada", "reader.example")) is is_true


async def test_name_servers_that_say_nothing_are_not_waited_for_and_the_sender_is_not_true() -> None:
    async with Reader(can_authenticate=True) as reader:
        silent = FakeDns(SIGNED_BY, is_silent=True)
        authenticator = Authenticator(reader, look_up=silent, time_s=0.1)
        envelope = Envelope(Address("ada", "reader.example"), Address("news", "lists.example"))
        assert not await authenticator.is_true(envelope, signed(), Address("ada", "reader.example"))
        assert silent.asked == 1


def test_names_are_looked_up_in_the_dns() -> None:
    """In a world of its own: nothing outside is asked."""
    program = (
        "import asyncio; from mailer.inward.authentication import look_up_in_dns as ask;"
        "print(asyncio.run(ask('TXT', 'a.example')), asyncio.run(ask('TXT', 'b.example')),"
        " asyncio.run(ask('TXT', 'b..example')))"
    )
    value = "v=DKIM1; p=" + "A" * 400  # in two strings
    done: subprocess.CompletedProcess[bytes] = look_up_in(
        {"a.example": value}, sys.executable, "-c", program, stdin=b""
    )
    assert done.stdout.decode().strip() == f"({value!r},) () None", done.stderr.decode()


# --- The whole --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def strict(house: House, zone: Zone) -> AsyncIterator[FakeDns]:
    """The same house with `require_authenticated_sender` set."""
    far, receiver = FakeDns(zone), house.worker.receiver
    async with Reader(can_authenticate=True) as reader:
        receiver.authenticator = Authenticator(reader, look_up=far)
        receiver.policy = replace(receiver.policy, needs_authentication=True)
        yield far
        receiver.policy = replace(receiver.policy, needs_authentication=False)


async def test_only_a_true_sender_is_answered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_house(tmp_path / "instance") as house:
        zone = SIGNED_BY | {("TXT", "permitted.example"): ["v=spf1 ip4:127.0.0.1 -all"]}
        async with strict(house, zone):
            for command in ("subscribe", "help", "status", "unsubscribe", "forget me", "confirm"):
                for sender in ("ada@reader.example", "bob@nowhere.example"):
                    person = Person.with_key(sender)
                    assert await house.write(person.letter(command, with_key=command == "subscribe")) == []
            assert len(await house.write(signed())) == 1
            assert len(await house.write(Person("eve@permitted.example").letter("help"))) == 1
            forged = Person("ada@reader.example").letter("status")
            assert await house.write(forged, sender="eve@permitted.example") == []
        assert len(await house.write(Person("bob@nowhere.example").letter("help"))) == 1  # the control
        told_of = [one.message for one in caplog.records if "require_authenticated_sender" in one.message]
        assert len(told_of) == 1


async def test_what_is_proven_is_done_and_answered_whoever_brings_it(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key("ada@reader.example")
        [question] = await house.write(ada.letter("subscribe", with_key=True))
        async with strict(house, {}):
            [welcome] = await house.write(ada.letter("Re: [...]", "yes", to=reply_to(question)))
            assert post.subject_for(welcome, ada) == "Welcome"
            fields = {"Signed": "by her"}
            [done] = await house.write(post.write(ada, "news@lists.example", fields, "pause", {"her": ada}))
            assert post.subject_for(done, ada) == "You have a pause"
            signed_status = post.write(ada, "news@lists.example", fields, "status", {"her": ada})
            assert len(await house.write(signed_status)) == 1
            moving = post.write(ada, "news@lists.example", fields, "address new@other.example", {"her": ada})
            assert [post.recipient(one) for one in await house.write(moving)] == ["new@other.example"]
            assert await house.write(ada.letter("resume")) == []


async def test_where_nobody_can_tell_nobody_is_answered(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        receiver = house.worker.receiver
        receiver.policy = replace(receiver.policy, needs_authentication=True)
        assert receiver.authenticator is None
        assert await house.write(signed()) == []
        async with Reader() as cannot:  # a child that did not load what it takes
            receiver.authenticator = Authenticator(cannot, look_up=FakeDns(SIGNED_BY))
            assert await house.write(signed()) == []


async def test_letters_for_the_contact_are_passed_on_all_the_same(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        async with strict(house, {}):
            letters = await house.write(Person("bob@nowhere.example").letter("A question", "When do you meet?"))
            assert [post.recipient(one) for one in letters] == [house.contact.address]


async def test_whoever_is_not_answered_uses_up_nobodys_letters(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        async with strict(house, SIGNED_BY):
            for _ in range(3):
                await house.write(Person("ada@reader.example").letter("help"))
            assert len(await house.write(signed())) == 1


async def test_a_sender_whose_name_servers_are_silent_holds_up_nobody_else(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house, strict(house, SIGNED_BY) as far:
        look_up = far.__call__

        async def answer(kind: str, name: str) -> Sequence[str] | None:
            far.is_silent = "silent" in name
            return await look_up(kind, name)

        house.worker.receiver.authenticator._look_up = answer  # type: ignore[union-attr]
        house.worker.lanes = 2
        await house.send(Person("ada@silent.example").letter("help"))
        await house.send(signed())
        working = asyncio.create_task(house.worker.run())
        async with asyncio.timeout(30):
            while not house.far.letters:
                await house.worker.answered.wait()
                await house.replies.send_batch()
                await asyncio.sleep(0)
        async with house.database.read() as tx:
            assert await inbox.count(tx) == {"waiting": 1}
        working.cancel()


async def test_a_question_that_was_not_sent_is_not_kept(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        async with strict(house, {}):
            await house.write(Person.with_key("ada@reader.example").letter("subscribe", with_key=True))
        async with house.database.read() as tx:
            assert (await tx.execute(pending.requests.select())).all() == []
