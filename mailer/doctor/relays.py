"""The relays: is there one, does it answer, and is it the one that it should be?"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace

from mailer.doctor.finding import Finding, fault
from mailer.doctor.scene import Scene
from mailer.errors import RelayUnusable
from mailer.outward.relay import RelaySettings, reach

CONNECT_S = 5.0


async def relays(scene: Scene) -> AsyncIterator[Finding]:
    """Can each be reached, with TLS that is verified? Nothing is sent, and nobody logs in."""
    if not scene.relays:
        yield fault("There is no relay, so nothing leaves.", "Set host in [relay] and restart the service.")
    for name in scene.relays:
        try:
            settings = scene.relay_settings(name)
        except RelayUnusable as error:
            yield fault(f"The relay {name}: {error.detail}", "Correct its section in config.toml.")
            continue
        found = await _reach(settings)
        if found is not None:
            yield found


async def _reach(settings: RelaySettings) -> Finding | None:
    if settings.folder is not None:
        return None
    name, where = settings.name, f"{settings.host}, port {settings.port}"
    try:
        async with asyncio.timeout(CONNECT_S):
            await reach(replace(settings, timeout_s=CONNECT_S))
    except ssl.SSLCertVerificationError:
        return fault(
            f"The relay {name} shows a certificate that does not hold for {settings.host}, so nothing is sent over it.",
            "Correct host in its section, or name its authority in ca_file; else somebody stands in the way.",
        )
    except ssl.SSLError:
        return fault(f"The relay {name} speaks no TLS on {where}.", "Correct port and security in its section.")
    except RelayUnusable as error:
        return fault(f"The relay {name}: {error.detail}", "Correct its section in config.toml.")
    except (OSError, TimeoutError):
        return fault(
            f"The relay {name} does not answer ({where}).", "See whether it runs, and whether a firewall is in the way."
        )
    return None
