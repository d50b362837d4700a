"""Letters to one person: sealed in one go, or open where the template may be; nothing else leaves."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Callable
from datetime import datetime
from email.header import decode_header, make_header

import pytest

from mailer.crypto import openpgp
from mailer.errors import LetterUnusable, MustBeSealed, SealBroken
from mailer.letters import seal
from mailer.letters.write import Attachment, Draft
from mailer.model.address import Address
from mailer.model.language import Language
from tests.letters.conftest import READER, Keys
from tests.letters.reading import chatmail_accepts, outside, read, read_fields

MakeReply = Callable[..., seal.Sealed]
Payload = Callable[[seal.Sealed], bytes]
OPEN = Draft("Please confirm", "Answer this letter.\n", Language.EN, may_be_open=True)
SECRET = Draft("斑馬 Zebra", "Zebras strike at noon.\n", Language.ZH_HANT, may_be_open=False)


@pytest.fixture
def leave_open(identity: seal.Identity, now: datetime) -> Callable[..., seal.Open]:
    def leave(draft: Draft = OPEN, **given: object) -> seal.Open:
        fixed: dict[str, object] = {
            "recipient": Address.parse(READER),
            "identity": identity,
            "now": now,
            "message_id": "<q1w2e3@list.example>",
        }
        return seal.leave_open(draft, **{**fixed, **given})  # type: ignore[arg-type]

    return leave


@pytest.fixture
def payload(monkeypatch: pytest.MonkeyPatch) -> Payload:
    """Give back the plaintext of the letter sealed last, as it went into the encryption."""
    seen: list[bytes] = []
    encrypt = openpgp.encrypt

    def listen(plaintext: bytes, *arguments: object, **named: object) -> bytes:
        seen.append(plaintext)
        return encrypt(plaintext, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(openpgp, "encrypt", listen)
    return lambda _: seen[-1]


def names(fields: list[tuple[str, str]]) -> list[str]:
    return [name for name, _ in fields]


def test_the_outer_header_of_a_reply_holds_these_fields_and_no_other(make_reply: MakeReply) -> None:
    letter = make_reply(
        reply_to=Address.parse("news+confirm-abc@list.example"),
        in_reply_to="<their@id>",
        unsubscribe=Address.parse("news+unsubscribe-abc@list.example"),
    )
    fields = dict(read_fields(letter.content))
    assert names(read_fields(letter.content)) == [
        *("From", "To", "Subject", "Date", "Message-ID", "Reply-To", "In-Reply-To", "References", "Auto-Submitted"),
        *("List-Unsubscribe", "Autocrypt", "MIME-Version", "Content-Type"),
    ]
    assert fields["From"] == "news@list.example"
    assert fields["To"] == READER
    assert fields["Subject"] == "[...]"
    assert fields["Message-ID"] == "<q1w2e3@list.example>"
    assert fields["Reply-To"] == "news+confirm-abc@list.example"
    assert fields["In-Reply-To"] == fields["References"] == "<their@id>"
    assert fields["Auto-Submitted"] == "auto-replied"
    assert fields["List-Unsubscribe"] == "<mailto:news+unsubscribe-abc@list.example>"
    assert re.fullmatch(
        r'multipart/encrypted; protocol="application/pgp-encrypted"; boundary="[0-9a-f]{32}"', fields["Content-Type"]
    )


def test_the_autocrypt_field_brings_the_lists_certificate(make_reply: MakeReply, identity: seal.Identity) -> None:
    value = dict(read_fields(make_reply().content))["Autocrypt"]
    attributes = dict(part.strip().split("=", 1) for part in value.split(";"))
    assert (attributes["addr"], attributes["prefer-encrypt"]) == ("news@list.example", "mutual")
    assert base64.b64decode(attributes["keydata"].replace(" ", "")) == identity.key.public


def test_hp_outer_repeats_every_outer_field_but_autocrypt_to_the_letter(
    make_reply: MakeReply, payload: Payload
) -> None:
    letter = make_reply(SECRET, reply_to=Address.parse("news+help@list.example"), in_reply_to="<their@id>")
    inner, outer = read_fields(payload(letter)), read_fields(letter.content)
    structural = {"MIME-Version", "Content-Type", "Autocrypt"}  # RFC 9788 §1.1.1; a key is not for the eye
    recorded = [
        (one, value) for one, _, value in (value.partition(": ") for name, value in inner if name == "HP-Outer")
    ]
    assert recorded == [field for field in outer if field[0] not in structural]
    shown = [field for field in inner if field[0] not in ("HP-Outer", "Content-Type")]
    assert [field for field in shown if field not in recorded] == [("Subject", "=?utf-8?B?5paR6aasIFplYnJh?=")]
    assert names(shown) == names(recorded)


def test_the_payload_root_is_multipart_and_carries_both_marks(make_reply: MakeReply, payload: Payload) -> None:
    root = read(payload(make_reply(SECRET)))
    assert root.get_content_type() == "multipart/mixed"
    assert (root.get_param("hp"), root.get_param("protected-headers")) == ("cipher", "v1")
    assert root["Subject"] == SECRET.subject
    (text,) = root.iter_parts()
    assert text.get_content().replace("\r\n", "\n") == SECRET.text


@pytest.mark.parametrize("size", [0, 1, 2, 1000, 3000, 5000])
def test_replies_of_different_length_are_padded_to_whole_steps(
    make_reply: MakeReply, payload: Payload, size: int
) -> None:
    plaintext = payload(make_reply(Draft("a", "b\n" * size + "c\n", Language.EN, may_be_open=False)))
    assert len(plaintext) % seal.REPLY_STEP == 0


def test_two_replies_of_one_size_class_are_of_one_size(make_reply: MakeReply) -> None:
    short, long = make_reply(), make_reply(Draft("Other", "word " * 300, Language.ZH_HANS, may_be_open=False))
    assert len(short.content) == len(long.content)


def test_an_attachment_travels_inside(make_reply: MakeReply, payload: Payload) -> None:
    draft = dataclasses.replace(SECRET, attachments=(Attachment("list.asc", "application/pgp-keys", b"key\n"),))
    letter = make_reply(draft)
    assert b"list.asc" in payload(letter)
    assert b"list.asc" not in letter.content


def test_a_chatmail_server_takes_a_reply(make_reply: MakeReply) -> None:
    assert chatmail_accepts(make_reply().content)


def test_a_chatmail_server_takes_no_open_letter_and_no_imitation(
    make_reply: MakeReply, leave_open: Callable[..., seal.Open]
) -> None:
    content = make_reply().content
    checksum = re.compile(rb"\r\n=[A-Za-z0-9+/]{4}\r\n-----END")
    assert checksum.search(content)  # without it the filter throws the message away
    assert not chatmail_accepts(leave_open().content)
    for imitation in (
        content.replace(b"Version: 1", b"Version: 2"),
        content.replace(b"-----BEGIN PGP MESSAGE-----\r\n", b"-----BEGIN PGP MESSAGE-----\r\nVersion: x\r\n"),
        content.replace(b"application/octet-stream", b"text/plain"),
        checksum.sub(b"\r\n-----END", content),
    ):
        assert imitation != content
        assert not chatmail_accepts(imitation)


@pytest.mark.parametrize("in_reply_to", ["<x@y>\r\nBcc: a@b.example", "Buy pills", "<a b@c>", ""])
def test_a_strangers_message_id_of_another_form_is_left_out(make_reply: MakeReply, in_reply_to: str) -> None:
    fields = names(read_fields(make_reply(in_reply_to=in_reply_to).content))
    assert "In-Reply-To" not in fields
    assert "References" not in fields


def test_a_reader_with_a_local_part_above_ascii_is_named_in_the_envelope_alone(make_reply: MakeReply) -> None:
    letter = make_reply(recipient=Address.parse("讀者@provider.example"))
    assert letter.content.isascii()
    assert dict(read_fields(letter.content))["To"] == "undisclosed-recipients:;"
    assert str(letter.recipient) == "讀者@provider.example"


@pytest.mark.parametrize(
    "given",
    [
        {"message_id": "<a@b>\r\nBcc: x@y.example"},
        {"message_id": "a"},
        {"reply_to": Address("a\r\nBcc: x", "y.example")},
        {"reply_to": Address("新", "list.example")},
        {"recipient": Address("a\r\nBcc: x", "y.example")},
        {"draft": dataclasses.replace(SECRET, subject="a\r\nBcc: x@y.example")},
        {"draft": dataclasses.replace(SECRET, subject="")},
        {"draft": dataclasses.replace(SECRET, text="a\0b")},
    ],
)
def test_what_would_inject_a_field_is_refused_sealed_or_open(
    make_reply: MakeReply, leave_open: Callable[..., seal.Open], given: dict[str, object]
) -> None:
    with pytest.raises(LetterUnusable):
        make_reply(**given)
    if "draft" in given:
        given = {"draft": dataclasses.replace(given["draft"], may_be_open=True)}  # type: ignore[type-var]
    with pytest.raises(LetterUnusable):
        leave_open(**given)


def test_a_time_without_a_zone_is_refused(make_reply: MakeReply) -> None:
    with pytest.raises(LetterUnusable):
        make_reply(now=datetime(2026, 1, 1))  # noqa: DTZ001 - that it has no zone is the point


def test_unsubscribe_cannot_break_out_of_its_brackets(make_reply: MakeReply) -> None:
    letter = make_reply(unsubscribe=Address("a>\r\nBcc: <x", "y.example"))
    assert "Bcc" not in names(read_fields(letter.content))


def test_no_word_of_a_sealed_letter_is_outside_the_ciphertext(make_reply: MakeReply) -> None:
    content = outside(make_reply(SECRET).content)
    assert leaks(content, SECRET) == set()
    assert leaks(content.replace(b"[...]", "斑馬".encode()), SECRET) == {"斑馬"}
    assert leaks(content.replace(b"Version: 1", b"=?utf-8?B?5paR6aasIFplYnJh?="), SECRET) == {"斑馬", "zebra"}
    assert leaks(content.replace(b"[...]", b"On STRIKE"), SECRET) == {"strike"}


def leaks(content: bytes, draft: Draft) -> set[str]:
    """Return the words of the draft that stand in a letter, in UTF-8 or in encoded words; case does not count."""
    raw = content.decode(errors="replace")
    decoded = " ".join(str(make_header(decode_header(word))) for word in re.findall(r"=\?\S+\?=", raw))
    words = re.findall(r"[^\W\x00-\x7f]{2,}|\w{5,}", f"{draft.subject} {draft.text}".lower())
    return {word for word in words if word in f"{raw} {decoded}".lower()}


def test_an_open_letter_is_plain_text_with_the_fields_it_needs(leave_open: Callable[..., seal.Open]) -> None:
    letter = leave_open(
        dataclasses.replace(OPEN, subject="請確認", text="請回信。\n"),
        reply_to=Address.parse("news+confirm-abc@list.example"),
        in_reply_to="<their@id>",
    )
    assert names(read_fields(letter.content)) == [
        *("From", "To", "Subject", "Date", "Message-ID", "Reply-To", "In-Reply-To", "References", "Auto-Submitted"),
        *("Autocrypt", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"),
    ]
    message = read(letter.content)
    assert (message["Subject"], message.get_content()) == ("請確認", "請回信。\r\n")
    assert message["Auto-Submitted"] == "auto-replied"
    assert dict(read_fields(letter.content))["Content-Type"] == "text/plain; charset=utf-8"
    assert letter.content.isascii()


def test_an_open_letter_may_have_attachments(leave_open: Callable[..., seal.Open]) -> None:
    draft = dataclasses.replace(OPEN, attachments=(Attachment("list.asc", "application/pgp-keys", b"key\n"),))
    message = read(leave_open(draft).content)
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "application/pgp-keys"]


def test_a_letter_that_a_relay_could_change_is_not_sent(leave_open: Callable[..., seal.Open]) -> None:
    draft = dataclasses.replace(OPEN, attachments=(Attachment("a.txt", "application/pgp-keys", b"a\0b"),))
    with pytest.raises(LetterUnusable):
        leave_open(draft)


def test_a_letter_of_a_sealed_template_cannot_be_left_open(leave_open: Callable[..., seal.Open]) -> None:
    with pytest.raises(MustBeSealed):
        leave_open(SECRET)


@pytest.mark.parametrize("kind", [seal.Sealed, seal.Open])
def test_nothing_outside_makes_a_letter(kind: type[seal.Sealed | seal.Open], make_reply: MakeReply) -> None:
    address = Address.parse(READER)
    for token in (None, object(), True):
        with pytest.raises(TypeError):
            kind(address, address, b"digest in clear", token)
    with pytest.raises(TypeError):
        kind(address, address, b"digest in clear")  # type: ignore[call-arg]
    letter = make_reply()
    with pytest.raises((TypeError, ValueError)):
        dataclasses.replace(letter, content=b"digest in clear")  # type: ignore[call-arg]
    with pytest.raises(dataclasses.FrozenInstanceError):
        letter.content = b"digest in clear"  # type: ignore[misc]


def test_a_letter_comes_back_from_the_outbox_as_it_was(
    make_reply: MakeReply, leave_open: Callable[..., seal.Open]
) -> None:
    for letter in (make_reply(recipient=Address.parse("讀者@provider.example")), leave_open()):
        back = seal.from_bytes(seal.to_bytes(letter))
        assert type(back) is type(letter)
        assert back == letter


def test_a_stored_letter_that_is_damaged_or_of_another_kind_is_refused(
    make_reply: MakeReply, identity: seal.Identity, now: datetime
) -> None:
    blob = seal.to_bytes(make_reply())
    edition = seal.SignedEdition(b"x", Language.EN, now, identity.address).to_bytes()
    for damaged in (b"", blob[:40], blob[:-1], blob + b"x", blob.replace(b"sealed", b"opened"), edition):
        with pytest.raises(SealBroken):
            seal.from_bytes(damaged)
    with pytest.raises(SealBroken):
        seal.from_bytes(blob.replace(READER.encode(), b"@" * len(READER)))


def test_bounces_come_back_to_the_list_unless_told_otherwise(make_reply: MakeReply) -> None:
    assert str(make_reply().envelope_sender) == "news@list.example"
    bounce = Address.parse("news+bounce-abc@list.example")
    assert make_reply(envelope_sender=bounce).envelope_sender == bounce


def test_nothing_of_a_letter_shows_in_its_repr(make_reply: MakeReply, identity: seal.Identity) -> None:
    assert (repr(make_reply()), repr(identity)) == ("Sealed(…)", "Identity(…)")


def test_an_identity_with_an_unfit_name_or_address_is_refused(identity: seal.Identity, keys: Keys) -> None:
    for changes in ({"display_name": "a\r\nBcc: b"}, {"address": Address.parse("新聞@list.example")}):
        with pytest.raises(LetterUnusable):
            dataclasses.replace(identity, **changes)
