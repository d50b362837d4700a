"""From bytes to sheaves: the packets of each certificate, counted, sorted, and rid of what others added to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mailer.crypto.openpgp import armor, claims, keybox, packets
from mailer.crypto.openpgp.armor import BlockKind
from mailer.crypto.openpgp.claims import Key, Kind, Signature
from mailer.crypto.openpgp.packets import Malformed, Packet, Tag

OCTETS_MAX = 8 << 20
PACKETS_MAX = 2000  # without the signatures of others
CERTIFICATES_MAX = 200
BLOCKS_MAX = 200
USER_ID_OCTETS_MAX = 2048
SIGNATURES_MAX = 250  # by the owner on one component: twenty years of monthly extensions
_SECRET = frozenset({Tag.SECRET_KEY, Tag.SECRET_SUBKEY})
_SECRET_BLOCKS = frozenset({BlockKind.PRIVATE_KEY, BlockKind.SECRET_KEY})
_KEY_BLOCKS = _SECRET_BLOCKS | {BlockKind.PUBLIC_KEY, BlockKind.FILE}
_OF_MESSAGES = frozenset(
    {Tag.PKESK, Tag.SKESK, Tag.ONE_PASS, Tag.COMPRESSED, Tag.SED, Tag.LITERAL, Tag.SEIPD, Tag.MDC, Tag.AED}
)


class TooLarge(Exception):
    """There is more than anybody's certificate needs."""


@dataclass
class Component:
    """A key or user ID, with the signatures after it that name the certificate's owner or nobody as issuer."""

    packet: Packet
    signatures: list[Signature] = field(default_factory=list)

    def of(self, *kinds: Kind) -> list[Signature]:
        """Return its signatures of these kinds, newest first."""
        found = [signature for signature in self.signatures if signature.kind in kinds]
        return sorted(found, key=lambda signature: signature.created or 0, reverse=True)

    def with_only(self, signatures: Iterable[Signature]) -> bytes:
        """Return its packet, followed by these signatures."""
        return self.packet.raw + b"".join(signature.raw for signature in signatures)


@dataclass
class Sheaf:
    """One certificate. is_secret: it holds a secret key, or part of one."""

    primary: Component
    key: Key
    is_secret: bool
    user_ids: dict[bytes, Component] = field(default_factory=dict)
    subkeys: dict[bytes, Component] = field(default_factory=dict)

    @property
    def is_nameless(self) -> bool:
        """Whether it is of version 4 and has subkeys alone, and nothing that vouches for the primary key."""
        has_bindings = any(subkey.of(Kind.BINDING) for subkey in self.subkeys.values())
        return self.key.version == 4 and not self.user_ids and not self.self_signatures and has_bindings

    @property
    def self_signatures(self) -> list[Signature]:
        """What may vouch for the primary key: direct-key signatures and certifications of user IDs, in no order."""
        certifications = (one for user_id in self.user_ids.values() for one in user_id.of(*claims.CERTIFICATIONS))
        return [*self.primary.of(Kind.DIRECT), *certifications]


@dataclass
class Gathered:
    """What is in a file. has_secret: something in it is marked as a secret key, or a part of one."""

    sheaves: list[Sheaf]
    has_secret: bool


def gather(blob: bytes) -> Gathered:
    """Return the certificates in `blob`: binary, armored, or as GnuPG keeps them (keybox). Raises TooLarge.

    Copies of one certificate become one sheaf, so that a revocation in any of them counts.
    """
    if len(blob) > OCTETS_MAX:
        raise TooLarge
    blocks = list(armor.find_blocks(blob, BLOCKS_MAX + 1))
    if len(blocks) > BLOCKS_MAX:
        raise TooLarge
    key_blocks = [block for block in blocks if block.kind in _KEY_BLOCKS]
    contents = [block.content or b"" for block in key_blocks] if blocks else keybox.split(blob) or [blob]
    found: list[Packet] = []
    for content in contents:
        found += _read_block(content, PACKETS_MAX - len(found))
    has_secret = any(block.kind in _SECRET_BLOCKS for block in key_blocks)
    has_secret |= any(_begins_secret(content) for content in contents) or any(one.tag in _SECRET for one in found)
    sheaves = sort(found)
    if len(sheaves) > CERTIFICATES_MAX:
        raise TooLarge
    return Gathered(sheaves, has_secret)


