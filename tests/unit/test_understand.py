"""What letters mean: tables of what people write, and of what they write that must not act."""

from __future__ import annotations

import email
import email.policy
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.inward import verbs
from mailer.inward.quoting import read_own
from mailer.inward.understand import Asked, Source, guess_language, understand
from mailer.model.address import Address
from mailer.model.certificate import Refusal, Refused
from mailer.model.command import Command, Verb
from mailer.model.language import Language
from mailer.model.letter import Letter
from mailer.model.subscriber import Format

EN, HANT, HANS = Language.EN, Language.ZH_HANT, Language.ZH_HANS
OWN = Address("news", "list.example")
ALICE = Address("alice", "example.org")
NEW = Address("new", "example.org")
TOKEN = "abcdefghij234567klmnopqr"
SOMEBODYS_KEY = (Refused(Refusal.EXPIRED),)


def ask(subject: str = "", text: str = "", detail: str = "", letter: Letter | None = None) -> Asked:
    return understand(letter or Letter(ALICE, subject, text), detail, OWN)


def signed(subject: str = "", text: str = "", *, subject_is_signed: bool = True) -> Letter:
    return Letter(ALICE, subject, text, is_signed=True, signed_by="ab" * 20, subject_is_signed=subject_is_signed)


# --- What people write ----------------------------------------------------------------------------------------------

