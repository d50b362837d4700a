"""The whole life of a list: join by mail, get an encrypted digest, leave by mail."""

from __future__ import annotations

from pathlib import Path

from mailer.outward import publish
from mailer.outward.compose import compose
from tests.house import Person, open_house, open_text, reply_to, text_of


async def test_somebody_joins_gets_a_digest_and_leaves(tmp_path: Path) -> None:
    async with open_house(tmp_path / "instance") as house:
        ada = Person.with_key("ada@reader.example")
        [question] = await house.write(ada.letter("subscribe", with_key=True))
        assert "reply to this letter" in ada.read(question)
        assert "news+confirm-" in reply_to(question)
        [welcome] = await house.write(ada.letter("Re: [...]", "yes"), to=reply_to(question))
        assert "on the list now" in ada.read(welcome)
        source = tmp_path / "issue.md"
        source.write_text("---\nsubject: Hello all\nlanguage: en\n---\n\nThe *news*.\n")
        mailing_list = house.instance.directory().lists[0]
        await publish.save(house.database, house.secrets, "d1", "news", [compose(source)], house.clock())
        providers, now = house.instance.providers, house.clock()
        assert await publish.send(house.database, house.keyring, mailing_list, "d1", now, providers=providers) == 1
        [copy] = await house.deliver()
        assert "The _news_." in text_of(ada.open(copy))
        unsubscribe = copy.content.split(b"List-Unsubscribe: <mailto:")[1].split(b">")[0].decode().replace("\r\n ", "")
        [goodbye] = await house.write(ada.letter("", ""), to=unsubscribe)
        assert ada.read(goodbye)
        [unknown] = await house.write(ada.letter("status"))
        assert open_text(unknown)