def _begins_secret(content: bytes) -> bool:
    """Whether a secret key is first in it, whole or not."""
    first = next(packets.tags(content), None)
    return first in _SECRET


def _read_block(content: bytes, room: int) -> list[Packet]:
    """Return the packets of a block, without what strangers signed; that is what certificates are flooded with.

    A block that is cut off, or is a message, counts for nothing: what is missing may be a revocation.
    """
    found: list[Packet] = []
    owner = b""
    try:
        for packet in packets.walk(content):
            if packet.tag == Tag.PUBLIC_KEY:
                owner = _key_id(packet)
            elif packet.tag == Tag.SIGNATURE and claims.is_anothers(packet.body, owner):
                continue
            found.append(packet)
            if len(found) > room:
                raise TooLarge
    except Malformed:
        return []
    return [] if any(packet.tag in _OF_MESSAGES for packet in found) else found


def _key_id(packet: Packet) -> bytes:
    try:
        fingerprint = claims.read_key(packet).fingerprint
    except Malformed:
        return b""
    return claims.to_key_id(fingerprint) if fingerprint else b""


def sort(found: Iterable[Packet]) -> list[Sheaf]:
    """Return the packets as certificates, in the order in which those first appear."""
    sheaves: dict[bytes, Sheaf] = {}
    revocations: list[Signature] = []
    sheaf: Sheaf | None = None
    component: Component | None = None
    for packet in found:
        if packet.tag in {Tag.PUBLIC_KEY, Tag.SECRET_KEY}:
            sheaf = _open_sheaf(packet, sheaves)
            component = sheaf.primary if sheaf else None
        elif packet.tag == Tag.SIGNATURE:
            _attach(packet, sheaf, component, revocations)
        elif sheaf and packet.tag in {Tag.USER_ID, Tag.USER_ATTRIBUTE, Tag.PUBLIC_SUBKEY, Tag.SECRET_SUBKEY}:
            component = _open_component(packet, sheaf)
    for each in sheaves.values():
        each.primary.signatures += (one for one in revocations if _may_revoke(one, each))
    return list(sheaves.values())


def _may_revoke(revocation: Signature, sheaf: Sheaf) -> bool:
    """Whether it is by the owner, or the owner may have named its issuer as revoker in a direct-key signature."""
    is_owners = not revocation.issuers or sheaf.key.key_id in revocation.issuers
    return is_owners or bool(sheaf.primary.of(Kind.DIRECT))


def _open_sheaf(packet: Packet, sheaves: dict[bytes, Sheaf]) -> Sheaf | None:
    try:
        key = claims.read_key(packet)
    except Malformed:
        return None
    sheaf = Sheaf(Component(packet), key, is_secret=packet.tag == Tag.SECRET_KEY)
    return sheaves.setdefault(packet.body, sheaf)


def _open_component(packet: Packet, sheaf: Sheaf) -> Component | None:
    if packet.tag == Tag.USER_ID and len(packet.body) <= USER_ID_OCTETS_MAX:
        return sheaf.user_ids.setdefault(packet.body, Component(packet))
    if packet.tag == Tag.PUBLIC_SUBKEY:
        return sheaf.subkeys.setdefault(packet.body, Component(packet))
    sheaf.is_secret |= packet.tag == Tag.SECRET_SUBKEY
    return None


def _attach(packet: Packet, sheaf: Sheaf | None, component: Component | None, revocations: list[Signature]) -> None:
    try:
        signature = claims.read_signature(packet)
    except Malformed:
        return
    if signature.kind == Kind.KEY_REVOCATION:  # wherever it stands: people append their revocation certificate
        revocations.append(signature)
    elif sheaf and component and (not signature.issuers or sheaf.key.key_id in signature.issuers):
        if all(one.raw != signature.raw for one in component.signatures):
            component.signatures.append(signature)
        if len(component.signatures) > SIGNATURES_MAX:
            raise TooLarge
