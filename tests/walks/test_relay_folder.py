"""A folder in place of a server."""

from __future__ import annotations

import asyncio
import mailbox
import os
import re
import stat
from pathlib import Path

import pytest

from mailer.errors import LetterUnusable, RelayUnusable
from mailer.letters import seal
from mailer.letters.seal import Sealed
from mailer.model.address import Address
from mailer.model.retry import Answer, Outcome
from mailer.outward.relay import Relay, RelaySettings, open_relay
from mailer.outward.relay.settings import FolderFormat

READER = Address("reader", "far.example")
OURS = Address("news+bounce-abc", "lists.example")
CONTENT = b"Subject: [...]\r\n\r\n.Words.\r\n.\r\n"
ENVELOPE = b"Return-Path: <news+bounce-abc@lists.example>\r\nX-Envelope-To: <reader@far.example>\r\n"
LOST = Outcome(Answer.LATER, is_connection_lost=True)
BOTH = pytest.mark.parametrize("form", ["maildir", "eml"])


def letter(content: bytes = CONTENT, recipient: Address = READER) -> Sealed:
    return Sealed(recipient, OURS, content, seal._MADE_HERE)


def folder_relay(path: Path, form: FolderFormat) -> Relay:
    return open_relay(RelaySettings("", 0, folder=path, folder_format=form, name="by-hand", connections=3))


def files(path: Path) -> list[Path]:
    return [found for found in path.rglob("*") if found.is_file()]


@BOTH
async def test_a_letter_is_there_octet_for_octet_behind_its_envelope(tmp_path: Path, form: FolderFormat) -> None:
    async with folder_relay(tmp_path / "out", form) as relay:
        assert await relay.send(letter()) == Outcome(Answer.ACCEPTED)
    (path,) = files(tmp_path / "out")
    assert path.read_bytes() == ENVELOPE + CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert path.suffix == (".eml" if form == "eml" else ".mailer")
    assert not re.search("reader|far|news", path.name)


async def test_other_programs_read_the_maildir(tmp_path: Path) -> None:
    async with folder_relay(tmp_path / "out", "maildir") as relay:
        await asyncio.gather(*(relay.send(letter(b"A: %d\r\n\r\nx\r\n" % number)) for number in range(20)))
    found = list(mailbox.Maildir(tmp_path / "out", create=False))
    assert sorted(int(str(one["A"])) for one in found) == list(range(20))
    assert {one["X-Envelope-To"] for one in found} == {f"<{READER}>"}
    assert {one.get_subdir() for one in found} == {"new"}


async def test_a_relay_of_a_folder_has_name_and_places_as_any_other(tmp_path: Path) -> None:
    relay = folder_relay(tmp_path / "out", "eml")
    assert (relay.name, relay.places) == ("by-hand", 3)


@BOTH
async def test_a_letter_whose_lease_ran_out_is_not_left_there(tmp_path: Path, form: FolderFormat) -> None:
    async with folder_relay(tmp_path / "out", form) as relay:
        assert await relay.send(letter(), may_finish=lambda: False) == LOST
    assert files(tmp_path / "out") == []


@BOTH
async def test_a_letter_is_found_only_when_it_is_whole_and_on_disk(
    tmp_path: Path, form: FolderFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, rename = os.fsync, Path.rename

    def note_sync(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def note_rename(self: Path, target: Path) -> Path:
        steps.append("rename")
        assert self.read_bytes() == ENVELOPE + CONTENT
        assert not target.exists()
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "rename", note_rename)
    async with folder_relay(tmp_path / "out", form) as relay:
        await relay.send(letter())
    assert steps == ["file", "rename", "folder"]


@BOTH
async def test_a_full_disk_means_later_and_leaves_nothing(
    tmp_path: Path, form: FolderFormat, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device", str(READER))

    async with folder_relay(tmp_path / "out", form) as relay:
        monkeypatch.setattr(os, "fsync", fail)
        assert await relay.send(letter()) == LOST
    assert files(tmp_path / "out") == []
    assert "relay by-hand failed: OSError" in caplog.text
    assert str(READER) not in caplog.text


@BOTH
async def test_a_letter_whose_name_may_not_be_on_disk_leaves_doubt(
    tmp_path: Path, form: FolderFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def fail_for_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(5, "Input/output error")
        sync(descriptor)

    async with folder_relay(tmp_path / "out", form) as relay:
        monkeypatch.setattr(os, "fsync", fail_for_folders)
        assert await relay.send(letter()) == Outcome(Answer.LATER, is_connection_lost=True, is_in_doubt=True)


@BOTH
async def test_a_folder_that_went_away_means_later(tmp_path: Path, form: FolderFormat) -> None:
    async with folder_relay(tmp_path / "out", form) as relay:
        (tmp_path / "out").rename(tmp_path / "elsewhere")
        assert await relay.send(letter()) == LOST


@pytest.mark.parametrize(
    "unfit",
    [letter(b"bare LF\n"), letter(recipient=Address("a>\r\nBcc: <b", "far.example"))],
    ids=["content", "address"],
)
async def test_a_letter_unfit_for_smtp_is_unfit_for_a_folder(tmp_path: Path, unfit: Sealed) -> None:
    async with folder_relay(tmp_path / "out", "eml") as relay:
        with pytest.raises(LetterUnusable):
            await relay.send(unfit)
    assert files(tmp_path / "out") == []


@BOTH
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, form: FolderFormat) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "missing" / "below"):
        with pytest.raises(RelayUnusable):
            folder_relay(path, form)
