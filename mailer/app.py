"""The architecture on one screen: every part is built here, once, and runs in one TaskGroup."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from mailer import config, control, figures
from mailer.crypto import openpgp
from mailer.crypto.keyring import Keyring
from mailer.crypto.service_secrets import ServiceSecrets
from mailer.crypto.vault import RosterKey
from mailer.custody.upkeep import Upkeep
from mailer.deliverer_process import DelivererProcess
from mailer.doctor.alerts import Watch
from mailer.doctor.names import Names
from mailer.doctor.scene import Scene
from mailer.instance import Instance
from mailer.inward import wkd
from mailer.inward.authentication import LANES, Authenticator
from mailer.inward.case import Listener
from mailer.inward.door import Door, DoorSettings
from mailer.inward.intake import Intake
from mailer.inward.key_search import KeySearch
from mailer.inward.reader import Reader
from mailer.inward.receive import Receiver
from mailer.inward.server_certificate import ServerCertificate
from mailer.inward.wkd import KeyDirectory
from mailer.inward.worker import InboxWorker
from mailer.model.address import Address
from mailer.outward import announce, publish
from mailer.outward.copies import Copies
from mailer.outward.deliver import Deliverer, Pace
from mailer.outward.expiring import KeyWatch
from mailer.outward.process import worker_name
from mailer.outward.relay import RelaySettings, open_relay
from mailer.outward.replies import ReplySender
from mailer.outward.routes import Outlet, Route, Routes, shared_out
from mailer.store import home
from mailer.store.database import Database
from mailer.store.ledger import Ledger

MAIN = "main"  # the relay of the section [relay]

SWITCH_S = 0.0005  # a worker's busy thread would let the database's wait ten times as long for each step

log = logging.getLogger("mailer")


@dataclass
class Service:
    """What `mailer serve` runs: the door, the inward walk, the replies, and the socket for lock and unlock."""

    instance: Instance
    keyring: Keyring
    deliverer: DelivererProcess
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    door: Door | None = None

    async def run(self) -> None:
        """Serve until cancelled. Raises ConfigError, VaultError, StoreError before the first letter is accepted."""
        instance = self.instance
        database, directory = instance.database(), instance.directory()
        await database.open()
        figures.count(instance)
        reader_settings = instance.config.reader
        certificate = ServerCertificate.load(instance.config.door.tls_certificate, instance.config.door.tls_key)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(database.close)
            stack.push_async_callback(self.deliverer.stop)
            reader = await stack.enter_async_context(
                Reader(
                    memory_octets=reader_settings.memory_mib * 1024 * 1024,
                    time_s=reader_settings.time_s,
                    processes=reader_settings.processes,
                    authorities=instance.authorities(),
                    can_authenticate=instance.policy.needs_authentication,
                )
            )
            routes = await open_routes(stack, instance)
            listener = Listener(database, self.keyring, reader, directory, utc_now)
            public = instance.roster_public()
            receiver = Receiver(database, self.keyring, listener, public, instance.policy, instance.providers)
            if instance.policy.needs_authentication:
                receiver.authenticator = Authenticator(reader, instance.policy.authserv_id)
            receiver.key_search = key_search(instance, reader)
            lanes = LANES if receiver.authenticator else reader_settings.processes
            worker = InboxWorker(receiver, keep=instance.retention, lanes=lanes)
            give_up_after_s = instance.config.delivery.give_up_after_h * 3600.0
            replies = ReplySender(
                database,
                self.keyring,
                routes,
                instance.providers,
                worker.answered,
                give_up_after_s=give_up_after_s,
            )
            watch = watch_over(instance, database, self.keyring, routes, worker.answered)
            least = instance.config.door.min_free_bytes
            disk = database.folder or instance.folder
            intake = Intake(database, instance.transit_public(), disk, least, arrived=worker.arrived)

            def knows(mailbox: Address) -> bool:
                return directory.find(mailbox) is not None

            self.door = await stack.enter_async_context(
                Door(door_settings(instance, certificate), knows, intake.accept)
            )
            await stack.enter_async_context(control.listening(instance.control_path, self._answer))
            for host, port in self.door.addresses:
                log.info("listening on %s:%d", f"[{host}]" if ":" in host else host, port)
            if instance.config.door.lmtp_socket is not None:
                log.info("listening on %s", instance.config.door.lmtp_socket)
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.run())
                group.create_task(worker.purge_for_ever())
                group.create_task(replies.run())
                group.create_task(figures.show(instance, database))
                group.create_task(Upkeep(database, self.keyring, instance.folder).run())
                if watch is not None:
                    group.create_task(watch.run())
                if certificate is not None:
                    group.create_task(certificate.renew_for_ever())
                self.is_ready.set()

    async def _answer(self, request: control.Request) -> str:
        """Do what a command over the control socket asks."""
        if request.get("do") == "lock":
            self.keyring.lock()
            await self.deliverer.stop()
            return "Locked. Letters are accepted and wait; nothing is answered or sent."
        if request.get("do") == "unlock":
            service, roster = request.get("service", ""), request.get("roster", "")
            opened, secrets = await asyncio.to_thread(self.instance.open_service, service)
            secrets = self.instance.erase_past_keys(opened, secrets, utc_now())
            if roster:
                await asyncio.to_thread(self.instance.open_roster, roster)
                await self.deliverer.start(service, roster)
            self.keyring.unlock(secrets)
            if roster:
                return "Unlocked, and delivering."
            return await self._without_roster_key(must_stop=request.get("deliverer") == "stop")
        return "locked" if self.keyring.is_locked else "unlocked"

    async def _without_roster_key(self, *, must_stop: bool) -> str:
        """Say what becomes of a deliverer that runs: it cannot be started anew with other secrets."""
        if not self.deliverer.is_running:
            return "Unlocked."
        if must_stop:
            await self.deliverer.stop()
            return "Unlocked. The deliverer was stopped: digests wait until `mailer unlock --deliver`."
        return "Unlocked. The deliverer has the keys of before until `mailer unlock --deliver`."


def key_search(instance: Instance, reader: Reader) -> KeySearch | None:
    """Return what looks for the keys of people who join without one; None where config.toml does not allow it."""
    settings = instance.config.wkd
    if not settings.enabled:
        return None
    directory = KeyDirectory(wkd.tls_context(settings.ca_file), settings.proxy, settings.timeout_s, utc_now)
    return KeySearch(directory, reader)


def watch_over(
    instance: Instance, database: Database, keyring: Keyring, routes: Routes, answered: asyncio.Event
) -> Watch | None:
    """Return what tells the admins that a person is needed; None where there is nobody to tell or to tell it.

    Raises FileUnusable, ConfigError.
    """
    lists = [one for one in instance.directory().lists if not one.is_retired]
    if not instance.config.admins or not lists:
        return None

    def scene() -> Scene:
        names = Names(instance.config.doctor.resolver)
        return Scene(instance, names, utc_now(), partial(relay_settings, instance), opened=database)

    lasting = timedelta(minutes=instance.config.alerts.after_min)
    return Watch(database, keyring, routes, instance.admins(), lists[0], scene, utc_now, lasting, queued=answered.set)


async def work(
    instance: Instance, secrets: ServiceSecrets, roster_key: RosterKey, number: int = 0, processes: int = 1
) -> None:
    """Run the delivering process with this number, one of `mailer work`'s, until cancelled."""
    openpgp.keep_heap()
    sys.setswitchinterval(SWITCH_S)
    database, keyring, directory = instance.database(), Keyring(secrets), instance.directory()
    await database.open()
    delivery, providers, seeds = instance.config.delivery, instance.providers, instance.seeds()
    pace = Pace(delivery.lease_s, delivery.batch, delivery.give_up_after_h * 3600.0)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        routes = await open_routes(stack, instance, number, processes)
        await home.check(database)
        ledger = await Ledger.open(database, roster_key)
        copies = Copies(
            database,
            keyring,
            directory,
            utc_now,
            random.SystemRandom().random,
            instance.policy.pending_days,
            {seed.id: seed for seed in seeds},
        )

        await announce.plan(database, keyring, directory, utc_now())
        told: set[str] = set()
        key_watch = KeyWatch(database, ledger, utc_now)

        async def begin_digests() -> None:
            await publish.begin_due(database, keyring, directory, providers, seeds, utc_now(), told)
            await key_watch.look()

        names = providers.names
        worker = worker_name()
        if number == 0:  # where the backups may be out of the intake's sight
            upkeep = asyncio.create_task(Upkeep(database, keyring, instance.folder).run())
            stack.callback(upkeep.cancel)
        await Deliverer(
            database, ledger, copies, routes, names, worker, pace, utc_now, begin_digests=begin_digests
        ).run()


