from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
import trustme

from mailer.errors import LetterUnusable, RelayUnusable
from mailer.letters import seal
from mailer.letters.seal import Open, Sealed
from mailer.model.address import Address
from mailer.model.failure import Failure
from mailer.model.retry import Answer, Outcome
from mailer.outward.relay import RelaySettings, open_relay, opening
from mailer.outward.relay.settings import tls_context
from tests.walks.far_server import FarServer, Misdeed

READER = Address("reader", "far.example")
OURS = Address("news+bounce-abc", "lists.example")
CONTENT = b"Subject: [...]\r\n\r\nWords.\r\n"
SHORT_S = 0.2  # for servers that hang
LATER_LOST = Outcome(Answer.LATER, is_connection_lost=True)
IN_DOUBT = replace(LATER_LOST, is_in_doubt=True)


def letter(content: bytes = CONTENT, recipient: Address = READER, sender: Address = OURS) -> Sealed:
    return Sealed(recipient, sender, content, seal._MADE_HERE)


def plain(far: FarServer, *, timeout_s: float = 10.0, connections: int = 1) -> RelaySettings:
    return RelaySettings(far.host, far.port, "none", connections=connections, timeout_s=timeout_s)


async def answer_to(answers: dict[str, str | Misdeed], content: bytes = CONTENT) -> Outcome:
    async with FarServer(answers) as far, open_relay(plain(far, timeout_s=SHORT_S)) as relay:
        return await relay.send(letter(content))


# --- What arrives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        CONTENT,
        b".\r\n",
        b".leading\r\n..two\r\n.\r\nnot the end\r\n.\r\n",
        b"\r\n\r\n\r\n",
        b"A: b\r\n\r\n" + b"x" * 998 + b"\r\n" + b"trailing blank \t\r\n\r\n",
        "Subject: 8 bit\r\n\r\n自由\r\n".encode(),
        b"A: b\r\n\r\n" + b"a line of sixty-four octets or so, as armor has it, repeated...\r\n" * 20_000,
    ],
)
async def test_the_octets_that_arrive_are_the_octets_that_were_given(content: bytes) -> None:
    async with FarServer() as far, open_relay(plain(far)) as relay:
        assert (await relay.send(letter(content))).answer is Answer.ACCEPTED
    assert far.letters[0].content == content


async def test_random_letters_arrive_octet_for_octet_on_one_connection() -> None:
    chance = random.Random(1)
    letters = [_random_lines(chance) for _ in range(200)]
    async with FarServer() as far, open_relay(plain(far)) as relay:
        for content in letters:
            await relay.send(letter(content))
    assert [received.content for received in far.letters] == letters
    assert far.connections == 1


def _random_lines(chance: random.Random) -> bytes:
    lines = ["".join(chance.choices(". \t-xé", k=chance.randrange(6))) for _ in range(chance.randrange(1, 9))]
    return "".join(f"{line}\r\n" for line in lines).encode()


async def test_the_envelope_says_one_sender_one_recipient_and_the_size() -> None:
    async with FarServer() as far, open_relay(plain(far)) as relay:
        await relay.send(letter())
    assert far.letters[0].mail == f"MAIL FROM:<{OURS}> SIZE={len(CONTENT)}"
    assert far.letters[0].rcpt == f"RCPT TO:<{READER}>"


async def test_an_open_letter_travels_as_a_sealed_one_does() -> None:
    async with FarServer() as far, open_relay(plain(far)) as relay:
        assert (await relay.send(Open(READER, OURS, CONTENT, seal._MADE_HERE))).answer is Answer.ACCEPTED


# --- What never leaves -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no end",
        b"bare LF\nin it\r\n",
        b"bare CR\rin it\r\n",
        b"two CR\r\r\n",
        b"ends in LF\n",
        b"NUL\x00\r\n",
        b"false end\n.\r\nMAIL FROM:<x@y.example>\r\n",
        b"x" * 999 + b"\r\n",
    ],
)
async def test_a_letter_unfit_for_smtp_is_refused_before_a_word_is_said(content: bytes) -> None:
    async with FarServer() as far, open_relay(plain(far)) as relay:
        with pytest.raises(LetterUnusable):
            await relay.send(letter(content))
    assert far.commands == []


