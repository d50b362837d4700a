from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from hypothesis import given
from hypothesis import strategies as st

from mailer.crypto import aead, hybrid, vault
from mailer.crypto.fields import pack, unpack
from mailer.crypto.payload import Malformed
from mailer.errors import SealBroken, VaultError
from mailer.model.address import Address
from mailer.model.letter import Envelope, Peer
from mailer.model.subscriber import Drawer, Format, Record

VECTOR: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "vault-1.json").read_text(encoding="utf-8"))
DRAWER_2: dict[str, str] = json.loads((Path(__file__).parent / "vectors" / "drawer-2.json").read_text(encoding="utf-8"))
ADDRESS = Address.parse("Someone.Special@example.org")
LIST, OTHER_LIST = "k3v9", "k3v8"
ROW, OTHER_ROW = b"\x01" * 16, b"\x02" * 16
KEY, OTHER_KEY = b"\x03" * 32, b"\x04" * 32

ROSTER, OTHER_ROSTER = vault.RosterKey.generate(), vault.RosterKey.generate()
DATA_KEY, OTHER_DATA_KEY = vault.DataKey(b"\x05" * 16, KEY), vault.DataKey(b"\x06" * 16, KEY)
TRANSIT, OTHER_TRANSIT = vault.TransitKey.generate(), vault.TransitKey.generate()
RECORD = Record(ADDRESS, b"\x07" * 32)
DRAWER = Drawer(b"certificate", "0123456789abcdef", b"x509", "five words", Format.INLINE)
ENVELOPE = Envelope(ADDRESS, Address.parse("news@example.org"))


@dataclass(frozen=True)
class Kind:
    """A kind of sealed value: how it is made, how it is opened, and every way to open it in the wrong place."""

    name: str
    seal: Callable[[], bytes]
    open: Callable[[bytes], object]
    value: object
    elsewhere: tuple[Callable[[bytes], object], ...]


KINDS = (
    Kind(
        "fresh record",
        lambda: ROSTER.public.seal_record(RECORD, LIST, ROW),
        lambda blob: ROSTER.open_record(blob, LIST, ROW),
        RECORD,
        (
            lambda blob: ROSTER.open_record(blob, OTHER_LIST, ROW),
            lambda blob: ROSTER.open_record(blob, LIST, OTHER_ROW),
            lambda blob: OTHER_ROSTER.open_record(blob, LIST, ROW),
            lambda blob: vault.TransitKey(ROSTER.raw).open(blob, ROW),
        ),
    ),
    Kind(
        "absorbed record",
        lambda: DATA_KEY.seal_record(RECORD, LIST, ROW),
        lambda blob: DATA_KEY.open_record(blob, LIST, ROW),
        RECORD,
        (
            lambda blob: DATA_KEY.open_record(blob, OTHER_LIST, ROW),
            lambda blob: DATA_KEY.open_record(blob, LIST, OTHER_ROW),
            lambda blob: OTHER_DATA_KEY.open_record(blob, LIST, ROW),
            lambda blob: vault.DataKey(DATA_KEY.id, OTHER_KEY).open_record(blob, LIST, ROW),
            lambda blob: vault.open_drawer(blob, KEY, LIST, ROW),
        ),
    ),
    Kind(
        "data key",
        lambda: ROSTER.seal_data_key(DATA_KEY),
        lambda blob: ROSTER.open_data_key(blob, DATA_KEY.id),
        DATA_KEY,
        (
            lambda blob: ROSTER.open_data_key(blob, OTHER_DATA_KEY.id),
            lambda blob: OTHER_ROSTER.open_data_key(blob, DATA_KEY.id),
        ),
    ),
    Kind(
        "drawer key",
        lambda: vault.wrap_drawer_key(KEY, RECORD.drawer_key, LIST, ROW),
        lambda blob: vault.unwrap_drawer_key(KEY, blob, LIST, ROW),
        RECORD.drawer_key,
        (
            lambda blob: vault.unwrap_drawer_key(KEY, blob, OTHER_LIST, ROW),
            lambda blob: vault.unwrap_drawer_key(KEY, blob, LIST, OTHER_ROW),
            lambda blob: vault.unwrap_drawer_key(OTHER_KEY, blob, LIST, ROW),
            lambda blob: vault.open_drawer(blob, KEY, LIST, ROW),
        ),
    ),
    Kind(
        "drawer",
        lambda: vault.seal_drawer(DRAWER, KEY, LIST, ROW),
        lambda blob: vault.open_drawer(blob, KEY, LIST, ROW),
        DRAWER,
        (
            lambda blob: vault.open_drawer(blob, KEY, OTHER_LIST, ROW),
            lambda blob: vault.open_drawer(blob, KEY, LIST, OTHER_ROW),
            lambda blob: vault.open_drawer(blob, OTHER_KEY, LIST, ROW),
            lambda blob: vault.unwrap_drawer_key(KEY, blob, LIST, ROW),
            lambda blob: DATA_KEY.open_record(blob, LIST, ROW),
        ),
    ),
    Kind(
        "value at rest",
        lambda: vault.seal_at_rest(KEY, b"a draft", "outbox.letter", LIST, ROW),
        lambda blob: vault.open_at_rest(KEY, blob, "outbox.letter", LIST, ROW),
        b"a draft",
        (
            lambda blob: vault.open_at_rest(KEY, blob, "outbox.sender", LIST, ROW),
            lambda blob: vault.open_at_rest(KEY, blob, "outbox.letter", OTHER_LIST, ROW),
            lambda blob: vault.open_at_rest(KEY, blob, "outbox.letter", LIST, OTHER_ROW),
            lambda blob: vault.open_at_rest(KEY, blob, "outbox.letter", LIST),
            lambda blob: vault.open_at_rest(KEY, blob, "outbox.letter", LIST + ROW.decode()),
            lambda blob: vault.open_at_rest(OTHER_KEY, blob, "outbox.letter", LIST, ROW),
        ),
    ),
    Kind(
        "letter in transit",
        lambda: TRANSIT.public.seal(ENVELOPE, b"Subject: hello\r\n\r\n", ROW),
        lambda blob: TRANSIT.open(blob, ROW),
        (ENVELOPE, b"Subject: hello\r\n\r\n"),
        (
            lambda blob: TRANSIT.open(blob, OTHER_ROW),
            lambda blob: OTHER_TRANSIT.open(blob, ROW),
            lambda blob: vault.RosterKey(TRANSIT.raw).open_record(blob, "", ROW),
        ),
    ),
)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


