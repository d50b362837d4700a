"""What the DNS says of letters that we send: SPF, DKIM and DMARC, for each domain that a list is from."""

from __future__ import annotations

from collections.abc import Iterator

from mailer.config import Relay, is_loopback
from mailer.doctor import spf
from mailer.doctor.finding import Finding, fault, left_out
from mailer.doctor.scene import Scene
from mailer.errors import DkimKeyUnusable

_SPF, _DMARC = "v=spf1", "v=dmarc1"
_BAD = {
    "permerror": "cannot be read by other servers: it has a mistake, or needs more than ten look-ups",
    "none": "cannot be read",
}


def spf_records(scene: Scene) -> Iterator[Finding]:
    """May the relays send for each domain?"""
    for domain, relays in scene.senders.items():
        records = [one for one in scene.names.text(domain) if one.lower().split(" ")[0] == _SPF]
        if not records:
            yield fault(f"{domain} has no SPF record.", _write_spf(domain))
        elif len(records) > 1:
            yield fault(f"{domain} has {len(records)} SPF records, which counts as none.", "Leave one in the DNS.")
        elif any(term in ("+all", "all") for term in records[0].lower().split()):
            yield fault(f"The SPF record of {domain} lets everybody send for it.", "End it with -all.")
        else:
            for relay in sorted(relays):
                yield from _spf_of_relay(scene, domain, relay)


def _write_spf(domain: str) -> str:
    return f'Write into the DNS: {domain}. TXT "v=spf1 … -all", with what the relay\'s provider says in the middle.'


def _spf_of_relay(scene: Scene, domain: str, name: str) -> Iterator[Finding]:
    relay = scene.relays[name]
    if relay.folder is not None or relay.proxy:
        return  # carried by hand; or its name is to be looked up by the proxy alone
    addresses = _sends_from(scene, relay)
    results = {spf.allows(scene.names, address, domain) for address in addresses}
    if "pass" in results or not addresses:
        return
    bad = next((_BAD[one] for one in results if one in _BAD), f"does not allow the relay {name}")
    yield fault(f"The SPF record of {domain} {bad}.", _write_spf(domain))


def _sends_from(scene: Scene, relay: Relay) -> set[str]:
    host = relay.host or ""
    own = scene.names.addresses(host)
    return own | scene.public_addresses if is_loopback(host) else own


def dkim_records(scene: Scene) -> Iterator[Finding]:
    """Does the DNS have the public half of each DKIM key, under each domain that it signs for?"""
    signing = {name for name, relay in scene.relays.items() if relay.dkim_key is not None}
    if not signing:
        yield left_out(
            "No relay has a dkim_key, so the relays sign.",
            "`mailer digest test` to a mailbox of yours, and see that it says dkim=pass with the list's domain.",
        )
    for domain, relays in scene.senders.items():
        for name in sorted(relays & signing):
            yield from _dkim_of_relay(scene, domain, scene.relays[name])


def _dkim_of_relay(scene: Scene, domain: str, relay: Relay) -> Iterator[Finding]:
    try:
        key = scene.instance.dkim(relay)
    except DkimKeyUnusable:
        yield left_out("A dkim_key cannot be used; see the checks `config` and `file-modes`.")
        return
    if key is None:
        return
    name = key.record_name(domain)
    found = [record for record in map(_tags, scene.names.text(name)) if "p" in record]
    wanted = _tags(key.record)
    write = f'Write into the DNS: {name}. TXT "{key.record}"'
    if not found:
        yield fault(f"There is no DKIM record {name}, so other servers cannot verify what we sign.", write)
    elif len(found) > 1:
        yield fault(f"There are {len(found)} DKIM records {name}; which one counts is chance.", write)
    elif not found[0]["p"]:
        yield fault(f"The DKIM record {name} says that the key was withdrawn.", "Make a new one: `mailer keys dkim`.")
    elif found[0]["p"] != wanted["p"] or found[0].get("k", "rsa") != wanted["k"]:
        yield fault(f"The DKIM record {name} is of another key than dkim_key.", write)


def _tags(record: str) -> dict[str, str]:
    """RFC 6376 §3.2; blanks inside a value mean nothing in what is compared here."""
    pairs = (part.partition("=") for part in record.split(";"))
    return {name.strip().lower(): "".join(value.split()) for name, equals, value in pairs if equals}


def dmarc_records(scene: Scene) -> Iterator[Finding]:
    """Does each domain say what to do with forged letters?"""
    for domain in scene.senders:
        record, own = _dmarc(scene, domain)
        write = f'Write into the DNS: _dmarc.{domain}. TXT "v=DMARC1; p=reject; adkim=s; aspf=s"'
        if record is None:
            yield fault(f"{domain} has no DMARC record.", write)
            continue
        policy = record.get("p", "") if own else record.get("sp", record.get("p", ""))
        if policy.lower() not in ("reject", "quarantine"):
            yield fault(f"The DMARC record for {domain} lets forged letters pass (p={policy or '?'}).", write)
        if "ruf" in record:
            yield fault(f"The DMARC record for {domain} asks for reports that hold addresses (ruf).", "Take ruf= out.")


def _dmarc(scene: Scene, domain: str) -> tuple[dict[str, str] | None, bool]:
    """Return the record that holds for a domain, and whether it is its own or one of a domain above (RFC 7489 §6.6.3).

    Every domain above is asked, down to two labels: which of them is the organisation's only a list of all could say.
    """
    labels = domain.split(".")
    for at in range(max(1, len(labels) - 1)):
        above = ".".join(labels[at:])
        found = [one for one in scene.names.text(f"_dmarc.{above}") if one.lower().replace(" ", "").startswith(_DMARC)]
        if len(found) == 1:
            return _tags(found[0]), at == 0
    return None, False