LINES: list[tuple[str, Verb, Language | None]] = [
    ("subscribe", Verb.SUBSCRIBE, EN),
    ("SUBSCRIBE!", Verb.SUBSCRIBE, EN),
    ("Please subscribe me.", Verb.SUBSCRIBE, EN),
    ("I would like to subscribe to the newsletter", Verb.SUBSCRIBE, EN),
    ("Hi, I'd like to join your mailing list, thanks", Verb.SUBSCRIBE, EN),
    ("I’d like to subscribe", Verb.SUBSCRIBE, EN),
    ("“subscribe”", Verb.SUBSCRIBE, EN),
    ("[subscribe]", Verb.SUBSCRIBE, EN),
    ("*subscribe*", Verb.SUBSCRIBE, EN),
    ("ｓｕｂｓｃｒｉｂｅ", Verb.SUBSCRIBE, EN),
    ("subscribe 🙏", Verb.SUBSCRIBE, EN),
    ("subscribe news", Verb.SUBSCRIBE, EN),
    ("subscribe news@list.example", Verb.SUBSCRIBE, EN),
    ("subscribe alice@example.org", Verb.SUBSCRIBE, EN),
    ("subscribe <mailto:alice@example.org>", Verb.SUBSCRIBE, EN),
    ("sign me up please", Verb.SUBSCRIBE, EN),
    ("subscribe zh-Hant", Verb.SUBSCRIBE, HANT),
    ("subscribe 新闻", Verb.SUBSCRIBE, HANS),
    ("訂閱", Verb.SUBSCRIBE, HANT),
    ("請訂閱", Verb.SUBSCRIBE, HANT),
    ("我想訂閱。", Verb.SUBSCRIBE, HANT),
    ("您好，我想訂閱電子報，謝謝！", Verb.SUBSCRIBE, HANT),
    ("「訂閱」", Verb.SUBSCRIBE, HANT),
    ("訂 閱", Verb.SUBSCRIBE, HANT),
    ("確認 訂閱", Verb.SUBSCRIBE, HANT),
    ("訂閱 繁體中文", Verb.SUBSCRIBE, HANT),
    ("唔該幫我訂閱", Verb.SUBSCRIBE, HANT),
    ("订阅", Verb.SUBSCRIBE, HANS),
    ("我要订阅", Verb.SUBSCRIBE, HANS),
    ("请帮我订阅邮件，谢谢", Verb.SUBSCRIBE, HANS),
    ("【订阅】", Verb.SUBSCRIBE, HANS),
    ("加入", Verb.SUBSCRIBE, None),
    ("請讓", Verb.CONTACT, HANT),
    ("unsubscribe", Verb.UNSUBSCRIBE, EN),
    ("unsubscribe me please", Verb.UNSUBSCRIBE, EN),
    ("Can you please unsubscribe me?", Verb.UNSUBSCRIBE, EN),
    ("please take me off the list", Verb.UNSUBSCRIBE, EN),
    ("Remove me from this list", Verb.UNSUBSCRIBE, EN),
    ("please remove me from your mailing list, thank you", Verb.UNSUBSCRIBE, EN),
    ("cancel my subscription", Verb.UNSUBSCRIBE, EN),
    ("un-subscribe", Verb.UNSUBSCRIBE, EN),
    ("leave", Verb.UNSUBSCRIBE, EN),
    ("STOP", Verb.UNSUBSCRIBE, EN),
    ("退訂", Verb.UNSUBSCRIBE, HANT),
    ("取消訂閱", Verb.UNSUBSCRIBE, HANT),
    ("我想取消訂閱", Verb.UNSUBSCRIBE, HANT),
    ("可以幫我退訂嗎？", Verb.UNSUBSCRIBE, HANT),
    ("請把我從名單中移除", Verb.UNSUBSCRIBE, HANT),
    ("退订", Verb.UNSUBSCRIBE, HANS),
    ("取消订阅", Verb.UNSUBSCRIBE, HANS),
    ("麻烦帮我取消订阅，谢谢", Verb.UNSUBSCRIBE, HANS),
    ("请把我从邮件列表中移除", Verb.UNSUBSCRIBE, HANS),
    ("TD", Verb.UNSUBSCRIBE, None),
    ("退出", Verb.UNSUBSCRIBE, None),
    ("help", Verb.HELP, EN),
    ("Help please", Verb.HELP, EN),
    ("How do I unsubscribe?", Verb.HELP, EN),
    ("help zh-Hans", Verb.HELP, HANS),
    ("幫助", Verb.HELP, HANT),
    ("說明", Verb.HELP, HANT),
    ("請問", Verb.CONTACT, HANT),
    ("如何訂閱？", Verb.HELP, HANT),
    ("帮助", Verb.HELP, HANS),
    ("怎么退订", Verb.HELP, HANS),
    ("confirm", Verb.CONFIRM, EN),
    ("確認", Verb.CONFIRM, HANT),
    ("确认", Verb.CONFIRM, HANS),
    ("my key", Verb.SET_KEY, EN),
    ("here is my new key", Verb.SET_KEY, EN),
    ("我的公鑰", Verb.SET_KEY, HANT),
    ("更换公钥", Verb.SET_KEY, HANS),
    ("get key", Verb.GET_KEY, EN),
    ("Please send me your public key", Verb.GET_KEY, EN),
    ("索取公鑰", Verb.GET_KEY, HANT),
    ("获取公钥", Verb.GET_KEY, HANS),
    ("pause", Verb.PAUSE, EN),
    ("pause my subscription please", Verb.PAUSE, EN),
    ("暫停", Verb.PAUSE, HANT),
    ("请暂停", Verb.PAUSE, HANS),
    ("resume", Verb.RESUME, EN),
    ("恢復", Verb.RESUME, HANT),
    ("继续接收", Verb.RESUME, HANS),
    ("status", Verb.STATUS, EN),
    ("What do you know about me?", Verb.STATUS, EN),
    ("狀態", Verb.STATUS, HANT),
    ("查询状态", Verb.STATUS, HANS),
    ("forget me", Verb.FORGET, EN),
    ("please delete my data", Verb.FORGET, EN),
    ("忘記我", Verb.FORGET, HANT),
    ("请删除我的资料", Verb.FORGET, HANS),
    ("language zh-Hant", Verb.SET_LANGUAGE, HANT),
    ("Language: English", Verb.SET_LANGUAGE, EN),
    ("change language to simplified Chinese", Verb.SET_LANGUAGE, HANS),
    ("english", Verb.SET_LANGUAGE, EN),
    ("in English please", Verb.SET_LANGUAGE, EN),
    ("zh-TW", Verb.SET_LANGUAGE, HANT),
    ("語言 繁體中文", Verb.SET_LANGUAGE, HANT),
    ("請改用繁體中文", Verb.SET_LANGUAGE, HANT),
    ("語言：英文", Verb.SET_LANGUAGE, EN),
    ("语言 简体中文", Verb.SET_LANGUAGE, HANS),
    ("语言 繁体中文", Verb.SET_LANGUAGE, HANT),
    ("请用英文版", Verb.SET_LANGUAGE, EN),
    ("請改用中文", Verb.SET_LANGUAGE, HANT),
    ("请用中文", Verb.SET_LANGUAGE, HANS),
    ("中文", Verb.HELP, None),
    ("Chinese", Verb.HELP, None),
    ("address", Verb.HELP, EN),
    ("更換信箱", Verb.HELP, HANT),
]

