"""The wider limits: what one sender, one network or all together can cause, and what one domain gets. And no word of
a stranger's in anything that we send.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from ipaddress import ip_network
from pathlib import Path
from string import ascii_lowercase

import pytest
from sqlalchemy import select

from mailer.crypto import tokens
from mailer.errors import ConfigError
from mailer.instance import Instance
from mailer.inward import admission
from mailer.inward.allowance import Limit, end_of_day, network_of
from mailer.model.address import Address
from mailer.model.letter import Peer
from mailer.model.policy import Policy
from mailer.model.subscriber import State
from mailer.store import inbox, pending, roster
from mailer.store.tables import counters
from tests.attacks.search import Plants
from tests.certificates import forge
from tests.conversations import post
from tests.house import LIST, House, Person, make_instance, open_house, reply_to

CERTIFICATES = Path(forge.__file__).parent / "files"
SOMEWHERE = "mallory@evil.example"


@asynccontextmanager
async def limited(folder: Path, **limits: object) -> AsyncIterator[House]:
    async with open_house(folder / "instance") as house:
        house.clock.moment = house.clock.moment.replace(hour=1)
        house.worker.receiver.policy = replace(house.worker.receiver.policy, **limits)  # type: ignore[arg-type]
        yield house


def many(number: int, domain: str = "") -> Iterator[Person]:
    return (Person(f"{one}@{domain or f'reader-{one}.example'}") for one in ascii_lowercase[:number])


async def ask_help(house: House, *people: Person, sender: str = "") -> int:
    return sum([len(await house.write(person.letter("help"), sender=sender or person.address)) for person in people])


# --- Each limit -------------------------------------------------------------------------------------------------------


async def test_one_envelope_sender_causes_only_so_many_letters_to_others(tmp_path: Path) -> None:
    async with limited(tmp_path, letters_per_sender=3) as house:
        assert await ask_help(house, *many(5), sender=SOMEWHERE) == 3
        assert await ask_help(house, *many(5), sender="mallory+more@evil.example") == 0
        assert await ask_help(house, *many(5)) == 2  # the two that got nothing, each for himself


async def test_one_domain_gets_only_so_many_letters(tmp_path: Path) -> None:
    async with limited(tmp_path, letters_per_domain=3, large_domains=frozenset({"large.example"})) as house:
        assert await ask_help(house, *many(5, "school.example")) == 3
        assert await ask_help(house, *many(5, "large.example")) == 5
        house.clock.pass_(days=1)
        assert await ask_help(house, *many(5, "school.example")) == 3


async def test_one_network_causes_only_so_many_letters(tmp_path: Path) -> None:
    async with limited(tmp_path, letters_per_network=3, front_servers=()) as house:
        assert await ask_help(house, *many(5)) == 3
        house.worker.receiver.policy = replace(house.worker.receiver.policy, front_servers=Policy().front_servers)
        assert await ask_help(house, *many(5)) == 2  # as a server in front, this peer stands for many


async def test_all_together_cause_only_so_many_letters(tmp_path: Path) -> None:
    async with limited(tmp_path, letters_per_day=3) as house:
        assert await ask_help(house, *many(5)) == 3
        house.clock.pass_(days=1)
        assert await ask_help(house, *many(5)) == 3


async def test_questions_count_like_answers(tmp_path: Path) -> None:
    async with limited(tmp_path, letters_per_day=3) as house:
        came = [
            len(await house.write(Person.with_key(one.address).letter("subscribe", with_key=True))) for one in many(4)
        ]
        assert came == [1, 1, 1, 0]
        async with house.database.read() as tx:
            assert len((await tx.execute(select(pending.requests))).all()) == 3  # what was not asked does not wait


async def test_what_one_limit_refuses_is_not_counted_for_the_others(tmp_path: Path) -> None:
    async with limited(tmp_path, letters_per_day=3) as house:
        for _ in range(9):
            await house.send(Person("victim@reader.example").letter("help"))
        assert len(await house.work()) == 1
        assert await ask_help(house, *many(3)) == 2


async def test_spellings_of_one_mailbox_get_one_letter(tmp_path: Path) -> None:
    async with limited(tmp_path) as house:
        spellings = ("ada.love@gmail.com", "adalove@gmail.com", "a.d.a.love+x@gmail.com", "Ada.Love+y@googlemail.com")
        letters = [await house.write(Person.with_key(one).letter("subscribe", with_key=True)) for one in spellings]
        assert list(map(len, letters)) == [1, 0, 0, 0]
        others = ("ada+a@reader.example", "ada+b@reader.example", "ADA@reader.example", "ad.a@reader.example")
        letters = [await house.write(Person.with_key(one).letter("subscribe", with_key=True)) for one in others]
        assert list(map(len, letters)) == [1, 0, 0, 1]  # elsewhere a dot makes another mailbox


async def test_the_contact_gets_only_so_many_letters_and_the_rest_is_set_aside(tmp_path: Path) -> None:
    async with limited(tmp_path, contact_letters_per_day=3, replies_per_day=2) as house:
        for number in range(4):
            await house.write(Person("one@reader.example").letter("A question", str(number)))
        assert len(house.far.letters) == 2
        for person in many(4):
            await house.write(person.letter("A question", "?"))
        assert len(house.far.letters) == 3
        async with house.database.read() as tx:
            assert await inbox.count(tx) == {"contact-limit": 5}
        house.clock.pass_(days=1)
        assert len(await house.write(Person("one@reader.example").letter("A question", "?"))) == 1


# --- What no limit stops ----------------------------------------------------------------------------------------------


async def test_whoever_proves_it_is_served_whatever_was_used_up(tmp_path: Path) -> None:
    async with limited(tmp_path) as house:
        house.clock.moment = datetime.now(UTC)  # signatures have the time of day
        ada, bob = Person.with_key("ada@reader.example"), Person.with_key("bob@reader.example")
        await house.join(bob)
        [question] = await house.write(ada.letter("subscribe", with_key=True))
        policy = house.worker.receiver.policy
        none = {"letters_per_day": 0, "letters_per_domain": 0, "letters_per_sender": 0, "letters_per_network": 0}
        house.worker.receiver.policy = replace(policy, **none)
        assert await ask_help(house, ada, bob, *many(2)) == 0
        [welcome] = await house.write(ada.letter("Re: [...]", "yes", to=reply_to(question)))
        assert post.subject_for(welcome, ada) == "Welcome"
        signed = post.write(bob, LIST, {"Signed": "by him"}, "unsubscribe", {"him": bob})
        assert [post.subject_for(one, bob) for one in await house.write(signed)] == ["Goodbye"]
        person = await roster.identify(house.secrets, "news", Address.parse(ada.address))
        async with house.database.read() as tx:
            found = await roster.find(tx, person)
        assert found is not None and found.subscriber.state is State.ACTIVE
        token = tokens.derive_token(house.secrets.token_key, tokens.Purpose.UNSUBSCRIBE, "news", found.subscriber.id)
        await house.write(ada.letter(to=f"news+unsubscribe-{token}@lists.example"))
        async with house.database.read() as tx:
            assert await roster.find(tx, person) is None


# --- How it is counted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        (Peer("192.0.2.77"), "192.0.2.0/24"),
        (Peer("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64"),
        (Peer("127.0.0.1"), None),
        (Peer("::1"), None),
        (Peer("10.1.2.3"), None),
        (Peer("10.2.2.3"), "10.2.2.0/24"),
        (None, None),
    ],
)
def test_a_network_is_what_one_customer_has(peer: Peer | None, network: str | None) -> None:
    own = (*Policy().front_servers, ip_network("10.1.0.0/16"))
    assert network_of(peer, Policy(front_servers=own)) == network


@pytest.mark.parametrize(
    ("peername", "helo", "peer"),
    [
        (("192.0.2.1", 4), "mail.reader.example", Peer("192.0.2.1", "mail.reader.example")),
        (("2001:DB8:0::1", 4, 0, 0), "[IPv6:2001:db8::1]", Peer("2001:db8::1", "[IPv6:2001:db8::1]")),
        (("::ffff:192.0.2.1", 4, 0, 0), "x", Peer("192.0.2.1", "x")),
        (("fe80::1%eth0", 4, 0, 2), None, Peer("fe80::1")),
        (("192.0.2.1", 4), "two words", Peer("192.0.2.1")),
        (("192.0.2.1", 4), "é.example", Peer("192.0.2.1")),
        (("192.0.2.1", 4), "a" * 256, Peer("192.0.2.1")),
        ("", "front.lists.example", None),  # LMTP over a Unix socket
        (None, None, None),
    ],
)
def test_the_door_hands_on_who_brought_a_letter(peername: object, helo: str | None, peer: Peer | None) -> None:
    assert admission.peer_of(peername, helo) == peer


def test_the_limits_are_those_of_the_settings(tmp_path: Path) -> None:
    path = make_instance(tmp_path / "instance", None).config_path
    was = {
        "letters_per_sender_per_day = 50": "letters_per_sender_per_day = 1",
        "letters_per_domain_per_day = 1000": "letters_per_domain_per_day = 2",
        "letters_per_network_per_day = 2000": "letters_per_network_per_day = 3",
        "letters_per_day = 10_000": "letters_per_day = 4",
        "letters_to_contact_per_day = 500": "letters_to_contact_per_day = 5",
        'front_servers = ["127.0.0.0/8", "::1/128"]': 'front_servers = ["10.1.0.0/16"]',
        "require_authenticated_sender = false": "require_authenticated_sender = true",
        'authentication_results_from = ""': 'authentication_results_from = "mx.lists.example"',
    }
    text = path.read_text()
    for one, other in was.items():
        assert text.count(f"\n{one}\n") == 1
        text = text.replace(f"\n{one}\n", f"\n{other}\n")
    shipped = Instance.open(path.parent).policy
    path.write_text(text)
    policy = Instance.open(path.parent).policy
    counted = (policy.letters_per_sender, policy.letters_per_domain, policy.letters_per_network, policy.letters_per_day)
    assert (*counted, policy.contact_letters_per_day) == (1, 2, 3, 4, 5)
    assert policy.front_servers == (ip_network("10.1.0.0/16"),) and "gmail.com" in policy.large_domains
    assert policy.needs_authentication and policy.authserv_id == "mx.lists.example"
    assert shipped == replace(Policy(), large_domains=policy.large_domains)


@pytest.mark.parametrize("wrong", ['["10.1.2.3/8"]', '["everybody"]', '"10.0.0.0/8"', "[10]"])
def test_what_is_no_network_is_refused(wrong: str, tmp_path: Path) -> None:
    path = make_instance(tmp_path / "instance", None).config_path
    path.write_text(path.read_text().replace('front_servers = ["127.0.0.0/8", "::1/128"]', f"front_servers = {wrong}"))
    with pytest.raises(ConfigError, match="front_servers"):
        Instance.open(path.parent)


def test_counters_end_at_midnight_utc() -> None:
    assert end_of_day(datetime.fromisoformat("2026-11-22T23:59:59+00:00")).isoformat() == "2026-11-23T00:00:00+00:00"
    assert end_of_day(datetime.fromisoformat("2026-11-23T07:59:59+08:00")).isoformat() == "2026-11-23T00:00:00+00:00"
    assert end_of_day(datetime.fromisoformat("2026-11-22T00:00:00+00:00")).isoformat() == "2026-11-23T00:00:00+00:00"


async def test_what_is_counted_names_nobody_and_is_gone_the_next_day(tmp_path: Path) -> None:
    async with limited(tmp_path, front_servers=()) as house:
        await house.write(Person("kumquat@persimmon.example").letter("help"), sender="medlar@loquat.example")
        async with house.database.read() as tx:
            rows = (await tx.execute(select(counters))).all()
        assert len(rows) == 5  # address, sender, domain, network, all
        assert {row.expires for row in rows} == {int(end_of_day(house.clock()).timestamp())}
        plants = Plants(frozenset({"kumquat", "persimmon", "medlar", "loquat", "127.0.0"}), {})
        assert plants.find_in_folder(tmp_path / "instance", exempt=("config.toml",)) == []
        house.clock.pass_(days=1)
        async with house.database.write() as tx:
            await pending.purge(tx, house.clock())
        async with house.database.read() as tx:
            assert (await tx.execute(select(counters))).all() == []


async def test_another_key_counts_elsewhere(tmp_path: Path) -> None:
    """Without the key nobody can ask a seized database whether somebody wrote today."""
    keys = []
    for name in ("one", "two"):
        async with limited(tmp_path / name, front_servers=()) as house:
            await ask_help(house, Person("ada@reader.example"))
            async with house.database.read() as tx:
                keys.append(set((await tx.execute(select(counters.c.key))).scalars()))
    assert keys[0] and not keys[0] & keys[1]


async def test_the_operator_is_told_once_a_day_and_of_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="mailer")
    counted: list[str] = []
    async with limited(tmp_path, letters_per_domain=1) as house:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mailer.metrics.count_withheld", counted.append)
            for _ in range(2):
                await ask_help(house, *many(4, "kumquat.example"))
                house.clock.pass_(days=1)
    told = [record.message for record in caplog.records if "letters_per_domain_per_day" in record.message]
    assert len(told) == 2
    assert counted == [Limit.DOMAIN] * 3 + [Limit.DOMAIN] * 3
    assert Plants(frozenset({"kumquat"}), {}).find_in_log(caplog.records) == []


# --- No word of a stranger's ------------------------------------------------------------------------------------------

WORD = "kumquat"
FIELDS = (
    *("Comments", "Keywords", "Organization", "User-Agent", "X-Mailer", "In-Reply-To", "References", "Reply-To", "Cc"),
    *("Sender", "Resent-From", "Errors-To", "Return-Receipt-To", "Disposition-Notification-To", "Thread-Topic"),
    *("X-Original-To", "Content-Language", "X-Priority", "Received", "Authentication-Results", "Message-ID", "Date"),
)


def planted(person: Person, command: str, blob: bytes | None = None, to: str = LIST) -> EmailMessage:
    """A letter with the word wherever a stranger can put one, but for his own address."""
    letter = person.letter(command, f"{command}\n\n{WORD}\n", to=to)
    letter.replace_header("From", f'"{WORD}" <{person.address}> ({WORD})')
    for name in FIELDS:
        del letter[name]
        letter[name] = f"<{WORD}@{WORD}.example>"
    letter.set_param("charset", "utf-8")
    letter.set_param(WORD, WORD)
    if blob is not None:
        letter.add_attachment(blob, maintype="application", subtype="pgp-keys", filename=f"{WORD}.asc")
        letter.set_boundary(WORD)
    return letter


COMMANDS = (
    *(
        "help",
        "get key",
        "subscribe",
        "status",
        "pause",
        "resume",
        "unsubscribe",
        "forget me",
        "my key",
        "幫助",
        "帮助",
    ),
    *(
        "language 简体中文",
        "confirm",
        "confirm aaaaaaaaaaaaaaaaaaaaaaaa",
        "format inline",
        "address new@reader.example",
    ),
)


def keys_of_all_kinds() -> Iterator[bytes]:
    yield from (path.read_bytes() for path in sorted(CERTIFICATES.iterdir()) if path.suffix in (".asc", ".pgp"))
    yield f"-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: {WORD}\n\n{WORD}\n".encode()
    yield WORD.encode()
    yield Person.with_key(f"{WORD}@reader.example").armored.encode()


async def test_no_letter_of_ours_holds_a_word_of_a_strangers(tmp_path: Path) -> None:
    plants = Plants(frozenset({WORD}), {})
    async with limited(tmp_path, replies_per_day=1000) as house:
        ada, eve = Person.with_key("ada@reader.example"), Person.with_key("eve@reader.example")
        await house.join(ada)
        seen: set[str] = set()
        for number, blob in enumerate((None, None, *keys_of_all_kinds())):
            stranger = Person(f"stranger{number}@reader.example")
            commands = COMMANDS if number < 2 else ("subscribe",)
            for command in commands:
                person = ada if number == 0 else stranger
                for letter in await house.write(planted(person, command, blob), sender=person.address):
                    if post.recipient(letter) == house.contact.address:
                        continue
                    assert plants.find(command, letter.mail.encode() + letter.rcpt.encode() + letter.content) == []
                    if post.is_sealed(letter) and person is ada:
                        assert plants.find(command, bytes(ada.open(letter))) == []
                    seen.add(str(post.subject_for(letter, person)))
        [question] = await house.write(planted(eve, "subscribe", eve.armored.encode()), sender=eve.address)
        [welcome] = await house.write(
            planted(eve, "yes", to=reply_to(question)), sender=eve.address, to=reply_to(question)
        )
        for letter in (question, welcome):
            assert plants.find("joining", letter.content + bytes(eve.open(letter))) == []
        assert len(seen) >= 15, seen


def test_the_search_finds_a_word_that_is_there() -> None:
    """The control for the test above."""
    assert Plants(frozenset({WORD}), {}).find("x", bytes(planted(Person("ada@reader.example"), "help")))
