"""mailer check-config: is everything in config.toml right?"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from mailer.app import door_settings, relay_settings
from mailer.cli import options
from mailer.crypto import openpgp
from mailer.instance import Instance
from mailer.inward.server_certificate import ServerCertificate
from mailer.letters.write import Wording


def check_config(instance_folder: options.InstanceFolder = Path()) -> None:
    """Read config.toml and every file that it names; change nothing.

    Example: mailer check-config --instance /srv/mailer
    """
    instance = Instance.open(instance_folder)
    lists = instance.directory().lists
    for one in lists:
        Wording(one.wording)
    door = instance.config.door
    door_settings(instance, ServerCertificate.load(door.tls_certificate, door.tls_key))
    for name, relay in instance.config.all_relays.items():
        relay_settings(instance, name)
        instance.dkim(relay)
    instance.admins()
    instance.authorities()
    print(f"{instance.config_path}: {len(instance.config.lists)} list(s), no fault found.")
    for one in lists:
        if one.contact_certificate and openpgp.is_usable(one.contact_certificate, datetime.now(UTC)):
            print(f"Note: the contact_key of {one.id} has ended, so letters for its contact are set aside.")
    if not any(relay.is_set for relay in instance.config.all_relays.values()):
        print("Note: [relay] host is empty, so nothing will be sent.")
