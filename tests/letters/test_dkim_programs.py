"""DKIM signatures over whole letters, verified by OpenDKIM, which looks the key up in a DNS of the test's own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import datetime

import pytest

from mailer.crypto.dkim import Algorithm, DkimKey, generate
from mailer.errors import LetterUnusable
from mailer.letters import seal
from mailer.letters.write import Wording
from mailer.model.address import Address
from mailer.model.language import Language
from tests.conftest import needs
from tests.letters.conftest import READER
from tests.letters.own_dns import look_up_in

DOMAIN = "list.example"
FIELD = b"X-Signature: a; b=c\r\n d\r\n"
MakeLetter = Callable[..., seal.Sealed]


@pytest.fixture
def confirmation(identity: seal.Identity, now: datetime) -> seal.Open:
    facts = {"list": str(identity.address), "confirm": "news+confirm-abc@list.example", "days": "7"}
    more = {"help_address": "news+help@list.example", "fingerprint": "AB", "address": READER}
    return seal.leave_open(
        Wording(None).write("confirm-unsubscribe", Language.ZH_HANT, facts | more, []),
        recipient=Address.parse(READER),
        identity=identity,
        now=now,
        message_id="<q1w2e3@list.example>",
        reply_to=Address.parse("news+confirm-abc@list.example"),
    )


@pytest.fixture(params=["copy", "reply", "open letter"])
def letter(
    request: pytest.FixtureRequest, make_copy: MakeLetter, make_reply: MakeLetter, confirmation: seal.Open
) -> seal.Sealed | seal.Open:
    made: dict[str, Callable[[], seal.Sealed | seal.Open]] = {
        "copy": make_copy,
        "reply": make_reply,
        "open letter": lambda: confirmation,
    }
    return made[request.param]()


def judge(content: bytes, key: DkimKey) -> subprocess.CompletedProcess[bytes]:
    return look_up_in({key.record_name(DOMAIN): key.record}, needs("opendkim-testmsg"), "-C", stdin=content)


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_opendkim_verifies_what_we_sign(letter: seal.Sealed | seal.Open, algorithm: Algorithm) -> None:
    key = DkimKey.load(generate(algorithm), "mailer2026")
    judgement = judge(seal.with_field(letter, key.field(letter.content, DOMAIN)).content, key)
    assert (judgement.returncode, judgement.stderr) == (0, b"")


@pytest.mark.parametrize("name", [b"List-Unsubscribe", b"List-Unsubscribe-Post", b"From"])
def test_opendkim_does_not_verify_a_copy_with_a_field_that_was_added(make_copy: MakeLetter, name: bytes) -> None:
    key, letter = DkimKey.load(generate("rsa"), "mailer2026"), make_copy()
    signed = seal.with_field(letter, key.field(letter.content, DOMAIN))
    assert judge(name + b": <mailto:b@list.example>\r\n" + signed.content, key).returncode != 0


def test_opendkim_does_not_verify_without_the_record(make_reply: MakeLetter) -> None:
    key = DkimKey.load(generate("ed25519"), "mailer2026")
    letter = make_reply()
    other = DkimKey.load(generate("ed25519"), "another")
    assert judge(seal.with_field(letter, key.field(letter.content, DOMAIN)).content, other).returncode != 0


def test_a_field_is_put_before_the_others_and_the_letter_stays_what_it_was(make_reply: MakeLetter) -> None:
    letter = make_reply()
    signed = seal.with_field(letter, FIELD)
    assert signed.content == FIELD + letter.content
    assert (signed.recipient, signed.envelope_sender) == (letter.recipient, letter.envelope_sender)
    assert type(signed) is seal.Sealed
    assert seal.from_bytes(seal.to_bytes(signed)) == signed


@pytest.mark.parametrize(
    "field",
    [b"", b"\r\n", b"A: b", b"A: b\n", FIELD + FIELD, b"A: b\r\n\r\n", b"A: b\r\nBcc: c@d\r\n", b"A: b\r\n \r\n"],
)
def test_what_is_not_one_field_is_not_put_before_a_letter(make_reply: MakeLetter, field: bytes) -> None:
    with pytest.raises(LetterUnusable):
        seal.with_field(make_reply(), field)
