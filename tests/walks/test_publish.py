"""The first half of the way out: begun at its time by one process alone, signed by each identity, planned for all."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image

from mailer.crypto import openpgp
from mailer.crypto.keyring import Keyring
from mailer.crypto.service_secrets import key_name
from mailer.errors import DigestUnusable, ListUnknown, Locked
from mailer.letters import seal
from mailer.model.address import Address
from mailer.model.digest import DeliveryState, DigestState, DigestStatus, Edition, Form
from mailer.model.language import Language
from mailer.model.mailing_list import Directory, MailingList, Sender
from mailer.model.means import OpenPgp
from mailer.model.seed import Seed
from mailer.outward import proof, publish
from mailer.outward.compose import compose
from mailer.outward.routes import Route
from mailer.store import digests
from mailer.store.digests import Plan, Version
from tests.house import House, Person, open_house, text_of
from tests.walks.crowd import publish_digest
from tests.walks.test_deliver import READER, fill

HOUR = timedelta(hours=1)
ABROAD = Sender("abroad", Address.parse("news@other.example"))
ORGANISER = Person.with_key("organiser@elsewhere.example")


def the_list(house: House) -> MailingList:
    return house.instance.directory().lists[0]


def composed(house: House, name: str = "issue", body: str = "All of it.", language: str = "en") -> Edition:
    path = house.instance.folder.parent / f"{name}.md"
    path.write_text(f"---\nsubject: News\nlanguage: {language}\n---\n\n{body}\n", encoding="utf-8")
    return compose(path)


async def save(house: House, digest_id: str, *editions: Edition, corrects: str | None = None) -> None:
    await publish.save(
        house.database, house.secrets, digest_id, "news", editions or [composed(house)], house.clock(), corrects
    )


async def schedule(house: House, digest_id: str = "d1", after: timedelta = HOUR, over_s: int = 0) -> None:
    await save(house, digest_id)
    begins = house.clock() + after
    plan = Plan(begins, over_s, begins + 48 * HOUR)
    await publish.schedule(house.database, house.keyring, the_list(house), digest_id, plan)


async def begin(
    house: House, directory: Directory | None = None, seeds: tuple[Seed, ...] = (), told: set[str] | None = None
) -> int:
    directory = directory or house.instance.directory()
    providers, now = house.instance.providers, house.clock()
    return await publish.begin_due(house.database, house.keyring, directory, providers, seeds, now, told)


async def status(house: House, digest_id: str = "d1") -> DigestStatus:
    return await publish.status(house.database, digest_id)


def seed(certificate: bytes = ORGANISER.certificate, *lists: str) -> Seed:
    return Seed(b"seed-of-test", Address.parse(ORGANISER.address), certificate, Language.EN, lists)


# --- Now ------------------------------------------------------------------------------------------------------------


async def test_what_was_sent_is_not_sent_again(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await fill(house, 2)
        assert await publish_digest(house) == 2
        with pytest.raises(DigestUnusable, match="sent already"):
            await publish.send(
                house.database,
                house.keyring,
                the_list(house),
                "d1",
                house.clock(),
                providers=house.instance.providers,
            )
        assert (await status(house)).counts == {DeliveryState.DUE: 2}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"is_retired": True}, "retired"),
        ({"default_language": Language.ZH_HANT}, "no edition in zh-Hant"),
        ({"id": "other"}, "No such list"),
    ],
)
async def test_what_cannot_begin_is_refused_when_it_is_scheduled(
    changed: dict[str, object], reason: str, tmp_path: Path
) -> None:
    async with open_house(tmp_path / "instance") as house:
        await save(house, "d1")
        mailing_list = replace(the_list(house), **changed)  # type: ignore[arg-type]
        plan = Plan(house.clock() + HOUR, 0, house.clock() + 9 * HOUR)
        with pytest.raises((DigestUnusable, ListUnknown), match=reason):
            await publish.schedule(house.database, house.keyring, mailing_list, "d1", plan)
        assert (await status(house)).state is DigestState.DRAFT
        with pytest.raises(DigestUnusable, match="no such digest"):
            await publish.schedule(house.database, house.keyring, mailing_list, "d2", plan)
        with pytest.raises(DigestUnusable, match="no such digest"):
            await status(house, "d2")


async def test_a_digest_goes_to_its_own_list_only(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await save(house, "d1")
        secrets = house.secrets.with_list_key("other", house.secrets.list_keys["news"])
        plan = Plan(house.clock(), 0, house.clock() + HOUR)
        with pytest.raises(DigestUnusable, match="another list"):
            await publish.schedule(house.database, Keyring(secrets), replace(the_list(house), id="other"), "d1", plan)


# --- At its time ----------------------------------------------------------------------------------------------------


async def test_a_scheduled_digest_begins_at_its_time_and_is_signed_then(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await fill(house, 2)
        await schedule(house)
        assert await begin(house) == 0
        assert (await status(house)).state is DigestState.SCHEDULED
        house.clock.pass_(hours=1, seconds=1)
        assert await begin(house) == 1
        signed = await publish.load_signed(house.database, house.secrets, "d1")
        assert {one.signed_at for one in signed.values()} == {house.clock()}
        assert len(await house.deliver()) == 2
        assert (await status(house)).state is DigestState.SENT
        assert await begin(house) == 0


async def test_of_several_workers_one_begins_a_digest(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await fill(house, 3)
        await schedule(house, after=timedelta(0))
        assert sorted(await asyncio.gather(*(begin(house) for _ in range(4)))) == [0, 0, 0, 1]
        found = await status(house)
        assert (found.planned, found.counts) == (3, {DeliveryState.DUE: 3})
        assert len(await house.deliver()) == 3


async def test_a_digest_that_cannot_begin_is_named_once_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_house(tmp_path / "instance") as house:
        await fill(house, 1)
        await schedule(house, "d1", timedelta(0))
        await publish.save(house.database, house.secrets, "d2", "gone", [composed(house)], house.clock())
        async with house.database.write() as tx:
            await digests.schedule(tx, "d2", Plan(house.clock() - HOUR, 0, house.clock() + HOUR))
        told: set[str] = set()
        with caplog.at_level(logging.ERROR, "mailer.outward"):
            assert [await begin(house, told=told) for _ in range(3)] == [1, 0, 0]
        [said] = [one.getMessage() for one in caplog.records]
        assert said.startswith("the digest d2 cannot begin: No such list here.")
        assert [(await status(house, one)).state for one in ("d1", "d2")] == [
            DigestState.SENDING,
            DigestState.SCHEDULED,
        ]


async def test_a_fault_nobody_thought_of_is_named_by_its_class_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("Secret subject")

    async with open_house(tmp_path / "instance") as house:
        await schedule(house, "d1", timedelta(0))
        monkeypatch.setattr(seal, "sign_edition", fail)
        with caplog.at_level(logging.ERROR, "mailer.outward"):
            assert await begin(house) == 0
        assert caplog.messages == ["the digest d1 cannot begin: ValueError"]


async def test_a_locked_worker_begins_nothing_and_says_so(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await schedule(house, "d1", timedelta(0))
        house.keyring.lock()
        with pytest.raises(Locked):
            await begin(house)
        house.keyring.unlock(house.secrets)
        assert await begin(house) == 1


async def test_what_no_worker_began_in_time_is_held_unsigned(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await fill(house, 1)
        await schedule(house, "d1", timedelta(0))
        house.clock.pass_(hours=48)
        assert await begin(house) == 0
        assert (await status(house)).state is DigestState.HELD
        assert await publish.load_signed(house.database, house.secrets, "d1") == {}
        async with house.database.write() as tx:
            assert await digests.resume(tx, "d1", house.clock(), house.clock() + HOUR)
        assert await begin(house) == 1
        assert len(await house.deliver()) == 1


async def test_a_digest_is_spread_from_the_moment_on_at_which_it_begins(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await fill(house, 40)
        await schedule(house, "d1", timedelta(0), over_s=7200)
        assert await begin(house) == 1
        some = len(await house.deliver())
        house.clock.pass_(hours=1)
        more = len(await house.deliver())
        house.clock.pass_(hours=1)
        rest = len(await house.deliver())
        assert some < 10 and 0 < more < 40 and rest > 0 and some + more + rest == 40


# --- Signed by each identity, in each form --------------------------------------------------------------------------


async def test_each_edition_is_signed_by_every_identity_in_each_form(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        Image.new("RGB", (9, 9)).save(tmp_path / "lamp.png")
        with_picture = composed(house, "en", "![A lamp](lamp.png)")
        await save(house, "d1", with_picture, composed(house, "zh", language="zh-Hant"))
        other = openpgp.generate_list_key(ABROAD.address)
        keyring = Keyring(house.secrets.with_list_key(key_name("news", "abroad"), other.secret))
        mailing_list = replace(the_list(house), identities=(ABROAD,))
        providers, now = house.instance.providers, house.clock()
        await publish.send(house.database, keyring, mailing_list, "d1", now, providers=providers)
        signed = await publish.load_signed(house.database, house.secrets, "d1")
        expected = {
            Version(language, sender, form)
            for language, forms in [
                (Language.EN, (Form.FULL, Form.LIGHT, Form.TEXT)),
                (Language.ZH_HANT, (Form.FULL, Form.TEXT)),
            ]
            for form in forms
            for sender in ("", "abroad")
        }
        assert set(signed) == expected
        for version, edition in signed.items():
            assert edition.address == (ABROAD.address if version.identity else mailing_list.address)
            assert (b"image/" in edition.entity) is (version.language is Language.EN and version.form is Form.FULL)


async def test_an_identity_without_a_key_is_found_before_anything_is_sent(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await save(house, "d1")
        mailing_list = replace(the_list(house), identities=(ABROAD,))
        with pytest.raises(ListUnknown, match="identity has no key"):
            await publish.check(house.database, house.keyring, mailing_list, "d1")


async def test_a_provider_that_takes_no_large_letters_gets_the_light_form(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        [_] = await fill(house)
        Image.effect_noise((300, 300), 90).save(tmp_path / "lamp.png")
        edition = composed(house, "en", "![A lamp](lamp.png)")
        await save(house, "d1", edition)
        assert edition.light is not None
        limit = proof.largest_copy(edition.light)
        assert limit < proof.largest_copy(edition.payload)
        house.deliverer.routes.routes = {"other-1": Route(("main",), max_octets=limit)}
        providers, now = house.instance.providers, house.clock()
        await publish.send(house.database, house.keyring, the_list(house), "d1", now, providers=providers)
        [copy] = await house.deliver()
        opened = READER.open(copy)
        assert "takes no large letters" in text_of(opened)
        assert not [part for part in opened.walk() if part.get_content_maintype() == "image"]
        assert len(copy.content) <= limit


async def test_no_copy_is_larger_than_was_reckoned(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        for words in (1, 500, 20_000):
            edition = composed(house, "en", "word " * words)
            sizes = [
                len(
                    proof.copy_for(
                        Address.parse(READER.address),
                        OpenPgp(READER.certificate),
                        house.keyring,
                        the_list(house),
                        edition,
                    ).content
                )
                for _ in range(12)
            ]
            assert max(sizes) <= proof.largest_copy(edition.payload) < 1.4 * max(sizes) + 8192


# --- Seeds, corrections ---------------------------------------------------------------------------------------------


async def test_a_seed_mailbox_gets_a_copy_like_everybody(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await fill(house, 2)
        own = seed()
        house.deliverer.copies.seeds = {own.id: own}
        await schedule(house, "d1", timedelta(0), over_s=60)
        assert await begin(house, seeds=(own, replace(own, id=b"of-another-1", lists=("other",)))) == 1
        found = await status(house)
        assert (found.planned, found.counts) == (3, {DeliveryState.DUE: 3})
        house.clock.pass_(minutes=1)
        copies = await house.deliver()
        [mine] = [one for one in copies if one.rcpt.startswith(f"RCPT TO:<{ORGANISER.address}>")]
        assert "All of it." in text_of(ORGANISER.open(mine))
        assert len(copies) == 3
        assert (await status(house)).counts == {DeliveryState.SENT: 3}


async def test_a_seed_whose_key_cannot_be_used_costs_nobody_a_copy(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await fill(house, 1)
        own = seed(b"no certificate")
        house.deliverer.copies.seeds = {own.id: own}
        await schedule(house, "d1", timedelta(0))
        assert await begin(house, seeds=(own,)) == 1
        assert len(await house.deliver()) == 1
        assert (await status(house)).counts == {DeliveryState.SENT: 1, DeliveryState.UNUSABLE_KEY: 1}


async def test_a_correction_stops_what_is_left_of_the_wrong_one_and_goes_to_all(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await fill(house, 3)
        assert await publish_digest(house) == 3
        await save(house, "d2", corrects="d1")
        providers, now = house.instance.providers, house.clock()
        planned = await publish.send(house.database, house.keyring, the_list(house), "d2", now, providers=providers)
        assert (planned, (await status(house)).state, (await status(house, "d2")).corrects) == (
            3,
            DigestState.PAUSED,
            "d1",
        )
        assert len(await house.deliver()) == 3
        assert (await status(house)).counts == {DeliveryState.DUE: 3}


async def test_a_correction_that_is_only_scheduled_stops_the_wrong_one_at_once(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        await fill(house, 1)
        await publish_digest(house)
        await save(house, "d2", corrects="d1")
        plan = Plan(house.clock() + HOUR, 0, house.clock() + 9 * HOUR)
        await publish.schedule(house.database, house.keyring, the_list(house), "d2", plan)
        assert (await status(house)).state is DigestState.PAUSED