@pytest.mark.parametrize(
    "address",
    [
        Address("b@y.example>,<c", "z.example"),
        Address("a", "y.example>\r\nRCPT TO:<c@z.example"),
        Address("a b", "y.example"),
        Address("a", "y.example> NOTIFY=NEVER"),
        Address('"a"', "y.example"),
        Address("", "y.example"),
        Address("a", "Y.example"),
        Address("a\x00", "y.example"),
    ],
)
async def test_an_address_that_is_not_one_mailbox_is_refused(address: Address) -> None:
    async with FarServer() as far, open_relay(plain(far)) as relay:
        with pytest.raises(LetterUnusable) as refusal:
            await relay.send(letter(recipient=address))
        with pytest.raises(LetterUnusable):
            await relay.send(letter(sender=address))
    assert "example" not in str(refusal.value)
    assert far.commands == []


async def test_only_what_letters_seal_has_made_can_be_sent() -> None:
    class Lookalike:
        recipient, envelope_sender, content = READER, OURS, CONTENT

    async with FarServer() as far, open_relay(plain(far)) as relay:
        with pytest.raises(TypeError):
            await relay.send(Lookalike())  # type: ignore[arg-type]
    assert far.commands == []


async def test_a_letter_whose_lease_ran_out_gets_no_final_dot() -> None:
    async with FarServer() as far, open_relay(plain(far)) as relay:
        assert await relay.send(letter(), may_finish=lambda: False) == LATER_LOST
        assert far.commands[-1] == "DATA"
        assert far.letters == []
        assert (await relay.send(letter(), may_finish=lambda: True)).answer is Answer.ACCEPTED


# --- What the relay answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "reply", "outcome"),
    [
        ("DOT", "250 2.6.0 queued", Outcome(Answer.ACCEPTED, 250, "2.6.0")),
        ("DOT", "250 fine", Outcome(Answer.ACCEPTED, 250)),
        ("DOT", "451 4.3.0 busy", Outcome(Answer.LATER, 451, "4.3.0")),
        ("DOT", "550 5.7.1 content", Outcome(Answer.REFUSED, 550, "5.7.1")),
        ("DOT", "554-5.6.0 one line\r\n554 5.6.0 another", Outcome(Answer.REFUSED, 554, "5.6.0")),
        ("DOT", "550 4.1.1 contradicts itself", Outcome(Answer.REFUSED, 550)),
        ("DOT", "550 5.1.1234 nonsense", Outcome(Answer.REFUSED, 550)),
        ("DOT", "354 again", IN_DOUBT),
        ("DOT", "199 what", IN_DOUBT),
        ("DOT", "no number", IN_DOUBT),
        ("DATA", "451 4.3.0 busy", Outcome(Answer.LATER, 451, "4.3.0")),
        ("DATA", "554 5.5.0 no", Outcome(Answer.REFUSED, 554, "5.5.0")),
        ("DATA", "250 2.0.0 a yes to nothing", LATER_LOST),
        ("RCPT", "450 4.2.1 greylisted", Outcome(Answer.LATER, 450, "4.2.1")),
        ("RCPT", "452 4.5.3 too many", Outcome(Answer.LATER, 452, "4.5.3")),
        ("RCPT", "550 5.1.1 unknown", Outcome(Answer.REFUSED, 550, "5.1.1")),
        ("RCPT", "550 unknown", Outcome(Answer.REFUSED, 550)),
        ("RCPT", "251 2.1.5 forwarded", Outcome(Answer.ACCEPTED, 250, "2.0.0")),
        ("RCPT", "421 4.3.2 closing", Outcome(Answer.LATER, 421, "4.3.2", is_connection_lost=True)),
        # Not the recipient's fault:
        ("RCPT", "530 5.7.0 authentication required", Outcome(Answer.LATER, 530, "5.7.0")),
        ("RCPT", "503 5.5.1 sequence", Outcome(Answer.LATER, 503, "5.5.1")),
        ("MAIL", "550 5.7.1 sender refused", Outcome(Answer.LATER, 550, "5.7.1")),
        ("MAIL", "552 5.3.4 too large", Outcome(Answer.LATER, 552, "5.3.4")),
        ("MAIL", "451 4.3.0 busy", Outcome(Answer.LATER, 451, "4.3.0")),
        ("EHLO", "550 5.7.1 go away", Outcome(Answer.LATER, 550, "5.7.1", is_connection_lost=True)),
        ("CONNECT", "554 5.7.1 blocked", Outcome(Answer.LATER, 554, "5.7.1", is_connection_lost=True)),
        ("CONNECT", "421 4.7.0 busy", Outcome(Answer.LATER, 421, "4.7.0", is_connection_lost=True)),
    ],
)
async def test_each_reply_has_its_outcome(at: str, reply: str, outcome: Outcome) -> None:
    answered = await answer_to({at: reply})
    assert replace(answered, failure=None) == outcome
    assert (answered.failure is not None) == (outcome.code >= 400)


