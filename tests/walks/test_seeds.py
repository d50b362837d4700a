"""Looking into the organisers' own mailboxes: a real server is left as it was, a hostile one achieves nothing."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailer.errors import MailboxUnusable
from mailer.outward import seeds
from mailer.outward.seeds import Mailbox, Trouble, look
from mailer.store.sightings import Place, Sighting
from tests.walks.mailbox import PASSWORD, USER, Dovecot, ScriptedImap, dovecot
from tests.walks.test_digest_cli import SEED, Desk, desk

__all__ = ["desk"]  # a fixture

NOW = datetime.now(UTC).replace(microsecond=0)
CAME = NOW - timedelta(minutes=14)
COPY = "<abcdefghijklmnopqrstuvwx@lists.example>"
CAPABILITY = b"* CAPABILITY IMAP4rev1\r\nTAG OK done\r\n"
LOGIN = b"TAG OK done\r\n"
LIST = b'* LIST (\\HasNoChildren) "/" INBOX\r\nTAG OK done\r\n'
EXAMINE = b"* 1 EXISTS\r\nTAG OK [READ-ONLY] done\r\n"
SEARCH = b"* SEARCH 7\r\nTAG OK done\r\n"
FETCH = b'* 1 FETCH (UID 7 INTERNALDATE "01-Jan-2026 12:00:00 +0800")\r\nTAG OK done\r\n'


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with dovecot() as server:
        yield server


def mailbox(server: Dovecot, password: str = PASSWORD) -> Mailbox:
    return Mailbox("127.0.0.1", server.port, USER, password, ca_file=server.ca)


# --- A real server --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "place"), [("", Place.INBOX), ("Bin for junk", Place.JUNK), ("Archive", Place.ELSEWHERE)]
)
async def test_a_copy_is_found_wherever_it_lies(server: Dovecot, folder: str, place: Place) -> None:
    message_id = f"<{place}@lists.example>"
    server.put(message_id, CAME, folder)
    server.put("<another@lists.example>", NOW, folder)
    assert await look(mailbox(server), ["<absent@lists.example>", message_id], NOW) == Sighting(CAME, place)


async def test_what_has_not_come_is_not_seen(server: Dovecot) -> None:
    assert await look(mailbox(server), ["<absent@lists.example>"], NOW) is None


async def test_looking_leaves_no_trace(server: Dovecot) -> None:
    server.put(COPY, CAME)
    before = letters(server)
    assert await look(mailbox(server), [COPY], NOW)
    assert letters(server) == before


def letters(server: Dovecot) -> list[str]:
    """The names hold the flags."""
    return sorted(str(one) for one in (server.folder / "mail").glob("**/cur/*"))


async def test_a_wrong_password_is_told(server: Dovecot) -> None:
    assert await look(mailbox(server, "wrong"), [COPY], NOW) is Trouble.LOGIN


async def test_a_server_that_nobody_vouches_for_gets_no_password(server: Dovecot) -> None:
    assert await look(Mailbox("127.0.0.1", server.port, USER, PASSWORD), [COPY], NOW) is Trouble.TLS


def test_the_command_looks_and_remembers(server: Dovecot, desk: Desk) -> None:
    secret = desk.folder / "instance" / "keys" / "organiser.imap"
    secret.write_text(f"{PASSWORD}\n")
    place = f'imap_host = "127.0.0.1"\nimap_port = {server.port}\nimap_ca_file = "{server.ca}"\n'
    desk.configure(f'{SEED}{place}imap_username = "{USER}"\nimap_password_file = "keys/organiser.imap"\n')
    digest_id = desk.sent()
    [found] = desk.json("seeds", digest_id)
    assert (found["place"], found["trouble"]) == (None, None)
    assert desk.type("seeds", digest_id).endswith("\tnot yet\n")
    server.put(found["message_ids"][0], datetime.now(UTC), "Bin for junk")
    assert "\tin junk, after " in desk.type("seeds", digest_id)
    secret.write_text("wrong")
    assert "\tin junk, after " in desk.type("seeds", digest_id)
    another = desk.sent()
    assert "look at imap_username and imap_password_file" in desk.type("seeds", another)


# --- One that misbehaves --------------------------------------------------------------------------------------------


async def look_at(server: ScriptedImap) -> Sighting | Trouble | None:
    return await look(Mailbox("127.0.0.1", server.port, USER, PASSWORD, is_plain=True), [COPY], NOW)


async def test_the_server_is_asked_to_read_only() -> None:
    async with ScriptedImap([CAPABILITY, LOGIN, LIST, EXAMINE, SEARCH, FETCH]) as server:
        expected = Sighting(datetime(2026, 1, 1, 4, tzinfo=UTC), Place.INBOX)
        assert await look_at(server) == expected
    verbs = [line.split(b" ", 1)[1].strip().upper() for line in server.commands]
    assert [one.split(b" ")[0] for one in verbs] == [b"CAPABILITY", b"LOGIN", b"LIST", b"EXAMINE", b"UID", b"UID"]
    assert verbs[4:] == [
        b'UID SEARCH HEADER MESSAGE-ID "' + COPY.upper().encode() + b'"',
        b"UID FETCH 7 (INTERNALDATE)",
    ]


@pytest.mark.parametrize(
    ("listed", "place"),
    [
        (b'(\\HasNoChildren) "/" "Spam"', Place.JUNK),
        (b'(\\Junk) "." INBOX.Rest', Place.JUNK),
        (b'() NIL "&V4NXPpCuTvY-"', Place.JUNK),
        (b'() "/" "[Mail]/All &- more"', Place.ELSEWHERE),
        (b'() "/" "in\\"quotes"', Place.ELSEWHERE),
    ],
)
async def test_junk_is_known_by_its_use_or_its_name(listed: bytes, place: Place) -> None:
    async with ScriptedImap(
        [CAPABILITY, LOGIN, b"* LIST " + listed + b"\r\nTAG OK done\r\n", EXAMINE, SEARCH, FETCH]
    ) as one:
        found = await look_at(one)
    assert isinstance(found, Sighting) and found.place is place


@pytest.mark.parametrize(
    "fetched",
    [
        b"TAG NO no\r\n",
        b"* 1 FETCH (UID 7)\r\nTAG OK done\r\n",
        b'* 1 FETCH (INTERNALDATE "01-Jan-2999 12:00:00 +0000")\r\nTAG OK done\r\n',
    ],
)
async def test_a_copy_came_now_where_the_server_does_not_say_when(fetched: bytes) -> None:
    async with ScriptedImap([CAPABILITY, LOGIN, LIST, EXAMINE, SEARCH, fetched]) as server:
        assert await look_at(server) == Sighting(NOW, Place.INBOX)


async def test_folders_that_cannot_be_opened_are_passed_over() -> None:
    folders = (
        b'* LIST (\\Noselect) "/" Parent\r\n'
        b'* LIST () "/" {3}\r\nabc\r\n'
        b'* LIST () "/" "caf\xc3\xa9"\r\n'
        b"* LIST nonsense\r\n"
        b'* LIST () "/" Forbidden\r\nTAG OK done\r\n'
    )
    async with ScriptedImap([CAPABILITY, LOGIN, folders, b"TAG NO no\r\n"]) as server:
        assert await look_at(server) is None
    assert [line.split(b" ", 1)[1].strip() for line in server.commands[3:]] == [b"EXAMINE Forbidden"]


NONSENSE = {
    "no greeting": ([], b"220 mail.example ESMTP\r\n"),
    "goodbye": ([], b"* BYE bye\r\n"),
    "not this IMAP": ([b"* CAPABILITY IMAP2\r\nTAG OK done\r\n"], b"* OK ready\r\n"),
    "huge literal": ([CAPABILITY, LOGIN, b'* LIST () "/" {9999999999}\r\nx'], b"* OK ready\r\n"),
    "endless lines": ([CAPABILITY, LOGIN, b"* OK more\r\n" * 200_000], b"* OK ready\r\n"),
    "endless line": ([CAPABILITY, LOGIN, b"* OK " + b"x" * 2_000_000], b"* OK ready\r\n"),
    "bad date": ([CAPABILITY, LOGIN, LIST, EXAMINE, SEARCH, FETCH.replace(b"Jan", b"Foo")], b"* OK ready\r\n"),
    "bad command": ([CAPABILITY, LOGIN, b"TAG BAD what\r\n"], b"* OK ready\r\n"),
    "goodbye at login": ([CAPABILITY, b"* BYE bye\r\n"], b"* OK ready\r\n"),
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_a_server_that_speaks_nonsense_is_given_up(name: str) -> None:
    answers, greeting = NONSENSE[name]
    async with ScriptedImap(answers, greeting or b"* OK ready\r\n") as server:
        began = time.monotonic()
        assert await look_at(server) is Trouble.NONSENSE
        assert time.monotonic() - began < 10


async def test_a_refused_login_is_told_apart() -> None:
    async with ScriptedImap([CAPABILITY, b"TAG NO [AUTHENTICATIONFAILED] no\r\n"]) as server:
        assert await look_at(server) is Trouble.LOGIN


@pytest.mark.parametrize("answers", [[], [CAPABILITY], [CAPABILITY, LOGIN, LIST]])
async def test_a_silent_server_is_given_up(answers: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "TIMEOUT_S", 0.2)
    async with ScriptedImap(answers, b"* OK ready\r\n" if answers else b"") as server:
        assert await look_at(server) is Trouble.UNREACHABLE


async def test_a_server_that_takes_too_long_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "WHOLE_S", 0.3)
    async with ScriptedImap([CAPABILITY, LOGIN]) as server:  # and then it says nothing for TIMEOUT_S
        began = time.monotonic()
        assert await look_at(server) in (Trouble.NONSENSE, Trouble.UNREACHABLE)
        assert time.monotonic() - began < seeds.TIMEOUT_S / 2


async def test_a_server_that_is_not_there_is_told() -> None:
    async with ScriptedImap([]) as server:
        pass
    assert await look_at(server) is Trouble.UNREACHABLE


async def test_a_plain_server_where_tls_is_expected_is_told() -> None:
    async with ScriptedImap([]) as server:
        found = await look(Mailbox("127.0.0.1", server.port, USER, PASSWORD), [COPY], NOW)
    assert found is Trouble.TLS
    assert server.commands == [] or PASSWORD.encode() not in b"".join(server.commands)


async def test_without_tls_only_this_machine_is_asked() -> None:
    with pytest.raises(MailboxUnusable, match="only on this machine"):
        await look(Mailbox("192.0.2.1", 143, USER, PASSWORD, is_plain=True), [COPY], NOW)


@pytest.mark.parametrize("message_id", ['<a"@b.example>', "<a@b.example>\r\nx LOGOUT", "a@b.example"])
async def test_nothing_but_a_message_id_is_looked_for(message_id: str) -> None:
    with pytest.raises(MailboxUnusable, match="no Message-ID"):
        await look(Mailbox("127.0.0.1", 143, USER, PASSWORD), [message_id], NOW)


def test_certificates_are_verified_by_default() -> None:
    context = ssl.create_default_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_mailbox_does_not_show_its_password(tmp_path: Path) -> None:
    assert repr(Mailbox("127.0.0.1", 143, USER, PASSWORD, ca_file=tmp_path)) == "Mailbox(…)"