async def open_routes(stack: AsyncExitStack, instance: Instance, number: int = 0, processes: int = 1) -> Routes:
    """Return the relays of config.toml and the ways over them, with one process's share of connections.

    Raises RelayUnusable.
    """
    outlets = {}
    for name, relay in instance.config.all_relays.items():
        if relay.is_set and shared_out(relay.connections, number, processes):
            opened = await stack.enter_async_context(open_relay(relay_settings(instance, name, number, processes)))
            key = instance.dkim(relay)
            outlets[name] = Outlet(opened, relay.identity, key.field if key else None)
    routes = {
        provider: _route(route, outlets, number, processes)
        for route in instance.config.routes
        for provider in route.providers
    }
    return Routes(outlets, routes, utc_now)


def _route(route: config.Route, outlets: Mapping[str, Outlet], number: int, processes: int) -> Route:
    """Return one process's part of a route; one that has no share of its connections has no way there."""
    connections = shared_out(route.connections, number, processes)
    if route.connections and not connections:
        return Route(())
    names = tuple(name for name in route.relays or outlets if name in outlets)
    return Route(names, connections, route.per_minute, route.max_letter_bytes)


def utc_now() -> datetime:
    """Return the time, as all parts are given it."""
    return datetime.now(UTC)


def door_settings(instance: Instance, certificate: ServerCertificate | None) -> DoorSettings:
    """Return the door's part of config.toml."""
    door = instance.config.door
    return DoorSettings(
        listen=tuple((one.host, one.port) for one in door.listen),
        lmtp_socket=door.lmtp_socket,
        hostname=door.hostname,
        tls=certificate.context if certificate else None,
        max_letter_bytes=door.max_letter_bytes,
        max_connections=door.max_connections,
        max_connections_per_host=door.max_connections_per_host,
        max_recipients=door.max_recipients,
        timeout_s=door.timeout_s,
    )


def relay_settings(instance: Instance, name: str = MAIN, number: int = 0, processes: int = 1) -> RelaySettings:
    """Return a relay's part of config.toml, with a process's share of the connections.

    Raises RelayUnusable where the password file cannot be read.
    """
    relay = instance.config.all_relays[name]
    return RelaySettings(
        host=relay.host or "",
        port=relay.port,
        security="none" if relay.tls == "none" else relay.security,
        username=relay.username or None,
        password=instance.relay_password(relay),
        ca_file=relay.ca_file,
        connections=shared_out(relay.connections, number, processes),
        timeout_s=relay.timeout_s,
        local_hostname=instance.config.door.hostname,
        name=name,
        proxy=relay.proxy,
        folder=relay.folder,
        folder_format=relay.folder_format,
    )
