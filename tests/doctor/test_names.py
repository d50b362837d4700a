"""Faults in the DNS, at the door and at the relays, each named and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.doctor.planting import Changes, Plant, Plants, check_planted, faults
from tests.doctor.world import ADDRESS, DOMAIN, HOST, NOW, World, free_port, write_certificate
from tests.walks.far_server import FarServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANTS = Plants()
planted = PLANTS.planted


# --- The DNS --------------------------------------------------------------------------------------------------------

MX, TXT, DMARC, DKIM = (
    (DOMAIN, "MX"),
    (DOMAIN, "TXT"),
    (f"_dmarc.{DOMAIN}", "TXT"),
    (f"mailer._domainkey.{DOMAIN}", "TXT"),
)
PTR = ("7.113.0.203.in-addr.arpa", "PTR")
SPF = f"v=spf1 ip4:{ADDRESS} -all"

PLANTS.in_zone("mx", "no MX", zone={MX: None})
PLANTS.in_zone("mx", "leads to elsewhere.example", zone={MX: ["10 elsewhere.example."]})
PLANTS.in_zone("mx", "takes no mail", zone={MX: ["0 ."]})
PLANTS.in_zone("spf", "no SPF record", zone={TXT: ["something else"]})
PLANTS.in_zone("spf", "2 SPF records", zone={TXT: [SPF, "v=spf1 -all"]})
PLANTS.in_zone("spf", "does not allow the relay main", zone={TXT: ["v=spf1 ip4:198.51.100.1 -all"]})
PLANTS.in_zone("spf", "lets everybody send", zone={TXT: [f"v=spf1 ip4:{ADDRESS} +all"]})
PLANTS.in_zone("spf", "cannot be read", zone={TXT: ["v=spf1 ipv4:1.2.3.4 -all"]})
PLANTS.in_zone("spf", "ten look-ups", zone={TXT: ["v=spf1 " + "a:nowhere.example " * 11 + "-all"]})
PLANTS.in_zone("dkim", "no DKIM record", zone={DKIM: None})
PLANTS.in_zone(
    "dkim", "of another key", zone={DKIM: ["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="]}
)
PLANTS.in_zone("dkim", "withdrawn", zone={DKIM: ["v=DKIM1; k=ed25519; p="]})
PLANTS.in_zone("dmarc", "no DMARC record", zone={DMARC: None})
PLANTS.in_zone("dmarc", "p=none", zone={DMARC: ["v=DMARC1; p=none"]})
PLANTS.in_zone("dmarc", "ruf", zone={DMARC: ["v=DMARC1; p=reject; ruf=mailto:x@lists.example"]})
PLANTS.in_zone("ptr", "no reverse entry", zone={PTR: None})
PLANTS.in_zone("ptr", "host-7.provider.example", zone={PTR: ["host-7.provider.example."]})


@planted("ptr", "leads elsewhere")
async def _not_confirmed(world: World) -> AsyncIterator[Changes]:
    own = 'listen = ["127.0.0.1:'
    world.names.zone = world.zone() | {(HOST, "A"): ["198.51.100.200"]}
    port = world.instance.config.door.listen[0].port
    yield {"instance": world.settings((f'{own}{port}"]', f'{own}{port}", "{ADDRESS}:0"]'))}
    world.names.zone = world.zone()


@planted("mx", "other.example has no MX")
async def _identity_without_mx(world: World) -> AsyncIterator[Changes]:
    zone = world.zone()
    zone |= {("other.example", "TXT"): zone[TXT], ("_dmarc.other.example", "TXT"): zone[DMARC]}
    zone |= {("mailer._domainkey.other.example", "TXT"): zone[DKIM]}
    world.names.zone = zone
    one = '\n[[lists.identities]]\nname = "abroad"\naddress = "news@other.example"\n'
    text = world.instance.config_path.read_text() + one
    keys = {**world.secrets.list_keys, "news/abroad": world.secrets.list_keys["news"]}
    settings = text.replace('identity = ""', 'identity = "abroad"', 1)
    secrets = replace(world.secrets, list_keys=keys)
    yield {"instance": world.settings((world.instance.config_path.read_text(), settings)), "secrets": secrets}
    world.names.zone = world.zone()


# --- The door -------------------------------------------------------------------------------------------------------


def with_certificate(what: str, make: Callable[[Path, World], None]) -> None:
    async def plant(world: World) -> AsyncIterator[Changes]:
        folder = world.instance.folder
        kept = {name: (folder / name).read_bytes() for name in ("chain.pem", "key.pem")}
        make(folder, world)
        yield {}
        for name, content in kept.items():
            (folder / name).unlink(missing_ok=True)
            (folder / name).touch(mode=0o600)
            (folder / name).write_bytes(content)

    planted("tls-certificate", what)(plant)


def until(moment: Any, *names: str) -> Callable[[Path, World], None]:
    return lambda folder, world: write_certificate(folder, world.authority, *names, expires=moment)


def _other_key(folder: Path, world: World) -> None:
    chain = (folder / "chain.pem").read_bytes()
    write_certificate(folder, world.authority, HOST)
    (folder / "chain.pem").write_bytes(chain)


with_certificate("is not the key", _other_key)
with_certificate("No such file", lambda folder, world: (folder / "key.pem").unlink())
with_certificate("no certificate in PEM", lambda folder, world: (folder / "chain.pem").write_bytes(b"nothing") and None)


@pytest.mark.parametrize(
    ("what", "made"),
    [
        ("has expired", until(NOW - timedelta(days=1), HOST)),
        ("expires on", until(NOW + timedelta(days=10), HOST)),
        ("is not for mx.lists.example", until(None, "other.example")),
    ],
)
async def test_a_certificate_that_does_not_hold_is_named_and_so_is_a_door_that_still_shows_another(
    world: World, what: str, made: Callable[[Path, World], None]
) -> None:
    folder = world.instance.folder
    kept = {name: (folder / name).read_bytes() for name in ("chain.pem", "key.pem")}
    made(folder, world)
    found = faults(await world.look())
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    assert set(found) == {"tls-certificate", "port"}
    assert what in found["tls-certificate"][0].what
    assert "another certificate" in found["port"][0].what


@planted("port", "Nothing answers")
async def _closed_port(world: World) -> AsyncIterator[Changes]:
    port = world.instance.config.door.listen[0].port
    yield {"instance": world.settings((f":{port}", f":{free_port()}"))}


@planted("port", "Something else")
async def _stranger_on_the_port(world: World) -> AsyncIterator[Changes]:
    port = world.instance.config.door.listen[0].port
    yield {"instance": world.settings((f":{port}", f":{world.far.port}"))}


@planted("tls-certificate", "without STARTTLS")
async def _open_without_certificate(world: World) -> AsyncIterator[Changes]:
    port = world.instance.config.door.listen[0].port
    changes = [('tls_certificate = "chain.pem"', 'tls_certificate = ""'), ('tls_key = "key.pem"', 'tls_key = ""')]
    yield {"instance": world.settings(*changes, (f'"127.0.0.1:{port}"', f'"127.0.0.1:{port}", ":0"'))}


# --- Relays ---------------------------------------------------------------------------------------------------------

PLANTS.in_settings("relay", "no relay", ('host = "127.0.0.1"', 'host = ""'), ('tls = "none"', 'tls = "verify"'))


@planted("relay", "does not answer")
async def _relay_gone(world: World) -> AsyncIterator[Changes]:
    yield {"instance": world.settings((f"port = {world.far.port}", f"port = {free_port()}"))}


@planted("relay", "speaks no TLS")
async def _relay_without_tls(world: World) -> AsyncIterator[Changes]:
    yield {"instance": world.settings(('tls = "none"', 'tls = "verify"'))}


@planted("relay", "does not hold for")
async def _relay_of_another_authority(world: World) -> AsyncIterator[Changes]:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    world.authority.issue_cert("127.0.0.1").configure_cert(context)
    async with FarServer(tls=context, is_implicit=True) as far:
        ports = (f"port = {world.far.port}", f"port = {far.port}")
        yield {"instance": world.settings(('tls = "none"', 'tls = "verify"'), ports)}


@pytest.mark.parametrize(("check", "what", "plant"), PLANTS, ids=PLANTS.names)
async def test_a_planted_fault_is_named_and_nothing_else(world: World, check: str, what: str, plant: Plant) -> None:
    await check_planted(world, check, what, plant)
