"""Faults of keys, queues, database, service and settings, each named and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pysequoia
import pytest
from sqlalchemy import delete, insert, update

from mailer.crypto import openpgp, smime
from mailer.doctor import queues
from mailer.errors import StoreError
from mailer.model.address import Address
from mailer.store import marks, sightings
from mailer.store.tables import deliveries, digests, seconds, traits, weather
from mailer.store.tables import inbox as inbox_table
from mailer.store.tables import outbox as outbox_table
from tests.doctor.planting import Changes, Plant, Plants, check_planted, faults
from tests.doctor.world import ADDRESS, DOMAIN, HOST, NOW, World, free_port, note_backup, write_certificate
from tests.house import LIST, Person

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANTS = Plants()
planted = PLANTS.planted


# --- Keys -----------------------------------------------------------------------------------------------------------


async def test_keys_that_end_are_named(world: World) -> None:
    path = world.instance.folder / "keys" / "contact.asc"
    kept, person = path.read_bytes(), Person.with_key("contact@elsewhere.example")
    assert person.key is not None
    for expires, what in ((NOW + timedelta(days=5), "expires on"), (NOW + timedelta(days=45), "")):
        certificate = pysequoia.Cert.from_bytes(person.certificate)
        path.write_bytes(bytes(certificate.set_expiration(expires, person.key.certifier())))
        found = faults(await world.look())
        assert set(found) == ({"key-expiry"} if what else set())
        assert not what or what in found["key-expiry"][0].what
    found = faults(await world.look(now=NOW + timedelta(days=46)))
    assert "has expired" in found["key-expiry"][0].what
    path.unlink()
    assert "cannot be read" in faults(await world.look())["key-expiry"][0].what
    path.write_bytes(kept)


@planted("list-key", "primary that does not sign")
async def _key_of_the_wrong_shape(world: World) -> AsyncIterator[Changes]:
    key = openpgp.generate_plain_key(Address.parse(LIST))
    yield {"secrets": replace(world.secrets, list_keys={"news": key.secret})}


@planted("list-key", "S/MIME certificate of news ends on")
async def _smime_that_ends(world: World) -> AsyncIterator[Changes]:
    own = smime.keys.self_signed(smime.keys.generate_private(), Address.parse(LIST), NOW, timedelta(days=9))
    yield {"secrets": replace(world.secrets, smime_keys={"news": own.to_pem()})}


@planted("list-key", "has no OpenPGP key")
async def _list_without_key(world: World) -> AsyncIterator[Changes]:
    yield {"secrets": replace(world.secrets, list_keys={})}


# --- The database ---------------------------------------------------------------------------------------------------


def in_database(check: str, what: str, *statements: Any) -> None:
    async def plant(world: World) -> AsyncIterator[Changes]:
        async with world.database.write() as tx:
            for statement in statements:
                await tx.execute(statement)
        yield {}
        async with world.database.write() as tx:
            for table in (inbox_table, outbox_table, deliveries, digests, weather):
                await tx.execute(delete(table))

    planted(check, what)(plant)


OLD = seconds(NOW - timedelta(hours=3))
DIGEST = {"id": "d1", "list_id": "news", "created": OLD, "over_s": 0, "planned": 1}
DELIVERY = {"job": "d1", "subscriber_id": b"s" * 12, "list_id": "news", "provider": "bucket", "attempts": 0}
LETTER = {"id": b"i" * 12, "received": OLD * 1000, "due": OLD, "sealed": b"s"}

in_database("queue-age", "1 letter in the inbox", insert(inbox_table).values(**LETTER))
in_database(
    "outbox-age", "1 reply in the outbox", insert(outbox_table).values(id=b"o" * 12, queued=OLD, due=OLD, sealed=b"s")
)
in_database(
    "set-aside", "1 letter set aside, sealed: malformed", insert(inbox_table).values(**LETTER, aside="malformed")
)


@pytest.mark.parametrize("reason", ["contact-limit", "no-contact-key", "template"])
async def test_of_letters_set_aside_that_a_person_can_help_on_it_is_said_how(world: World, reason: str) -> None:
    async with world.database.write() as tx:
        await tx.execute(insert(inbox_table).values(**LETTER, aside=reason))
    [found] = faults(await world.look())["set-aside"]
    [news] = [one async for one in queues.aside_lately(world.scene())]
    assert all(f"`mailer inbox retry {reason}`" in one.do for one in (found, news))
    async with world.database.write() as tx:
        await tx.execute(delete(inbox_table))


in_database("held", "d1 is held", insert(digests).values(**DIGEST, state="held"))
in_database(
    "delivery-age",
    "1 delivery not begun",
    insert(digests).values(**DIGEST, state="sending"),
    insert(deliveries).values(**DELIVERY, state="due", due=OLD),
)
in_database(
    "poisoned",
    "1 delivery set aside",
    insert(digests).values(**DIGEST, state="sending"),
    insert(deliveries).values(**DELIVERY, state="aside", due=OLD),
)
in_database(
    "censored",
    "qq.com refused 40 %",
    *(
        insert(weather).values(day=NOW.date(), provider="qq.com", outcome=outcome, number=number)
        for outcome, number in (("sent", 30), ("censored", 20))
    ),
)


@planted("backup-age", "8 d")
async def _old_backup(world: World) -> AsyncIterator[Changes]:
    await note_backup(world.database, NOW - timedelta(days=8))
    yield {}
    await note_backup(world.database, NOW)


async def test_a_backup_that_is_gone_is_named_and_one_out_of_reach_was_not_seen(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "older").touch()
    (folder / "newest").touch()
    for name in ("older", "newest"):
        await marks.set_backup(world.database, str(folder / name), NOW)
    try:
        assert faults(await world.look()) == {}
        (folder / "newest").unlink()
        [gone] = faults(await world.look())["backup-age"]
        assert f"{folder}/newest" in gone.what and gone.do
        folder.rename(tmp_path / "taken out")
        [unseen] = [one for one in await world.look() if one.check == "backup-age"]
        assert (unseen.ok, unseen.is_left_out) == (None, False)
    finally:
        async with world.database.write() as tx:
            await tx.execute(delete(traits).where(traits.c.name == marks.PLACES))


@planted("backup-age", "No backup was ever made")
async def _no_backup(world: World) -> AsyncIterator[Changes]:
    async with world.database.write() as tx:
        await tx.execute(delete(traits).where(traits.c.name == "backup"))
        await tx.execute(insert(digests).values(**DIGEST, state="draft"))
    yield {}
    async with world.database.write() as tx:
        await tx.execute(delete(digests))
    await note_backup(world.database, NOW)


@planted("instance-id", "is a copy")
async def _copied(world: World) -> AsyncIterator[Changes]:
    from mailer.store import home

    async with world.database.write() as tx:
        await tx.execute(update(traits).where(traits.c.name == "home").values(value=b"elsewhere"))
    yield {}
    await home.adopt(world.database)


async def test_a_database_that_does_not_open_is_named_once(world: World) -> None:
    found = await world.look(opened=None, trouble=StoreError("(It was made by another version of Mailer.)"))
    assert set(faults(found)) == {"database"}
    assert [one for one in found if one.ok is None and not one.is_left_out] == []


PLANTS.on_the_machine("integrity", "network file system", proc__self__mountinfo="1 0 0:9 / / rw - nfs4 server:/ rw\n")


async def test_a_damaged_database_is_named(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mailer.store.database import Database

    copy = tmp_path / "damaged.db"
    source = Path(world.database.url.partition(":///")[2])
    import sqlite3

    with closing(sqlite3.connect(source)) as from_, closing(sqlite3.connect(copy)) as to:
        from_.backup(to)
    content = bytearray(copy.read_bytes())
    content[8192:12288] = b"\xff" * 4096
    copy.write_bytes(bytes(content))
    database = Database(f"sqlite:///{copy}")
    await database.open(may_change=False)
    try:
        assert "integrity" in faults(await world.look(opened=database))
    finally:
        await database.close()


@planted("database-tls", "ssl=require")
async def _postgresql_unverified(world: World) -> AsyncIterator[Changes]:
    url = "postgresql+asyncpg://mailer@db.example/mailer?ssl=require"
    yield {"instance": world.settings(('url = "sqlite:///mailer.db"', f'url = "{url}"'))}


# --- The service and its settings -----------------------------------------------------------------------------------


@planted("locked", "is locked")
async def _locked(world: World) -> AsyncIterator[Changes]:
    world.state = "locked"
    yield {}
    world.state = "unlocked"


async def test_a_service_that_does_not_run_is_named(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    for one in (folder, folder / "keys"):
        one.mkdir(mode=0o700)
    port = world.instance.config.door.listen[0].port
    instance = replace(world.settings((f":{port}", f":{free_port()}")), folder=folder)
    assert set(faults(await world.look(instance=instance))) == {"locked"}


PLANTS.in_settings("config", "without contact_key", ('contact_key = "keys/contact.asc"', 'contact_key = ""'))


@planted("config", "calls itself localhost")
async def _no_hostname(world: World) -> AsyncIterator[Changes]:
    port = world.instance.config.door.listen[0].port
    zone = world.zone()
    world.names.zone = zone | {(DOMAIN, "MX"): ["10 localhost."], ("localhost", "A"): [ADDRESS]}
    own = world.settings(
        (f'"127.0.0.1:{port}"', '":0"'),
        (f'hostname = "{HOST}"', 'hostname = "localhost"'),
        ('tls_certificate = "chain.pem"', 'tls_certificate = "local/chain.pem"'),
        ('tls_key = "key.pem"', 'tls_key = "local/key.pem"'),
    )
    folder = world.instance.folder / "local"
    folder.mkdir()
    write_certificate(folder, world.authority, "localhost")
    yield {"instance": own}
    world.names.zone = zone
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@planted("identities", "No relay stands for the identity abroad")
async def _identity_without_relay(world: World) -> AsyncIterator[Changes]:
    text = world.instance.config_path.read_text()
    one = f'\n[[lists.identities]]\nname = "abroad"\naddress = "abroad@{DOMAIN}"\n'
    keys = {**world.secrets.list_keys, "news/abroad": world.secrets.list_keys["news"]}
    yield {"instance": world.settings((text, text + one)), "secrets": replace(world.secrets, list_keys=keys)}


@planted("templates", "has no welcome.txt in zh-Hant, zh-Hans")
async def _template_in_one_language(world: World) -> AsyncIterator[Changes]:
    folder = world.instance.folder / "wording" / "sealed" / "en"
    folder.mkdir(parents=True)
    contact = 'contact_key = "keys/contact.asc"'
    (folder / "welcome.txt").write_text("Subject: Hello\n\nYou are on {{ list }}.\n")
    yield {"instance": world.settings((contact, f'{contact}\ntemplates = "wording"'))}
    (folder / "welcome.txt").unlink()


async def test_a_copy_that_was_not_seen_in_a_seed_mailbox_is_named(world: World) -> None:
    key = Person.with_key("seed@mail.example")
    (world.instance.folder / "keys" / "seed.asc").write_bytes(key.certificate)
    (world.instance.folder / "keys" / "seed.imap").touch(mode=0o600)
    text = world.instance.config_path.read_text()
    seed = (
        f'\n[[seeds]]\naddress = "{key.address}"\nkey = "keys/seed.asc"\nimap_host = "imap.mail.example"\n'
        'imap_username = "seed"\nimap_password_file = "keys/seed.imap"\n'
    )
    instance = world.settings((text, text + seed))
    begun = seconds(NOW - timedelta(days=2))
    async with world.database.write() as tx:
        await tx.execute(insert(digests).values(**DIGEST, state="sent", started=begun))
    found = faults(await world.look(instance=instance))
    assert set(found) == {"seeds"}
    assert key.address not in found["seeds"][0].what + found["seeds"][0].do
    async with world.database.write() as tx:
        seen = sightings.Sighting(NOW, sightings.Place.INBOX)
        await sightings.note(tx, "d1", instance.seeds()[0].id, seen)
    assert faults(await world.look(instance=instance)) == {}
    async with world.database.write() as tx:
        await tx.execute(delete(digests))


@pytest.mark.parametrize(("check", "what", "plant"), PLANTS, ids=PLANTS.names)
async def test_a_planted_fault_is_named_and_nothing_else(world: World, check: str, what: str, plant: Plant) -> None:
    await check_planted(world, check, what, plant)