@pytest.mark.parametrize("at", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT", "DOT"])
async def test_a_relay_that_closes_at_any_moment_gets_the_letter_later(at: str) -> None:
    expected = IN_DOUBT if at in ("CONTENT", "DOT") else LATER_LOST
    assert await answer_to({at: Misdeed.CLOSE}, CONTENT * 10_000) == expected


@pytest.mark.parametrize("at", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "DOT"])
async def test_a_relay_that_hangs_at_any_moment_gets_the_letter_later(at: str) -> None:
    assert await answer_to({at: Misdeed.HANG}) == (IN_DOUBT if at == "DOT" else LATER_LOST)


async def test_nobody_listening_means_later() -> None:
    async with FarServer() as far:
        settings = plain(far)
    assert await open_relay(settings).send(letter()) == LATER_LOST


async def test_the_relays_words_and_every_address_stay_out_of_outcome_and_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    words = f"5.1.1 <{READER}>: no such user, says {OURS}"
    outcomes = [await answer_to({at: f"550 {words}"}) for at in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "DOT")]
    said = repr(outcomes) + caplog.text
    assert "relay main failed: SMTP" in said  # the operator does learn of it
    for secret in (str(READER), str(OURS), READER.local, "no such user", "Words"):
        assert secret not in said


# --- TLS or nothing --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def server_tls(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def secure(far: FarServer, ca_file: Path | None, security: Literal["starttls", "implicit"]) -> RelaySettings:
    return RelaySettings(far.host, far.port, security, "user", "password", ca_file, timeout_s=10.0)


def self_signed(_: trustme.CA) -> ssl.SSLContext:
    alone, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with alone.cert_pem.tempfile() as chain, alone.private_key_pem.tempfile() as key:
        context.load_cert_chain(chain, key)
    return context


def expired(authority: trustme.CA) -> ssl.SSLContext:
    return server_tls(authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) - timedelta(days=1)))


def for_another_name(authority: trustme.CA) -> ssl.SSLContext:
    return server_tls(authority.issue_cert("127.0.0.2", "relay.example"))


def by_another_authority(_: trustme.CA) -> ssl.SSLContext:
    return server_tls(trustme.CA().issue_cert("127.0.0.1"))


@pytest.mark.parametrize("security", ["starttls", "implicit"])
async def test_with_a_good_certificate_login_and_letter_go_through_tls(
    authority: trustme.CA, ca_file: Path, security: Literal["starttls", "implicit"]
) -> None:
    tls = server_tls(authority.issue_cert("127.0.0.1"))
    async with FarServer(tls=tls, is_implicit=security == "implicit") as far:
        async with open_relay(secure(far, ca_file, security)) as relay:
            assert (await relay.send(letter())).answer is Answer.ACCEPTED
    assert far.letters[0].is_encrypted
    before_tls = far.commands[: far.commands.index("STARTTLS")] if security == "starttls" else []
    assert [command.split()[0] for command in before_tls] == ["EHLO"] * len(before_tls)
    assert any(command.startswith("AUTH PLAIN") for command in far.commands)