ORDINARY = [
    "",
    "...",
    "[...]",
    "Hello",
    "你好",
    "Do not subscribe me",
    "Don't unsubscribe me",
    "請不要幫我退訂",
    "My aunt wants to unsubscribe too",
    "You can unsubscribe at any time",
    "I subscribe to your view of the matter",
    "I did not subscribe to this, who are you?",
    "Subscribe to our newsletter",
    "Subscribe now and save 50%!",
    "Join us tomorrow",
    "unsubscribe bob@example.org",
    "subscribe bob@example.org, alice@example.org",
    "subscribe bob",
    "To unsubscribe, click here: https://example.org/unsubscribe",
    "subscribe; unsubscribe",
    "My resume",
    "résumé",
    "on leave until Monday",
    "status of the project",
    "key question",
    "Need help with the translation of the leaflet",
    "求助",
    "加入我們",
    "我訂閱了，但收不到",
    "我已退訂",
    "我朋友想訂閱",
    "订阅号推荐",
    "停止暴力",
    "подписаться subscribe",
    "subscribe わたし",
    "language klingon",
    f"subscribe {TOKEN}",
    f"bounce {TOKEN}",
    "bounce",
    "owner",
    "please " * 40 + "subscribe",
    "subscribe" + " " * 600 + "!" * 600,
]


@pytest.mark.parametrize(("line", "verb", "language"), LINES)
def test_a_phrase_means_the_same_in_the_subject_and_in_the_text(
    line: str, verb: Verb, language: Language | None
) -> None:
    in_subject, in_text = ask(subject=line), ask(text=f"\n{line}\n\nAlice\n")
    assert (in_subject.command.verb, in_subject.command.language) == (verb, language)
    assert in_text.command.verb is verb
    assert in_text.command.language is language
    if verb is not Verb.CONTACT:
        assert (in_subject.source, in_text.source) == (Source.SUBJECT, Source.TEXT)


@pytest.mark.parametrize("line", ORDINARY)
def test_an_ordinary_line_is_no_command(line: str) -> None:
    assert ask(subject=line).command.verb is Verb.CONTACT
    assert ask(text=line).command.verb is Verb.CONTACT


@pytest.mark.parametrize("verb", verbs.TABLE)
def test_every_phrase_of_the_table_is_its_own_command(verb: Verb) -> None:
    for words, language in zip(verbs.TABLE[verb], (EN, HANT, HANS), strict=True):
        for word in words.split(", "):
            phrase = verbs.find_phrase(verbs.tokenise(word))
            if verb is Verb.SET_LANGUAGE:
                assert phrase is None, "a language must be named"
                phrase = verbs.find_phrase(verbs.tokenise(f"{word} English"))
            assert phrase is not None, word
            assert verb in phrase.verbs, word
            assert language in phrase.languages, word


def test_every_command_can_be_said_in_all_three_languages() -> None:
    assert set(verbs.TABLE) == set(Verb) - {Verb.BOUNCE, Verb.CONTACT, Verb.UNCLEAR, Verb.JOIN_BY_CARD}
    assert all(all(columns) for columns in verbs.TABLE.values())


@pytest.mark.parametrize("names", verbs.LANGUAGE_NAMES.items())
def test_every_name_of_a_language_is_read(names: tuple[Language | None, str]) -> None:
    language, words = names
    for word in words.split(", "):
        phrase = verbs.find_phrase(verbs.tokenise(word))
        assert phrase is not None
        assert (phrase.wanted, phrase.names_chinese) == (language, language is None)


# --- Prefixes of mail programs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    ["Re: ", "RE:", "Re[2]: ", "AW: ", "回复：", "回复: ", "回覆：", "答复：", "回信:", "Re: Re: ", "[EXTERNAL] "],
)
def test_a_prefix_of_a_mail_program_does_not_matter(prefix: str) -> None:
    assert ask(subject=f"{prefix}unsubscribe").command == Command(Verb.UNSUBSCRIBE, language=EN)


@pytest.mark.parametrize("prefix", ["Fwd: ", "FW: ", "轉寄: ", "转发：", "轉發：", "Fwd: Re: "])
def test_a_forwarded_command_does_not_act(prefix: str) -> None:
    text = "---------- Forwarded message ---------\nFrom: Bob <bob@example.org>\nTo: news\n\nsubscribe\n"
    assert ask(subject=f"{prefix}subscribe", text=text).command.verb is Verb.CONTACT
    assert ask(subject=f"{prefix}[confirm {TOKEN}]", text=text).command.verb is Verb.CONTACT
    assert ask(subject=f"{prefix}subscribe", text=f"unsubscribe\n\n{text}").command.verb is Verb.UNSUBSCRIBE


def test_a_forward_of_which_only_the_subject_is_left_is_a_command() -> None:
    assert ask(subject="Fwd: subscribe", text="\n").command.verb is Verb.SUBSCRIBE


def test_the_subject_of_a_reply_is_an_older_letters_and_yields_to_what_is_written_below() -> None:
    assert ask("Re: subscribe", "unsubscribe").command.verb is Verb.UNSUBSCRIBE
    assert ask("Re: unsubscribe", "No, please leave me on the list!").command.verb is Verb.CONTACT
    assert ask("Re: unsubscribe", "Thanks!\n\nSent from my iPhone").command.verb is Verb.UNSUBSCRIBE
    assert ask("unsubscribe", "Your letters are too long for me.").command.verb is Verb.UNSUBSCRIBE


