"""The door from outside: its certificate, and who answers on its ports."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from mailer.crypto.tls_certificate import TlsCertificate
from mailer.doctor.finding import Finding, fault, left_out
from mailer.doctor.scene import Scene
from mailer.errors import VaultError

CONNECT_S = 3.0
_LINE_OCTETS = 2048
_RENEW = "Renew it (certbot renew) and see that the renewed files are copied: docs/operations.md, STARTTLS."


def certificate(scene: Scene) -> Iterator[Finding]:
    """Is the door's certificate there, for this name, with this key, and for some time to come?"""
    door = scene.instance.config.door
    if door.tls_certificate is None or door.tls_key is None:
        if scene.is_reached_from_outside:
            yield fault(
                "The door has no certificate: letters come in without STARTTLS, in the clear.",
                "Set tls_certificate and tls_key in [door]: docs/operations.md, STARTTLS.",
            )
        return
    try:
        found = TlsCertificate.from_pem(door.tls_certificate.read_bytes())
    except (OSError, VaultError) as error:
        yield _unreadable("tls_certificate", door.tls_certificate, error)
        return
    yield from _judge(scene, found)
    try:
        fits = found.has_key(door.tls_key.read_bytes())
    except (OSError, VaultError) as error:
        yield _unreadable("tls_key", door.tls_key, error)
        return
    if not fits:
        yield fault(
            f"{door.tls_key.name} is not the key of {door.tls_certificate.name}.",
            "Name the two files of one certificate in [door].",
        )


def _judge(scene: Scene, found: TlsCertificate) -> Iterator[Finding]:
    door, soon = scene.instance.config.door, timedelta(days=scene.instance.config.doctor.certificate_days)
    if not found.not_before <= scene.now:
        yield fault(f"The door's certificate is valid from {found.not_before:%Y-%m-%d} on.", "Look at the clock, too.")
    if found.not_after <= scene.now:
        yield fault(f"The door's certificate has expired, on {found.not_after:%Y-%m-%d}.", _RENEW)
    elif found.not_after <= scene.now + soon:
        yield fault(f"The door's certificate expires on {found.not_after:%Y-%m-%d}.", _RENEW)
    if not found.is_for(door.hostname):
        yield fault(
            f"The door's certificate is not for {door.hostname}.",
            f"Get one for {door.hostname}, the hostname in [door], or correct that.",
        )


def _unreadable(setting: str, path: Path, error: OSError | VaultError) -> Finding:
    why = f"{error.strerror}." if isinstance(error, OSError) else error.detail
    return fault(
        f"[door] {setting}, {path.name}: {why}",
        "Give a PEM file that this user can read, and run this as the service's user.",
    )


async def ports(scene: Scene) -> AsyncIterator[Finding]:
    """Does our door answer wherever it should listen, and offer the certificate that it was given?"""
    if not scene.has_service:
        yield left_out("No service runs on this folder, so none of its ports need answer.")
    for endpoint in scene.instance.config.door.listen:
        if endpoint.port:  # 0 is whichever was free, which only the log tells
            async for found in _port(scene, endpoint.host, endpoint.port):
                yield found


async def _port(scene: Scene, host: str, port: int) -> AsyncIterator[Finding]:
    shown = f"{f'[{host}]' if ':' in host else host}:{port}"
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(_reachable(host), port, limit=_LINE_OCTETS)
    except (OSError, TimeoutError):
        if not scene.has_service:
            return
        yield fault(
            f"Nothing answers on {shown}, though the service runs.",
            "Restart the service, and look in its log for `listening on`; a firewall may be in the way too.",
        )
        return
    try:
        async with asyncio.timeout(CONNECT_S):
            fault_found = await _converse(scene, reader, writer, shown)
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
        fault_found = _stranger(shown)
    finally:
        writer.transport.abort()
    if fault_found is not None:
        yield fault_found


def _reachable(host: str) -> str:
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


async def _converse(
    scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, shown: str
) -> Finding | None:
    door = scene.instance.config.door
    greeting = await _reply(reader)
    if greeting and greeting[0].startswith("421"):
        return fault(f"{shown} has no place for another connection.", "Look who connects; raise max_connections.")
    if not greeting or not greeting[0].startswith(f"220 {door.hostname} "):
        return _stranger(shown)
    writer.write(b"EHLO doctor.invalid\r\n")
    offers = "STARTTLS" in {line[4:].strip().upper() for line in await _reply(reader)}
    if door.tls_certificate is None:
        return None
    if not offers:
        return fault(f"{shown} does not offer STARTTLS, though there is a certificate.", "Restart the service.")
    writer.write(b"STARTTLS\r\n")
    await _reply(reader)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is compared with the file
    try:
        await writer.start_tls(context)
    except (ssl.SSLError, ConnectionError):
        return fault(f"TLS on {shown} cannot be begun.", "Restart the service, and look at its log.")
    with suppress(OSError, VaultError):  # the check of the certificate names these
        wanted = TlsCertificate.from_pem(door.tls_certificate.read_bytes()).der
        if writer.get_extra_info("ssl_object").getpeercert(binary_form=True) != wanted:
            return fault(f"{shown} shows another certificate than the one in [door].", "Restart the service.")
    return None


def _stranger(shown: str) -> Finding:
    return fault(
        f"Something else than our door answers on {shown}.",
        "See which program it is (ss -ltnp), and end it or give the door another port.",
    )


async def _reply(reader: asyncio.StreamReader) -> list[str]:
    lines: list[str] = []
    while len(lines) < 100:
        line = (await reader.readline()).decode("ascii", "replace")
        lines.append(line.rstrip())
        if line[3:4] != "-":
            break
    return lines