@pytest.mark.parametrize("security", ["starttls", "implicit"])
@pytest.mark.parametrize("bad_tls", [self_signed, expired, for_another_name, by_another_authority])
async def test_with_a_bad_certificate_neither_login_nor_letter_leaves(
    authority: trustme.CA,
    ca_file: Path,
    security: Literal["starttls", "implicit"],
    bad_tls: Callable[[trustme.CA], ssl.SSLContext],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with FarServer(tls=bad_tls(authority), is_implicit=security == "implicit") as far:
        async with open_relay(secure(far, ca_file, security)) as relay:
            assert await relay.send(letter()) == LATER_LOST
    assert {command.split()[0] for command in far.commands} <= {"EHLO", "STARTTLS"}
    assert "SSLCertVerificationError" in caplog.text


async def test_a_certificate_the_system_does_not_trust_is_refused_without_a_ca_file(authority: trustme.CA) -> None:
    async with FarServer(tls=server_tls(authority.issue_cert("127.0.0.1"))) as far:
        assert await open_relay(secure(far, None, "starttls")).send(letter()) == LATER_LOST
    assert far.letters == []


async def test_a_relay_without_starttls_gets_nothing(authority: trustme.CA, ca_file: Path) -> None:
    async with FarServer(tls=server_tls(authority.issue_cert("127.0.0.1")), offers_starttls=False) as far:
        async with open_relay(secure(far, ca_file, "starttls")) as relay:
            assert await relay.send(letter()) == LATER_LOST
    assert {command.split()[0] for command in far.commands} == {"EHLO"}


@pytest.mark.parametrize("reply", ["454 4.7.0 not now", "502 5.5.1 no"])
async def test_a_relay_that_refuses_starttls_gets_nothing(authority: trustme.CA, ca_file: Path, reply: str) -> None:
    tls = server_tls(authority.issue_cert("127.0.0.1"))
    async with FarServer({"STARTTLS": reply}, tls=tls) as far, open_relay(secure(far, ca_file, "starttls")) as relay:
        outcome = await relay.send(letter())
    assert (outcome.answer, outcome.code, outcome.is_connection_lost) == (Answer.LATER, int(reply[:3]), True)
    assert {command.split()[0] for command in far.commands} == {"EHLO", "STARTTLS"}


async def test_what_is_injected_in_clear_behind_the_reply_to_starttls_is_not_believed(
    authority: trustme.CA, ca_file: Path
) -> None:
    injected = "220 2.0.0 go ahead\r\n250-far.example\r\n250 AUTH LOGIN"
    tls = server_tls(authority.issue_cert("127.0.0.1"))
    async with FarServer({"STARTTLS": injected}, tls=tls) as far, open_relay(secure(far, ca_file, "starttls")) as relay:
        assert (await relay.send(letter())).answer is Answer.ACCEPTED
    assert [command.split()[0] for command in far.commands][:4] == ["EHLO", "STARTTLS", "EHLO", "AUTH"]
    assert not any(command.startswith("AUTH LOGIN") for command in far.commands)


async def test_pipelining_that_is_offered_only_before_tls_is_not_used(authority: trustme.CA, ca_file: Path) -> None:
    offers: list[str | Misdeed] = ["250-far\r\n250-PIPELINING\r\n250 STARTTLS", "250-far\r\n250 AUTH PLAIN"]
    answers = {"EHLO": offers, "RCPT": "550 5.1.1 unknown"}
    async with FarServer(answers, tls=server_tls(authority.issue_cert("127.0.0.1"))) as far:
        async with open_relay(secure(far, ca_file, "starttls")) as relay:
            assert (await relay.send(letter())).answer is Answer.REFUSED
    assert [command.split()[0] for command in far.commands][3:] == ["AUTH", "MAIL", "RCPT", "QUIT"]


async def test_a_failed_login_is_nobodys_bounce(authority: trustme.CA, ca_file: Path) -> None:
    tls = server_tls(authority.issue_cert("127.0.0.1"))
    async with FarServer({"AUTH": "535 5.7.8 wrong"}, tls=tls) as far:
        async with open_relay(secure(far, ca_file, "starttls")) as relay:
            outcome = await relay.send(letter())
    assert outcome == Outcome(Answer.LATER, 535, "5.7.8", is_connection_lost=True, failure=Failure.AUTHENTICATION)
    assert far.letters == []


async def test_a_login_challenge_that_is_nonsense_is_nobodys_bounce() -> None:
    async with FarServer({"AUTH": "334 a"}, extensions=["AUTH CRAM-MD5"]) as far:
        settings = replace(plain(far), username="user", password="pass")
        async with open_relay(settings) as relay:
            assert await relay.send(letter()) == LATER_LOST


@pytest.mark.parametrize("host", ["relay.example", "192.0.2.1", "0.0.0.0", "2001:db8::1", "localhost.example"])
def test_without_tls_another_machine_is_refused(host: str) -> None:
    with pytest.raises(RelayUnusable):
        open_relay(RelaySettings(host, 25, "none"))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_without_tls_this_machine_is_allowed(host: str) -> None:
    open_relay(RelaySettings(host, 25, "none"))


async def test_a_localhost_that_leads_to_another_machine_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FarServer() as far, open_relay(plain(far)) as relay:
        monkeypatch.setattr(opening, "is_loopback", lambda _host: False)
        assert await relay.send(letter()) == LATER_LOST
    assert far.commands == []


def test_a_ca_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RelayUnusable):
        open_relay(RelaySettings("relay.example", 587, ca_file=tmp_path / "missing"))
    (tmp_path / "empty").touch()
    with pytest.raises(RelayUnusable):
        open_relay(RelaySettings("relay.example", 587, ca_file=tmp_path / "empty"))