# --- Refusals -------------------------------------------------------------------------------------------------------


@each_kind
def test_a_sealed_value_opens_nowhere_else(kind: Kind) -> None:
    blob = kind.seal()
    assert kind.open(blob) == kind.value  # the positive control: here it does open
    for open_there in kind.elsewhere:
        with pytest.raises(SealBroken):
            open_there(blob)


@each_kind
def test_a_sealed_value_does_not_open_with_one_bit_turned_in_any_byte(kind: Kind) -> None:
    blob = kind.seal()
    for at in range(len(blob)):
        with pytest.raises(SealBroken):
            kind.open(blob[:at] + bytes([blob[at] ^ (1 << at % 8)]) + blob[at + 1 :])


def test_the_bit_that_x25519_ignores_is_not_ignored_here() -> None:
    at = 1 + 1088 + 31  # RFC 7748 §5 masks the top bit of the last byte; the KEM's combiner binds it all the same
    blob = ROSTER.public.seal_record(RECORD, LIST, ROW)
    with pytest.raises(SealBroken):
        ROSTER.open_record(blob[:at] + bytes([blob[at] ^ 0x80]) + blob[at + 1 :], LIST, ROW)


@each_kind
def test_a_sealed_value_does_not_open_cut_short_or_made_longer(kind: Kind) -> None:
    blob = kind.seal()
    for damaged in (*(blob[:length] for length in range(len(blob))), blob + b"\x00", b"\x00" + blob, blob[1:]):
        with pytest.raises(SealBroken):
            kind.open(damaged)


@each_kind
@pytest.mark.parametrize("version", [0, 2, 255])
def test_a_sealed_value_of_another_version_is_refused(kind: Kind, version: int) -> None:
    with pytest.raises(SealBroken):
        kind.open(bytes([version]) + kind.seal()[1:])


@each_kind
def test_an_error_about_a_sealed_value_says_nothing_about_it(kind: Kind) -> None:
    with pytest.raises(SealBroken) as caught:
        kind.elsewhere[0](kind.seal())
    assert "example.org" not in str(caught.value)
    assert caught.value.args == SealBroken().args
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("field", ["local", "domain", "drawer key", "not text", "too few parts"])
def test_a_fresh_record_with_something_else_than_an_address_inside_is_refused(field: str) -> None:
    packed = {
        "local": pack(KEY, "a\r\nRCPT TO:<b", "example.org"),
        "domain": pack(KEY, "a", "example.org>\r\nRSET"),
        "drawer key": pack(b"short", "a", "example.org"),
        "not text": pack(KEY, b"\xff", "example.org"),
        "too few parts": pack(KEY, "a"),
    }[field]
    blob = ROSTER.public.encrypt(packed, vault._record_label(LIST, ROW))
    with pytest.raises(SealBroken):
        ROSTER.open_record(blob, LIST, ROW)


