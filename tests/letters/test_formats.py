"""The forms besides PGP/MIME that people open by hand: armored text as the body, and an encrypted file."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from mailer.crypto import openpgp
from mailer.errors import CertificateUnusable, LetterUnusable
from mailer.letters import mime, seal
from mailer.letters.seal import attachment
from mailer.letters.write import Attachment, Draft
from mailer.model.digest import Edition, Form
from mailer.model.language import Language
from mailer.model.means import OpenPgp
from mailer.model.subscriber import Format
from tests.conftest import Gnupg, needs
from tests.letters.conftest import LIST, Keys
from tests.letters.reading import armored, chatmail_accepts, outside, read, read_fields
from tests.letters.test_programs import show_in_neomutt

MakeReply = Callable[..., seal.Sealed]
MakeCopy = Callable[..., seal.Sealed]
Make = Callable[[Format], seal.Sealed]
BY_HAND = (Format.INLINE, Format.ATTACHMENT)
PLANTED = [b"zebra", b"5paR6aas", "斑馬".encode(), b"=E6=96=91", b"strike", b"python", b"sequoia", b"mailer"]

by_hand = pytest.mark.parametrize("wanted", BY_HAND)
openpgp_forms = pytest.mark.parametrize("wanted", [one for one in Format if one is not Format.PDF])
copy_or_reply = pytest.mark.parametrize("kind", ["copy", "reply"])


@pytest.fixture
def means(keys: Keys) -> Callable[[Format], OpenPgp]:
    return lambda wanted: OpenPgp(keys.reader_public, wanted)


@pytest.fixture
def make(
    make_copy: MakeCopy,
    make_reply: MakeReply,
    means: Callable[[Format], OpenPgp],
    edition: Edition,
    identity: seal.Identity,
    now: datetime,
) -> dict[str, Make]:
    """Make a copy of the edition, or a reply with the list's key, in a form."""

    def copy(wanted: Format) -> seal.Sealed:
        theirs = means(wanted)
        return make_copy(seal.sign_edition(edition, identity, now, seal.form_for(theirs)), means=theirs)

    def reply(wanted: Format) -> seal.Sealed:
        text = "The zebra strike goes on. 「大家一起來」\n"
        draft = Draft("斑馬罷工", text, Language.ZH_HANT, may_be_open=False, attachments=(identity.key_attachment,))
        return make_reply(draft, means=means(wanted))

    return {"copy": copy, "reply": reply}


def words_of(kind: str, edition: Edition) -> list[str]:
    title, text = (
        (edition.subject, edition.text)
        if kind == "copy"
        else ("斑馬罷工", "The zebra strike goes on. 「大家一起來」\n")
    )
    return [title, "", *text.splitlines()]


# --- What the reader gets -------------------------------------------------------------------------------------------


@by_hand
@copy_or_reply
def test_gpg_opens_it_to_the_text_with_its_subject_and_finds_it_signed_by_the_list(
    wanted: Format, kind: str, make: dict[str, Make], reader: Gnupg, edition: Edition
) -> None:
    opened = reader.decrypt(armored(make[kind](wanted).content))
    assert all(opened.has(keyword) for keyword in ("DECRYPTION_OKAY", "GOODMDC", "GOODSIG", "VALIDSIG"))
    assert any(line.startswith("GOODSIG ") and line.endswith(f"<{LIST}>") for line in opened.status)
    lines = opened.plaintext.decode().split("\r\n")
    expected = words_of(kind, edition)
    assert lines[: len(expected)] == expected


@by_hand
def test_the_lists_key_can_be_imported_from_a_reply_as_it_was_decrypted(
    wanted: Format, make: dict[str, Make], reader: Gnupg, keys: Keys
) -> None:
    plaintext = reader.decrypt(armored(make["reply"](wanted).content)).plaintext
    reader.run("--delete-keys", *reader.fingerprints(LIST))
    reader.import_key(plaintext)
    assert len(reader.fingerprints(LIST)) == 1


@by_hand
def test_sq_and_rnp_open_it_and_verify_the_signature(
    wanted: Format, make: dict[str, Make], keys: Keys, edition: Edition, tmp_path: Path
) -> None:
    secret, public, message, plain = (tmp_path / name for name in ("secret", "public", "message.asc", "plain"))
    secret.write_bytes(keys.reader_secret)
    public.write_bytes(keys.list_public)
    message.write_bytes(armored(make["copy"](wanted).content))
    sq = [needs("sq"), "decrypt", "--recipient-key", secret, "--signer-cert", public, "--signatures", "1", message]
    assert edition.subject in subprocess.run(sq, capture_output=True, check=True).stdout.decode()
    home = ["--homedir", str(tmp_path / "rnp")]
    (tmp_path / "rnp").mkdir()
    for blob in (secret, public):
        subprocess.run([needs("rnpkeys"), *home, "--import", blob], capture_output=True, check=True)
    rnp = [needs("rnp"), *home, "--password", "", "--output", plain, "--decrypt", message]
    said = subprocess.run(rnp, capture_output=True, check=True)
    assert edition.subject in plain.read_text(encoding="utf-8")
    assert b"Good signature" in said.stdout + said.stderr


