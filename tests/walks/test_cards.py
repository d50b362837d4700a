"""People without any key: cards as the command makes them, and the whole life of a subscriber who was given one."""

from __future__ import annotations

import asyncio
import json
import re
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mailer.cli.main import commands
from mailer.crypto import codes
from mailer.errors import FileUnusable, FormUnavailable, InvitationUnknown
from mailer.letters.typeset import fonts
from tests import opening
from tests.attacks.search import Plants
from tests.conftest import needs
from tests.house import LIST, SERVICE, House, Person, open_house, reply_to
from tests.walks.crowd import publish_digest

CODE = re.compile(r"\b[0-9a-z]{4}(?:-[0-9a-z]{4}){3}\b")
WORDS = re.compile(r"^\s*([a-z]+(?: [a-z]+){4})\s*$", re.MULTILINE)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    needs("pdftotext")
    async with open_house(tmp_path / "instance") as house:
        (tmp_path / "service").write_text(SERVICE)
        yield house


async def run(house: House, *arguments: object) -> Result:
    """Type a command. In a thread: it has an event loop of its own."""
    line = ["subscribers", *map(str, arguments), "--instance", str(house.instance.folder)]
    return await asyncio.to_thread(CliRunner().invoke, commands, line)


async def make_cards(house: House, folder: Path, *options: object) -> str:
    """Return the text of the printed cards."""
    path = folder / "cards.pdf"
    result = await run(house, "invite", "-o", path, "--service-passphrase-file", folder / "service", *options)
    assert result.exit_code == 0, result.stderr
    return subprocess.run([needs("pdftotext"), path, "-"], capture_output=True, check=True).stdout.decode()


async def test_a_sheet_of_cards_has_all_that_a_card_needs_and_each_can_be_withdrawn(
    house: House, tmp_path: Path
) -> None:
    text = await make_cards(house, tmp_path, "--count", 9, "--language", "zh-Hant", "--days", 14)
    assert len(set(CODE.findall(text))) == len(WORDS.findall(text)) == text.count("給您的邀請卡") == 9
    assert {codes.read_code(code) for code in CODE.findall(text)}.isdisjoint({None})
    flat, fingerprint = re.sub(r"\s", "", text), house.keyring.list_key("news").fingerprint
    assert flat.count(LIST) == flat.count(fingerprint.upper()) == 9
    path = tmp_path / "cards.pdf"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    info = subprocess.run([needs("pdfinfo"), path], capture_output=True, check=True).stdout.decode()
    assert "A4" in info and re.search(r"Pages:\s+2\b", info) and not re.search("Producer|Creat|Author", info)
    [batch] = set(re.findall(r"卡號 (\w{4})-\d", text))
    await listed_and_withdrawn(house, batch)


async def listed_and_withdrawn(house: House, batch: str) -> None:
    listed = json.loads((await run(house, "invitations", "list", "--json")).stdout)
    assert [(one["batch"], one["language"]) for one in listed["batches"]] == [(batch, "zh-Hant")]
    assert listed["batches"][0]["left"] == list(range(1, 10))
    assert "2 cards withdrawn" in (await run(house, "invitations", "withdraw", batch, 2, 9)).stdout
    shown = (await run(house, "invitations", "list")).stdout
    assert shown.startswith(f"{batch}\tzh-Hant\t") and "7 left: 1, 3, 4, 5, 6, 7, 8\n" in shown
    assert (await run(house, "invitations", "withdraw", batch.upper())).exit_code == 0
    assert (await run(house, "invitations", "list")).stdout == ""
    assert isinstance((await run(house, "invitations", "withdraw", batch)).exception, InvitationUnknown)


async def test_without_a_name_the_cards_lie_in_this_folder_under_that_of_their_batch(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ("--service-passphrase-file", tmp_path / "service")
    result = await run(house, "invite", "--count", 2, "--language", "zh-Hant", *given)
    assert result.exit_code == 0, result.stderr
    [path] = tmp_path.glob("cards-*.pdf")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    batch = path.stem.removeprefix("cards-")
    assert f"batch {batch}," in result.stderr and path.name in result.stderr
    assert (await run(house, "invitations", "list")).stdout.startswith(f"{batch}\tzh-Hant\t")


async def test_where_the_file_cannot_be_written_no_card_is_valid(house: House, tmp_path: Path) -> None:
    (tmp_path / "cards.pdf").write_bytes(b"mine")
    for path in (tmp_path / "cards.pdf", tmp_path / "nowhere" / "cards.pdf"):
        result = await run(house, "invite", "-o", path, "--service-passphrase-file", tmp_path / "service")
        assert isinstance(result.exception, FileUnusable)
    assert (tmp_path / "cards.pdf").read_bytes() == b"mine"
    assert (await run(house, "invitations", "list")).stdout == ""


async def test_a_machine_that_cannot_typeset_says_what_to_install(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "_FAMILIES", ("No Such Font",))
    result = await run(house, "invite", "-o", tmp_path / "cards.pdf")
    assert isinstance(result.exception, FormUnavailable)
    assert "fonts-noto-cjk" in str(result.exception)
    assert not (tmp_path / "cards.pdf").exists()


async def test_from_the_card_to_the_digest_to_leaving_and_nothing_of_it_lies_in_clear_anywhere(
    house: House, tmp_path: Path
) -> None:
    text = await make_cards(house, tmp_path, "--count", 1, "--language", "zh-Hans")
    (tmp_path / "cards.pdf").unlink()
    [code], [words] = CODE.findall(text), WORDS.findall(text)
    ming = Person("ming.kumquat@reader.example", words=words)
    [question] = await house.write(ming.letter(code.upper()))
    assert opening.form_of(question.content) is opening.Form.CLEAR
    [welcome] = await house.write(ming.letter("Re: [...]", "是我"), to=reply_to(question))
    assert str(ming.open(welcome)["Subject"]) == "欢迎"

    await publish_digest(
        house, "d1", "---\nsubject: Quixotic bulletin\nlanguage: en\n---\n\nSeventeen bicycles returned.\n"
    )
    [copy] = await house.deliver()
    assert str(ming.open(copy)["Subject"]) == "Quixotic bulletin"
    assert "Seventeen bicycles" in ming.read(copy)
    with pytest.raises(subprocess.CalledProcessError):
        opening.open_pdf(copy.content, "not the right words here")
    tells_nothing(copy.content)

    plants = Plants(frozenset({ming.address, words, code, code.replace("-", ""), "Quixotic bulletin"}), {})
    assert plants.find_in_folder(house.instance.folder) == []
    assert plants.find_in_mail([welcome, copy], []) == []
    header = re.sub(r"\s", "", str(opening.parse(copy.content)["List-Unsubscribe"]))
    [goodbye] = await house.write(ming.letter("", ""), to=header.removeprefix("<mailto:").removesuffix(">"))
    assert str(ming.open(goodbye)["Subject"]) == "再见"
    assert plants.find_in_folder(house.instance.folder) == []


def tells_nothing(content: bytes) -> None:
    """Outside the PDF all copies are alike: a cover in ASCII, a name for all, the subject of every letter."""
    message = opening.parse(content)
    cover, file = message.iter_parts()
    assert (str(message["Subject"]), file.get_filename()) == ("[...]", "message.pdf")
    assert cover.get_content().isascii()
    assert not {"Autocrypt", "User-Agent", "Content-Language"} & set(message.keys())