@pytest.mark.parametrize("rcpt_to", [b"a\r\nb@example.org", b"\xff@example.org", b""])
def test_a_letter_with_something_else_than_an_address_on_its_envelope_is_refused(rcpt_to: bytes) -> None:
    blob = TRANSIT.public.encrypt(pack("", rcpt_to, "", "", b"content"), aead.label("transit/letter", ROW))
    with pytest.raises(SealBroken):
        TRANSIT.open(blob, ROW)


def test_a_data_key_put_in_by_somebody_who_has_the_public_half_only_does_not_open() -> None:
    planted = ROSTER.public.encrypt(OTHER_KEY, aead.label("roster/data-key", DATA_KEY.id))
    with pytest.raises(SealBroken):
        ROSTER.open_data_key(planted, DATA_KEY.id)


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33])
def test_a_key_of_another_length_is_a_programming_error_and_no_weaker_cipher(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        vault.seal_drawer(DRAWER, bytes(length), LIST, ROW)
    with pytest.raises(ValueError, match="32 bytes"):
        vault.index(bytes(length), LIST, ADDRESS)


def test_a_public_key_file_is_refused_with_one_bit_turned_in_any_byte() -> None:
    file = ROSTER.public.to_bytes().removesuffix(b"\n")
    for at in range(len(file)):
        with pytest.raises(VaultError):
            vault.RosterPublic.from_bytes(file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :])


@pytest.mark.parametrize("file", [b"", b"\n", b"mailer-roster-public-1", b"mailer-roster-public-1 ", b"\xff\xfe"])
def test_a_public_key_file_that_holds_nothing_is_refused(file: bytes) -> None:
    with pytest.raises(VaultError, match=r"roster\.pub"):
        vault.RosterPublic.from_bytes(file)


def test_the_public_key_for_letters_is_not_taken_for_that_of_the_roster() -> None:
    with pytest.raises(VaultError, match="another kind"):
        vault.RosterPublic.from_bytes(TRANSIT.public.to_bytes())
    with pytest.raises(VaultError, match="damaged"):
        vault.RosterPublic.from_bytes(TRANSIT.public.to_bytes().replace(b"transit", b"roster"))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        bytes(hybrid.PUBLIC_BYTES - 1),
        b"\xff" * hybrid.PUBLIC_BYTES,
        ROSTER.public.raw[: hybrid.MLKEM_PUBLIC_BYTES] + bytes(hybrid.X25519_BYTES),
    ],
    ids=["empty", "short", "no ML-KEM key", "an X25519 key of low order"],
)
def test_what_is_no_public_key_is_refused_before_anything_is_sealed_to_it(raw: bytes) -> None:
    with pytest.raises(Malformed):
        vault.RosterPublic(raw)


@pytest.mark.parametrize(
    "change",
    [
        {"index_key": None},
        {"index_key": "AAAA"},
        {"index_key": "not base64"},
        {"index_key": "ü"},
        {"list_keys": []},
        {"list_keys": {"k3v9": 7}},
        {"transit_private": "AAAA"},
        {"unknown": "AAAA"},
    ],
)
def test_service_secrets_with_anything_wrong_in_them_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(VaultError):
        vault.ServiceSecrets.from_payload(vault.ServiceSecrets.generate().to_payload() | change)


def test_service_secrets_with_anything_missing_are_refused() -> None:
    """But for what came later: older files have none of it."""
    payload = vault.ServiceSecrets.generate().to_payload()
    for name in payload.keys() - {"former_keys", "smime_keys", "smime_requests"}:
        with pytest.raises(VaultError):
            vault.ServiceSecrets.from_payload({kept: value for kept, value in payload.items() if kept != name})


@pytest.mark.parametrize("payload", [{}, {"roster_private": "AAAA"}, TRANSIT.to_payload()])
def test_what_is_no_roster_key_is_refused(payload: dict[str, object]) -> None:
    with pytest.raises(VaultError):
        vault.RosterKey.from_payload(payload)
    with pytest.raises(Malformed):
        vault.RosterKey(b"short")


