"""A digest's way out in every form: made when it begins or by whoever needs it first, and never another instead."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from mailer.crypto import openpgp
from mailer.errors import FormUnavailable
from mailer.instance import Instance
from mailer.inward import look_up
from mailer.inward.answer import unsubscribe_address
from mailer.letters.seal import pdf
from mailer.model.address import Address
from mailer.model.certificate import Certificate
from mailer.model.digest import DeliveryState, Edition, Form
from mailer.model.language import Language
from mailer.model.mailing_list import Directory
from mailer.model.means import means_of, with_format, with_key
from mailer.model.subscriber import Drawer, Method, State
from mailer.model.subscriber import Format as Wanted
from mailer.outward import publish
from mailer.outward.routes import Route
from mailer.store import roster
from mailer.store.database import Transaction
from mailer.store.digests import Version
from mailer.store.ledger import Entry
from tests import opening
from tests.house import LIST, House, Person, open_house, reply_to, text_of
from tests.walks import crowd
from tests.walks.crowd import publish_digest
from tests.walks.test_deliver import READER, drawer_of

WORDS = "cotton violin marble pepper anchor"
TYPESET = b"%PDF-1.7 a page of it"


async def enrol(house: House, wanted: Wanted, **more: object) -> list[bytes]:
    """Put somebody with a key on the list who wants this form."""
    chosen = with_format(replace(drawer_of(READER), **more), wanted, WORDS)  # type: ignore[arg-type]
    assert chosen is not None
    method, drawer = chosen
    return await crowd.enrol(house.database, house.secrets, house.instance.roster_public(), 1, [drawer], method=method)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Edition]:
    """Editions that were typeset; it takes seconds, and is tested where it is done."""
    seen: list[Edition] = []

    def typeset(edition: Edition) -> bytes:
        seen.append(edition)
        return TYPESET + str(len(edition.payload)).encode()

    monkeypatch.setattr(pdf, "typeset_edition", typeset)
    monkeypatch.setattr(pdf.pdf, "encrypt", lambda page, words, _padded: f"{words}/Encrypt".encode() + page)
    return seen


async def forms(house: House) -> set[Form]:
    return {version.form for version in await publish.load_signed(house.database, house.secrets, "d1")}


@pytest.mark.parametrize(("wanted", "form"), [(Wanted.INLINE, "as text"), (Wanted.ATTACHMENT, "as a file")])
async def test_a_copy_comes_in_the_form_that_its_reader_chose(tmp_path: Path, wanted: Wanted, form: str) -> None:
    async with open_house(tmp_path / "instance") as house:
        await enrol(house, wanted)
        assert await publish_digest(house) == 1
        [copy] = await house.deliver()
        opened = READER.open(copy)
        assert (opening.form_of(copy.content), opened["Subject"]) == (form, "News")
        assert "All of it." in text_of(opened)


async def test_a_digest_is_typeset_once_when_it_begins_if_somebody_reads_pdfs(
    tmp_path: Path, made: list[Edition]
) -> None:
    async with open_house(tmp_path / "instance") as house:
        for _ in range(3):
            await enrol(house, Wanted.PDF)
        await publish_digest(house)
        assert Form.PDF in await forms(house)
        copies = await house.deliver()
        assert [opening.form_of(one.content) for one in copies] == [opening.Form.PDF] * 3
        assert len(made) == 1


async def test_what_nobody_needs_is_not_made(tmp_path: Path, made: list[Edition]) -> None:
    async with open_house(tmp_path / "instance") as house:
        await enrol(house, Wanted.INLINE)
        await publish_digest(house)
        assert await forms(house) == {Form.FULL, Form.TEXT}
        assert made == []


async def test_whoever_needs_a_form_first_makes_it_and_keeps_it_for_the_others(
    tmp_path: Path, made: list[Edition]
) -> None:
    async with open_house(tmp_path / "instance") as house:
        ids = [*await enrol(house, Wanted.PGP_MIME), *await enrol(house, Wanted.PGP_MIME)]
        await publish_digest(house)
        for subscriber_id in ids:
            await choose_pdf(house, subscriber_id)
        before = dict(await publish.load_signed(house.database, house.secrets, "d1"))
        house.clock.pass_(hours=3)
        copies = await house.deliver()
        assert [opening.form_of(one.content) for one in copies] == [opening.Form.PDF] * 2
        kept = await publish.load_signed(house.database, house.secrets, "d1")
        full, late = kept[Version(Language.EN)], kept[Version(Language.EN, form=Form.PDF)]
        assert late.signed_at == house.clock() != full.signed_at  # programs complain where Date and signature differ
        assert (set(kept) - set(before), len(made)) == ({Version(Language.EN, form=Form.PDF)}, 1)


def test_who_reads_by_smime_at_a_provider_that_takes_no_large_letters_has_a_form_without_pictures_at_once() -> None:
    edition = Edition(Language.EN, "News", "All of it.", b"with pictures", b"without")
    made = [*publish._forms(edition, "", {Form.SMIME}), *publish._forms(edition, "", ())]
    assert (made.count(Form.SMIME), made.count(Form.SMIME_LIGHT)) == (1, 1)
    assert Form.SMIME_LIGHT not in list(publish._forms(replace(edition, light=None), "", {Form.SMIME}))


async def choose_pdf(house: House, subscriber_id: bytes) -> None:
    def alter(method: Method, drawer: Drawer) -> tuple[Method, Drawer]:
        return with_format(drawer, Wanted.PDF, WORDS) or (method, drawer)

    async with house.database.write() as tx:
        entry = await entry_of(house, tx, subscriber_id)
        await roster.alter_drawer(tx, roster.Found(entry.subscriber, entry.drawer, entry.record.drawer_key), alter)


async def entry_of(house: House, tx: Transaction, subscriber_id: bytes) -> Entry:
    entry = (await house.deliverer.ledger.entries(tx, [subscriber_id]))[subscriber_id]
    assert isinstance(entry, Entry)
    return entry


async def test_a_form_that_cannot_be_made_stops_nobody_else_and_suspends_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_edition: Edition) -> bytes:
        raise FormUnavailable("A font.")

    monkeypatch.setattr(pdf, "typeset_edition", fail)
    async with open_house(tmp_path / "instance") as house:
        await enrol(house, Wanted.PGP_MIME)
        await enrol(house, Wanted.PDF)
        [reader_of_pdfs] = await enrol(house, Wanted.PDF)
        with caplog.at_level(logging.ERROR, "mailer.outward"):
            assert await publish_digest(house) == 3
            [copy] = await house.deliver()
        assert opening.form_of(copy.content) is opening.Form.MAIL
        counts = (await publish.status(house.database, "d1")).counts
        assert counts[DeliveryState.ASIDE] == 2
        assert await state_of(house, reader_of_pdfs) is State.ACTIVE
        assert caplog.text.count("A font.") == 2  # when it began, and for the first of those who read PDFs
        assert "no form pdf" in caplog.text and "a delivery was set aside" in caplog.text


async def state_of(house: House, subscriber_id: bytes) -> State:
    async with house.database.read() as tx:
        return (await entry_of(house, tx, subscriber_id)).subscriber.state


@pytest.mark.parametrize("method", Method)
async def test_without_what_a_method_needs_nothing_is_sent_but_the_notice(
    tmp_path: Path, made: list[Edition], method: Method
) -> None:
    """The drawer holds something, but not what the column says: the digest leaves neither so nor otherwise."""
    drawer = Drawer(passphrase=WORDS) if method is Method.OPENPGP else drawer_of(READER)
    async with open_house(tmp_path / "instance") as house:
        public = house.instance.roster_public()
        [reader] = await crowd.enrol(house.database, house.secrets, public, 1, [drawer], method=method)
        await publish_digest(house)
        [notice] = await house.deliver()
        assert await state_of(house, reader) is State.SUSPENDED
        assert opening.form_of(notice.content) is opening.Form.CLEAR
        assert "All of it" not in text_of(opening.parse(notice.content))


async def test_a_provider_that_takes_no_large_letters_gets_the_pdf_without_pictures(
    tmp_path: Path, made: list[Edition]
) -> None:
    async with open_house(tmp_path / "instance") as house:
        await enrol(house, Wanted.PDF)
        Image.effect_noise((300, 300), 90).save(tmp_path / "lamp.png")
        await publish_digest(house, "d1", "---\nsubject: News\nlanguage: en\n---\n\n![A lamp](lamp.png)\n")
        house.deliverer.routes.routes = {"other-1": Route(("main",), max_octets=100)}
        [copy] = await house.deliver()
        assert opening.form_of(copy.content) is opening.Form.PDF
        with_pictures, light = made
        assert len(light.payload) < len(with_pictures.payload)
        assert Form.PDF_LIGHT in await forms(house)


def test_a_new_key_keeps_the_form_and_a_first_key_takes_the_passphrases_place() -> None:
    [key] = openpgp.examine(Person.with_key("new@reader.example").certificate, datetime.now(UTC))
    assert isinstance(key, Certificate)
    for wanted in Wanted:
        chosen = with_format(drawer_of(READER), wanted, WORDS)
        assert chosen is not None
        method, held = with_key(*chosen, key)
        words = WORDS if wanted is Wanted.PDF else ""
        assert (method, held.format, held.certificate, held.passphrase) == (chosen[0], wanted, key.blob, words)
    method, held = with_key(Method.PDF, Drawer(passphrase=WORDS, format=Wanted.PDF), key)
    assert (method, held.format, held.passphrase) == (Method.OPENPGP, Wanted.PGP_MIME, WORDS)


def test_an_x509_certificate_takes_the_place_of_an_openpgp_key_and_the_other_way_round() -> None:
    [key] = openpgp.examine(READER.certificate, datetime.now(UTC))
    assert isinstance(key, Certificate)
    der = Certificate(b"\x30der", "ab" * 32, None, ("rsa2048",), 3)
    method, held = with_key(*with_key(Method.OPENPGP, Drawer(), key), der)
    assert (method, held.certificate, held.x509, held.fingerprint) == (Method.SMIME, b"", der.blob, der.fingerprint)
    assert with_format(held, Wanted.PGP_MIME, "") == (Method.SMIME, held)
    assert with_format(held, Wanted.INLINE, "") is None
    method, held = with_key(method, held, key)
    assert (method, held.certificate, held.x509) == (Method.OPENPGP, key.blob, b"")


@pytest.mark.parametrize("method", Method)
def test_where_nothing_is_on_file_there_are_no_means(method: Method) -> None:
    assert means_of(method, Drawer()) is None
    assert with_format(Drawer(), Wanted.PGP_MIME, "") is None


# --- Header protection, from the setting to the wire ----------------------------------------------------------------


@pytest.mark.parametrize(("setting", "shown"), [("hcp_baseline", f"Zebras <{LIST}>"), ("hcp_shy", LIST)])
async def test_the_setting_decides_whether_the_lists_name_stands_outside(
    tmp_path: Path, setting: str, shown: str
) -> None:
    async with open_house(tmp_path / "first") as house:
        path = house.instance.config_path
        head, _, tail = path.read_text().rpartition('display_name = ""')
        path.write_text(f'{head}display_name = "Zebras"\nheader_protection = "{setting}"{tail}')
        house.instance = Instance.open(house.instance.folder)
        [mailing_list] = house.instance.directory().lists
        house.worker.receiver.listener = replace(house.worker.receiver.listener, directory=Directory((mailing_list,)))
        house.deliverer.copies.directory = Directory((mailing_list,))
        letters = [await house.join(READER)]
        await publish_digest(house)
        letters += await house.deliver()
        assert [str(opening.parse(one.content)["From"]) for one in letters] == [shown, shown]
        inside = [next(part["From"] for part in READER.open(one).walk() if part["From"]) for one in letters]
        assert [str(one) for one in inside] == [f"Zebras <{LIST}>"] * 2


@asynccontextmanager
async def without_fonts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[House, roster.Person, roster.Found]]:
    """A house with one reader, of PDFs, that cannot make any more of these."""

    def fail(*_what: object) -> bytes:
        raise FormUnavailable("A font.")

    async with open_house(folder / "instance") as house:
        await house.join(READER)
        person = await roster.identify(house.secrets, "news", Address.parse(READER.address))
        async with house.database.read() as tx:
            found = await roster.find(tx, person)
        assert found is not None
        await choose_pdf(house, found.subscriber.id)
        monkeypatch.setattr(pdf.typeset, "typeset_letter", fail)  # undone in order with what the test does itself
        yield house, person, found


async def test_one_word_is_enough_to_leave_though_no_pdf_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with without_fonts(tmp_path, monkeypatch) as (house, person, _):
        [question] = await house.write(READER.letter("unsubscribe"))
        assert opening.form_of(question.content) is opening.Form.CLEAR
        assert await house.write(READER.letter("Re: [...]", "yes"), to=reply_to(question)) == []
        async with house.database.read() as tx:
            assert await roster.find(tx, person) is None


async def test_a_letter_whose_question_cannot_be_made_is_kept_and_asked_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with without_fonts(tmp_path, monkeypatch) as (house, _, _):
        assert await house.write(READER.letter("pause")) == []
        monkeypatch.setattr(pdf.typeset, "typeset_letter", lambda *_: TYPESET)
        monkeypatch.setattr(pdf.pdf, "encrypt", lambda page, *_: b"/Encrypt" + page)
        house.clock.pass_(minutes=1)
        [question] = await house.work()
        assert opening.form_of(question.content) is opening.Form.PDF


async def test_no_form_is_offered_that_cannot_be_made_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_house(tmp_path / "instance") as house:
        await house.join(READER)
        monkeypatch.setattr(look_up.typeset, "is_possible", lambda: False)
        [answer] = await house.write(READER.letter("format pdf"))
        assert READER.open(answer)["Subject"] == "We cannot make PDFs at the moment"
        [answer] = await house.write(READER.letter("format inline"))
        assert "another form" in READER.read(answer)


async def test_leaving_works_though_the_farewell_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with without_fonts(tmp_path, monkeypatch) as (house, person, found):
        [mailing_list] = house.instance.directory().lists
        leave = unsubscribe_address(house.secrets, mailing_list, found.subscriber.id)
        assert await house.write(READER.letter("", ""), to=str(leave)) == []
        async with house.database.read() as tx:
            assert await roster.find(tx, person) is None
        assert "a reply was left unsaid" in caplog.text
