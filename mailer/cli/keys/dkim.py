"""mailer keys dkim: a key for signing what leaves through a relay that does not sign by itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import options
from mailer.cli.keys import own
from mailer.cli.keys.own import IdentityName
from mailer.cli.recorded import recorded
from mailer.crypto import dkim
from mailer.crypto.dkim import DkimKey
from mailer.crypto.keyfile import private_file
from mailer.instance import Instance

TXT_OCTETS = 255  # the most in one string of a TXT record (RFC 1035 §3.3.14); RFC 6376 §3.6.2.2 joins them


@recorded("keys dkim", "list_id", "selector")
def make_dkim(
    selector: Annotated[str, typer.Argument(help="Its name in the DNS, as in mailer2026: a-z, 0-9 and -.")],
    algorithm: Annotated[dkim.Algorithm, typer.Option(help="Everybody reads rsa; ed25519 is small and fast.")] = "rsa",
    list_id: options.ListName = None,
    identity: IdentityName = "",
    instance_folder: options.InstanceFolder = Path(),
    as_json: options.AsJson = False,
) -> None:
    """Make a DKIM key, for a relay that does not sign by itself, and say what to write into the DNS and config.toml.

    Example: mailer keys dkim mailer2026 --identity abroad
    """
    instance = Instance.open(instance_folder)
    domain = own.find(instance, list_id, identity).address.domain
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", selector):
        raise typer.BadParameter("a selector has 1 to 63 of a-z, 0-9 and -, and neither begins nor ends with -")
    pem = dkim.generate(algorithm)
    path = instance.folder / "keys" / f"{selector}.{domain}.dkim"
    private_file.create(path, pem)
    key = DkimKey.load(pem, selector)
    name, value = key.record_name(domain), key.record
    if as_json:
        facts = {"dkim_selector": selector, "dkim_key": f"keys/{path.name}", "dns_name": name, "dns_value": value}
        print(json.dumps(facts, indent=2))
        return
    strings = " ".join(f'"{value[at : at + TXT_OCTETS]}"' for at in range(0, len(value), TXT_OCTETS))
    print(f"Write this into the DNS of {domain}:\n\n{name}. IN TXT ( {strings} )\n")
    print("Once it can be looked up, write this into the section of the relay in config.toml:\n")
    print(f'dkim_selector = "{selector}"\ndkim_key = "keys/{path.name}"')