# --- What tells values apart ----------------------------------------------------------------------------------------


@each_kind
def test_two_seals_of_one_value_differ(kind: Kind) -> None:
    assert kind.seal() != kind.seal()


def test_addresses_of_different_length_are_sealed_to_the_same_size() -> None:
    short, long = Address.parse("a@b.cd"), Address.parse("a" * 50 + "@" + "b" * 30 + ".org")
    for seal in (ROSTER.public.seal_record, DATA_KEY.seal_record):
        assert len(seal(Record(short, KEY), LIST, ROW)) == len(seal(Record(long, KEY), LIST, ROW))


def test_certificates_of_nearly_the_same_length_are_sealed_to_the_same_size() -> None:
    sizes = {len(vault.seal_drawer(Drawer(bytes(length), "f" * 40), KEY, LIST, ROW)) for length in range(500, 600)}
    assert sizes == {3 * 256 + 29}


def test_sizes_are_as_promised() -> None:
    packed = len(vault._pack_record(RECORD))
    assert len(ROSTER.public.seal_record(RECORD, LIST, ROW)) == 1 + packed + 1136
    assert len(DATA_KEY.seal_record(RECORD, LIST, ROW)) == 1 + packed + 28
    assert len(ROSTER.new_data_key()[1]) == len(vault.wrap_drawer_key(KEY, KEY, LIST, ROW)) == 1 + 32 + 28


def test_index_and_suppression_mark_of_one_address_under_one_key_have_nothing_in_common() -> None:
    found = vault.index(KEY, LIST, ADDRESS)
    assert len({found.look_up, found.wrapping_key, vault.suppression_mark(KEY, LIST, ADDRESS)}) == 3


def test_an_address_has_another_index_on_every_list_and_under_every_key() -> None:
    ways = [(KEY, LIST, ADDRESS), (OTHER_KEY, LIST, ADDRESS), (KEY, OTHER_LIST, ADDRESS)]
    ways.append((KEY, LIST, Address.parse("someone.else@example.org")))
    for derive in (lambda *way: vault.index(*way).look_up, vault.suppression_mark):
        assert len({derive(*way) for way in ways}) == len(ways)


def test_list_and_address_that_join_to_the_same_text_have_different_indexes() -> None:
    one, other = Address.parse("bc@example.org"), Address.parse("c@example.org")
    assert vault.index(KEY, "a", one) != vault.index(KEY, "ab", other)
    assert vault.suppression_mark(KEY, "a", one) != vault.suppression_mark(KEY, "ab", other)


def test_two_spellings_of_one_mailbox_have_one_index() -> None:
    other = Address.parse("SOMEONE.special@EXAMPLE.org")
    assert vault.index(KEY, LIST, ADDRESS) == vault.index(KEY, LIST, other)
    assert vault.suppression_mark(KEY, LIST, ADDRESS) == vault.suppression_mark(KEY, LIST, other)


parts = st.lists(st.binary(max_size=6), max_size=4)


@given(parts, parts)
def test_no_two_lists_of_parts_are_packed_to_the_same_bytes(one: list[bytes], other: list[bytes]) -> None:
    assert (pack(*one) == pack(*other)) == (one == other)
    assert unpack(pack(*one), len(one)) == one


@given(st.binary(max_size=40), st.integers(min_value=0, max_value=4))
def test_unpacking_anything_gives_parts_or_a_broken_seal(packed: bytes, count: int) -> None:
    try:
        found = unpack(packed, count)
    except SealBroken:
        return
    assert packed.startswith(pack(*found))
    assert not any(packed[len(pack(*found)) :])


def test_no_secret_shows_itself_in_a_traceback_or_a_log_line() -> None:
    secrets = vault.ServiceSecrets.generate().with_list_key(LIST, b"a secret key")
    things = (secrets, ROSTER, ROSTER.public, TRANSIT, TRANSIT.public, DATA_KEY, vault.index(KEY, LIST, ADDRESS))
    assert [f"{thing!r} {thing}" for thing in things] == [
        f"{type(t).__name__}(…) {type(t).__name__}(…)" for t in things
    ]


# --- What opens -----------------------------------------------------------------------------------------------------


