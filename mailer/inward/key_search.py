"""For whoever joins without a key: looks whether their mail provider has one (WKD), if config.toml allows it.

It asks for members and for strangers alike and then forgets a member's answer. Otherwise a provider who writes in the
name of its own people would see by who is asked for and who is not which of them are subscribed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mailer.errors import ReaderDied
from mailer.inward.case import Heard
from mailer.inward.reader import Reader
from mailer.inward.states import ON_LIST
from mailer.inward.wkd import KeyDirectory
from mailer.model.certificate import Certificate
from mailer.model.command import Verb


@dataclass(frozen=True)
class KeySearch:
    """Asks the directory, and has what it says read in the confined child, like all that comes from strangers."""

    directory: KeyDirectory
    reader: Reader

    async def complete(self, heard: Heard) -> Heard:
        """Return a letter with the key that was found for its writer; as it was where none is missing or found."""
        if heard.command.verb is not Verb.SUBSCRIBE or heard.key is not None or heard.is_unopened:
            return heard
        found = await self._find(heard)
        if found is None or heard.standing.state in ON_LIST:
            return heard
        return replace(heard, letter=replace(heard.letter, offered=(found,)))

    async def _find(self, heard: Heard) -> Certificate | None:
        sender = heard.letter.sender
        content = await self.directory.find(sender)
        if content is None:
            return None
        try:
            found = [one for one in await self.reader.find(content, sender) if isinstance(one, Certificate)]
        except ReaderDied:
            return None
        return found[0] if len(found) == 1 else None