def test_a_cry_for_help_goes_to_a_person_and_not_to_a_manual() -> None:
    assert ask("Help!", "They have taken my brother. What can we do?").command.verb is Verb.CONTACT
    assert ask("Help", "Hello,\n\nThank you").command.verb is Verb.HELP
    assert ask("Help", "help").command.verb is Verb.HELP


# --- Confirmations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        f"confirm {TOKEN}",
        f"Confirm: {TOKEN.upper()}",
        f"please confirm {TOKEN}",
        f"[confirm {TOKEN}]",
        f"confirm-{TOKEN}",
        f"確認 {TOKEN}",
        f"确认{TOKEN}",
        f"確認訂閱 {TOKEN}",
        f"确认 “{TOKEN}”",
    ],
)
def test_a_token_confirms_in_the_subject_and_in_the_first_line(line: str) -> None:
    for asked in (ask(subject=line), ask(subject=f"Re: {line}"), ask(text=line)):
        assert (asked.command.verb, asked.command.token) == (Verb.CONFIRM, TOKEN)


def test_a_token_in_the_subject_of_a_reply_confirms_whatever_the_text() -> None:
    asked = ask(subject=f"Re: Please reply to this letter [confirm {TOKEN}]", text="Yes! That was me.")
    assert (asked.command.verb, asked.command.token, asked.source) == (Verb.CONFIRM, TOKEN, Source.SUBJECT)


@pytest.mark.parametrize("text", ["", "yes", "ok thanks", "unsubscribe", "> confirm", "好的"])
def test_a_reply_to_the_confirming_address_confirms_whatever_it_says(text: str) -> None:
    asked = ask(subject="Re: Please reply to this letter", text=text, detail=f"confirm-{TOKEN}")
    assert (asked.command.verb, asked.command.token, asked.source) == (Verb.CONFIRM, TOKEN, Source.ADDRESS)


def test_a_quoted_token_confirms_nothing() -> None:
    text = f"I never asked for this.\n\n> confirm {TOKEN}\n> news+confirm-{TOKEN}@list.example\n"
    assert ask("Re: Please reply to this letter", text).command.verb is Verb.CONTACT


@pytest.mark.parametrize("rest", ["", "x", "abc", TOKEN + "a", TOKEN[:-1] + "1", TOKEN[:-1] + "é"])
def test_a_mutilated_token_in_the_address_is_a_confirmation_without_a_token(rest: str) -> None:
    assert ask(subject="subscribe", detail=f"confirm-{rest}").command == Command(Verb.CONFIRM, language=EN)


def test_an_unsubscribe_token_is_read_from_address_and_text() -> None:
    for asked in (ask(detail=f"unsubscribe-{TOKEN}"), ask(text=f"unsubscribe {TOKEN}")):
        assert (asked.command.verb, asked.command.token) == (Verb.UNSUBSCRIBE, TOKEN)


# --- Addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detail", "verb"),
    [
        ("subscribe", Verb.SUBSCRIBE),
        ("join", Verb.SUBSCRIBE),
        ("unsubscribe", Verb.UNSUBSCRIBE),
        ("leave", Verb.UNSUBSCRIBE),
        ("help", Verb.HELP),
        ("status", Verb.STATUS),
        ("pause", Verb.PAUSE),
        ("resume", Verb.RESUME),
        ("forget", Verb.FORGET),
        ("forget-me", Verb.FORGET),
        ("get-key", Verb.GET_KEY),
        ("my-key", Verb.SET_KEY),
        ("key", Verb.GET_KEY),
        ("confirm", Verb.CONFIRM),
        ("bounce", Verb.BOUNCE),
        ("owner", Verb.CONTACT),
        ("contact", Verb.CONTACT),
        ("訂閱", Verb.SUBSCRIBE),
        ("退订", Verb.UNSUBSCRIBE),
    ],
)
def test_the_address_says_the_command_before_anything_else(detail: str, verb: Verb) -> None:
    asked = ask("pause" if verb is not Verb.PAUSE else "help", "resume", detail)
    assert (asked.command.verb, asked.source) == (verb, Source.ADDRESS)


@pytest.mark.parametrize(
    ("detail", "language"),
    [("language-zh-hant", HANT), ("language-zh-hans", HANS), ("language-en", EN), ("english", EN), ("繁體中文", HANT)],
)
def test_the_address_can_name_a_language(detail: str, language: Language) -> None:
    assert ask(detail=detail).command == Command(Verb.SET_LANGUAGE, language=language)


