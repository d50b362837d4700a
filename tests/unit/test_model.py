"""Addresses, lists, providers and retries: what counts as the same, what is refused, and how long things wait."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.errors import BadAddress
from mailer.model.address import DOMAIN_OCTETS, LOCAL_OCTETS, Address
from mailer.model.certificate import Certificate, Refusal, Refused, grouped
from mailer.model.command import Command, Verb
from mailer.model.language import Language
from mailer.model.letter import Envelope, Letter
from mailer.model.mailing_list import Directory, MailingList, Sender, is_postmaster
from mailer.model.provider import Providers
from mailer.model.request import Request
from mailer.model.retry import FIRST_WAIT_S, GIVE_UP_AFTER_S, LONGEST_WAIT_S, next_attempt
from mailer.model.subscriber import Drawer, Record

SECRET = "quarrelsome"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


# --- Addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "ada@reader.example",
        "ada.lovelace+news@reader.example",
        "a!#$%&'*+-/=?^_`{|}~z@reader.example",
        "1@2.example",
        f"{'a' * LOCAL_OCTETS}@reader.example",
        "ada@xn--fsqu00a.xn--0zwm56d",
        "root@localhost",
        "用戶@reader.example",
    ],
)
def test_an_address_is_kept_as_it_was_given(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("ada@READER.example", "ada@reader.example"),
        ("ada@reader.example.", "ada@reader.example"),
        (" ada@reader.example ", "ada@reader.example"),
        ("ada@例子.測試", "ada@xn--fsqu00a.xn--g6w251d"),
        ("Ada@reader.example", "Ada@reader.example"),
        ("a@b@reader.example", None),
    ],
)
def test_a_domain_is_written_in_one_way(text: str, parsed: str | None) -> None:
    if parsed is None:
        with pytest.raises(BadAddress):
            Address.parse(text)
    else:
        assert str(Address.parse(text)) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "ada",
        "ada@",
        "@reader.example",
        "ada@example",
        "ada@.example",
        "ada@reader..example",
        "ada@-reader.example",
        "ada@.reader.example",
        "ada@reader.example..",
        "ada@read\u200ber.example",
        "ada@read\u00ader.example",
        "ada@read\ufe0fer.example",
        "ada@read\u200der.example",
        "ada＠evil.example@reader.example",
        "＜ada＞@reader.example",
        "ada@reader-.example",
        "ada@reader_.example",
        "ada@[192.0.2.1]",
        ".ada@reader.example",
        "ada.@reader.example",
        "a..da@reader.example",
        '"ada"@reader.example',
        "ada lovelace@reader.example",
        "<ada@reader.example>",
        "ada@reader.example>, <eve@evil.example",
        "ada@reader.example\r\nBcc: eve@evil.example",
        "ada\n@reader.example",
        "ada\x00@reader.example",
        "ada\u00a0b@reader.example",
        "ada\u200b@reader.example",
        "ada\u202e@reader.example",
        "ada\ud800@reader.example",
        "ada\u2028@reader.example",
        "ada,eve@reader.example",
        "ada:eve@reader.example",
        "ada;eve@reader.example",
        f"{'a' * (LOCAL_OCTETS + 1)}@reader.example",
        f"{'用' * 22}@reader.example",  # 66 octets
        f"ada@{'a' * 64}.example",
        f"ada@{'a.' * 126}example",
        f"{'a' * 64}@{'b.' * 92}example",  # a path of more than 254
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadAddress) as raised:
        Address.parse(text)
    assert "ada" not in str(raised.value)


@given(st.text(max_size=80))
def test_whatever_text_comes_is_an_address_without_breaks_or_refused(text: str) -> None:
    try:
        address = Address.parse(text)
    except BadAddress:
        return
    assert str(address).isprintable() and " " not in str(address)
    assert Address.parse(str(address)) == address
    assert len(address.domain) <= DOMAIN_OCTETS


@given(st.text(min_size=1, max_size=12))
def test_an_address_normalised_twice_is_as_normalised_once(local: str) -> None:
    try:
        address = Address.parse(f"{local}@reader.example")
    except BadAddress:
        return
    once = address.normalised.removesuffix("@reader.example")
    assert Address(once, "reader.example").normalised == address.normalised


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada@reader.example", "ada@READER.EXAMPLE"),
        ("ａｄａ@reader.example", "ada@reader.example"),
        ("ada@ｒｅａｄｅｒ．ｅｘａｍｐｌｅ", "ada@reader.example"),
        ("ada@reader。example", "ada@reader.example"),
        ("ada@straße.example", "ada@xn--strae-oqa.example"),
        ("ÉDA@reader.example", "éda@reader.example"),
        ("é@reader.example", "e\u0301@reader.example"),
        ("ada@例子.測試", "ada@xn--fsqu00a.xn--g6w251d"),
    ],
)
def test_two_spellings_of_one_mailbox_compare_equal(one: str, other: str) -> None:
    assert Address.parse(one).normalised == Address.parse(other).normalised


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ada@reader.example", "adb@reader.example"),
        ("ada@reader.example", "ada@reader2.example"),
        ("ada@reader.example", "ada+x@reader.example"),
        ("ada@reader.example", "a.da@reader.example"),
        ("ada@reader.example", "аda@reader.example"),  # Cyrillic
        ("ada@reader.example", "ada@reаder.example"),
        ("ada@reader.example", "ad\u0251@reader.example"),
        ("ada@reader.example", "ada\ufe0f@reader.example"),
        ("strasse@reader.example", "straße@reader.example"),
        ("ada@strasse.example", "ada@straße.example"),
        ("ada@σοφος.example", "ada@σοφoς.example"),
        ("sofias@reader.example", "soﬁaß@reader.example"),
    ],
)
def test_two_mailboxes_do_not(one: str, other: str) -> None:
    assert Address.parse(one).normalised != Address.parse(other).normalised


@pytest.mark.parametrize(
    ("text", "mailbox", "detail"),
    [
        ("news@lists.example", "news@lists.example", ""),
        ("news+subscribe@lists.example", "news@lists.example", "subscribe"),
        ("News+Confirm-ABC@lists.example", "News@lists.example", "confirm-abc"),
        ("news+a+b@lists.example", "news@lists.example", "a+b"),
        ("news+@lists.example", "news@lists.example", ""),
        ("+x@lists.example", "+x@lists.example", "x"),
    ],
)
def test_the_detail_is_what_stands_behind_the_first_plus(text: str, mailbox: str, detail: str) -> None:
    found, rest = Address.parse(text).split_detail()
    assert (str(found), rest) == (mailbox, detail)


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("ada@reader.example", "ada@reader.example"),
        ("Ada+one@reader.example", "ada@reader.example"),
        ("a.d.a@reader.example", "a.d.a@reader.example"),
        ("A.da+x@gmail.com", "ada@gmail.com"),
        ("a.d.a@googlemail.com", "ada@gmail.com"),
        ("a-d_a+x@protonmail.com", "ada@proton.me"),
        ("+x@gmail.com", "+x@gmail.com"),
        ("ＡＤＡ@reader.example", "ada@reader.example"),
    ],
)
def test_spellings_of_one_mailbox_are_counted_as_one(text: str, counted: str) -> None:
    assert str(Address.parse(text).counted_as) == counted


def test_a_detail_can_be_added_and_taken_off_again() -> None:
    own = Address.parse("news@lists.example")
    assert own.with_detail("confirm-abc").split_detail() == (own, "confirm-abc")


@pytest.mark.parametrize("detail", ["a" * 60, "a\r\nb", "a b", "a@b"])
def test_a_detail_that_makes_no_address_is_refused(detail: str) -> None:
    with pytest.raises(BadAddress):
        Address.parse("news@lists.example").with_detail(detail)


def test_only_ascii_mailboxes_need_no_smtputf8() -> None:
    assert Address.parse("ada@例子.測試").is_ascii
    assert not Address.parse("用戶@reader.example").is_ascii


@pytest.mark.parametrize(
    "value",
    [
        Address(SECRET, "reader.example"),
        Command(Verb.CONFIRM, token=SECRET, new_address=Address(SECRET, "reader.example")),
        Request(Verb.SUBSCRIBE, Address(SECRET, "reader.example"), Language.EN),
        Envelope(Address(SECRET, "reader.example"), Address(SECRET, "reader.example")),
        Letter(Address(SECRET, "reader.example"), SECRET, SECRET),
        Certificate(SECRET.encode(), SECRET, None, (), 4),
        Refused(Refusal.EXPIRED, SECRET),
        Drawer(SECRET.encode(), SECRET),
        Record(Address(SECRET, "reader.example"), SECRET.encode()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_names_a_person_does_not_show_itself_in_a_log(value: object) -> None:
    assert SECRET not in f"{value!r} {[value]}"
    assert SECRET.encode() in pickle.dumps(value)  # it is in there, all the same


def test_a_fingerprint_is_grouped_as_people_compare_it() -> None:
    assert grouped("0123456789abcdef01") == "0123 4567 89AB CDEF 01"


# --- Lists ----------------------------------------------------------------------------------------------------------

NEWS = MailingList("news", Address.parse("news@lists.example"), formerly=(Address.parse("old@elsewhere.example"),))
EVENTS = MailingList("events", Address.parse("events@lists.example"))
DIRECTORY = Directory((NEWS, EVENTS))
ABROAD = Sender("abroad", Address.parse("letters@other.example"), "Letters")


@pytest.mark.parametrize(
    ("recipient", "found"),
    [
        ("news@lists.example", NEWS),
        ("NEWS+confirm-x@Lists.Example", NEWS),
        ("events+help@lists.example", EVENTS),
        ("old@elsewhere.example", NEWS),
        ("old+unsubscribe-x@elsewhere.example", NEWS),
        ("postmaster@lists.example", NEWS),
        ("Postmaster+x@lists.example", NEWS),
        ("newsx@lists.example", None),
        ("new@lists.example", None),
        ("news@elsewhere.example", None),
        ("postmaster@elsewhere.example", None),
        ("postmaster@stranger.example", None),
        ("news@sub.lists.example", None),
    ],
)
def test_a_recipient_leads_to_its_list_whatever_stands_behind_the_plus(
    recipient: str, found: MailingList | None
) -> None:
    assert DIRECTORY.find(Address.parse(recipient)) is found


def test_the_postmaster_of_the_host_itself_is_the_first_lists() -> None:
    """A bare RCPT TO:<postmaster> is for the host (RFC 5321 §4.5.1)."""
    own = Directory((NEWS, EVENTS), hostname="mx.example")
    assert own.find(Address.parse("postmaster@mx.example")) is NEWS
    assert own.find(Address.parse("postmaster@lists.example")) is NEWS
    assert own.find(Address.parse("postmaster@stranger.example")) is None
    assert own.find(Address.parse("news@mx.example")) is None


def test_a_list_called_postmaster_is_found_as_itself() -> None:
    own = MailingList("post", Address.parse("postmaster@lists.example"))
    assert Directory((NEWS, own)).find(own.address) is own


def test_a_list_is_found_by_its_id_or_not_at_all() -> None:
    assert DIRECTORY.by_id("events") is EVENTS
    assert DIRECTORY.by_id("EVENTS") is None


@pytest.mark.parametrize("local", ["postmaster", "Postmaster", "POSTMASTER", "postmaster+report"])
def test_the_postmaster_is_known_in_every_spelling(local: str) -> None:
    assert is_postmaster(Address(local, "lists.example"))


@pytest.mark.parametrize("local", ["postmasters", "post-master", "news+postmaster"])
def test_nobody_else_is_the_postmaster(local: str) -> None:
    assert not is_postmaster(Address(local, "lists.example"))


# --- Providers ------------------------------------------------------------------------------------------------------

LARGE = Providers(frozenset({"qq.com", "gmail.com"}), buckets=8)


def test_a_large_provider_is_called_by_its_name() -> None:
    assert LARGE.name_of(Address.parse("ada@QQ.com")) == "qq.com"


def test_any_other_falls_into_one_of_a_few_buckets_and_always_into_the_same() -> None:
    names = {LARGE.name_of(Address("ada", f"provider{number}.example")) for number in range(400)}
    assert names == {f"other-{bucket}" for bucket in range(8)}
    assert LARGE.name_of(Address("ada", "vip.qq.com")).startswith("other-")
    assert LARGE.name_of(Address("ada", "x.example")) == LARGE.name_of(Address("eve", "x.example"))


def test_a_bucket_stays_what_it_was_in_earlier_releases() -> None:
    assert LARGE.name_of(Address("ada", "reader.example")) == "other-3"


# --- Retries --------------------------------------------------------------------------------------------------------


def wait_s(attempts: int, chance: float = 0.5, *, since_s: float = 0.0) -> float | None:
    retry = next_attempt(attempts, NOW - timedelta(seconds=since_s), NOW, chance)
    return None if retry is None else (retry - NOW).total_seconds()


def test_the_waits_double_from_a_minute_to_four_hours() -> None:
    waits = [wait_s(attempts) for attempts in range(1, 15)]
    assert waits[:4] == [60, 120, 240, 480]
    assert waits[-1] == LONGEST_WAIT_S == 4 * 3600


@pytest.mark.parametrize("attempts", [1, 5, 100, 10_000])
def test_chance_spreads_a_wait_over_half_of_it(attempts: int) -> None:
    least, middle, most = (wait_s(attempts, chance) for chance in (0.0, 0.5, 0.999))
    assert least is not None and middle is not None and most is not None
    assert least == 0.75 * middle and 1.24 * middle < most < 1.25 * middle


def test_after_five_days_it_is_given_up_and_not_before() -> None:
    assert wait_s(30, since_s=GIVE_UP_AFTER_S - 1) is not None
    assert wait_s(30, since_s=GIVE_UP_AFTER_S) is None
    assert GIVE_UP_AFTER_S >= 4 * 24 * 3600  # RFC 5321 §4.5.4.1


def test_how_long_it_is_tried_can_be_set() -> None:
    assert next_attempt(1, NOW - timedelta(hours=2), NOW, 0.5, give_up_after_s=3600) is None
    assert next_attempt(1, NOW - timedelta(hours=2), NOW, 0.5, give_up_after_s=3 * 3600) is not None


def test_the_first_retry_never_comes_at_once() -> None:
    assert (wait_s(1, 0.0) or 0) >= FIRST_WAIT_S / 2


@pytest.mark.parametrize("recipient", ["letters@other.example", "LETTERS+help@Other.example"])
def test_mail_to_an_identity_finds_its_list_under_that_identity(recipient: str) -> None:
    news = replace(NEWS, identities=(ABROAD,))
    found = Directory((EVENTS, news)).find(Address.parse(recipient))
    assert found is not None
    assert (found.id, found.address, found.display_name, found.identity) == (
        "news",
        ABROAD.address,
        "Letters",
        "abroad",
    )
    assert {one.normalised for one in news.own_addresses} == {one.normalised for one in found.own_addresses}


def test_a_list_shows_itself_as_it_is_where_it_has_no_such_identity() -> None:
    news = replace(NEWS, identities=(ABROAD,))
    assert news.sending_as("elsewhere") is news
    assert news.sending_as("") is news
    assert Directory((news,)).find(NEWS.address) is news


def test_the_postmaster_of_an_identity_is_reached() -> None:
    directory = Directory((EVENTS, replace(NEWS, identities=(ABROAD,))))
    found = directory.find(Address.parse("postmaster@other.example"))
    assert found is not None
    assert found.id == NEWS.id
    assert directory.find(Address.parse("postmaster@third.example")) is None
