"""Runs checks beside each other. None can hang the others or the program, and none can bring it down."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import replace

from mailer.doctor.checks import Check
from mailer.doctor.finding import Finding, left_out, unseen
from mailer.doctor.names import Unanswered
from mailer.doctor.scene import Scene
from mailer.errors import MailerError, StoreError

LIMIT_S = 10.0


async def run(scene: Scene, checks: Iterable[Check], *, is_offline: bool = False) -> list[Finding]:
    """Return what the checks find, in their order; one that finds nothing says that all is well."""
    found = await asyncio.gather(*(_look(check, scene, is_offline) for check in checks))
    return [one for each in found for one in each]


async def _look(check: Check, scene: Scene, is_offline: bool) -> list[Finding]:
    if is_offline and check.needs_network:
        return [replace(left_out("Not looked at, because of --offline."), check=check.name)]
    found = await _look_within_limits(check, scene)
    return [replace(one, check=check.name) for one in found] or [Finding(check.well, "", True, check=check.name)]


async def _look_within_limits(check: Check, scene: Scene) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(LIMIT_S):
            return await _gather(check, scene)
    except TimeoutError:
        return [unseen(f"It took longer than {LIMIT_S:.0f} s.", "Look whether a disk or server does not answer.")]
    except Unanswered:
        return [unseen("The name server does not answer.", "Look at /etc/resolv.conf, or use --offline or --resolver.")]
    except StoreError as error:
        if scene.opened is None:
            return [left_out("The database does not open; see the check `database`.")]
        return [unseen(str(error), "See the check `integrity`, and the log of the database's server.")]
    except PermissionError as error:
        return [unseen(f"{error.filename or 'A file'} cannot be read by this user.", "Run it as the service's user.")]
    except (MailerError, OSError) as error:
        what = error.detail if isinstance(error, MailerError) else error.strerror or ""
        return [unseen(what or type(error).__name__, "Mend what is named, and look again.")]
    except Exception as error:  # noqa: BLE001 - one check must not keep the others from being told
        return [unseen(f"The check failed ({type(error).__name__}).", "Report it.")]


async def _gather(check: Check, scene: Scene) -> list[Finding]:
    found = check.look(scene)
    if isinstance(found, AsyncIterator):
        return [one async for one in found]
    return await _in_thread(check.name, found)


async def _in_thread(name: str, found: Iterator[Finding]) -> list[Finding]:
    """A thread that may be left behind: one of asyncio's own would be waited for at the end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[list[Finding]] = loop.create_future()

    def look() -> None:
        result: list[Finding] | BaseException
        try:
            result = list(found)
        except Exception as error:  # noqa: BLE001 - it is raised again where it was asked for
            result = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, done, result)

    threading.Thread(target=look, name=name, daemon=True).start()
    return await done


def _settle(done: asyncio.Future[list[Finding]], result: list[Finding] | BaseException) -> None:
    if done.done():
        return
    if isinstance(result, BaseException):
        done.set_exception(result)
    else:
        done.set_result(result)