def test_a_bounce_is_told_by_the_address_alone() -> None:
    assert ask(detail=f"bounce-{TOKEN}").command == Command(Verb.BOUNCE, token=TOKEN)


def test_an_unknown_detail_leaves_the_word_to_subject_and_text() -> None:
    assert ask("subscribe", detail="whatever").command.verb is Verb.SUBSCRIBE
    assert ask("Hello", detail="whatever").command.verb is Verb.CONTACT


def test_the_word_key_means_yours_when_a_key_came_along_and_ours_otherwise() -> None:
    with_key = Letter(ALICE, "", "", offered=SOMEBODYS_KEY)
    assert ask(detail="key").command.verb is Verb.GET_KEY
    assert ask(detail="key", letter=with_key).command.verb is Verb.SET_KEY
    assert ask("公鑰").command.verb is Verb.GET_KEY
    assert ask(letter=Letter(ALICE, "公鑰", "", offered=SOMEBODYS_KEY)).command.verb is Verb.SET_KEY
    assert ask(letter=Letter(ALICE, "get key", "", offered=SOMEBODYS_KEY)).command.verb is Verb.GET_KEY


@pytest.mark.parametrize(
    "line",
    [
        "address new@example.org",
        "Address: <new@example.org>",
        "please change my address to new@example.org.",
        "change my address from alice@example.org to new@example.org",
        "address new@example.org <mailto:new@example.org>",
        "address mailto:new@example.org",
        "更改地址 new@example.org",
        "更改地址new@example.org",
        "更改地址：ｎｅｗ＠example.org",
        "請更改電郵為 new@example.org，謝謝",
        "更换邮箱「new@example.org」",
    ],
)
def test_a_change_of_address_names_the_new_one(line: str) -> None:
    for asked in (ask(subject=line), ask(text=line)):
        assert (asked.command.verb, asked.command.new_address) == (Verb.CHANGE_ADDRESS, NEW)


@pytest.mark.parametrize(
    "line", ["address new@example.org or bob@example.org", "address not-an@address", "address new@example.org tomorrow"]
)
def test_a_change_of_address_that_is_not_plain_goes_to_a_person(line: str) -> None:
    assert ask(subject=line).command.verb is Verb.CONTACT


def test_a_new_address_keeps_its_case_and_may_be_international() -> None:
    assert ask("address Neu.Ä@bücher.example").command.new_address == Address("Neu.Ä", "xn--bcher-kva.example")


# --- Quoting --------------------------------------------------------------------------------------------------------

QUOTES = [
    "> subscribe\n> more",
    "＞ subscribe",
    "On Fri, 1 May 2026 at 10:00, News <news@list.example> wrote:\n> subscribe",
    "On Fri, 1 May 2026 at 10:00, News\n<news@list.example> wrote:\n\nsubscribe",
    "On Fri, 1 May 2026 at 10:00,\nNews from everywhere\n<news@list.example> wrote:\n\nsubscribe",
    "在 2026年5月1日，News <news@list.example> 写道：\n\nsubscribe",
    "在2026年5月1日，新闻写道：\nsubscribe",
    "News <news@list.example> 於 2026年5月1日 週五 上午10:00寫道：\n\nsubscribe",
    "-----Original Message-----\nsubscribe",
    "----- Original Message -----\nsubscribe",
    '------------------ 原始邮件 ------------------\n发件人: "News"\n\nsubscribe',
    "---- On Wed, 24 Feb 2021 14:02:50 +0530 news@list.example wrote ----\n\nsubscribe",
    "---------- Forwarded message ---------\nsubscribe",
    "---------- 转发的邮件 ----------\nsubscribe",
    "Begin forwarded message:\n\nsubscribe",
    "________________________________\nsubscribe",
    "From: News <news@list.example>\nSent: Friday, May 1, 2026\nTo: Alice\nSubject: x\n\nsubscribe",
    "发件人：News\n发送时间：2026年5月1日\n收件人：Alice\n主题：x\n\nsubscribe",
    "寄件者: News\n寄件日期: 2026年5月1日\n收件者: Alice\n主旨: x\n\nsubscribe",
    "*From:* News\n*Date:* 1 May\n\nsubscribe",
    "-- \nsubscribe",
    "--\nsubscribe",
    "Sent from my iPhone\n\n> subscribe",
    "發自我的 iPhone",
    "从我的 iPad 发送",
    "Get Outlook for iOS<https://aka.ms/o0ukef>",
    "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nsubscribe\n-----END PGP PUBLIC KEY BLOCK-----",
]


@pytest.mark.parametrize("quote", QUOTES)
def test_what_is_quoted_is_not_said(quote: str) -> None:
    assert read_own(quote).lines == ()
    assert ask(text=quote).command.verb is Verb.CONTACT
    assert ask(text=f"unsubscribe\n\n{quote}").command.verb is Verb.UNSUBSCRIBE
    assert ask(text=f"Nice letter!\n\n{quote}").command.verb is Verb.CONTACT


