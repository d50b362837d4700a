"""`mailer digest`, typed: real files, a real database, real keys; only the far servers are stood in for."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from mailer import config
from mailer import instance as instances
from mailer.cli import digest
from mailer.crypto.keyfile import SlotKdf
from mailer.errors import DigestUnusable, MailerError, RelayUnusable, TimeUnusable
from mailer.instance import Instance
from mailer.model.address import Address
from mailer.model.digest import DeliveryState
from mailer.model.failure import Failure
from mailer.model.weather import SENT
from mailer.store import bounces, digests, queue, sightings
from mailer.store.database import Database, Transaction
from mailer.store.queue import Settlement
from mailer.store.sightings import Place, Sighting
from tests.house import Person, text_of
from tests.walks.crowd import enrol
from tests.walks.far_server import FarServer
from tests.walks.test_deliver import READER, drawer_of

CHEAP = SlotKdf(memory_kib=8, iterations=1, lanes=1)
SERVICE, ROSTER = "service passphrase", "roster passphrase"
SEED = """
[[seeds]]
address = "organiser@qq.com"
key = "keys/organiser.asc"
"""
LARGE = """
[[routes]]
providers = ["qq.com"]
max_letter_bytes = 5000
"""

T = TypeVar("T")


@dataclass
class Desk:
    """An instance with one list, and somebody who types commands."""

    folder: Path

    def run(self, *arguments: str | Path, stdin: str = "") -> Result:
        """Run `mailer digest …`; the passphrase lies where systemd would put it."""
        result = CliRunner().invoke(
            digest.commands,
            [*map(str, arguments), "--instance", str(self.folder / "instance")],
            input=stdin,
            env={"CREDENTIALS_DIRECTORY": str(self.folder), "COLUMNS": "200"},
        )
        if result.exception and not isinstance(result.exception, SystemExit | MailerError):
            raise result.exception
        return result

    def type(self, *arguments: str | Path, stdin: str = "") -> str:
        """Return what a command prints."""
        result = self.run(*arguments, stdin=stdin)
        if result.exception:
            raise result.exception
        return result.stdout

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self.type(*arguments, "--json"))

    def new(self, *options: str, body: str = "All of it.", subject: str = "News") -> str:
        source = self.folder / "issue.md"
        source.write_text(f"---\nsubject: {subject}\nlanguage: en\n---\n\n{body}\n")
        return str(self.json("new", source, *options)["id"])

    def sent(self) -> str:
        digest_id = self.new()
        self.type("send", digest_id, "--no-wait")
        return digest_id

    @property
    def instance(self) -> Instance:
        return Instance.open(self.folder / "instance")

    def configure(self, more: str) -> None:
        path = self.instance.config_path
        path.write_text(path.read_text() + more)

    def do(self, act: Callable[[Transaction], Awaitable[T]]) -> T:
        async def run() -> T:
            database = await self._open()
            async with database.write() as tx:
                done = await act(tx)
            await database.close()
            return done

        return asyncio.run(run())

    def enrol(self, count: int) -> None:
        _, secrets = self.instance.open_service(SERVICE)

        async def run() -> None:
            database = await self._open()
            await enrol(database, secrets, self.instance.roster_public(), count, [drawer_of(READER)])
            await database.close()

        asyncio.run(run())

    async def _open(self) -> Database:
        database = self.instance.database()
        await database.open()
        return database

    def settle(self, digest_id: str, number: int, state: DeliveryState, failure: Failure | None = None) -> None:
        async def act(tx: Transaction) -> None:
            now = datetime.now(UTC)
            claimed = await queue.claim(tx, "w", digest_id, self.instance.providers.names, now, 600.0, number)
            assert len(claimed) == number
            ends = [Settlement(one, state, relay="main", failure=failure) for one in claimed]
            await queue.settle(tx, "w", ends, now)

        self.do(act)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    folder = tmp_path / "instance"
    instances.create(folder, SERVICE, ROSTER, CHEAP)
    opened, _ = Instance.open(folder).open_service(SERVICE)
    address = Address.parse("news@lists.example")
    instances.add_list(Instance.open(folder), opened, "news", address)
    config.add_list(folder / "config.toml", "news", address)
    (tmp_path / "service-passphrase").write_text(SERVICE)
    (folder / "keys" / "organiser.asc").write_bytes(READER.certificate)
    return Desk(tmp_path)


# --- Every command --------------------------------------------------------------------------------------------------

COMMANDS = sorted(one.name or "" for one in digest.commands.registered_commands)
WITHOUT_JSON = {"preview", "test"}  # they write letters


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_and_json(name: str, desk: Desk) -> None:
    said = desk.run(name, "--help").stdout
    assert f"Example: mailer digest {name}" in said
    assert ("--json" in said) is (name not in WITHOUT_JSON)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"new", "list", "test", "schedule"}))
def test_every_command_says_that_there_is_no_such_digest(name: str, desk: Desk) -> None:
    result = desk.run(name, "nosuchdigest")
    assert result.exit_code == 1
    assert isinstance(result.exception, DigestUnusable) and "digest list" in str(result.exception)


# --- Send, schedule -------------------------------------------------------------------------------------------------


def test_a_digest_is_sent_and_its_state_told(desk: Desk) -> None:
    desk.enrol(3)
    digest_id = desk.new()
    assert f"A draft: `mailer digest send {digest_id}`" in desk.type("status", digest_id)
    assert desk.type("send", digest_id, "--no-wait") == f"Digest {digest_id} goes to 3 subscribers.\n"
    found = desk.json("status", digest_id)
    assert (found["state"], found["planned"], found["counts"]) == ("sending", 3, {"due": 3})
    assert desk.json("list") == [{name: value for name, value in found.items() if name in desk.json("list")[0]}]
    with pytest.raises(DigestUnusable, match="sent already"):
        desk.type("send", digest_id, "--no-wait")


def test_a_digest_is_spread_and_held_after_its_time(desk: Desk) -> None:
    desk.enrol(1)
    digest_id = desk.new()
    said = desk.type("send", digest_id, "--over", "2h", "--send-before", "1d", "--no-wait")
    assert "goes to 1 subscribers, spread over 2 h." in said
    found = desk.json("status", digest_id)
    begins, until = (datetime.fromisoformat(found[name]) for name in ("begins", "send_before"))
    assert (found["over_s"], until - begins) == (7200, timedelta(hours=26))


def test_without_an_option_config_toml_says_when_it_is_too_late(desk: Desk) -> None:
    digest_id = desk.new()
    desk.type("send", digest_id, "--no-wait")
    found = desk.json("status", digest_id)
    begins, until = (datetime.fromisoformat(found[name]) for name in ("begins", "send_before"))
    assert until - begins == timedelta(hours=48)
    assert found["state"] == "sent"  # to nobody


@pytest.mark.parametrize("option", ["--over", "--send-before"])
def test_a_duration_that_is_none_is_refused_before_anything_happens(option: str, desk: Desk) -> None:
    digest_id = desk.new()
    with pytest.raises(TimeUnusable, match="90m, 2h"):
        desk.type("send", digest_id, option, "soon", "--no-wait")
    assert desk.json("status", digest_id)["state"] == "draft"


def test_a_digest_is_scheduled_where_the_organisers_are(desk: Desk) -> None:
    digest_id, year = desk.new(), datetime.now(UTC).year + 1
    said = desk.type("schedule", digest_id, "--at", f"{year}-12-01 09:00", "--zone", "Asia/Hong_Kong")
    assert said.startswith(f"Digest {digest_id} begins {year}-12-01 01:00 UTC, in ")
    assert f"It begins {year}-12-01 01:00 UTC" in desk.type("status", digest_id)
    assert f"begins {year}-12-01 01:00 UTC" in desk.type("list")
    moved = desk.json("schedule", digest_id, "--at", f"{year}-12-02 09:00+00:00", "--over", "30m")
    assert (moved["begins"], moved["over_s"]) == (f"{year}-12-02T09:00:00+00:00", 1800)
    assert desk.json("cancel", digest_id, "--yes") == {"id": digest_id, "state": "draft", "dropped": 0}


def test_a_time_that_is_past_schedules_nothing(desk: Desk) -> None:
    digest_id = desk.new()
    with pytest.raises(TimeUnusable, match="is past"):
        desk.type("schedule", digest_id, "--at", "2026-01-01 09:00", "--zone", "UTC")
    assert desk.json("status", digest_id)["state"] == "draft"


def test_what_is_too_large_for_a_provider_is_not_sent_unless_told(desk: Desk) -> None:
    desk.configure(LARGE)
    digest_id = desk.new(body="word " * 5000)
    for command in (["send", "--no-wait"], ["schedule", "--at", "2099-01-01 09:00", "--zone", "UTC"]):
        with pytest.raises(
            DigestUnusable, match=r"qq\.com takes letters of 5,000 bytes.*en makes up to [0-9,]+.*--force"
        ):
            desk.type(command[0], digest_id, *command[1:])
    assert desk.json("send", digest_id, "--no-wait", "--force")["planned"] == 0


def test_what_is_small_without_its_pictures_is_sent(desk: Desk) -> None:
    desk.configure(LARGE.replace("5000", "20000"))
    Image.effect_noise((300, 300), 90).save(desk.folder / "lamp.png")
    digest_id = desk.new(body="![A lamp](lamp.png)")
    assert desk.json("send", digest_id, "--no-wait")["planned"] == 0


def test_seed_mailboxes_are_counted_apart(desk: Desk) -> None:
    desk.enrol(2)
    desk.configure(SEED + SEED.replace("organiser@", "other@") + 'lists = ["news"]\n')
    assert "goes to 2 subscribers and 2 seed mailboxes." in desk.type("send", desk.new(), "--no-wait")


# --- Steer ----------------------------------------------------------------------------------------------------------


def test_a_digest_is_paused_and_goes_on(desk: Desk) -> None:
    desk.enrol(2)
    digest_id = desk.sent()
    assert desk.type("pause", digest_id).startswith("Paused; 2 deliveries wait.")
    assert "An organiser stopped it" in desk.type("status", digest_id)
    with pytest.raises(DigestUnusable, match="It is paused, and only"):
        desk.type("pause", digest_id)
    assert desk.json("resume", digest_id, "--send-before", "1h") == {"id": digest_id, "state": "sending", "waiting": 2}
    with pytest.raises(DigestUnusable, match="It is sending, and only"):
        desk.type("resume", digest_id)


def test_what_is_held_says_what_to_do_and_goes_on_spread_anew(desk: Desk) -> None:
    desk.enrol(30)
    digest_id = desk.sent()
    late = datetime.now(UTC) + timedelta(hours=49)
    desk.do(lambda tx: digests.on_their_way(tx, late))
    said = desk.type("status", digest_id)
    assert re.search(rf"Held: what had not left by .* `mailer digest resume {digest_id}` sends the rest", said)
    desk.type("resume", digest_id, "--over", "1d", "--send-before", "2h")
    until = datetime.fromisoformat(desk.json("status", digest_id)["send_before"]) - datetime.now(UTC)
    assert timedelta(hours=25) < until <= timedelta(hours=26)

    async def due(tx: Transaction) -> int:
        names, now = desk.instance.providers.names, datetime.now(UTC)
        return len(await queue.claim(tx, "w", digest_id, names, now + timedelta(hours=1), 600.0, 30))

    assert desk.do(due) < 15


def test_a_digest_is_cancelled_only_when_told_twice(desk: Desk) -> None:
    desk.enrol(2)
    digest_id = desk.sent()
    assert desk.run("cancel", digest_id, stdin="n\n").exit_code == 1
    assert desk.json("status", digest_id)["state"] == "sending"
    assert "Cancelled; 2 copies will not leave." in desk.type("cancel", digest_id, stdin="y\n")
    assert "An organiser ended it" in desk.type("status", digest_id)
    with pytest.raises(DigestUnusable, match="It is cancelled, and only"):
        desk.type("cancel", digest_id, "--yes")


def test_what_was_set_aside_is_named_and_tried_again(desk: Desk) -> None:
    desk.enrol(3)
    digest_id = desk.sent()
    desk.settle(digest_id, 2, DeliveryState.ASIDE)
    said = desk.type("status", digest_id)
    [names] = re.findall(r"2 set aside: ([0-9a-f]+), ([0-9a-f]+)\. ", said)
    assert [one[: len(names[0])] for one in sorted(names)] == sorted(desk.json("status", digest_id)["aside"])
    assert "@" not in said
    assert desk.json("retry", digest_id) == {"id": digest_id, "retried": 2}
    assert desk.json("status", digest_id)["counts"] == {"due": 3}
    desk.type("cancel", digest_id, "--yes")
    with pytest.raises(DigestUnusable, match="nothing of it is tried again"):
        desk.type("retry", digest_id)


# --- Look -----------------------------------------------------------------------------------------------------------


def test_the_status_counts_by_relay_and_failure_and_tells_the_rate(desk: Desk) -> None:
    desk.enrol(6)
    digest_id = desk.sent()
    desk.settle(digest_id, 2, DeliveryState.SENT)
    desk.settle(digest_id, 1, DeliveryState.FAILED, Failure.FULL)

    async def begin_earlier(tx: Transaction) -> None:
        from sqlalchemy import update

        from mailer.store.tables import digests as table

        await tx.execute(update(table).values(started=table.c.started - 60))

    desk.do(begin_earlier)
    found = desk.json("status", digest_id)
    assert found["ended"] == [
        {"relay": "main", "state": "failed", "failure": "full", "number": 1},
        {"relay": "main", "state": "sent", "failure": None, "number": 2},
    ]
    assert 2 / 60 < found["per_s"] <= 3 / 60 and 60 <= found["left_s"] < 90
    said = desk.type("status", digest_id)
    assert "\tmain\tfailed\tfull\t1\n\tmain\tsent\t\t2\n" in said
    assert re.search(r"\n[23] per minute, 1 min( \d+ s)? left\n", said)


def test_the_weather_is_told_without_pointing_at_anybody(desk: Desk) -> None:
    today = datetime.now(UTC).date()

    async def observe(tx: Transaction) -> None:
        before = today - timedelta(days=4)
        for provider, outcome, day, number in [
            ("qq.com", SENT, before, 100),
            ("qq.com", SENT, today, 60),
            ("qq.com", Failure.CENSORED, today, 40),
            ("163.com", SENT, today, 19),
        ]:
            await bounces.count_weather(tx, {(provider, outcome): number}, day)

    digest_id = desk.new()
    assert "weather" not in desk.type("status", digest_id)
    desk.do(observe)
    said = desk.type("status", digest_id)
    assert "\tqq.com\t200 answers\t20.0% censored\t0.0% policy\t0.0% authentication\n" in said
    assert "qq.com refuses letters for their content noticeably more often than in the days before." in said
    assert "163.com" not in said
    [qq] = desk.json("status", digest_id)["weather"]
    assert qq == {"provider": "qq.com", "answers": 200, "counts": {"sent": 160, "censored": 40}, "is_worse": True}


# --- Corrections ----------------------------------------------------------------------------------------------------


def test_a_correction_names_the_wrong_one_and_stops_it(desk: Desk) -> None:
    desk.enrol(2)
    wrong = desk.sent()
    result = desk.run("new", desk.folder / "issue.md", "--corrects", wrong)
    assert f"{wrong} is still on its way: `mailer digest pause {wrong}`" in result.stdout
    right = desk.new("--corrects", wrong, body="It is on Saturday.")
    desk.type("preview", right, "--output", desk.folder)
    assert "Subject: Correction: News" in desk.type("preview", right, "--output", desk.folder)
    said = desk.type("send", right, "--no-wait")
    assert f"{wrong}, which this one corrects, was still on its way and is paused" in said
    assert desk.json("status", wrong)["state"] == "paused"
    assert f"It corrects {wrong}." in desk.type("status", right)
    later = desk.new("--corrects", wrong)
    assert desk.json("send", later, "--no-wait")["paused"] is None


def test_what_was_never_sent_needs_no_correction(desk: Desk) -> None:
    draft = desk.new()
    with pytest.raises(DigestUnusable, match="was not sent"):
        desk.type("new", desk.folder / "issue.md", "--corrects", draft)
    with pytest.raises(DigestUnusable, match="no such digest"):
        desk.type("new", desk.folder / "issue.md", "--corrects", "nosuchdigest")


# --- Tests and seeds ------------------------------------------------------------------------------------------------


def test_a_test_copy_goes_over_the_relay_that_is_named(desk: Desk) -> None:
    digest_id, key = desk.new(), desk.folder / "instance" / "keys" / "organiser.asc"
    to = ["--to", READER.address, "--key", str(key)]
    with pytest.raises(RelayUnusable, match="no host yet"):
        desk.type("test", digest_id, *to)

    async def run() -> FarServer:
        async with FarServer() as far:
            desk.configure(f'\n[[relays]]\nname = "second"\nhost = "127.0.0.1"\nport = {far.port}\ntls = "none"\n')
            said = await asyncio.to_thread(desk.type, "test", digest_id, *to, "--relay", "second")
            assert "The edition in en was taken by the relay second." in said
            result = await asyncio.to_thread(desk.run, "test", digest_id, *to, "--relay", "third")
            assert "There is no relay of this name with a host or folder: second." in str(result.exception)
            return far

    [copy] = asyncio.run(run()).letters
    assert "All of it." in text_of(READER.open(copy))


def test_without_seeds_or_a_beginning_there_is_nothing_to_look_for(desk: Desk) -> None:
    digest_id = desk.new()
    with pytest.raises(DigestUnusable, match="has not begun"):
        desk.type("seeds", digest_id)
    desk.type("send", digest_id, "--no-wait")
    with pytest.raises(DigestUnusable, match=r"no \[\[seeds\]\]"):
        desk.type("seeds", digest_id)


def test_a_seed_that_nobody_looks_into_tells_which_copy_to_look_for(desk: Desk) -> None:
    desk.configure(SEED)
    digest_id = desk.sent()
    said = desk.type("seeds", digest_id)
    assert re.fullmatch(
        r"1\torganiser@qq\.com\tqq\.com\tlook yourself: Message-ID <[a-z2-7]{24}@lists\.example>\n", said
    )
    [seed] = desk.instance.seeds()
    seen = Sighting(datetime.now(UTC) + timedelta(minutes=14, seconds=30), Place.JUNK)
    desk.do(lambda tx: sightings.note(tx, digest_id, seed.id, seen))
    assert re.search(r"\tin junk, after 14 min \d+ s\n", desk.type("seeds", digest_id))
    [found] = desk.json("seeds", digest_id)
    assert (found["place"], found["trouble"]) == ("junk", None) and 860 < found["after_s"] <= 871


def test_a_seed_is_the_same_whatever_stands_around_it(desk: Desk) -> None:
    desk.configure(SEED)
    [first] = desk.instance.seeds()
    path = desk.instance.config_path
    path.write_text(path.read_text().replace("organiser@qq.com", "Organiser@QQ.com"))
    [again] = desk.instance.seeds()
    assert (first.id, len(first.id)) == (again.id, 12)
    path.write_text(path.read_text().replace("Organiser@QQ.com", "other@qq.com"))
    assert desk.instance.seeds()[0].id != first.id


def test_a_seed_without_a_key_is_refused_and_one_with_a_bad_key_is_kept(desk: Desk) -> None:
    desk.configure(SEED)
    path = desk.instance.config_path
    (desk.folder / "instance" / "keys" / "organiser.asc").write_bytes(b"nonsense")
    assert desk.instance.seeds()[0].certificate == b"nonsense"
    path.write_text(path.read_text().replace("keys/organiser.asc", "keys/nobody.asc"))
    with pytest.raises(MailerError, match=r"nobody\.asc"):
        desk.instance.seeds()
    path.write_text(path.read_text().replace("keys/nobody.asc", ""))
    with pytest.raises(MailerError, match="needs a key"):
        desk.instance.seeds()


def test_nobody_elses_address_is_ever_printed(desk: Desk) -> None:
    desk.enrol(2)
    digest_id = desk.sent()
    desk.settle(digest_id, 1, DeliveryState.ASIDE)
    person = Person("reader-0000@crowd.example")
    for command in (["list"], ["status", digest_id], ["pause", digest_id], ["cancel", digest_id, "--yes"]):
        for option in ([], ["--json"]):
            said = desk.run(*command, *option)
            assert person.address.partition("@")[2] not in said.output + str(said.exception)