def test_tls_is_demanded_and_verified_unless_said_otherwise() -> None:
    settings = RelaySettings("relay.example", 587)
    context = tls_context(settings)
    assert settings.security == "starttls"
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_the_login_is_not_in_the_settings_repr() -> None:
    said = repr(RelaySettings("relay.example", 587, username="user-name", password="pass-word"))
    assert "user-name" not in said
    assert "pass-word" not in said


# --- Addresses above ASCII -------------------------------------------------------------------------------------------

FREEDOM = Address("自由", "far.example")


async def test_an_address_above_ascii_goes_to_a_relay_that_offers_smtputf8() -> None:
    async with FarServer() as far, open_relay(plain(far)) as relay:
        assert (await relay.send(letter(recipient=FREEDOM))).answer is Answer.ACCEPTED
    assert far.letters[0].rcpt == "RCPT TO:<自由@far.example>"
    assert far.letters[0].mail.endswith(" SMTPUTF8")


@pytest.mark.parametrize(
    ("unfit", "outcome"),
    [
        (letter(recipient=FREEDOM), Outcome(Answer.REFUSED, 550, "5.6.7", failure=Failure.POLICY)),
        (letter(sender=FREEDOM), Outcome(Answer.LATER, 550, "5.6.7", failure=Failure.POLICY)),
        (letter("A: é\r\n".encode()), Outcome(Answer.LATER, 550, "5.6.3", failure=Failure.POLICY)),
    ],
)
async def test_what_the_relay_does_not_offer_to_carry_is_not_given_to_it(unfit: Sealed, outcome: Outcome) -> None:
    async with FarServer(extensions=()) as far, open_relay(plain(far)) as relay:
        assert await relay.send(unfit) == outcome
        assert (await relay.send(letter())).answer is Answer.ACCEPTED
    assert [received.rcpt for received in far.letters] == [f"RCPT TO:<{READER}>"]
    assert far.letters[0].mail == f"MAIL FROM:<{OURS}>"


# --- Connections -----------------------------------------------------------------------------------------------------


async def test_one_connection_carries_letter_after_letter() -> None:
    async with FarServer() as far, open_relay(plain(far)) as relay:
        for _ in range(5):
            await relay.send(letter())
    assert far.connections == 1
    assert far.commands[-1] == "QUIT"