@pytest.mark.parametrize(
    "quote", ["> subscribe\n", "On Fri, 1 May 2026, News wrote:\n> subscribe\n>\n> more\n", QUOTES[-1] + "\n"]
)
def test_what_is_said_below_a_marked_quote_counts(quote: str) -> None:
    assert ask(text=f"{quote}\nunsubscribe\n").command.verb is Verb.UNSUBSCRIBE


def test_a_command_below_other_words_does_not_speak() -> None:
    assert ask(text="I have a question.\nunsubscribe\n").command.verb is Verb.CONTACT


@pytest.mark.parametrize(
    "greeting", ["Hello,", "Dear Sir or Madam,", "Hi there!", "Dear news team", "您好：", "大家好"]
)
def test_a_greeting_is_no_line(greeting: str) -> None:
    assert ask(text=f"{greeting}\n\nplease unsubscribe me\n\nBob").command.verb is Verb.UNSUBSCRIBE


def test_the_frame_of_a_signed_text_is_no_line() -> None:
    text = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\npause\n-----BEGIN PGP SIGNATURE-----\n\nabc\n"
    assert ask(text=text).command.verb is Verb.PAUSE


# --- Signatures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letter", "detail", "is_signed"),
    [
        (Letter(ALICE, "pause", "pause", is_signed=True), "", False),
        (signed("pause", ""), "", True),
        (signed("pause", "", subject_is_signed=False), "", False),
        (signed("pause", "pause", subject_is_signed=False), "", True),
        (signed("pause", "unsubscribe", subject_is_signed=False), "", False),
        (signed("Hello", "unsubscribe", subject_is_signed=False), "", True),
        (signed("", "Hello"), "unsubscribe", False),
        (signed("", "unsubscribe"), "unsubscribe", True),
        (signed("unsubscribe", ""), "unsubscribe", True),
        (signed("unsubscribe", "", subject_is_signed=False), "unsubscribe", False),
        (signed("", "pause"), "unsubscribe", False),
        (signed("", "yes"), f"confirm-{TOKEN}", False),
        (signed("", "confirm"), f"confirm-{TOKEN}", False),
        (signed("", f"confirm {TOKEN}"), f"confirm-{TOKEN}", True),
        (signed("", "language zh-Hant"), "language-zh-hant", True),
        (signed("", "language zh-Hans"), "language-zh-hant", False),
        (signed("address new@example.org", "address new@example.org", subject_is_signed=False), "", True),
        (signed("address bob@example.org", "address new@example.org", subject_is_signed=False), "", False),
        (signed("", "退訂"), "unsubscribe", True),
        (signed("", "> unsubscribe"), "unsubscribe", False),
        (signed("Hello", "A letter"), "", True),
    ],
)
def test_a_command_counts_as_signed_only_if_its_own_words_are(letter: Letter, detail: str, is_signed: bool) -> None:
    assert understand(letter, detail, OWN).is_signed is is_signed


# --- Languages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", None),
        ("12345", None),
        ("加入", None),
        ("Hello, what is this?", EN),
        ("Guten Tag, ich möchte mehr wissen", None),
        ("你們好，請問這是甚麼？", HANT),
        ("喺邊度", HANT),
        ("你们好，请问这是什么？", HANS),
        ("Hello 你們", HANT),
        ("> 这是什么\n\n這是甚麼", HANT),
        ("Thank you\n\nOn 1 May 2026, Bob wrote:\n> 謝謝你們", EN),
    ],
)
def test_the_language_of_a_letter_is_that_of_its_writers_own_words(text: str, language: Language | None) -> None:
    assert guess_language(Letter(ALICE, "", text)) is language


def test_the_address_alone_tells_no_language_but_the_letter_may() -> None:
    assert ask(detail="subscribe").command.language is None
    assert ask(text="你們好，我是小明，想收你們的信", detail="subscribe").command.language is HANT
    assert ask(subject="订阅", detail="subscribe").command.language is HANS


def test_a_word_of_both_scripts_takes_the_language_of_the_letter() -> None:
    assert ask("加入", "謝謝你們").command == Command(Verb.SUBSCRIBE, language=HANT)
    assert ask("加入", "谢谢你们").command == Command(Verb.SUBSCRIBE, language=HANS)


# --- Any letter at all ----------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [*"> @\n-:：+", "subscribe", "退訂", "Re:", "confirm", TOKEN, "On 1", "wrote:", "a@b.cd", "想要", " "]
)


