"""Another roster key, when one may be known or has served long enough."""

from __future__ import annotations

from collections.abc import Callable

from mailer import control
from mailer.crypto.vault import RosterKey
from mailer.instance import FORMER_ROSTER, Instance, replace_roster_public
from mailer.store import rotation


async def rotate_roster_key(
    instance: Instance, passphrase: str, *, is_compromised: bool, progress: Callable[[int], None] = lambda _: None
) -> int:
    """Give the register a new key under the same passphrases; return how many records opened with none.

    The key file holds the new key and the former one until all is done, so an interrupted rotation is finished by the
    next. Raises ServiceRunning, InstanceBusy, WrongPassphrase, StoreError.
    """
    database = instance.database()
    with control.claim(instance.control_path), instance.roster_in_use(alone=True):
        opened = instance.open_key_file("roster", passphrase)
        former_payload = opened.payload.get(FORMER_ROSTER)
        if isinstance(former_payload, dict):
            current = {name: value for name, value in opened.payload.items() if name != FORMER_ROSTER}
            new, former = RosterKey.from_payload(current), RosterKey.from_payload(former_payload)
        else:
            new, former = RosterKey.generate(), RosterKey.from_payload(opened.payload)
            opened.save(new.to_payload() | {FORMER_ROSTER: former.to_payload()})
        replace_roster_public(instance, new.public)
        try:
            await database.open(alone=True)
            broken = await rotation.rotate(database, new, former, is_compromised, progress)
        finally:
            await database.close()
        opened.save(new.to_payload())
    return broken
