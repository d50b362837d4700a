"""mailer serve, lock, unlock, work: what runs, and what it may know."""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from mailer import control, figures
from mailer.app import Service, utc_now
from mailer.app import work as deliver
from mailer.cli import options, passphrases
from mailer.cli.recorded import recorded, write_entry
from mailer.crew import Crew
from mailer.crypto.keyring import Keyring
from mailer.deliverer_process import DelivererProcess
from mailer.errors import PassphraseMissing, ServiceNotRunning
from mailer.instance import Instance

CHATTY = ("alembic", "sqlalchemy", "aiosqlite", "asyncio", "mail.log")  # aiosmtpd is the last: it names its peers
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4  # prctl(2)

Deliver = Annotated[bool, typer.Option("--deliver", help="Deliver digests too, in a process of its own.")]


def serve(
    with_deliverer: Deliver = False,
    locked: Annotated[bool, typer.Option("--locked", help="Start without secrets; letters wait for `unlock`.")] = False,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    roster_file: options.RosterFile = None,
) -> None:
    """Accept letters, answer them, and send the answers.

    Without a passphrase to be had it starts locked: it accepts mail, and does the rest after `mailer unlock`.
    Example: mailer serve --deliver --instance /srv/mailer
    """
    instance = Instance.open(instance_folder)
    harden()
    keyring, deliverer = Keyring(), DelivererProcess(instance.folder.resolve())

    async def run() -> None:
        try:
            if not locked:
                await _unlock_at_start(instance, keyring, deliverer, service_file, roster_file, with_deliverer)
            await Service(instance, keyring, deliverer).run()
        finally:
            await deliverer.stop()

    with control.claim(instance.control_path):
        run_until_told(run())


async def _unlock_at_start(
    instance: Instance,
    keyring: Keyring,
    deliverer: DelivererProcess,
    service_file: Path | None,
    roster_file: Path | None,
    with_deliverer: bool,
) -> None:
    try:
        service = passphrases.read("service", service_file)
    except PassphraseMissing:
        if service_file is not None:
            raise
        logging.getLogger("mailer").warning("starting locked: letters are accepted and wait for `mailer unlock`")
        return
    opened, secrets = await asyncio.to_thread(instance.open_service, service)
    keyring.unlock(instance.erase_past_keys(opened, secrets, utc_now()))
    if with_deliverer:
        roster = passphrases.read("roster", roster_file)
        await asyncio.to_thread(instance.open_roster, roster)
        await deliverer.start(service, roster)


def lock(instance_folder: options.InstanceFolder = Path()) -> None:
    """Take the secrets from the running service. It goes on accepting letters.

    Example: mailer lock --instance /srv/mailer
    """
    instance = Instance.open(instance_folder)
    print(asyncio.run(control.ask(instance.control_path, {"do": "lock"})))
    write_entry(instance, "lock")  # afterwards: this must not wait for the database


@recorded("unlock")
def unlock(
    with_deliverer: Deliver = False,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    roster_file: options.RosterFile = None,
) -> None:
    """Give the running service its secrets, and with --deliver the deliverer the roster key.

    Example: mailer unlock --deliver --instance /srv/mailer
    """
    instance = Instance.open(instance_folder)
    if not instance.control_path.exists():
        raise ServiceNotRunning
    request = {"do": "unlock", "service": passphrases.read("service", service_file)}
    if with_deliverer:
        request["roster"] = passphrases.read("roster", roster_file)
    print(asyncio.run(control.ask(instance.control_path, request)))


def work(
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, max=256, help="How many at once; one for each core if left out.")
    ] = None,
    instance_folder: options.InstanceFolder = Path(),
    service_file: options.ServiceFile = None,
    roster_file: options.RosterFile = None,
    on_stdin: Annotated[bool, typer.Option("--passphrases-on-stdin", hidden=True)] = False,
) -> None:
    """Deliver digests and notices until stopped; several may run, on several machines.

    Example: mailer work --processes 4 --instance /srv/mailer --roster-passphrase-file /run/keys/roster
    """
    instance = Instance.open(instance_folder)
    harden()
    with figures.shown_beside(instance):
        code = _work(instance, processes, service_file, roster_file, on_stdin)
    if code:
        raise typer.Exit(code)


def _work(
    instance: Instance, processes: int | None, service_file: Path | None, roster_file: Path | None, on_stdin: bool
) -> int:
    if on_stdin:
        service, roster, parent = json.loads(sys.stdin.readline())
        end_with(parent)
    else:
        service = passphrases.read("service", service_file)
        roster = passphrases.read("roster", roster_file)
    with instance.roster_in_use():
        opened, secrets = instance.open_service(service)
        secrets = instance.erase_past_keys(opened, secrets, utc_now())
        roster_key = instance.open_roster(roster)
        size = min(processes or len(os.sched_getaffinity(0)), most_workers(instance))

        def work_alone(number: int) -> None:
            run_until_told(deliver(instance, secrets, roster_key, number, size))

        return Crew(size, work_alone).run()


def most_workers(instance: Instance) -> int:
    """Return how many workers the relays' connections suffice for."""
    return max((one.connections for one in instance.config.all_relays.values() if one.is_set), default=1)


def harden() -> None:
    """Leave nothing of this process's memory on disk, and nothing it writes readable by others."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def end_with(parent: int) -> None:
    """Have this process told to end when its parent is gone, even if that was killed, or is gone already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)


def run_until_told(task: Coroutine[Any, Any, None]) -> None:
    """Run until SIGTERM or SIGINT, and let it end in good order."""

    async def run() -> None:
        running = asyncio.ensure_future(task)
        loop = asyncio.get_running_loop()
        for told in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(told, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            return

    asyncio.run(run())