def test_neomutt_opens_the_text_in_place_and_finds_a_good_signature(
    make: dict[str, Make], reader: Gnupg, tmp_path: Path
) -> None:
    shown = show_in_neomutt(make["copy"](Format.INLINE), reader, tmp_path, "<check-traditional-pgp>")
    assert "斑馬罷工第十二期" in shown
    assert re.search(r"Good signature from.*news@list\.example", shown)


def test_an_inline_letter_is_nothing_but_the_armored_message(make: dict[str, Make]) -> None:
    for kind in ("copy", "reply"):
        content = make[kind](Format.INLINE).content
        assert content.partition(b"\r\n\r\n")[2] == armored(content)
        message = read(content)
        assert (message.get_content_type(), message["Content-Type"].params["charset"]) == ("text/plain", "utf-8")


def test_a_file_comes_with_a_cover_that_is_the_same_for_everybody(make: dict[str, Make]) -> None:
    covers = set()
    for kind in ("copy", "reply"):
        message = read(make[kind](Format.ATTACHMENT).content)
        cover, file = message.iter_parts()
        covers.add(cover.get_content())
        assert file.get_filename() == attachment.FILENAME
        assert file.get_content_disposition() == "attachment"
        assert file.get_content_type() == "application/octet-stream"
    assert covers == {"The message is in the attached file.\r\n"}
    with pytest.raises(LetterUnusable):
        mime.covered("附件", b"")


# --- What stands outside --------------------------------------------------------------------------------------------


@openpgp_forms
@copy_or_reply
def test_no_word_is_outside_the_ciphertext_in_any_form(wanted: Format, kind: str, make: dict[str, Make]) -> None:
    content = outside(make[kind](wanted).content)
    assert [word for word in PLANTED if word.lower() in content.lower()] == []
    planted = content.replace(b"[...]", b"The Zebra")
    assert [word for word in PLANTED if word.lower() in planted.lower()] == [b"zebra"]


@by_hand
def test_a_copy_that_is_signed_when_it_is_sent_is_dated_then(
    wanted: Format,
    make_copy: MakeCopy,
    means: Callable[[Format], OpenPgp],
    edition: Edition,
    identity: seal.Identity,
    now: datetime,
) -> None:
    later = now + timedelta(days=1)
    for one, when in ((wanted, later), (Format.PGP_MIME, now)):
        signed = seal.sign_edition(edition, identity, now, seal.form_for(means(one)))
        dates = [
            text for name, text in read_fields(make_copy(signed, means=means(one), now=later).content) if name == "Date"
        ]
        assert [parsedate_to_datetime(text) for text in dates] == [when.replace(microsecond=0)]


@by_hand
def test_the_header_of_a_copy_is_the_same_in_every_form(wanted: Format, make: dict[str, Make]) -> None:
    ordinary, other = (read_fields(make["copy"](one).content) for one in (Format.PGP_MIME, wanted))
    named = {name for name, _ in ordinary}
    assert {name for name, _ in other} - named <= {"Content-Transfer-Encoding"}
    assert [field for field in other if field[0] in named and field[0] != "Content-Type"] == ordinary[:-1]


@by_hand
def test_what_is_outside_does_not_depend_on_the_language(
    wanted: Format, make_copy: MakeCopy, means: Callable[[Format], OpenPgp], identity: seal.Identity, now: datetime
) -> None:
    seen = set()
    for language, text in ((Language.EN, "Zebras\n"), (Language.ZH_HANS, "斑马\n"), (Language.ZH_HANT, "斑馬\n")):
        edition = Edition(language, "x", text, b"")
        content = make_copy(seal.sign_edition(edition, identity, now, Form.TEXT), means=means(wanted)).content
        seen.add(re.sub(rb"[0-9a-f]{32}", b"", outside(content)))
    assert len(seen) == 1


@by_hand
@copy_or_reply
def test_two_letters_share_no_boundary_and_no_ciphertext(wanted: Format, kind: str, make: dict[str, Make]) -> None:
    one, other = (set(make[kind](wanted).content.split(b"\r\n")) for _ in range(2))
    assert not [line for line in one & other if re.search(rb"[0-9a-f]{32}", line)]
    assert not [line for line in one & other if re.fullmatch(rb"[A-Za-z0-9+/=]{64}", line) and b"keydata" not in line]


