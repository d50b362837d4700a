"""Counting: what is counted is found again, from several processes and after their end, and no text gets in."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailer import metrics
from mailer.metrics import add_up, cell
from mailer.model.digest import DeliveryState
from mailer.model.failure import Failure

RELAYS = ("main", "second")
SENT, DUE, FAILED = DeliveryState.SENT, DeliveryState.DUE, DeliveryState.FAILED


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "metrics"


@pytest.fixture
def counting(folder: Path) -> Iterator[Path]:
    metrics.start(folder, RELAYS)
    yield folder
    metrics.stop()


def sums(folder: Path) -> dict[str, float]:
    """Return the sums that are not nought, without the times."""
    found = add_up(folder, RELAYS)
    return {name: number for name, number in found.items() if number and not name.startswith(metrics.STAGE_METRIC)}


def in_another_process(act: Callable[[], None]) -> None:
    """Fork, do it there and end without another word, as if killed."""
    if child := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        return
    try:
        act()
        os._exit(0)
    finally:
        os._exit(1)


def test_until_it_is_started_nothing_is_counted_and_nothing_fails(folder: Path) -> None:
    metrics.count_accepted()
    metrics.count_delivery(SENT, "main")
    with metrics.stage("seal"):
        pass
    assert sums(folder) == {}
    assert not folder.exists()


def test_each_event_has_its_place(counting: Path) -> None:
    metrics.count_accepted(3)
    metrics.count_refused("550 5.1.1 no such mailbox here")
    metrics.count_refused("452 4.3.1 no room, try again later")
    metrics.count_read(is_aside=False)
    metrics.count_read(is_aside=True)
    metrics.count_delivery(SENT, "second")
    metrics.count_delivery(DUE, "main", Failure.CENSORED)
    metrics.count_delivery(DUE)
    metrics.count_delivery(FAILED, "main", Failure.GONE)
    metrics.count_delivery(DeliveryState.UNUSABLE_KEY)
    metrics.count_reply(SENT, "main")
    metrics.count_reply(DUE)
    metrics.count_reply(FAILED, "main", Failure.POLICY)
    assert sums(counting) == {
        "mailer_letters_accepted_total": 3,
        "mailer_letters_refused_total 5xx": 1,
        "mailer_letters_refused_total 4xx": 1,
        "mailer_letters_read_total": 1,
        "mailer_letters_aside_total": 1,
        "mailer_deliveries_sent_total second": 1,
        "mailer_deliveries_deferred_total censored": 1,
        "mailer_deliveries_deferred_total no-answer": 1,
        "mailer_deliveries_failed_total gone": 1,
        "mailer_deliveries_unsent_total unusable-key": 1,
        "mailer_replies_sent_total main": 1,
        "mailer_replies_deferred_total no-answer": 1,
        "mailer_replies_failed_total policy": 1,
    }


@pytest.mark.parametrize("state", DeliveryState)
def test_every_end_of_a_delivery_can_be_counted(counting: Path, state: DeliveryState) -> None:
    metrics.count_delivery(state)
    assert sum(sums(counting).values()) == 1


def test_text_that_is_no_word_of_ours_is_counted_as_other_and_kept_nowhere(counting: Path) -> None:
    metrics.count_delivery(SENT, "ada@reader.example")
    metrics.count_delivery(FAILED, "main", "550 ada@reader.example unknown")  # type: ignore[arg-type]
    assert sums(counting) == {
        "mailer_deliveries_sent_total other": 1,
        "mailer_deliveries_failed_total other": 1,
    }
    assert not [path for path in counting.iterdir() if b"reader.example" in path.read_bytes()]


def test_a_stage_counts_in_the_bucket_that_its_time_falls_into(counting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([10.0, 10.02, 20.0, 95.0])
    monkeypatch.setattr(metrics, "perf_counter", lambda: next(moments, 100.0))
    for _ in range(2):
        with metrics.stage("relay"):
            pass
    metrics.stop()
    found = add_up(counting, RELAYS)
    assert {name: number for name, number in found.items() if number} == {
        cell(metrics.STAGE_METRIC, "relay 0.025"): 1,
        cell(metrics.STAGE_METRIC, "relay more"): 1,
        cell(metrics.STAGE_METRIC, "relay sum"): pytest.approx(75.02),
    }


def test_a_stage_that_fails_took_its_time_too(counting: Path) -> None:
    with pytest.raises(ZeroDivisionError), metrics.stage("open"):
        _ = 1 / 0
    metrics.stop()
    found = add_up(counting, RELAYS)
    assert sum(found[cell(metrics.STAGE_METRIC, f"open {step}")] for step in (*metrics.BOUNDS_S, "more")) == 1


def test_processes_add_up_and_a_forked_one_does_not_count_its_parents_numbers_again(counting: Path) -> None:
    metrics.count_delivery(SENT, "main")
    in_another_process(lambda: metrics.count_delivery(SENT, "main"))
    metrics.count_delivery(SENT, "main")
    assert sums(counting) == {"mailer_deliveries_sent_total main": 3}
    assert len(list(counting.iterdir())) == 2


def test_two_that_live_at_once_have_a_file_each(counting: Path) -> None:
    read_end, write_end = os.pipe()
    if not (child := os.fork()):
        metrics.count_accepted(10)
        os.read(read_end, 1)
        os._exit(0)
    if not (other := os.fork()):
        metrics.count_accepted(100)
        os.read(read_end, 1)
        os._exit(0)
    os.write(write_end, b"..")
    for one in (child, other):
        assert os.waitpid(one, 0)[1] == 0
    assert sums(counting) == {"mailer_letters_accepted_total": 110}
    os.close(read_end)
    os.close(write_end)


def test_who_comes_later_goes_on_in_the_file_of_one_who_is_gone(counting: Path) -> None:
    for _ in range(5):
        in_another_process(metrics.count_accepted)
    assert sums(counting) == {"mailer_letters_accepted_total": 5}
    assert len(list(counting.iterdir())) == 2


def test_numbers_outlast_a_start_with_other_relays(counting: Path) -> None:
    metrics.count_delivery(SENT, "main")
    metrics.count_delivery(SENT, "second")
    metrics.start(counting, ("third", "main"))
    metrics.count_delivery(SENT, "third")
    found = add_up(counting, ("third", "main"))
    assert found["mailer_deliveries_sent_total main"] == found["mailer_deliveries_sent_total third"] == 1
    assert not [name for name in found if name.endswith("second")]


@pytest.mark.parametrize("content", [b"", b"[", b"[]\n", b"null\n", b'["a"]\n', b"\xff\xfe\n12345678", b"7\n12345678"])
def test_a_file_that_is_damaged_counts_as_empty(counting: Path, content: bytes) -> None:
    metrics.count_accepted()
    (counting / "007").write_bytes(content)
    assert sums(counting) == {"mailer_letters_accepted_total": 1}


def test_a_name_planted_in_a_file_is_not_taken_over(counting: Path) -> None:
    names = ["mailer_deliveries_sent_total ada@reader.example", "mailer_letters_accepted_total"]
    numbers = metrics.array("d", [1.0, 1.0]).tobytes()
    (counting / "007").write_bytes(json.dumps(names).encode() + b"\n" + numbers)
    assert sums(counting) == {"mailer_letters_accepted_total": 1}


def test_nobody_else_may_look_into_the_files(counting: Path) -> None:
    assert stat.S_IMODE(counting.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in counting.iterdir()} == {0o600}


def test_where_no_file_can_be_made_work_goes_on_uncounted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "run").write_text("a file where a folder should be")
    metrics.start(tmp_path / "run" / "metrics", RELAYS)
    metrics.count_accepted()
    assert "nothing is counted" in caplog.text


def test_a_full_disk_stops_no_letter(counting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", no_room)
    metrics.count_accepted()
    monkeypatch.undo()
    metrics.count_accepted()
    assert sums(counting) == {"mailer_letters_accepted_total": 2}
