"""Many subscribers at little cost: rows as the register holds them, but with an index drawn instead of hashed.

So nobody among them can be looked up by address; the deliverer, which reads records, sees no difference.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date

from mailer.crypto.index import Index
from mailer.crypto.vault import RosterPublic, ServiceSecrets
from mailer.model.address import Address
from mailer.model.language import Language
from mailer.model.subscriber import Drawer, Method
from mailer.outward import publish
from mailer.outward.compose import compose
from mailer.store import roster
from mailer.store.database import Database
from tests.house import House

BEFORE = date(2026, 1, 5)


def address_of(number: int) -> str:
    return f"reader-{number:04}@crowd.example"


async def enrol(
    database: Database,
    secrets: ServiceSecrets,
    public: RosterPublic,
    count: int,
    drawers: Sequence[Drawer],
    language: Language = Language.EN,
    method: Method = Method.OPENPGP,
) -> list[bytes]:
    """Put `count` active subscribers on the list `news`; return their ids, in the order of their numbers."""
    ids = []
    async with database.write() as tx:
        for number in range(count):
            drawn = Index(look_up=os.urandom(32), wrapping_key=os.urandom(32))
            person = roster.Person("news", Address.parse(address_of(number)), drawn, os.urandom(32))
            drawer = drawers[number % len(drawers)]
            new = roster.Newcomer.draw(os.urandom, drawer, language, "other-1", BEFORE, method)
            await roster.add(tx, secrets, public, person, new)
            ids.append(new.subscriber_id)
    return ids


async def publish_digest(house: House, digest_id: str = "d1", *sources: str) -> int:
    """Send a digest on its way; sources: one Markdown text for each edition. Return how many deliveries it has."""
    editions = []
    for number, source in enumerate(sources or ("---\nsubject: News\nlanguage: en\n---\n\nAll of it.\n",)):
        path = house.instance.folder.parent / f"{digest_id}-{number}.md"
        path.write_text(source, encoding="utf-8")
        editions.append(compose(path))
    now = house.clock()
    await publish.save(house.database, house.secrets, digest_id, "news", editions, now)
    mailing_list, providers = house.instance.directory().lists[0], house.instance.providers
    return await publish.send(house.database, house.keyring, mailing_list, digest_id, now, providers=providers)
