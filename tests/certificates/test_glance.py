"""The short cut before each encryption: it says yes where the careful reading does, and never elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import combinations, permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.crypto import openpgp
from mailer.crypto.openpgp import armor, minimal, packets
from mailer.crypto.openpgp.glance import glance
from mailer.crypto.openpgp.minimal import Usable
from mailer.model.certificate import Certificate, Refusal
from tests.certificates.forge import (
    CV25519,
    FEATURES,
    FLAGS,
    KEY_EXPIRES,
    SIGNATURE_EXPIRES,
    Forge,
    Key,
    period,
    subpacket,
)
from tests.conftest import Gnupg

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
MADE = NOW - 100 * DAY
FILES = Path(__file__).parent / "files"
MOMENTS = [
    *(MADE - DAY, MADE, NOW, NOW + 400 * DAY),
    *(MADE + days * DAY + timedelta(seconds=late) for days in (50, 200, 300) for late in (-1, 0, 1)),
]
ENCRYPTS, SIGNS, CERTIFIES = (subpacket(FLAGS, octet) for octet in (b"\x0c", b"\x02", b"\x03"))
LIVES = [subpacket(kind, period(days * DAY)) for kind in (KEY_EXPIRES, SIGNATURE_EXPIRES) for days in (0, 50, 200, 300)]
SAID = [*LIVES, *(subpacket(FEATURES, octets) for octets in (b"", b"\x01", b"\x08")), CERTIFIES, ENCRYPTS]


def framed(forge: Forge) -> bytes:
    """As `examine` writes it."""
    return b"".join(packet.raw for packet in packets.walk(bytes(forge)))


def forged(on_user_id: Iterable[bytes] = (), on_subkey: Iterable[bytes] = (), direct: Iterable[bytes] = ()) -> bytes:
    key, signing = Key(MADE, CV25519), Key(MADE)
    forge = Forge(MADE).direct(*direct) if direct else Forge(MADE)
    forge.user_id("<reader@example.org>", *on_user_id).subkey(key).bind(key, *on_subkey)
    return framed(forge.subkey(signing).bind(signing, SIGNS))


def assert_no_difference(certificate: bytes) -> None:
    for moment in MOMENTS:
        assert minimal.judge(certificate, moment) == minimal.look_closely(certificate, moment)


def stored() -> Iterator[bytes]:
    """The frozen certificates: as they are, and minimal where that is possible."""
    for path in sorted(FILES.glob("*.asc")):
        for block in armor.find_blocks(path.read_bytes(), 5):
            yield block.content or b""
        yield from (one.blob for one in openpgp.examine(path.read_bytes(), NOW) if isinstance(one, Certificate))


# --- It is of use ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ed25519", "rsa2048", "rsa4096"])
def test_what_gnupg_makes_is_seen_at_a_glance(gnupg: Gnupg, algorithm: str) -> None:
    expires = NOW + 300 * DAY
    (verdict,) = openpgp.examine(
        gnupg.certificate(gnupg.make_key("reader@example.org", algorithm=algorithm, expires=expires)), NOW
    )
    assert isinstance(verdict, Certificate)
    seen = glance(verdict.blob)
    assert seen
    assert seen.features == 1
    assert abs((seen.dies or 0) - expires.timestamp()) < 60
    assert_no_difference(verdict.blob)


def test_what_a_certificate_says_is_seen_at_a_glance() -> None:
    assert glance(forged([CERTIFIES], [ENCRYPTS])) == (None, None)
    said = [CERTIFIES, subpacket(FEATURES, b"\x01")]
    assert glance(forged(said, [ENCRYPTS, subpacket(KEY_EXPIRES, period(200 * DAY))])) == (
        int((MADE + 200 * DAY).timestamp()),
        1,
    )


# --- It differs from the careful reading in nothing -----------------------------------------------------------------


def test_frozen_certificates_are_judged_alike_at_every_moment() -> None:
    found = list(stored())
    assert any(glance(one) for one in found)
    for certificate in found:
        assert_no_difference(certificate)


@pytest.mark.parametrize("said", [*combinations(SAID, 2), *permutations(LIVES[1:3])])
@pytest.mark.parametrize("place", ["user ID", "subkey", "key itself"])
def test_whatever_signatures_say_is_judged_alike_at_every_moment(said: tuple[bytes, ...], place: str) -> None:
    more: dict[str, tuple[bytes, ...]] = {"user ID": (), "subkey": (), "key itself": ()} | {place: said}
    assert_no_difference(
        forged([CERTIFIES, *more["user ID"]], [ENCRYPTS, *more["subkey"]], more["key itself"]),
    )
    assert_no_difference(forged(more["user ID"], more["subkey"] or [ENCRYPTS], more["key itself"]))


def test_a_certificate_with_a_revocation_in_it_is_never_taken_at_a_glance() -> None:
    reason = subpacket(29, b"\x00")
    key = Key(MADE, CV25519)
    good = Forge(MADE).user_id("<reader@example.org>", CERTIFIES).subkey(key).bind(key, ENCRYPTS)
    assert glance(framed(good))
    good.bind(key, reason, kind=0x28)
    assert minimal.judge(framed(good), NOW) is Refusal.REVOKED
    good.packets.pop()
    good.revoke(reason)
    assert minimal.judge(framed(good), NOW) is Refusal.REVOKED


def test_signatures_by_another_key_count_for_nothing() -> None:
    stranger, key = Key(MADE), Key(MADE, CV25519)
    forge = Forge(MADE).user_id("<reader@example.org>", CERTIFIES, by=stranger).subkey(key).bind(key, ENCRYPTS)
    assert_no_difference(framed(forge))
    assert minimal.judge(framed(forge), NOW) is Refusal.NOT_A_CERTIFICATE
    forge = Forge(MADE).user_id("<reader@example.org>", CERTIFIES).subkey(key).bind(key, ENCRYPTS, by=stranger)
    assert_no_difference(framed(forge))
    assert minimal.judge(framed(forge), NOW) is Refusal.SIGN_ONLY


def test_what_is_rare_is_left_to_the_careful_reading() -> None:
    (verdict,) = openpgp.examine((FILES / "usable-sequoia-v6.asc").read_bytes(), NOW)
    assert isinstance(verdict, Certificate)
    assert glance(verdict.blob) is None
    assert minimal.judge(verdict.blob, NOW) == Usable(6, 9)


_NOTATION = subpacket(20, b"\x80\x00\x00\x00\x00\x05\x00\x02a@b.cde")
_SEEDS = [
    *(one for one in stored() if glance(one)),
    forged([CERTIFIES, subpacket(FEATURES, b"\x01"), _NOTATION], [ENCRYPTS, LIVES[2]], [LIVES[3]]),
]


def assert_no_more_said(certificate: bytes) -> None:
    seen = glance(certificate)
    if seen:
        moment = NOW if seen.dies is None else datetime.fromtimestamp(max(seen.dies - 1, 0), UTC)
        assert minimal.look_closely(certificate, moment) == Usable(4, seen.features)


@pytest.mark.parametrize("seed", range(len(_SEEDS)))
def test_no_flipped_bit_makes_the_short_cut_say_more_than_the_careful_reading(seed: int) -> None:
    for at in range(len(_SEEDS[seed])):
        for bit in range(8):
            damaged = bytearray(_SEEDS[seed])
            damaged[at] ^= 1 << bit
            assert_no_more_said(bytes(damaged))


@given(st.data())
def test_no_damage_makes_the_short_cut_say_more_than_the_careful_reading(data: st.DataObject) -> None:
    certificate = bytearray(data.draw(st.sampled_from(_SEEDS)))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(certificate) - 1))
        end = data.draw(st.integers(start, min(start + 3, len(certificate))))
        certificate[start:end] = data.draw(st.binary(min_size=1, max_size=3))
    assert_no_more_said(bytes(certificate))


@given(st.data())
def test_packets_in_another_order_or_number_are_judged_alike(data: st.DataObject) -> None:
    parts = [packet.raw for seed in _SEEDS[-2:] for packet in packets.walk(seed)]
    head = data.draw(st.integers(0, 5))
    rest = data.draw(st.lists(st.sampled_from(parts), max_size=6))
    certificate = b"".join([*[packet.raw for packet in packets.walk(_SEEDS[-1])][:head], *rest])
    assert_no_difference(certificate)