@given(
    st.text(max_size=80) | st.lists(WORDS).map("".join), st.text() | st.lists(WORDS).map("".join), st.text(max_size=40)
)
def test_any_letter_is_understood_as_something(subject: str, text: str, detail: str) -> None:
    asked = understand(Letter(ALICE, subject.replace("\n", " "), text), detail, OWN)
    assert asked.command.token is None or asked.command.token == asked.command.token.lower()
    assert asked.command.verb is not Verb.CHANGE_ADDRESS or asked.command.new_address is not None
    assert asked.command.verb is not Verb.SET_LANGUAGE or asked.command.language is not None
    assert not asked.is_signed


@pytest.mark.parametrize(
    "line",
    [
        "@" * 900,
        "a@" * 400,
        "- " * 400,
        "在1" * 400,
        "於 1 @" * 200,
        "我想要" * 300,
        "hi " * 300,
        "re:" * 300,
        "[(" * 400,
        "on 1 " * 200,
        "confirm " * 100,
        "ﷺ" * 900,
        "a a@b.cd " * 99,
        "sent from " * 90,
        "a" + " " * 900 + "b",
    ],
)
def test_a_hostile_letter_takes_no_time(line: str) -> None:
    began = time.process_time()
    ask(line, "\n".join([line] * 2000))
    assert time.process_time() - began < 1  # measured: under 0.05


# --- Letters of others ----------------------------------------------------------------------------------------------


def read_file(path: Path) -> tuple[str, str]:
    """Return subject and text of a letter as the standard library sees it; a bare body has no subject."""
    raw = path.read_bytes()
    message = email.message_from_bytes(raw, policy=email.policy.compat32)
    if not message.keys():
        return "", raw.decode("utf-8", "replace")
    parts = [part for part in message.walk() if part.get_content_type() == "text/plain"]
    payload = parts[0].get_payload(decode=True) if parts else b""
    text = payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""
    return " ".join(str(message["subject"] or "").split()), text.replace("\r\n", "\n")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "ORIGIN.md")


@pytest.mark.parametrize(
    "folder", ["ordinary-mail", "client-replies", "autoreplies-real", "openpgp-mail", "mime-torture"]
)
def test_no_letter_that_others_wrote_is_a_command(corpora: Path, folder: str) -> None:
    commands = {path.name for path in files(corpora / folder) if ask(*read_file(path)).command.verb is not Verb.CONTACT}
    assert files(corpora / folder)
    assert commands == set()


def test_only_the_chinese_letters_that_were_given_a_command_have_one(corpora: Path) -> None:
    others = [path for path in files(corpora / "zh-mail") if path.parent.name != "generated"]
    assert others
    assert {ask(*read_file(path)).command.verb for path in others} == {Verb.CONTACT}


def test_a_command_above_any_reply_is_understood_and_one_inside_it_is_not(corpora: Path) -> None:
    paths = [path for path in files(corpora / "client-replies") if path.suffix == ".txt"]
    assert paths
    for path in paths:
        _, text = read_file(path)
        quoted = "\n".join(f"> {line}" for line in ("subscribe", *text.splitlines()))
        assert ask("Re: x", f"unsubscribe\n\n{text}").command.verb is Verb.UNSUBSCRIBE
        assert ask("Re: x", f"退訂\n\nOn 1 May 2026, News wrote:\n{quoted}").command.verb is Verb.UNSUBSCRIBE
        assert ask("Re: x", f"On 1 May 2026, News wrote:\n{quoted}").command.verb is Verb.CONTACT


# --- The form of letters --------------------------------------------------------------------------------------------

FORMS = [
    ("format pgp-mime", Format.PGP_MIME),
    ("Format: PGP/MIME please", Format.PGP_MIME),
    ("格式 一般", Format.PGP_MIME),
    ("格式：普通", Format.PGP_MIME),
    ("format inline", Format.INLINE),
    ("please change my format to inline", Format.INLINE),
    ("格式 內文", Format.INLINE),
    ("设置格式 正文", Format.INLINE),
    ("format attachment", Format.ATTACHMENT),
    ("switch to attachments, thanks", Format.ATTACHMENT),
    ("請改用附件", Format.ATTACHMENT),
    ("格式 附件", Format.ATTACHMENT),
    ("ｆｏｒｍａｔ　ＰＤＦ", Format.PDF),
    ("PDF format", Format.PDF),
    ("改用PDF格式", Format.PDF),
    ("更改格式 pdf 文件", Format.PDF),
]


@pytest.mark.parametrize(("line", "wanted"), FORMS)
def test_a_form_is_asked_for_in_three_languages_by_subject_and_text(line: str, wanted: Format) -> None:
    for asked in (ask(line), ask(text=line), ask(text=f"Hello,\n\n{line}\n")):
        assert (asked.command.verb, asked.command.format) == (Verb.SET_FORMAT, wanted)