@openpgp_forms
@copy_or_reply
def test_a_letter_that_is_multipart_encrypted_is_what_a_chatmail_server_takes(
    wanted: Format, kind: str, make: dict[str, Make]
) -> None:
    assert chatmail_accepts(make[kind](wanted).content) == (wanted is Format.PGP_MIME)


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long what went into the encryption was, in order."""
    seen: list[int] = []
    encrypt = openpgp.encrypt

    def listen(plaintext: bytes, *arguments: object, **named: object) -> bytes:
        seen.append(len(plaintext))
        return encrypt(plaintext, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(openpgp, "encrypt", listen)
    return seen


@by_hand
def test_copies_are_padded_into_buckets_and_are_not_all_of_one_length(
    wanted: Format,
    make_copy: MakeCopy,
    means: Callable[[Format], OpenPgp],
    edition: Edition,
    identity: seal.Identity,
    now: datetime,
    lengths: list[int],
) -> None:
    long = dataclasses.replace(edition, text="a line of text\n" * 800)
    signed = seal.sign_edition(long, identity, now, Form.TEXT)
    for chance in (0.0, 0.3, 0.6, 0.999):
        make_copy(signed, means=means(wanted), padding_chance=chance)
    assert all(length == mime.padme(length) and length <= len(signed.entity) * 1.27 for length in lengths)
    assert len(set(lengths)) > 1


@by_hand
def test_replies_are_padded_to_whole_steps(
    wanted: Format, make_reply: MakeReply, means: Callable[[Format], OpenPgp], lengths: list[int]
) -> None:
    for size in (0, 1, 2, 1000, 1023, 3000, 5000):
        draft = Draft("a", "b\n" * size + "c\n", Language.EN, may_be_open=False)
        make_reply(draft, means=means(wanted))
    assert all(length % seal.REPLY_STEP == 0 for length in lengths)


# --- What is refused ------------------------------------------------------------------------------------------------


def test_an_edition_in_one_form_is_never_sealed_as_another(
    make_copy: MakeCopy, means: Callable[[Format], OpenPgp], edition: Edition, identity: seal.Identity, now: datetime
) -> None:
    for form, wanted in ((Form.FULL, Format.INLINE), (Form.TEXT, Format.PGP_MIME), (Form.LIGHT, Format.ATTACHMENT)):
        with pytest.raises(LetterUnusable):
            make_copy(seal.sign_edition(edition, identity, now, form), means=means(wanted))


@by_hand
def test_without_a_usable_certificate_there_is_no_letter(
    wanted: Format, make_copy: MakeCopy, make_reply: MakeReply, edition: Edition, identity: seal.Identity, now: datetime
) -> None:
    for certificate in (b"", b"certificate"):
        with pytest.raises(CertificateUnusable):
            make_reply(means=OpenPgp(certificate, wanted))
        with pytest.raises(CertificateUnusable):
            make_copy(seal.sign_edition(edition, identity, now, Form.TEXT), means=OpenPgp(certificate, wanted))


def test_a_file_that_cannot_travel_as_text_is_refused(
    make_reply: MakeReply, means: Callable[[Format], OpenPgp]
) -> None:
    draft = Draft("a", "b\n", Language.EN, may_be_open=False, attachments=(Attachment("a.png", "image/png", b"x"),))
    with pytest.raises(LetterUnusable):
        make_reply(draft, means=means(Format.INLINE))


# --- Header protection (RFC 9788 §3.2) ------------------------------------------------------------------------------


NAMED = "斑馬之友 Zebra"


@openpgp_forms
@copy_or_reply
def test_a_shy_list_shows_its_name_inside_alone(
    wanted: Format,
    kind: str,
    make_copy: MakeCopy,
    make_reply: MakeReply,
    means: Callable[[Format], OpenPgp],
    edition: Edition,
    identity: seal.Identity,
    now: datetime,
) -> None:
    def content(is_shy: bool) -> bytes:
        own = dataclasses.replace(identity, display_name=NAMED, is_shy=is_shy)
        theirs = means(wanted)
        if kind == "reply":
            return make_reply(identity=own, means=theirs).content
        return make_copy(
            seal.sign_edition(edition, own, now, seal.form_for(theirs)), identity=own, means=theirs
        ).content

    baseline, shy = (read(content(is_shy))["From"] for is_shy in (False, True))
    assert str(baseline) == f"{NAMED} <{LIST}>"
    assert str(shy) == LIST


def test_the_name_of_a_shy_list_stands_in_what_is_signed_and_hp_outer_tells_the_difference(
    edition: Edition, identity: seal.Identity, now: datetime
) -> None:
    own = dataclasses.replace(identity, display_name=NAMED, is_shy=True)
    payload = seal.sign_edition(edition, own, now).entity.split(b"\r\n\r\n", 1)[1].split(b"\r\n", 1)[1]
    fields = read_fields(payload)
    assert str(read(payload)["From"]) == f"{NAMED} <{LIST}>"
    assert ("HP-Outer", f"From: {LIST}") in fields


def test_an_open_letter_of_a_shy_list_shows_no_name_either(identity: seal.Identity, now: datetime) -> None:
    own = dataclasses.replace(identity, display_name=NAMED, is_shy=True)
    letter = seal.leave_open(
        Draft("Hello", "Hello.\n", Language.EN, may_be_open=True),
        recipient=own.address,
        identity=own,
        now=now,
        message_id="<a@b.example>",
    )
    assert dict(read_fields(letter.content))["From"] == LIST
