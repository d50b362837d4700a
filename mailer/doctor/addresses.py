"""Where letters to the lists are sent to: MX, the door's own name, and the way back from its address (RFC 5321 §5)."""

from __future__ import annotations

from collections.abc import Iterator

from mailer.doctor.finding import Finding, fault, left_out
from mailer.doctor.scene import Scene, is_no_name


def mail_exchangers(scene: Scene) -> Iterator[Finding]:
    """Does mail to each list, and to each of its identities, come to this door?"""
    hostname, here = scene.instance.config.door.hostname, scene.public_addresses
    for domain in scene.senders:
        found = scene.names.mail_exchangers(domain)
        if found == [""]:
            yield fault(f"{domain} says in the DNS that it takes no mail (a null MX).", _write_mx(domain, hostname))
            continue
        hosts = found or [domain]  # RFC 5321 §5.1: without an MX record mail goes to the address of the domain itself
        if hostname in found or any(scene.names.addresses(host) & here for host in hosts):
            continue
        what = f"The MX of {domain} leads to {found[0]}" if found else f"{domain} has no MX record"
        yield fault(f"{what}, not to {hostname}, so letters do not arrive here.", _write_mx(domain, hostname))


def _write_mx(domain: str, hostname: str) -> str:
    if is_no_name(hostname):
        return f"Set hostname in [door] to this machine's name in the DNS, and write an MX record for {domain}."
    return f"Write into the DNS: {domain}. MX 10 {hostname}. Or set hostname in [door] to the name that stands there."


def reverse_name(scene: Scene) -> Iterator[Finding]:
    """Do the door's name and address lead to each other?"""
    hostname = scene.instance.config.door.hostname
    if is_no_name(hostname):
        yield left_out("The door has no name of its own in the DNS; see hostname in [door].")
        return
    here = scene.public_addresses
    if not here:
        yield fault(f"{hostname} has no address in the DNS.", "Write its A and AAAA records into the DNS.")
    for address in sorted(here):
        names = scene.names.pointers(address)
        if not names:
            yield fault(
                f"{address} has no reverse entry (PTR).", f"Have whoever runs the network set it to {hostname}."
            )
        elif hostname not in names:
            yield fault(
                f"The reverse entry (PTR) of {address} is {names[0]}, not {hostname}.",
                f"Have whoever runs the network set it to {hostname}, or set hostname in [door] to that name.",
            )
        elif address not in scene.names.addresses(hostname):
            yield fault(
                f"{address} is called {hostname}, but {hostname} leads elsewhere.",
                f"Correct the A or AAAA record of {hostname}: many servers refuse mail from such an address.",
            )