@pytest.mark.parametrize("wanted", Format)
def test_a_form_is_asked_for_by_an_address_that_is_the_same_in_every_language(wanted: Format) -> None:
    command = ask(detail=f"format-{wanted}").command
    assert (command.verb, command.format, command.language) == (Verb.SET_FORMAT, wanted, None)


@pytest.mark.parametrize(
    "line", ["pdf", "附件", "attachment", "inline", "normal", "the pdf please", "switch to normal"]
)
def test_the_name_of_a_form_alone_is_no_command(line: str) -> None:
    assert ask(line).command.verb is Verb.CONTACT


@pytest.mark.parametrize("line", ["format", "格式", "format telegram me", "format bob@example.org pdf"])
def test_a_form_that_is_not_named_or_is_for_somebody_else_changes_nothing(line: str) -> None:
    assert ask(line).command.verb in (Verb.HELP, Verb.CONTACT)


def test_a_signed_form_is_only_the_one_under_the_signature() -> None:
    letter = signed("format pdf", "format inline", subject_is_signed=False)
    assert not ask(letter=letter).is_signed
    assert ask(letter=signed("format pdf", "format pdf")).is_signed


# --- The code of a card ---------------------------------------------------------------------------------------------

CODE = "k7m4q2xw9t30ab1d"
CARD_LETTERS = [
    ("k7m4-q2xw-9t30-ab1d", "", ""),
    ("K7M4 Q2XW 9T3O ABID", "", ""),
    ("ｋ７ｍ４－ｑ２ｘｗ－９ｔ３０－ａｂ１ｄ", "", ""),
    ("join k7m4q2xw9t30ab1d", "", ""),
    ("訂閱 k7m4-q2xw-9t30-ab1d", "", ""),
    ("我想加入，邀請碼是 k7m4-q2xw-9t30-ab1d", "", ""),
    ("请帮我订阅 k7m4-q2xw-9t30-ab1d", "", ""),
    ("Re: This code does not work", "Hello,\n\nk7m4-q2xw-9t30-ab1d\n\nthanks", ""),
    ("subscribe", "k7m4-q2xw-9t30-ab1d", ""),
    ("", "Hello,\n\nmy code is k7m4-q2xw-9t30-ab1d.\n\nAda", ""),
    ("", "k7m4-q2xw-9t30-ab1d", "subscribe"),
    ("你好", "hello", f"join-{CODE}"),
    ("", "", "subscribe-k7m4-q2xw-9t30-ab1d"),
]


@pytest.mark.parametrize(("subject", "text", "detail"), CARD_LETTERS)
def test_a_code_is_found_wherever_and_however_it_is_written(subject: str, text: str, detail: str) -> None:
    asked = ask(subject, text, detail)
    assert (asked.command.verb, asked.command.token) == (Verb.JOIN_BY_CARD, CODE)
    assert not asked.is_signed


@pytest.mark.parametrize(
    ("subject", "detail"), [("join k7m4-q2xw-9t30-ab1", ""), ("k7m4-q2xw-9t30-ab1", ""), ("", f"join-{CODE[:-1]}")]
)
def test_a_code_with_a_mistake_is_a_code_and_not_a_letter_to_a_person(subject: str, detail: str) -> None:
    command = ask(subject, "", detail).command
    assert (command.verb, command.token) == (Verb.JOIN_BY_CARD, "")


@pytest.mark.parametrize(
    ("subject", "text", "detail", "verb"),
    [
        ("this list isnt good", "", "", Verb.CONTACT),
        ("Room 2024 meeting at 5", "", "", Verb.CONTACT),
        ("0221-4455-6677", "", "", Verb.CONTACT),
        ("", "Please call me\n1234-5678-9012-3456", "", Verb.CONTACT),
        ("+#ifdef CONFIG_X86_64", "", "", Verb.CONTACT),
        ("k7m4-q2xw-9t30-ab1d is what my aunt wrote, what is that?", "", "", Verb.CONTACT),
        ("Fwd: join", "> k7m4-q2xw-9t30-ab1d", "", Verb.CONTACT),
        ("unsubscribe", "k7m4-q2xw-9t30-ab1d", "", Verb.UNSUBSCRIBE),
        ("", "k7m4-q2xw-9t30-ab1d", f"confirm-{TOKEN}", Verb.CONFIRM),
        ("", "", "join-us", Verb.CONTACT),
        ("join", "", "", Verb.SUBSCRIBE),
    ],
)
def test_what_only_looks_like_a_code_or_stands_beside_another_command_is_none(
    subject: str, text: str, detail: str, verb: Verb
) -> None:
    assert ask(subject, text, detail).command.verb is verb
