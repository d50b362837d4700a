"""Plays the conversations in this folder against a whole instance. How they are written: README.md."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mailer.letters import seal
from mailer.model.means import means_of
from mailer.store import inbox
from tests import opening
from tests.conversations import cards, post, script
from tests.conversations.script import Step, says
from tests.conversations.stage import Holder, Stage
from tests.house import LIST, open_house, reply_to
from tests.letters.reading import chatmail_accepts
from tests.walks.far_server import Received

HERE = Path(__file__).parent
assert cards  # its sentences
# Sealed to a key that was stolen, the one would be safe from nobody; the other is for the holder of a key that is gone.
ABOUT_KEY = ("Was your key revoked? Please reply", "Your key was changed", "您的公鑰已經更換", "您的公钥已经更换")


@pytest.mark.parametrize("path", sorted(HERE.glob("*/*.txt")), ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_conversation(path: Path, tmp_path: Path) -> None:
    await perform(path.read_text(encoding="utf-8"), tmp_path)


async def perform(text: str, folder: Path) -> None:
    async with open_house(folder / "instance") as house:
        stage = Stage(house, folder)
        for step in script.read(text):
            try:
                await script.play(stage, step)
            except AssertionError as error:
                raise AssertionError(f"line {step.line}: {step.sentence}: {error}") from error
        all_is_said(stage)
        async with house.database.read() as tx:
            assert stage.is_aside_expected or await inbox.count(tx) == {}, "a letter was kept"


ASKED = "A title.\n\nAda has a key.\n\nAda writes to news@lists.example\n    Subject: subscribe\n    Key: attached\n\n"


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        ("", "nobody spoke of these letters"),
        ("Nobody gets anything.", "nobody spoke of these letters"),
        ("Ada gets, sealed: Welcome", "theirs are"),
        ("Ada gets, in clear: Please reply to this letter", "it came the other way"),
        ("Ada gets, sealed: Please reply to this letter\n    bananas", "bananas"),
        ("Ada gets, sealed: Please reply to this letter\nAda gets, sealed: Please reply to this letter", "theirs are"),
        ("Ada gets, sealed: Please reply to this letter\n\nAda is active.", "Ada is active"),
        ("Ada gets, sealed: Please reply to this letter\n\nOne letter is set aside: seal-broken.", "set aside"),
        ("Ada sings.", "nobody knows what this sentence means"),
    ],
)
async def test_a_conversation_that_goes_another_way_is_noticed(ending: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=why):
        await perform(ASKED + ending, tmp_path)


@says(r"(\w+) writes to (\S+@\S+|postmaster)")
async def writes(stage: Stage, step: Step, name: str, to: str) -> None:
    """TOKEN stands for the one in the last letter that came with one, CODE for that of the writer's card."""
    all_is_said(stage)
    code = stage.codes.get(name, "CODE")
    fields = {one: value.replace("TOKEN", stage.token).replace("CODE", code) for one, value in step.fields.items()}
    sender = None if fields.pop("Envelope", "") == "<>" else ""
    to = to.replace("TOKEN", stage.token).replace("CODE", code)
    the_list = Holder(LIST, blob=stage.house.keyring.list_key("news").public)
    text = "\n".join(step.text).replace("CODE", code)
    raw = post.write(stage.people[name], to, fields, text, stage.people | {"the list": the_list})
    await keep(stage, await stage.house.write(raw, to=to, sender=sender))


@says(r"(\w+) replies(?: again)?")
async def replies(stage: Stage, step: Step, name: str) -> None:
    await writes(stage, replace(step, fields={"Subject": "Re: [...]", **step.fields}), name, stage.asked[name])


@says(r"(\w+) writes to (\w+)'s unsubscribe address")
async def unsubscribes(stage: Stage, step: Step, name: str, whose: str) -> None:
    await writes(stage, step, name, stage.unsubscribe[whose])


@says(r"A digest is sent|The invitation goes out")
async def delivers(stage: Stage, step: Step) -> None:
    all_is_said(stage)
    is_digest = step.sentence == "A digest is sent"
    await keep(stage, await (stage.send_digest() if is_digest else stage.house.deliver()))


async def keep(stage: Stage, letters: list[Received]) -> None:
    """Take in what came back, and check what holds for every letter."""
    stage.unread += letters
    for one in letters:
        head, address = post.outside(one), post.recipient(one)
        names = [name for name, person in stage.people.items() if person.address == address]
        assert names, "a letter went to somebody who has no part in this"
        found = await stage.found(names[0])
        means = means_of(found.subscriber.method, found.drawer) if found else None
        has_key = means is not None and seal.is_usable(means, stage.house.clock())
        is_about_key = str(head["Subject"]) in ABOUT_KEY
        assert opening.form_of(one.content) is not opening.Form.MAIL or chatmail_accepts(one.content)
        assert post.is_sealed(one) or not has_key or is_about_key, "a subscriber with a key was written to in clear"
        if "+confirm-" in str(head["Reply-To"]):
            stage.token = reply_to(one).partition("+confirm-")[2].partition("@")[0]
            stage.asked |= dict.fromkeys(names, reply_to(one))
        if head["List-Unsubscribe"]:
            mailto = re.sub(r"\s", "", str(head["List-Unsubscribe"]))
            stage.unsubscribe |= dict.fromkeys(names, mailto.removeprefix("<mailto:").removesuffix(">"))


@says(r"(\w+|The team) gets, (?:(in clear)|sealed(?: to (.+?))?)(?:, (as .+?))?: (.+)")
async def gets(
    stage: Stage, step: Step, name: str, in_clear: str | None, key: str | None, form: str | None, subject: str
) -> None:
    """Words that open PDFs, of which a letter tells, are kept."""
    reader, address = stage.people[key or name], stage.people[name].address
    mine = {post.subject_for(one, reader): one for one in stage.unread if post.recipient(one) == address}
    assert subject in mine, f"of {len(stage.unread)} letters theirs are {list(mine)}"
    letter = mine[subject]
    stage.unread.remove(letter)
    assert post.is_sealed(letter) is not bool(in_clear), "it came the other way"
    assert in_clear or opening.form_of(letter.content) == (form or "as PGP/MIME")
    assert in_clear or str(post.outside(letter)["Subject"]) == "[...]"
    text = reader.read(letter)
    if form == opening.Form.PDF:  # whose lines are as long as its page is wide
        text = re.sub(r"\s", "", text)
        step = replace(step, text=[re.sub(r"\s", "", line) for line in step.text])
    missing = [line for line in step.text if line.replace("TOKEN", stage.token) not in text]
    assert missing == [], f"{missing} is not in: {text}"
    words = re.search(r"^  ([a-z]{2,}(?: [a-z]{2,}){4})\r?$", text, re.MULTILINE)
    if words:
        stage.people[name].words = words[1]


@says(r"Nobody gets anything")
async def nobody(stage: Stage, _step: Step) -> None:
    all_is_said(stage)


def all_is_said(stage: Stage) -> None:
    left = []
    for one in stage.unread:
        readers = {id(person.key): person for person in stage.people.values() if person.address == post.recipient(one)}
        left.append((post.recipient(one), [post.subject_for(one, reader) for reader in readers.values()]))
    assert left == [], "nobody spoke of these letters"