def test_a_fresh_record_is_absorbed_and_opens_as_the_same() -> None:
    data_key, sealed = ROSTER.new_data_key()
    fresh = ROSTER.public.seal_record(RECORD, LIST, ROW)
    absorbed = data_key.seal_record(ROSTER.open_record(fresh, LIST, ROW), LIST, ROW)
    assert ROSTER.open_data_key(sealed, data_key.id).open_record(absorbed, LIST, ROW) == RECORD


def test_rotation_seals_the_data_key_to_another_roster_key_and_leaves_the_records_alone() -> None:
    data_key, sealed = ROSTER.new_data_key()
    absorbed = data_key.seal_record(RECORD, LIST, ROW)
    rotated = OTHER_ROSTER.seal_data_key(ROSTER.open_data_key(sealed, data_key.id))
    assert OTHER_ROSTER.open_data_key(rotated, data_key.id).open_record(absorbed, LIST, ROW) == RECORD
    with pytest.raises(SealBroken):
        ROSTER.open_data_key(rotated, data_key.id)


def test_who_writes_to_us_opens_the_own_drawer() -> None:
    found = vault.index(KEY, LIST, ADDRESS)
    wrapped = vault.wrap_drawer_key(found.wrapping_key, RECORD.drawer_key, LIST, ROW)
    drawer = vault.seal_drawer(DRAWER, RECORD.drawer_key, LIST, ROW)
    again = vault.index(KEY, LIST, ADDRESS)
    assert (
        vault.open_drawer(drawer, vault.unwrap_drawer_key(again.wrapping_key, wrapped, LIST, ROW), LIST, ROW) == DRAWER
    )


def test_the_null_sender_and_a_letter_of_any_bytes_come_through_transit() -> None:
    envelope, content = Envelope(None, ENVELOPE.rcpt_to), os.urandom(100_000)
    assert TRANSIT.open(TRANSIT.public.seal(envelope, content, ROW), ROW) == (envelope, content)
    assert TRANSIT.open(TRANSIT.public.seal(envelope, b"", ROW), ROW) == (envelope, b"")


def test_who_handed_a_letter_in_comes_through_transit() -> None:
    envelope = replace(ENVELOPE, peer=Peer("2001:db8::1", "mail.example.org"))
    blob = TRANSIT.public.seal(envelope, b"hello", ROW)
    assert TRANSIT.open(blob, ROW) == (envelope, b"hello")
    assert b"2001:db8" not in blob and "2001" not in repr(envelope)


def test_service_secrets_come_back_from_a_key_file_as_they_were() -> None:
    secrets = vault.ServiceSecrets.generate().with_list_key(LIST, b"one").with_list_key(OTHER_LIST, b"two")
    assert vault.ServiceSecrets.from_payload(json.loads(json.dumps(secrets.to_payload()))) == secrets
    assert dict(secrets.with_list_key(LIST, b"new").list_keys) == {LIST: b"new", OTHER_LIST: b"two"}
    assert dict(secrets.list_keys) == {LIST: b"one", OTHER_LIST: b"two"}


def test_the_keys_of_a_list_are_its_own_and_then_those_of_its_identities() -> None:
    secrets = vault.ServiceSecrets.generate().with_list_key("b", b"other").with_list_key("a", b"abroad", "z")
    secrets = secrets.with_list_key("a", b"own").with_list_key("a", b"at home", "h").with_list_key("a-b", b"alike")
    assert secrets.keys_of("a") == (b"own", b"at home", b"abroad")
    assert secrets.keys_of("b") == (b"other",)
    assert secrets.keys_of("c") == ()
    assert dict(vault.ServiceSecrets.from_payload(secrets.to_payload()).list_keys) == dict(secrets.list_keys)


def test_keys_come_back_from_their_files_as_they_were() -> None:
    assert vault.RosterKey.from_payload(json.loads(json.dumps(ROSTER.to_payload()))) == ROSTER
    assert vault.RosterPublic.from_bytes(ROSTER.public.to_bytes()) == ROSTER.public
    assert vault.TransitPublic.from_bytes(TRANSIT.public.to_bytes()) == TRANSIT.public


# --- Frozen ---------------------------------------------------------------------------------------------------------


