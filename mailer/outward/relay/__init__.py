"""The relay: gives our letters to the server that takes them onward, over TLS that is verified, or not at all.

Reading order: settings, pool (what others use), connection, opening (aiosmtplib connects, secures and logs in),
session (MAIL, RCPT and DATA are ours, octet for octet), parcel and reply (what goes out and what comes back, pure),
wire (the transport), folder (no server at all).
"""

from __future__ import annotations

from functools import partial

from mailer.outward.relay.connection import SmtpConnection
from mailer.outward.relay.folder import FolderConnection, make_folder
from mailer.outward.relay.opening import reach
from mailer.outward.relay.pool import Connection, Relay
from mailer.outward.relay.settings import RelaySettings, Security, read_proxy, tls_context

__all__ = ["Connection", "Relay", "RelaySettings", "Security", "open_relay", "reach"]


def open_relay(settings: RelaySettings) -> Relay:
    """Return the relay that the settings describe, a server or a folder; servers are reached at the first letter.

    Raises RelayUnusable for settings that cannot be used, or not safely.
    """
    if settings.folder is not None:
        make_folder(settings.folder, settings.folder_format)
        connect_to_folder = partial(FolderConnection, settings.name, settings.folder, settings.folder_format)
        return Relay(settings.name, settings.connections, connect_to_folder)
    read_proxy(settings.proxy)
    return Relay(settings.name, settings.connections, partial(SmtpConnection, settings, tls_context(settings)))
