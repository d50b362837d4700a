from __future__ import annotations

import hmac
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.crypto import tokens
from mailer.crypto.tokens import Purpose

KEY = bytes(range(32))
SUBSCRIBER = b"\x07" * 16
VECTOR: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "tokens-1.json").read_text(encoding="utf-8"))
TOKEN = "abcdefghijklmnopqrst2345"


@pytest.mark.parametrize(
    "text",
    [
        "",
        TOKEN[:-1],
        TOKEN + "a",
        TOKEN + "\n",
        " " + TOKEN,
        TOKEN[:-1] + "=",
        TOKEN[:-1] + "0",
        TOKEN[:-1] + "1",
        TOKEN[:-1] + "8",
        TOKEN[:-1] + "\u212a",  # the Kelvin sign, whose lower case is k
        TOKEN[:-1] + "\uff41",  # full-width a
        TOKEN[:11] + "-" + TOKEN[12:],
        TOKEN[:-1] + "\x00",
    ],
)
def test_what_is_no_token_is_not_read(text: str) -> None:
    assert tokens.read_token(text) is None


def test_a_token_to_confirm_with_is_never_derived() -> None:
    with pytest.raises(ValueError, match="only lasting"):
        tokens.derive_token(KEY, Purpose.CONFIRM, "list", SUBSCRIBER)  # type: ignore[arg-type]


def test_a_mark_belongs_to_one_purpose_one_list_and_one_key() -> None:
    ways = [(KEY, purpose, name) for purpose in Purpose for name in ("list", "other")]
    ways += [(bytes(32), purpose, "list") for purpose in Purpose]
    assert len({tokens.mark(key, purpose, name, TOKEN) for key, purpose, name in ways}) == len(ways)


def test_a_derived_token_belongs_to_one_purpose_one_list_and_one_subscriber() -> None:
    derived = {
        tokens.derive_token(KEY, Purpose.UNSUBSCRIBE, "list", SUBSCRIBER),
        tokens.derive_token(KEY, Purpose.BOUNCE, "list", SUBSCRIBER),
        tokens.derive_token(KEY, Purpose.BOUNCE, "other", SUBSCRIBER),
        tokens.derive_token(KEY, Purpose.BOUNCE, "list", b"\x08" * 16),
        tokens.derive_token(bytes(32), Purpose.BOUNCE, "list", SUBSCRIBER),
    }
    assert len(derived) == 5


def test_two_lists_of_parts_that_join_to_the_same_bytes_give_different_results() -> None:
    assert tokens.message_id(KEY, "example.org", "ab", "c") != tokens.message_id(KEY, "example.org", "a", "bc")
    assert tokens.message_id(KEY, "example.org", "ab") != tokens.message_id(KEY, "example.org", "ab", "")
    one = tokens.derive_token(KEY, Purpose.BOUNCE, "ab", b"c")
    assert one != tokens.derive_token(KEY, Purpose.BOUNCE, "a", b"bc")
    assert tokens.mark(KEY, Purpose.BOUNCE, "ab", "c") != tokens.mark(KEY, Purpose.BOUNCE, "a", "bc")


def test_tokens_marks_and_message_ids_of_one_input_have_nothing_in_common() -> None:
    token = tokens.derive_token(KEY, Purpose.BOUNCE, "list", SUBSCRIBER)
    spelt = tokens.message_id(KEY, "bounce", "list", SUBSCRIBER).strip("<>").partition("@")[0]
    mark = tokens.mark(KEY, Purpose.BOUNCE, "list", SUBSCRIBER.decode("latin-1"))
    assert len({token, spelt, tokens._spell(mark[:15])}) == 3


def test_a_token_survives_a_mail_program_that_changes_case() -> None:
    token = tokens.new_token(os.urandom)
    assert re.fullmatch("[a-z2-7]{24}", token)
    assert tokens.read_token(token) == tokens.read_token(token.upper()) == tokens.read_token(token.title()) == token


@given(st.binary(min_size=15, max_size=15))
def test_every_token_that_chance_gives_is_read_again(raw: bytes) -> None:
    token = tokens.new_token(lambda _: raw)
    assert tokens.read_token(token) == token


@given(st.text())
def test_whatever_is_read_as_a_token_has_the_form_of_one(text: str) -> None:
    token = tokens.read_token(text)
    assert token is None or (re.fullmatch("[a-z2-7]{24}", token) and text.lower() == token)


def test_a_message_id_is_the_same_for_the_same_letter_and_tells_nothing() -> None:
    made = tokens.message_id(KEY, "example.org", b"digest", SUBSCRIBER)
    assert made == tokens.message_id(KEY, "example.org", b"digest", SUBSCRIBER)
    assert re.fullmatch(r"<[a-z2-7]{24}@example\.org>", made)
    elsewhere = tokens.message_id(KEY, "example.net", b"digest", SUBSCRIBER)
    assert elsewhere.partition("@")[0] != made.partition("@")[0]


def test_a_mark_is_an_hmac_over_labelled_and_length_prefixed_parts() -> None:
    parts = [b"mailer/1/token/mark", b"bounce", b"list", TOKEN.encode()]
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    assert tokens.mark(KEY, Purpose.BOUNCE, "list", TOKEN) == hmac.digest(KEY, framed, "sha256")[:16]


def test_tokens_of_earlier_releases_are_still_the_same() -> None:
    key, subscriber = bytes.fromhex(VECTOR["token_key"]), bytes.fromhex(VECTOR["subscriber_id"])
    unsubscribe = tokens.derive_token(key, Purpose.UNSUBSCRIBE, VECTOR["list_id"], subscriber)
    bounce = tokens.derive_token(key, Purpose.BOUNCE, VECTOR["list_id"], subscriber)
    assert {"unsubscribe": unsubscribe, "bounce": bounce} == VECTOR["derived"]
    assert tokens.message_id(key, "example.org", b"digest", subscriber) == VECTOR["message_id"]
    for purpose in Purpose:
        assert tokens.mark(key, purpose, VECTOR["list_id"], bounce).hex() == VECTOR["marks"][purpose]
