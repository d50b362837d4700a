"""The figures while the whole house works: what is counted, what is shown, to whom, and that they name nobody."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import smtplib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from mailer import config, figures, metrics, metrics_endpoint
from mailer.demo.program import Service
from mailer.errors import ConfigError
from mailer.instance import Instance
from mailer.metrics_endpoint import Figures, show_for_ever
from mailer.model.digest import DeliveryState
from mailer.store.database import Database
from tests.cluster import free_port
from tests.conftest import ROOT
from tests.house import LIST, Person, make_instance, open_house
from tests.store.unprivileged import connections_ended

RELAYS = ("main",)
WITHIN_S = 20.0


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "metrics"
    metrics.start(folder, RELAYS)
    yield folder
    metrics.stop()


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[Database]:
    """A database without a table in it."""
    database = Database(f"sqlite:///{tmp_path}/empty.db")
    yield database
    await database.close()
    await connections_ended()


def eager(folder: Path, database: Database) -> Figures:
    """Figures that are taken anew each time."""
    return Figures(folder, RELAYS, database, new_after_s=0.0, count_rows_after_s=0.0)


@asynccontextmanager
async def shown(figures: Figures, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Show the figures; give the port."""
    opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(show_for_ever(figures, host, port, opened.set_result))
    try:
        async with asyncio.timeout(WITHIN_S):
            yield await opened
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ask(port: int, request: bytes = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") -> tuple[bytes, bytes]:
    """Return head and body of the answer; both empty where there was none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = b""
    with suppress(ConnectionResetError):
        async with asyncio.timeout(WITHIN_S):
            answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


async def scrape(port: int) -> dict[str, float]:
    _, body = await ask(port)
    families: list[Metric] = list(text_string_to_metric_families(body.decode()))
    return {sample_name(one.name, one.labels): one.value for family in families for one in family.samples}


def sample_name(name: str, labels: dict[str, str]) -> str:
    return " ".join([name, *(value for _, value in sorted(labels.items()))])


def foreign_labels(text: str, relays: tuple[str, ...]) -> set[str]:
    """Return the values of labels that are none of our own words."""
    bounds = {*map(str, metrics.BOUNDS_S), "+Inf"}
    words = {*metrics.FAILURES, *metrics.FAULTS, *metrics.CODE_CLASSES, *metrics.STAGES, *metrics.LIMITS}
    words |= {*bounds, *relays}
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {value for sample in samples for value in sample.labels.values()} - words


# --- What is shown --------------------------------------------------------------------------------------------------


async def test_a_letters_way_in_shows_in_the_figures(tmp_path: Path, folder: Path) -> None:
    async with open_house(tmp_path / "instance") as house, shown(eager(folder, house.database)) as port:
        ada = Person.with_key("ada@reader.example")
        await house.send(ada.letter("subscribe", with_key=True))
        before = await scrape(port)
        assert before["mailer_letters_accepted_total"] == 1
        assert before["mailer_letters_read_total"] == 0
        assert (before["mailer_inbox_waiting"], before["mailer_outbox_waiting"]) == (1, 0)
        assert await house.worker.deal_with_next()
        after = await scrape(port)
        assert after["mailer_letters_read_total"] == 1
        assert (after["mailer_inbox_waiting"], after["mailer_outbox_waiting"]) == (0, 1)
        await house.send(b"no letter at all", sender=None)
        assert await house.worker.deal_with_next()
        metrics.stop()
        last = await scrape(port)
        assert last["mailer_stage_seconds_count read"] == 2
        assert last["mailer_stage_seconds_bucket +Inf read"] == 2
        assert last["mailer_stage_seconds_count decide"] == 1
        assert last["mailer_letters_aside_total"] + last["mailer_letters_read_total"] == 2


async def test_what_the_door_refuses_is_counted_by_the_class_of_the_code(tmp_path: Path, folder: Path) -> None:
    async with open_house(tmp_path / "instance") as house, shown(eager(folder, house.database)) as port:
        ada = Person("ada@reader.example")
        with pytest.raises(Exception, match="550"):
            await house.send(ada.letter("hello"), to="nobody@lists.example")
        with pytest.raises(Exception, match="550"):
            await house.send(b"Subject: a\r\nFrom: ada@reader.example\r\n\r\n" + 70_000 * b"x" + b"\r\n")
        found = await scrape(port)
        assert found["mailer_letters_refused_total 5xx"] == 2
        assert found["mailer_letters_refused_total 4xx"] == found["mailer_letters_accepted_total"] == 0


async def test_no_label_is_anything_but_a_word_of_ours(tmp_path: Path, folder: Path) -> None:
    async with open_house(tmp_path / "instance") as house, shown(eager(folder, house.database)) as port:
        await house.join(Person.with_key("ada@reader.example"))
        metrics.count_delivery(DeliveryState.SENT, "ada@reader.example")
        text = (await ask(port))[1].decode()
        assert foreign_labels(text, RELAYS) == set()
        assert "reader.example" not in text and "lists.example" not in text and str(tmp_path) not in text


def test_an_address_that_is_planted_as_a_label_is_found() -> None:
    relays = (*RELAYS, "ada@reader.example")
    planted = metrics_endpoint.expose(dict.fromkeys(metrics._cells(relays), 0.0), relays, None)
    assert foreign_labels(planted.decode(), RELAYS) == {"ada@reader.example"}


async def test_nothing_of_python_the_process_or_its_paths_is_shown(tmp_path: Path, folder: Path) -> None:
    async with open_house(tmp_path / "instance") as house, shown(eager(folder, house.database)) as port:
        head, body = await ask(port)
        names = set(re.findall(rb"^(\w+)", body, re.MULTILINE))
        assert names
        assert {name for name in names if not name.startswith(b"mailer_")} == set()
        assert not re.search(rb"(?i)python|server:|/3\.", head)


async def test_who_looks_often_sees_the_same_figures_for_a_while(tmp_path: Path, folder: Path) -> None:
    now = [100.0]
    async with open_house(tmp_path / "instance") as house:
        shows = Figures(folder, RELAYS, house.database, clock=lambda: now[0])
        before = await shows.text()
        metrics.count_accepted()
        assert await shows.text() == before
        now[0] += metrics_endpoint.NEW_AFTER_S
        assert await shows.text() != before


async def test_without_a_database_the_counts_are_shown_all_the_same(folder: Path, empty: Database) -> None:
    metrics.count_accepted()
    async with shown(eager(folder, empty)) as port:
        found = await scrape(port)
    assert found["mailer_letters_accepted_total"] == 1
    assert not [name for name in found if name.endswith("_waiting")]


async def test_processes_that_come_and_go_add_up_at_the_endpoint(folder: Path, empty: Database) -> None:
    for number in (1, 10):
        if not (child := os.fork()):
            metrics.count_accepted(number)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
    async with shown(eager(folder, empty)) as port:
        assert (await scrape(port))["mailer_letters_accepted_total"] == 11


# --- Who is answered ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_line", "code"),
    [
        (b"GET / HTTP/1.1", b"404"),
        (b"GET /metrics/ HTTP/1.1", b"404"),
        (b"GET /metrics?name[]=x HTTP/1.1", b"404"),
        (b"GET /../keys/service.key HTTP/1.1", b"404"),
        (b"GET http://127.0.0.1/metrics HTTP/1.1", b"404"),
        (b"POST /metrics HTTP/1.1", b"405"),
        (b"OPTIONS /metrics HTTP/1.1", b"405"),
        (b"\xff\xfe\x00", b"404"),
    ],
)
async def test_anything_else_is_refused_without_a_word(
    folder: Path, empty: Database, request_line: bytes, code: bytes
) -> None:
    async with shown(eager(folder, empty)) as port:
        head, body = await ask(port, request_line + b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 " + code)
        assert body == b""
        assert (await ask(port))[0].startswith(b"HTTP/1.1 200")


async def test_a_request_without_an_end_gets_no_answer(folder: Path, empty: Database) -> None:
    async with shown(eager(folder, empty)) as port:
        assert await ask(port, b"GET /metrics HTTP/1.1\r\n" + 10_000 * b"x") == (b"", b"")
        assert (await ask(port))[0].startswith(b"HTTP/1.1 200")


async def test_more_than_a_few_at_once_are_turned_away_and_the_next_is_served(folder: Path, empty: Database) -> None:
    async with shown(eager(folder, empty)) as port:
        waiting = [await asyncio.open_connection("127.0.0.1", port) for _ in range(metrics_endpoint.MOST_CONNECTIONS)]
        assert await ask(port) == (b"", b"")
        for reader, writer in waiting:
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 404")
            writer.close()
        assert (await ask(port))[0].startswith(b"HTTP/1.1 200")


async def test_who_finds_the_port_taken_says_so_and_takes_it_when_it_is_free(
    folder: Path, empty: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    shows = eager(folder, empty)
    tried, real = asyncio.Event(), asyncio.sleep

    async def look_again_at_once(delay: float) -> None:
        tried.set()
        await real(0.01 if delay == metrics_endpoint.TRY_AGAIN_AFTER_S else delay)

    async with shown(shows) as port:
        monkeypatch.setattr(asyncio, "sleep", look_again_at_once)
        opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        second = asyncio.create_task(show_for_ever(shows, "127.0.0.1", port, opened.set_result))
        await tried.wait()
        assert not opened.done()
    async with asyncio.timeout(WITHIN_S):
        assert await opened == port
    assert caplog.text.count("the figures are not shown here") == 1
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)


def test_the_settings_refuse_an_address_that_others_can_reach(tmp_path: Path) -> None:
    instance = make_instance(tmp_path / "instance", None)
    text = instance.config_path.read_text()
    for address in ("0.0.0.0:9464", ":9464", "192.0.2.7:9464", "[::]:9464"):
        instance.config_path.write_text(re.sub(r'(\[metrics\][^\[]*listen = )""', rf'\g<1>"{address}"', text))
        with pytest.raises(ConfigError, match="this machine only"):
            config.load(instance.config_path)
    instance.config_path.write_text(re.sub(r'(\[metrics\][^\[]*listen = )""', r'\g<1>"127.0.0.1:9464"', text))
    assert config.load(instance.config_path).metrics.listen is not None


# --- The program ----------------------------------------------------------------------------------------------------


def with_figures(folder: Path, port: int) -> Instance:
    instance = make_instance(folder, None)
    text = instance.config_path.read_text()
    wanted = rf'\g<1>"127.0.0.1:{port}"'
    instance.config_path.write_text(re.sub(r'(\[metrics\][^\[]*listen = )""', wanted, text))
    return Instance.open(folder)


def test_the_service_shows_what_came_to_its_door(tmp_path: Path) -> None:
    port = free_port()
    with_figures(tmp_path / "instance", port)
    arguments = ("--locked", "--instance", str(tmp_path / "instance"))
    with Service(*arguments, cwd=tmp_path, log=tmp_path / "log") as service:
        with smtplib.SMTP("127.0.0.1", service.port(), "client.example") as client:
            client.sendmail("ada@reader.example", [LIST], b"Subject: hello\r\n\r\nhello\r\n")
        found = asyncio.run(scrape(port))
    assert found["mailer_letters_accepted_total"] == found["mailer_inbox_waiting"] == 1


async def test_workers_that_are_forked_in_the_block_are_counted_and_shown(tmp_path: Path) -> None:
    port = free_port()
    with figures.shown_beside(with_figures(tmp_path / "instance", port)):
        if not (child := os.fork()):
            metrics.count_delivery(DeliveryState.SENT, "main")
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        async with asyncio.timeout(WITHIN_S):
            while (found := await try_to_scrape(port)) is None:
                await asyncio.sleep(0)
        metrics.stop()
    assert found["mailer_deliveries_sent_total main"] == 1


async def test_without_an_address_in_the_settings_nothing_is_counted_or_shown(tmp_path: Path, empty: Database) -> None:
    instance = make_instance(tmp_path / "instance", None)
    figures.count(instance)
    await figures.show(instance, empty)
    with figures.shown_beside(instance):
        metrics.count_accepted()
    assert not (instance.folder / "run").exists()


# --- Beside `mailer work` -------------------------------------------------------------------------------------------


def processes_of(parent: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


async def test_beside_the_workers_a_process_of_its_own_shows_the_figures_and_ends_with_them(
    tmp_path: Path, folder: Path, empty: Database
) -> None:
    metrics.count_accepted(5)
    async with shown(eager(folder, empty)) as free:
        pass
    before = processes_of(os.getpid())
    with metrics_endpoint.beside(folder, RELAYS, f"sqlite:///{tmp_path}/none.db", ("127.0.0.1", free)):
        [child] = set(processes_of(os.getpid())) - set(before)
        async with asyncio.timeout(WITHIN_S):
            while (found := await try_to_scrape(free)) is None:
                await asyncio.sleep(0)
        assert found["mailer_letters_accepted_total"] == 5
    assert not Path(f"/proc/{child}").exists()


async def try_to_scrape(port: int) -> dict[str, float] | None:
    try:
        return await scrape(port)
    except ConnectionRefusedError:
        return None


def test_without_an_address_there_is_no_process_beside(tmp_path: Path, folder: Path) -> None:
    before = processes_of(os.getpid())
    with metrics_endpoint.beside(folder, RELAYS, f"sqlite:///{tmp_path}/none.db", None):
        assert processes_of(os.getpid()) == before


# --- The page -------------------------------------------------------------------------------------------------------


def metrics_shown() -> set[str]:
    gauges = {name for name, _ in metrics_endpoint.BACKLOG.values()}
    return {one.name for one in metrics.counters(RELAYS)} | gauges | {metrics.STAGE_METRIC}


def test_every_metric_is_on_the_page_for_operators_and_no_other() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(mailer_\w+)", page)) == metrics_shown()


def test_every_stage_is_on_the_page() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    [line] = [line for line in page.splitlines() if line.startswith(f"| `{metrics.STAGE_METRIC}")]
    assert set(metrics.STAGES) <= set(re.findall(r"\w+", line))