def test_an_index_is_hmac_then_argon2id_then_hkdf_over_labelled_parts() -> None:
    def framed(*fields: bytes) -> bytes:
        return b"".join(len(field).to_bytes(4, "big") + field for field in fields)

    keyed = hmac.digest(KEY, framed(b"mailer/1/index", LIST.encode(), b"someone.special@example.org"), "sha256")
    salt = framed(b"mailer/1/index/stretch")
    stretched = Argon2id(salt=salt, length=32, iterations=1, lanes=1, memory_cost=8192).derive(keyed)
    extracted = hmac.digest(bytes(32), stretched, "sha256")  # RFC 5869 §2.2, §2.3
    expanded = [
        hmac.digest(extracted, framed(f"mailer/1/index/{use}".encode()) + b"\x01", "sha256")
        for use in ("look-up", "wrapping-key")
    ]
    found = vault.index(KEY, LIST, ADDRESS)
    assert [found.look_up, found.wrapping_key] == expanded


def test_what_earlier_releases_computed_from_an_address_is_still_the_same() -> None:
    secrets = vault.ServiceSecrets.from_payload(VECTOR["service"])
    address = Address.parse(VECTOR["address"])
    found = vault.index(secrets.index_key, VECTOR["list_id"], address)
    assert (found.look_up.hex(), found.wrapping_key.hex()) == (VECTOR["look_up"], VECTOR["wrapping_key"])
    mark = vault.suppression_mark(secrets.suppression_key, VECTOR["list_id"], address)
    assert mark.hex() == VECTOR["suppression_mark"]
    assert dict(secrets.list_keys) == {VECTOR["list_id"]: b"a secret key"}


def test_what_earlier_releases_sealed_still_opens() -> None:
    secrets, roster = (
        vault.ServiceSecrets.from_payload(VECTOR["service"]),
        vault.RosterKey.from_payload(VECTOR["roster"]),
    )
    sealed = {name: bytes.fromhex(blob) for name, blob in VECTOR["sealed"].items()}
    list_id, row, inbox = VECTOR["list_id"], bytes.fromhex(VECTOR["subscriber_id"]), bytes.fromhex(VECTOR["inbox_id"])
    drawer_key = bytes.fromhex(VECTOR["drawer_key"])
    record = Record(Address.parse(VECTOR["address"]), drawer_key)
    data_key = roster.open_data_key(sealed["data_key"], bytes.fromhex(VECTOR["data_key_id"]))
    wrapping_key = bytes.fromhex(VECTOR["wrapping_key"])
    drawer = Drawer(bytes.fromhex(VECTOR["certificate"]), VECTOR["fingerprint"])
    peer = Peer("2001:db8::1", "mail.example.org")
    letter = (Envelope(None, Address.parse("news@example.org"), peer), b"Subject: hello\r\n\r\n")
    assert data_key.key.hex() == VECTOR["data_key"]
    assert roster.open_record(sealed["fresh"], list_id, row) == record
    assert data_key.open_record(sealed["absorbed"], list_id, row) == record
    assert vault.unwrap_drawer_key(wrapping_key, sealed["drawer_key"], list_id, row) == drawer_key
    assert vault.open_drawer(sealed["drawer"], drawer_key, list_id, row) == drawer
    assert secrets.transit_private.open(sealed["letter"], inbox) == letter
    assert vault.open_at_rest(secrets.rest_key, sealed["rest"], "outbox.letter", list_id, row) == b"a draft"


def test_a_drawer_of_the_second_form_still_opens() -> None:
    held = Drawer(
        bytes.fromhex(DRAWER_2["certificate"]),
        DRAWER_2["fingerprint"],
        bytes.fromhex(DRAWER_2["x509"]),
        DRAWER_2["passphrase"],
        Format(DRAWER_2["format"]),
    )
    key, row = bytes.fromhex(DRAWER_2["drawer_key"]), bytes.fromhex(DRAWER_2["subscriber_id"])
    assert vault.open_drawer(bytes.fromhex(DRAWER_2["sealed"]), key, DRAWER_2["list_id"], row) == held


def test_a_drawer_with_a_format_that_we_never_wrote_is_refused() -> None:
    what = (b"mailer/2/drawer", b"", b"", b"", b"", b"carrier-pigeon")
    blob = aead.seal(KEY, pack(*what), aead.label("drawer/content", LIST, ROW))
    with pytest.raises(SealBroken):
        vault.open_drawer(blob, KEY, LIST, ROW)


def test_public_key_files_of_earlier_releases_are_still_read() -> None:
    roster, transit = (
        vault.RosterKey.from_payload(VECTOR["roster"]),
        vault.ServiceSecrets.from_payload(VECTOR["service"]),
    )
    assert vault.RosterPublic.from_bytes(VECTOR["roster.pub"].encode()) == roster.public
    assert vault.TransitPublic.from_bytes(VECTOR["transit.pub"].encode()) == transit.transit_private.public
