"""mailer doctor: what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mailer.app import relay_settings
from mailer.cli import options, passphrases
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.doctor.checks import CHECKS
from mailer.doctor.finding import Finding
from mailer.doctor.names import Names
from mailer.doctor.run import run
from mailer.doctor.scene import Scene
from mailer.errors import ConfigError, InstanceError, PassphraseMissing, StoreError, StoreUnreachable
from mailer.instance import Instance
from mailer.store.database import Database

FAULTS, COULD_NOT_LOOK = 1, 2
OPEN_S = 5.0
_SIGNS = {True: "ok", False: "FAULT", None: "?"}

Resolver = Annotated[
    str | None, typer.Option("--resolver", help="The name server to ask, as in 127.0.0.1:53; else [doctor] resolver.")
]


def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Ask no name server and no relay.")] = False,
    as_json: options.AsJson = False,
    resolver: Resolver = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
) -> None:
    """Look whether anything is wrong, and say what to do; nothing is changed.

    Exit code 0 if all is well, 1 if there is a fault, 2 if something could not be looked at. Without the service
    passphrase the lists' own keys are left out; it is not asked for. Example: mailer doctor --json
    """
    server = _server(resolver) if resolver else None
    try:
        instance = Instance.open(instance_folder)
    except ConfigError as error:
        _show([Finding(str(error), "Mend the line that is named, and look again.", check="config")], as_json)
        raise typer.Exit(FAULTS) from None
    except (InstanceError, OSError) as error:
        _show([Finding(str(error), "Give the folder with --instance.", None, check="config")], as_json)
        raise typer.Exit(COULD_NOT_LOOK) from None
    found = asyncio.run(
        _look(instance, server or instance.config.doctor.resolver, _secrets(instance, service_file), offline)
    )
    _show(found, as_json)
    if code := exit_code(found):
        raise typer.Exit(code)


def exit_code(found: list[Finding]) -> int:
    """Return 0 if all is well, 1 for a fault, 2 if there is none but something could not be looked at."""
    if any(one.ok is False for one in found):
        return FAULTS
    return COULD_NOT_LOOK if any(one.ok is None and not one.is_left_out for one in found) else 0


def _server(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        host, port = text, "53"
    return host.strip("[]"), int(port)


def _secrets(instance: Instance, file: Path | None) -> ServiceSecrets | None:
    """Return the service secrets if their passphrase is to be had without asking anybody. Raises WrongPassphrase."""
    try:
        passphrase = passphrases.read("service", file, may_ask=False)
    except PassphraseMissing:
        if file is not None:
            raise
        return None
    return instance.open_service(passphrase)[1]


async def _look(
    instance: Instance, server: tuple[str, int] | None, secrets: ServiceSecrets | None, offline: bool
) -> list[Finding]:
    database: Database | None = None
    trouble: StoreError | None = None
    try:
        database = instance.database()
        async with asyncio.timeout(OPEN_S):
            await database.open(may_change=False)
    except StoreError as error:
        trouble = error
    except TimeoutError:
        trouble = StoreUnreachable()
    scene = Scene(
        instance,
        Names(server),
        datetime.now(UTC),
        partial(relay_settings, instance),
        secrets=secrets,
        trouble=trouble,
        opened=None if trouble else database,
    )
    try:
        return await run(scene, CHECKS, is_offline=offline)
    finally:
        await _close(database)


async def _close(database: Database | None) -> None:
    if database is not None:
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(2):
                await database.close()


def _show(found: list[Finding], as_json: bool) -> None:
    if as_json:
        print(json.dumps([_to_json(one) for one in found], indent=2, ensure_ascii=False))
        return
    for one in found:
        print(f"{_SIGNS[one.ok]:<6}{one.check}: {one.what}")
        if one.do and one.ok is not True:
            print(f"      → {one.do}")


def _to_json(one: Finding) -> dict[str, object]:
    return {"check": one.check, "ok": one.ok, "what": one.what, "do": one.do, "left_out": one.is_left_out}