@pytest.mark.parametrize("at", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_after_a_refusal_the_connection_is_reset_and_carries_the_next(at: str) -> None:
    async with FarServer({at: ["550 5.7.1 no"]}) as far, open_relay(plain(far)) as relay:
        first, second = await relay.send(letter()), await relay.send(letter())
    assert first.answer is not Answer.ACCEPTED
    assert second.answer is Answer.ACCEPTED
    assert far.connections == 1
    assert far.commands.count("RSET") == 1


@pytest.mark.parametrize("reply", ["500 5.5.2 what?", "421 4.3.2 closing", "no number", Misdeed.CLOSE])
async def test_a_refusal_stands_even_if_the_rest_of_the_group_then_fails(reply: str | Misdeed) -> None:
    outcome = await answer_to({"RCPT": "550 5.1.1 unknown", "DATA": reply})
    assert outcome == Outcome(Answer.REFUSED, 550, "5.1.1", failure=Failure.GONE)


@pytest.mark.parametrize("reply", ["500 5.5.2 what?", "421 4.3.2 closing", Misdeed.CLOSE])
async def test_a_relay_that_will_not_be_reset_gets_the_next_letter_on_a_new_connection(reply: str | Misdeed) -> None:
    async with FarServer({"RCPT": ["550 5.1.1 unknown"], "RSET": reply}) as far, open_relay(plain(far)) as relay:
        assert (await relay.send(letter())).answer is Answer.REFUSED
        assert (await relay.send(letter())).answer is Answer.ACCEPTED
    assert (far.connections, len(far.letters)) == (2, 1)


async def test_a_connection_that_the_relay_dropped_meanwhile_is_opened_anew() -> None:
    async with FarServer() as far, open_relay(plain(far)) as relay:
        await relay.send(letter())
        await far.hang_up()
        assert (await relay.send(letter())).answer is Answer.ACCEPTED
    assert far.connections == 2


@pytest.mark.parametrize("end", ["421 4.4.2 idle too long", Misdeed.CLOSE])
async def test_an_idle_connection_that_ends_at_the_next_mail_costs_no_letter(end: str | Misdeed) -> None:
    async with FarServer({"MAIL": ["250 OK", end]}) as far, open_relay(plain(far)) as relay:
        assert (await relay.send(letter())).answer is Answer.ACCEPTED
        assert (await relay.send(letter())).answer is Answer.ACCEPTED
    assert far.connections == 2


async def test_a_connection_lost_after_the_final_dot_is_not_tried_again_at_once() -> None:
    async with FarServer({"DOT": ["250 OK", Misdeed.CLOSE]}) as far, open_relay(plain(far)) as relay:
        await relay.send(letter())
        assert await relay.send(letter()) == IN_DOUBT
    assert len(far.letters) == 2  # and not three


async def test_no_more_connections_are_open_at_once_than_allowed() -> None:
    async with FarServer() as far, open_relay(plain(far, connections=3)) as relay:
        outcomes = await asyncio.gather(*(relay.send(letter()) for _ in range(20)))
    assert {outcome.answer for outcome in outcomes} == {Answer.ACCEPTED}
    assert far.most_at_once == 3


async def test_a_connection_is_held_until_its_user_is_done() -> None:
    async with FarServer() as far, open_relay(plain(far)) as relay:
        async with relay.connection() as connection:
            await connection.send(letter())
            other = asyncio.ensure_future(relay.send(letter()))
            await connection.send(letter())
            assert not other.done()
            assert len(far.letters) == 2
        await other
    assert far.connections == 1


async def test_a_user_that_fails_takes_its_connection_along() -> None:
    async with FarServer() as far, open_relay(plain(far)) as relay:
        with pytest.raises(ZeroDivisionError):
            async with relay.connection() as connection:
                await connection.send(letter())
                raise ZeroDivisionError
        await relay.send(letter())
    assert far.connections == 2


async def test_a_cancelled_letter_leaves_no_connection_out_of_step() -> None:
    async with FarServer({"DOT": [Misdeed.HANG]}) as far, open_relay(plain(far)) as relay:
        task = asyncio.ensure_future(relay.send(letter()))
        while not far.letters:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await relay.send(letter())).answer is Answer.ACCEPTED
    assert far.connections == 2


async def test_a_relay_closed_in_the_middle_closes_a_connection_when_it_comes_back() -> None:
    async with FarServer() as far:
        relay = open_relay(plain(far))
        async with relay.connection() as connection:
            await relay.close()
            assert (await connection.send(letter())).answer is Answer.ACCEPTED
        assert far.commands[-1] == "QUIT"


async def test_a_relay_that_hangs_at_quit_does_not_hold_us() -> None:
    async with FarServer({"QUIT": Misdeed.HANG}) as far, open_relay(plain(far, timeout_s=SHORT_S)) as relay:
        assert (await relay.send(letter())).answer is Answer.ACCEPTED


async def test_a_letter_given_up_is_not_sent_on_behind_our_back() -> None:
    stalling = FarServer({"CONTENT": Misdeed.STALL}, extensions=["PIPELINING"])
    async with stalling as far, open_relay(plain(far, timeout_s=SHORT_S)) as relay:
        assert await relay.send(letter(CONTENT * 400_000)) == IN_DOUBT
        far.resumed.set()
        await far.finish()
    assert far.letters == []  # closing the connection, instead of dropping it, would send the rest
